"""The kernels against 16-bit cuBLAS, other libraries and the roof: `python -m benchmarks.kernels`."""
