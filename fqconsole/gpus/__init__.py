"""NVML readings, every one of them fallible."""
