"""Each peer on one matrix, where it is installed."""

import math

import pytest
import torch

from benchmarks.quality.peers import PEERS, Setting
from benchmarks.quality.peers.quanto import group_of

# Relative error of plain rounding of Gaussian weights, doubled: what no quantizer of that size may exceed.
WORST = {3: 0.5, 4: 0.22, 8: 0.02}


def _settings(name: str) -> list[Setting]:
    try:
        return PEERS[name]()
    except ImportError as absent:
        pytest.skip(f"{name} is not installed ({absent})")


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_gives_weights_back_and_counts_its_bits(name: str) -> None:
    weight = (torch.randn(64, 256, generator=torch.Generator().manual_seed(0)) * 0.02).bfloat16()
    for setting in _settings(name):
        rebuilt = setting.rebuild(weight)
        error = (rebuilt.weight - weight.float()).norm() / weight.float().norm()
        assert rebuilt.weight.shape == weight.shape, setting
        assert rebuilt.weight.dtype == torch.float32, setting
        assert 0 < float(error) < WORST[setting.bits], setting
        assert setting.bits < rebuilt.bits / math.prod(weight.shape) < setting.bits + 1.1, setting


def test_quanto_takes_the_largest_group_that_divides_a_row() -> None:
    assert [group_of(k) for k in (4096, 192, 160, 172, 128)] == [128, 96, 32, None, None]
