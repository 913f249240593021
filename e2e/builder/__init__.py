"""What runs inside the builder image when the builder is tested there: torch and ultralytics are nowhere else."""

EXPECTED: dict[str, tuple[list[int], list[list[int]]]] = {
    "yolo26n": ([96, 160], [[84, 315]]),
    "yolo26n-seg": ([96, 160], [[116, 315], [32, 24, 40]]),
    "yolo26n-pose": ([96, 64], [[135, 126]]),
    "yolo26n-obb": ([96, 96], [[85, 189]]),
    "yolo26n-cls": ([64, 64], [[1000]]),
    "yolo11n": ([160, 96], [[84, 315]]),
    "yolo11n-seg": ([64, 96], [[116, 126], [32, 16, 24]]),
    "yolo12n": ([96, 96], [[84, 189]]),
    "yolov8n-pose": ([96, 96], [[56, 189]]),
    "yolov9t": ([64, 64], [[84, 84]]),
    "yolov10n": ([96, 96], [[84, 189]]),
}
"""Models that are built with random weights: image size, and the axes of the outputs without the batch."""
