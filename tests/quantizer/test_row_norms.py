"""Norms of rows and samples of them: the same however a matrix is stored and cut into units."""

from collections import Counter, defaultdict
from pathlib import Path

import pytest
import torch

from quantizer import row_norms as module
from quantizer.base import base_plan
from quantizer.parts import Piece, plan_parts
from quantizer.pipeline import Pipeline
from quantizer.row_norms import RowNorms
from quantizer.source import TensorFile
from tests.quantizer.measured_rows import measured
from tests.quantizer.synthetic_models import describe, fused_moe_tensors, moe_config, save_llama, save_model

CPU = torch.device("cpu")


@pytest.fixture(params=["llama", "stacks of experts"])
def pieces(request, tmp_path):
    """A model's folder and its pieces by matrix."""
    if request.param == "llama":
        description = save_llama(tmp_path / "m", shards=2)
    else:
        save_model(tmp_path / "m", fused_moe_tensors(), moe_config())
        description = describe(tmp_path / "m")
    plan = base_plan(description, 4)
    found = defaultdict(list)
    for part in plan_parts(description, plan):
        for item in part.items:
            if isinstance(item, Piece):
                found[plan.matrices[item.matrix].name].append(item)
    return Path(description.path), found


def whole(folder, piece):
    with TensorFile(folder / piece.tensor.file) as file:
        return file.piece_rows(piece, 0, piece.rows).float()


@pytest.mark.parametrize("unit", [1, 1000, 1 << 20])
def test_every_row_is_measured_in_its_place(pieces, unit, monkeypatch):
    monkeypatch.setattr(module, "unit_weights", lambda device, largest: unit)
    folder, held = pieces
    scaled = next(iter(held))
    gains = {scaled: torch.rand(held[scaled][0].k) + 0.5}
    rows = RowNorms(folder, held, gains, CPU)
    weights = Counter()
    with Pipeline(rows.lanes(), [CPU, CPU], readers=2, depth=5) as pipeline:
        for done in pipeline.results():
            rows.take(done)
            weights[done.matrix] += done.weights
    found = rows.found()
    for name, parts in held.items():
        right = [
            torch.linalg.vector_norm(whole(folder, piece) * gains.get(name, 1), dim=1) for piece in parts
        ]
        assert torch.equal(found[name], torch.cat(right))
        assert weights[name] == sum(piece.rows * piece.k for piece in parts)


def test_nothing_is_read_for_nothing(tmp_path):
    rows = RowNorms(tmp_path, {}, {}, CPU)
    assert rows.lanes() == []
    assert measured(rows, CPU) == {}


def test_samples_are_the_rows_at_their_places(pieces):
    folder, held = pieces
    for parts in held.values():
        for piece in parts:
            places = [0, piece.rows // 3, piece.rows - 1]
            with TensorFile(folder / piece.tensor.file) as file:
                found = file.sampled_rows(piece, places)
            assert torch.equal(found.float(), whole(folder, piece)[places])
