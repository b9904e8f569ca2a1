"""Stand-in until the kernel is here."""

from kernels.rotary import rotate_and_store_latent_plain as rotate_and_store_latent_on_gpu
from kernels.rotary import rotate_and_store_plain as rotate_and_store_on_gpu

__all__ = ["rotate_and_store_latent_on_gpu", "rotate_and_store_on_gpu"]
