"""Builds and measures TensorRT engines on any GPU box: a folder in, a folder out."""
