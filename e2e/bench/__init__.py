"""Benchmarks: what they measure, on what, and which bar each figure must hold."""
