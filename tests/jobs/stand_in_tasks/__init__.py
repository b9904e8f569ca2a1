"""Trivial jobs with the shape of the real ones."""
