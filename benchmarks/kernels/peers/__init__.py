"""What a user could pick instead of our kernels, one small adapter each; what is absent is left out."""

from benchmarks.kernels.peers.bitsandbytes import Int8 as BitsandbytesInt8
from benchmarks.kernels.peers.bitsandbytes import Nf4 as BitsandbytesNf4
from benchmarks.kernels.peers.gemlite import Gemlite
from benchmarks.kernels.peers.humming import Humming
from benchmarks.kernels.peers.peer import Packed, Peer, UnsupportedError
from benchmarks.kernels.peers.torch_core import Int8Pack, TinyGemm

# The order in which they are measured.
PEERS: dict[str, type[Peer]] = {
    peer.name: peer for peer in (TinyGemm, Humming, Gemlite, BitsandbytesNf4, Int8Pack, BitsandbytesInt8)
}

__all__ = ["PEERS", "Packed", "Peer", "UnsupportedError"]
