"""Fixtures for the kernels' tests."""

import pytest
import torch


@pytest.fixture
def poisoned_memory():
    """Fresh tensors on the GPU hold NaN, so an output that nobody wrote is seen.

    The kernels that fill them come between ours, so tests of overlapping starts go without.
    """
    from tests.kernels.numerics import poisoned_memory  # loads Triton

    with poisoned_memory():
        assert torch.isnan(torch.empty(3, device="cuda")).all()
        yield
