"""16-bit checkpoint in, quantized checkpoint out: scheme, granularity, rounding, plan, streaming, resume.

Importing this package loads nothing heavy. What touches weights is imported from its own module:
`from quantizer.engine import analyse, quantize` and `from quantizer.reader import open_checkpoint`.
"""

from quantizer.base import base_plan
from quantizer.plan import Plan, plan_bits_per_weight, predicted_bytes

__all__ = ["Plan", "base_plan", "plan_bits_per_weight", "predicted_bytes"]
