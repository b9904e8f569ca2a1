"""Where a matrix is cut for a long prompt: within the buffer, and no more waves than needed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("triton")

from kernels.prefill import TILE_N, choose_rows, choose_slices, waves_of
from kernels.tiles import Gpu

MIB = 1 << 20


@given(m=st.integers(1, 8192), n=st.integers(1, 60_000), k=st.integers(16, 30_000))
def test_a_slice_fits_its_buffer(m, n, k):
    rows = choose_rows(m, n, k, 132)
    assert 1 <= rows <= n
    assert rows == n or rows % TILE_N == 0
    assert 2 * k * rows <= (256 if rows == n else 32) * MIB or rows == TILE_N or n <= TILE_N


@pytest.mark.parametrize(("n", "k"), [(28672, 4096), (6144, 4096), (4096, 14336), (28672, 7168)])
def test_slices_cost_few_waves(n, k):
    """Cut into slices, a long prompt takes at most a tenth more waves than whole, or half a wave a slice."""
    rows = choose_rows(4096, n, k, 132)
    count = -(-n // rows)
    waves = sum(waves_of(4096, min(rows, n - start), 132) for start in range(0, n, rows))
    assert waves <= max(1.1 * waves_of(4096, n, 132), waves_of(4096, n, 132) + count / 2)


def test_what_fits_is_not_cut():
    assert choose_rows(4096, 4096, 4096, 132) == 4096
    assert choose_slices(4096, 4096, 4096, Gpu()).buffers == 1
    assert choose_slices(4096, 28672, 4096, Gpu()).buffers == 2


def test_few_rows_of_x_do_not_pay_for_slices():
    """Of 1024 rows, a slice of a long matrix would fill a fifth of the GPU."""
    assert choose_rows(1024, 4096, 14336, 132) == 4096
    assert choose_rows(4096, 4096, 14336, 132) < 4096
