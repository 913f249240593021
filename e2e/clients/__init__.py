"""Clients that run in pods of the builder image."""
