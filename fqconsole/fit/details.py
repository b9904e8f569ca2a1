"""What some terms of an estimate say of themselves."""

CPU_LAYOUT = (
    "CPU layout",
    "what the CPU's operators take on top\n"
    "half a byte a weight (int8: one), and 4 B a group for scale and zero (docs/fit.md)",
)
GPU_LAYOUT = (
    "GPU layout",
    "what the kernels' order takes on top\n"
    "rows in tiles of 16, columns in steps of 256 (int8: 128), scales for each step (docs/fit.md)",
)
LOADING_DETAIL = (
    "what the largest matrix takes besides while it is loaded, beyond cache and activations\n"
    "as it is stored, and once more where several become one (docs/fit.md)"
)
GRAPH_DETAIL = "the captured decode step at batch {}\nits tensors in the allocator's segments"
ALLOCATOR_DETAIL = (
    "what torch's allocator reserves between and behind tensors\n"
    "segments of 2 and 20 MiB, and room that loading and passes leave in them (docs/fit.md)"
)
