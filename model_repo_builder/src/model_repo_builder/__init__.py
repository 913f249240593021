"""From YOLO weights to a Triton model repository, published whole or not at all."""
