"""Scaling policies on arrival traces: what each of them misses, and what it pays."""
