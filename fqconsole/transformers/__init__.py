"""Our checkpoints in transformers: after this import, `from_pretrained` loads them packed.

Without the import transformers opens the same folder through compressed-tensors, which dequantizes it at the
first forward pass.
"""

from fqconsole.transformers.registry import register

__all__ = ["register"]

register()
