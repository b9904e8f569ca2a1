"""Kernels that may take the place of one in `kernels`, measured beside it before they do."""
