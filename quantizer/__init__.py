"""16-bit checkpoint in, quantized checkpoint out: scheme, granularity choice, rounding, plan, streaming, resume."""
