"""Tests, one folder a room; a package, so that a folder named like a room never hides the room."""
