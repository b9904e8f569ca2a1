"""Runs, matrices, generations and GPU samples in one SQLite file."""
