"""`make demo`: from nothing to boxes."""
