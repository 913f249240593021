"""Reads only: what the cluster says, as frozen views."""
