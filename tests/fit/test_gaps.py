"""What torch reserves beside weights, keys and values, and a pass: by hand, and as measured."""

import msgspec
import pytest

from fqconsole.fit import Term, named_gpu, preview
from fqconsole.fit.alike import one_of_each
from fqconsole.fit.allocator import MIB
from fqconsole.fit.estimate import Asked
from fqconsole.fit.kv import cache_gaps
from fqconsole.fit.loaded import Step, gaps_of
from fqconsole.fit.pass_segments import PREFILL_CHUNK, full_context, gathered_rows
from fqconsole.fit.preview import _estimates
from fqconsole.models.description import LayerAttention
from tests.fit.synthetic import GIB, host, llama

H200 = named_gpu("h200-141gb")
LLAMA_3_8B = {
    "layers": 32, "hidden": 4096, "inner": 14336, "vocab": 128256, "heads": 32, "kv_heads": 8,
    "context_length": 40960,
}  # fmt: skip


def test_pieces_that_fill_segments_leave_nothing():
    assert gaps_of([[Step((), (32 * MIB, 4 * MIB), 5)]]) == 0
    assert gaps_of([[Step((), (MIB // 2,), 4)]]) == 0


def test_pieces_of_eight_mib_leave_four_of_each_two():
    assert gaps_of([[Step((), (8 * MIB,), 6)]]) == 3 * 4 * MIB


def test_what_passes_leaves_its_room_where_something_smaller_stays_in_it():
    # The first 16 MiB are cut from the 30 that passed; the next find no room in the 14 beside them.
    assert gaps_of([[Step((30 * MIB,), (), 1)], [Step((), (16 * MIB,), 2)]]) == 14 * MIB
    assert gaps_of([[Step((30 * MIB,), (16 * MIB,), 1)]]) == 0


def test_keys_and_values_of_a_layer_are_two_pieces():
    layer = LayerAttention("full", kv_heads=8, head_dim=128, value_head_dim=128)
    assert cache_gaps([(layer, 32)], 8192, 1, 2) == 0  # 64 of 16 MiB
    assert cache_gaps([(layer, 32)], 4096, 1, 2) == 32 * 4 * MIB  # 8 MiB: two in 20
    assert cache_gaps([(layer, 32)], 4096, 1, 2, bits=8) == 4 * MIB  # 4 MiB: 64 in 13 segments


@pytest.mark.parametrize(
    ("bits", "context", "batch", "measured"),
    [
        (16, 8192, 1, 18424332288), (8, 2048, 4, 11503730688), (4, 8192, 1, 8150384640),
        (3, 512, 1, 5986123776), (4, 32768, 1, 11388387328), (4, 2048, 16, 11411456000),
    ],
)  # fmt: skip
def test_the_total_is_what_was_measured_on_an_h200(bits, context, batch, measured):
    """Of docs/fit.md, with the runtime that was measured there."""
    here = msgspec.structs.replace(H200, runtime=Term("CUDA + Triton", 793575424, "measured", ""))
    asked = {"bits": (bits,), "gpu_counts": (1,), "context": context, "batch": batch}
    (option,) = preview(llama(**LLAMA_3_8B), here, **asked).options
    total = option.total_bytes_per_gpu - option.loading_bytes
    assert -0.03 < (measured - total) / total < 0.01


def test_the_term_is_shown_on_a_gpu_and_not_on_a_cpu():
    (option,) = preview(llama(**LLAMA_3_8B), H200, bits=(8,), gpu_counts=(1,)).options
    (term,) = (term for term in option.terms if term.name == "allocator")
    assert term.bytes == option.allocator_bytes > 100 * MIB
    (option,) = preview(llama(**LLAMA_3_8B), host(64 * GIB), bits=(8,)).options
    assert option.allocator_bytes == 0
    assert all(term.name != "allocator" for term in option.terms)


def test_gpus_that_share_the_layers_share_the_gaps():
    found = preview(llama(**LLAMA_3_8B), H200, bits=(8,), gpu_counts=(1, 2), split="layer")
    one, two = found.options
    assert two.allocator_bytes == pytest.approx(one.allocator_bytes / 2, rel=0.01)


def test_a_short_prompt_takes_less_of_a_passs_gaps():
    (estimate,) = _estimates(one_of_each(llama(**LLAMA_3_8B)), H200, (16,), "default", 16)
    short, long = (estimate._working(estimate.whole, Asked("one", 1, n, 1))[2] for n in (512, PREFILL_CHUNK))
    assert 0 < short == long // 4


def test_contexts_with_the_same_tensors_are_followed_once():
    def sliding(window):
        return llama(attention=(LayerAttention("sliding", 2, 64, 64, window=window),) * 4)

    assert full_context(sliding(1024), 8192) == full_context(sliding(1024), 40960) == PREFILL_CHUNK
    assert full_context(sliding(4096), 8192) == 4097
    assert full_context(sliding(4096), 4096) == full_context(llama(), 4096) == PREFILL_CHUNK


@pytest.mark.slow
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(("experts", "each"), [(8, 2), (64, 6), (128, 8), (256, 8)])
def test_gathered_rows_are_no_more_than_is_counted(bits, experts, each):
    tiles = pytest.importorskip("kernels.wide_tiles")
    most_tiles = pytest.importorskip("kernels.expert_tiles").most_tiles
    rows = PREFILL_CHUNK * each
    for k in (768, 2048, 14336):
        tile, small = tiles.choose_routed_tiles(bits, rows / experts, k)
        taken = most_tiles(rows, experts, tile.rows, small.rows if small else 0) * tile.rows
        taken += experts * small.rows if small else 0
        assert taken <= gathered_rows(rows, experts) <= 2.1 * taken
