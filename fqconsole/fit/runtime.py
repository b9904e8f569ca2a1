"""What a process takes before it holds any model: documented defaults, until a probe measures them here."""

from typing import NamedTuple

GIB = 1 << 30


class Runtime(NamedTuple):
    """A default with its words."""

    name: str
    bytes: int
    detail: str


# CUDA context of a data-centre GPU (about 0.5 GiB), loaded Triton modules, cuBLAS workspace.
GPU = Runtime("CUDA + Triton", int(0.62 * GIB), "CUDA context, Triton modules, workspaces\nnot measured here")
# Resident memory of a Python process after importing torch 2.13 and transformers 5.23 and one generation.
HOST = Runtime("Python + torch", int(0.5 * GIB), "the worker's own process\nnot measured here")


def runtime(*, on_host: bool) -> Runtime:
    """The default for the place where generation runs."""
    return HOST if on_host else GPU
