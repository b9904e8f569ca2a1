"""A model whose matrices went through something, in float32."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.quality.comparison import Ours, Row, compare, write_setting
from benchmarks.quality.frontier import OURS
from benchmarks.quality.peers import Rebuilt, Setting, find_settings
from benchmarks.quality.rebuild import place_piece, write_model
from fqconsole.demo import heldout_text
from fqconsole.models import describe, resolve_model
from fqconsole.models.describe import describe_folder
from fqconsole.models.description import ModelDescription, TensorInfo
from quantizer.base import base_plan
from quantizer.parts import Piece


@pytest.fixture
def demo() -> ModelDescription:
    return describe(resolve_model("demo"))


def fused(shape: tuple[int, ...]) -> TensorInfo:
    return TensorInfo("experts", "F32", shape, math.prod(shape) * 4, "model.safetensors", 0)


@pytest.mark.parametrize("transposed", [False, True])
def test_a_piece_of_fused_experts_goes_where_it_came_from(transposed: bool) -> None:
    experts, rows, k = 3, 8, 5
    whole = torch.randn(experts, rows, k)
    stored = whole.transpose(1, 2).contiguous() if transposed else whole
    tensor = torch.zeros_like(stored)
    for expert in range(experts):
        for first in (0, 4):  # gate and up
            start = first if transposed else expert * rows + first
            piece = Piece(0, "m", fused(tuple(stored.shape)), start, 4, transposed, expert)
            place_piece(tensor, piece, whole[expert, first : first + 4])
    assert torch.equal(tensor, stored)


def test_what_is_not_changed_is_the_source_in_float32(demo: ModelDescription, tmp_path: Path) -> None:
    out = write_model(demo, base_plan(demo, 4), tmp_path / "out", lambda _, weights: weights.float())
    source = load_file(Path(demo.path or "") / "model.safetensors")
    made = load_file(out / "model.safetensors")
    assert made.keys() == source.keys()
    assert all(made[name].dtype == torch.float32 for name in made)
    assert all(torch.equal(made[name], source[name].float()) for name in made)
    assert json.loads((out / "config.json").read_text())["dtype"] == "float32"
    assert (out / "tokenizer.json").is_file()


def test_a_model_of_several_files_keeps_them_and_gets_an_index(
    tmp_path: Path, demo: ModelDescription
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    whole = load_file(Path(demo.path or "") / "model.safetensors")
    names = sorted(whole)
    halves = {"a-00001-of-00002.safetensors": names[::2], "a-00002-of-00002.safetensors": names[1::2]}
    for file, held in halves.items():
        save_file({name: whole[name] for name in held}, source / file)
    weight_map = {name: file for file, held in halves.items() for name in held}
    (source / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (source / "config.json").write_bytes((Path(demo.path or "") / "config.json").read_bytes())
    description = describe_folder(source, id="halves", source="folder")
    out = write_model(
        description, base_plan(description, 4), tmp_path / "out", lambda _, weights: weights.float()
    )
    index = json.loads((out / "model.safetensors.index.json").read_text())
    assert index["weight_map"] == weight_map
    assert {tensor.name for tensor in describe_folder(out, id="out", source="folder").tensors} == set(names)


def test_bits_are_all_that_a_peer_keeps_over_the_weights_of_the_matrices(
    demo: ModelDescription, tmp_path: Path
) -> None:
    seen: list[int] = []

    def rebuild(weight: Tensor) -> Rebuilt:
        seen.append(weight.numel())
        return Rebuilt(weight.float(), 5 * weight.numel() + 32)

    bits = write_setting(demo, Setting("peer", 4, "", rebuild), tmp_path / "out", "cpu")
    assert sum(seen) == sum(matrix.weights for matrix in base_plan(demo, 4).matrices)
    assert bits == pytest.approx(5 + 32 * len(seen) / sum(seen))


def test_weights_of_another_shape_are_refused(demo: ModelDescription, tmp_path: Path) -> None:
    turned = Setting("peer", 4, "", lambda weight: Rebuilt(weight.float().t().contiguous()[:1], 1))
    with pytest.raises(ValueError, match="came back as"):
        write_setting(demo, turned, tmp_path / "out", "cpu")


def _fails(weight: Tensor) -> Rebuilt:
    raise RuntimeError("no kernel\nand a long story")


@pytest.mark.slow
def test_ours_and_a_peer_are_judged_alike(demo: ModelDescription) -> None:
    exact = Setting("exact", 8, "as it is", lambda weight: Rebuilt(weight.float(), 16 * weight.numel()))
    broken = Setting("broken", 4, "always", _fails)
    cases = [Ours(4, "best")]
    told = list(compare(demo, cases, [exact, broken], text=heldout_text(4), tokens=300, device="cpu"))
    rows = {row.who: row for row in told if isinstance(row, Row)}
    assert rows["exact"].score.kl_divergence == pytest.approx(0.0, abs=1e-9)
    assert rows["exact"].score.perplexity == pytest.approx(rows["16-bit"].score.perplexity)
    assert rows["exact"].bits == 16.0
    assert 0 < rows[OURS].score.kl_divergence < 0.01
    assert 4 < rows[OURS].bits < 4.5
    assert [line for line in told if isinstance(line, str)] == [
        "broken 4 bits, always fails on demo: RuntimeError: no kernel"
    ]


def _absent() -> list[Setting]:
    raise ImportError("No module named 'nobody'")


def test_an_absent_peer_is_one_sentence() -> None:
    made = Setting("here", 4, "", lambda weight: Rebuilt(weight, 0))
    found, missing = find_settings(["nobody", "here"], {"nobody": _absent, "here": lambda: [made]})
    assert found == [made]
    assert missing == ["nobody is left out: it can't be imported (No module named 'nobody')."]
