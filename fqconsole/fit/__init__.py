"""The memory preview: pure arithmetic on a model description."""
