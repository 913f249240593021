"""Runs in Triton's Python backend: pictures' bytes to frames of the network's size, by OpenCV on the CPU.

The pictures are letterboxed as Ultralytics' client does it. Copied into repositories as it is, but for the size.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(2**26))  # read at import; a bomb of a picture is refused

import numpy as np
import triton_python_backend_utils as pb_utils

try:
    import cv2
except ImportError as missing:
    raise pb_utils.TritonModelException(
        "endpoint JPEG: the Triton image has no OpenCV to decode pictures with (no module cv2); "
        "add opencv-python-headless to the image's Python, or leave JPEG out of spec.endpoints"
    ) from missing

if TYPE_CHECKING:
    from collections.abc import Sequence

HEIGHT, WIDTH = 640, 640
PADDING = (114, 114, 114)


class TritonPythonModel:
    """One instance, one process."""

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Decode each request's picture; what is none fails alone, in words."""
        cv2.setNumThreads(1)
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        data = pb_utils.get_input_tensor_by_name(request, "jpeg").as_numpy().reshape(-1)
        try:
            picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
        except cv2.error as error:
            return _refused(data, str(error))
        if picture is None:
            return _refused(data, "OpenCV reads no picture in it")
        frame, geometry = letterboxed(picture)
        tensors = [pb_utils.Tensor("frames", frame[np.newaxis]), pb_utils.Tensor("geometry", geometry[np.newaxis])]
        return pb_utils.InferenceResponse(tensors)


def letterboxed(picture: Any) -> tuple[Any, Any]:
    """Return a BGR picture as an RGB frame, scaled to fit and centred on grey, and how it lies there."""
    height, width = picture.shape[:2]
    scale = min(HEIGHT / height, WIDTH / width)
    fitted = max(1, round(width * scale)), max(1, round(height * scale))
    if fitted != (width, height):
        picture = cv2.resize(picture, fitted, interpolation=cv2.INTER_LINEAR)
    spare = WIDTH - fitted[0], HEIGHT - fitted[1]
    left, top = round(spare[0] / 2 - 0.1), round(spare[1] / 2 - 0.1)
    edges = top, spare[1] - top, left, spare[0] - left
    frame = cv2.copyMakeBorder(picture, *edges, cv2.BORDER_CONSTANT, value=PADDING)
    geometry = np.array([scale, left, top, width, height], np.float32)
    return np.ascontiguousarray(frame[:, :, ::-1]), geometry


def _refused(data: Any, why: str) -> Any:
    begins = data[:8].tobytes().hex(" ")
    told = f"jpeg: {why} ({data.size} bytes, beginning with {begins or 'nothing'}); send one whole JPEG file a request"
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(told))
