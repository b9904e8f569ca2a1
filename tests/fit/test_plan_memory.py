"""What a plan of mixed widths takes: between the plain widths, and at one of them exactly that."""

import math

import pytest

from fqconsole.fit import Capacity, preview
from fqconsole.fit.plan_memory import PlanMemory, bytes_within, points_of, total_of
from quantizer import base_plan
from quantizer.plan import predicted_bytes
from tests.fit.synthetic import llama

GIB = 1 << 30
POINTS = [(300, 1300), (400, 1400), (800, 2000), (1600, 3000)]


def test_what_fits_lies_between_the_options_around_it():
    assert bytes_within(POINTS, 1350) == 350
    assert bytes_within(POINTS, 1700) == 600
    assert bytes_within(POINTS, 1250) == 250
    assert bytes_within(POINTS, 4000) == 2400
    assert bytes_within(POINTS, 100) == 0


@pytest.mark.parametrize("size", [250, 300, 350, 400, 777, 1600, 2000])
def test_the_total_of_a_size_and_the_size_of_a_total_agree(size):
    assert bytes_within(POINTS, total_of(POINTS, size)) == size


def test_a_plan_as_large_as_a_plain_width_takes_what_that_takes():
    model = llama()
    found = preview(model, Capacity("a GPU", GIB, GIB, "gpu"), gpu_counts=(1, 2))
    whole = max(option.model_bytes for option in found.options)
    for gpus in (1, 2):
        points = points_of(model, found, gpus, whole)
        for bits, (size, total) in zip((3, 4, 8), points, strict=False):
            made = PlanMemory(model, found, gpus, whole).option(size, bits)
            assert made.total_bytes_per_gpu == total == found.option(bits, gpus).total_bytes_per_gpu
            assert sum(term.bytes for term in made.terms) == total
            assert made.verdict == found.option(bits, gpus).verdict


def test_a_plan_that_leaves_too_little_is_tight_and_one_beyond_the_memory_does_not_fit():
    model = llama()
    roomy = preview(model, Capacity("a GPU", GIB, GIB, "gpu"), gpu_counts=(1,))
    size, total = points_of(model, roomy, 1, 10 * GIB)[1]
    for free, verdict in (
        (total + total // 8, "fits"),
        (total + total // 50, "tight"),
        (total - 1, "does not fit"),
    ):
        found = preview(model, Capacity("a GPU", free, free, "gpu"), gpu_counts=(1,))
        memory = PlanMemory(model, found, 1, 10 * GIB)
        made = memory.option(size, 4.0)
        assert made.verdict == verdict
        assert bool(made.smallest_change) == (verdict != "fits")
        assert (size <= memory.most_bytes + 1) == (verdict == "fits")


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("head", [8, 4])
def test_a_packed_head_is_counted_in_the_plan_and_in_its_memory(tied, head):
    model = llama(tied_embeddings=tied)
    found = preview(model, Capacity("a GPU", GIB, GIB, "gpu"), gpu_counts=(1, 2), head=head)
    whole = sum(math.prod(m.shape) * 2 for m in base_plan(model, 4, head=head).matrices)
    for gpus in (1, 2):
        memory = PlanMemory(model, found, gpus, whole, head)
        for bits in (3, 4, 8):
            size = predicted_bytes(base_plan(model, bits, head=head))
            assert (
                memory.option(size, bits).total_bytes_per_gpu == found.option(bits, gpus).total_bytes_per_gpu
            )
        more = memory.option(whole, 16.0).total_bytes_per_gpu - found.option(16, gpus).total_bytes_per_gpu
        # Untied it is the same head; tied, a copy of the embedding beside it.
        assert more == pytest.approx(1000 * 256 * 2 / gpus if tied else 0, rel=0.15, abs=1)
