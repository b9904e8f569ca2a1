"""Widgets of the console: each brings its own help and empty state."""
