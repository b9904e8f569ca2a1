"""Commands that print every figure the documentation quotes: `python -m benchmarks.quality`, ..."""
