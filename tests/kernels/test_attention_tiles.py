"""What a tile of decode attention must hold, for every shape and GPU."""

import itertools

import pytest

from kernels.attention_tiles import MOST_PARTS, choose_attention_tile, parts_of
from kernels.tiles import Gpu

SHARED = {80: 163, 89: 99, 90: 227, 100: 227}  # KiB that a program may have
WIDTHS = (16, 64, 128, 256)


@pytest.mark.parametrize("capability", SHARED)
def test_what_is_read_ahead_has_room(capability):
    """In float32 at the most; a stage less than there are lies in shared memory."""
    for rows, main, value, width in itertools.product((16, 32), WIDTHS, WIDTHS, (2, 4)):
        tile = choose_attention_tile(rows, main, value, width, latent=False, gpu=Gpu(capability))
        assert (tile.stages - 1) * tile.block * (main + value) * width <= SHARED[capability] << 10


def test_a_warp_has_a_products_rows():
    for rows, main, value in itertools.product((16, 32), WIDTHS, WIDTHS):
        tile = choose_attention_tile(rows, main, value, 2, latent=False, gpu=Gpu())
        assert not tile.apart or tile.block // tile.warps >= 16
        assert tile.span % tile.block == 0


@pytest.mark.parametrize("latent", [False, True])
def test_parts(latent):
    """One for what a program reads at once, no more than fill the GPU or than the sums have room for."""
    gpu = Gpu()
    tile = choose_attention_tile(16, 128, 128, 2, latent=latent, gpu=gpu)
    assert parts_of(tile, 8, tile.span, gpu) == 1
    assert parts_of(tile, 8, tile.span + 1, gpu) == 2
    assert parts_of(tile, 1, 1 << 20, gpu) == MOST_PARTS
    assert parts_of(tile, 100_000, 1 << 20, gpu) == 1
    assert parts_of(tile, 8, 1 << 20, gpu) == -(-tile.programs * gpu.multiprocessors // 8)
