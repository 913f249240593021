"""Writes only: server-side apply, deletes, status patches, Events."""
