"""Decisions: snapshot in, plan out; pure."""
