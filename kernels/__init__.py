"""Fused dequantize + matmul on packed weights: Triton kernels, each beside its plain PyTorch reference."""
