"""What a probe measured of one device: told by its job, kept and used by the memory preview."""

import msgspec


class Probe(msgspec.Struct, frozen=True):
    """One measurement. Bytes on a GPU are what NVML shows beyond torch's own memory; 0 on the host."""

    device: str  # the GPU's name without its maker, or the host's
    driver: str  # empty on the host
    torch: str
    triton: str
    t: float  # seconds since the epoch
    process_bytes: int  # resident memory of a worker with an empty model
    context_bytes: int = 0  # CUDA context
    kernels_bytes: int = 0  # loaded modules: Triton's, cuBLAS's, torch's
    workspace_bytes: int = 0  # what libraries keep of torch's memory between two steps
    rounding: float = 0.0  # of what is allocated in pieces of many sizes: what the allocator takes on top
    bandwidth: int = 0  # bytes of memory read a second
    seconds: float = 0.0  # what the probe took

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Another driver, GPU, torch or triton needs a probe of its own."""
        return (self.device, self.driver, self.torch, self.triton)
