"""Kubernetes in Docker: the same stories where Docker is, on real GPUs where the host has them."""
