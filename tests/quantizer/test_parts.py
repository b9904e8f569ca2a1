"""How the plan is laid over the source's files."""

from itertools import pairwise

import msgspec
import pytest

from fqconsole.errors import UsageError
from quantizer import base_plan
from quantizer.parts import Piece, expert_module, plan_parts
from tests.quantizer.synthetic_models import describe, fused_moe_tensors, moe_config, save_model


def test_every_source_byte_is_read_once_and_in_order(sharded_llama):
    parts = plan_parts(sharded_llama, base_plan(sharded_llama, 4))
    for part in parts:
        places = [
            (item.source_start, item.source_bytes) if isinstance(item, Piece) else (item.start, item.bytes)
            for item in part.items
        ]
        assert places == sorted(places)
        assert all(a + size == b for (a, size), (b, _) in pairwise(places))
    assert sum(part.source_bytes for part in parts) == sharded_llama.bytes


def test_one_source_file_is_one_part(sharded_llama):
    parts = plan_parts(sharded_llama, base_plan(sharded_llama, 4))
    assert len(parts) == 4
    assert parts[0].file == "model-00001-of-00004.safetensors"
    assert all(part.ends_source for part in parts)


def test_a_large_source_file_is_cut_into_parts(sharded_llama):
    plan = base_plan(sharded_llama, 4)
    parts = plan_parts(sharded_llama, plan, part_bytes=20_000)
    assert len(parts) > 8
    assert all(part.source_bytes <= 20_000 or len(part.items) == 1 for part in parts)
    assert sum(part.ends_source for part in parts) == 4
    assert sum(part.payload for part in parts) == sum(
        part.payload for part in plan_parts(sharded_llama, plan)
    )


def test_a_fused_tensor_is_cut_expert_by_expert(tmp_path):
    save_model(tmp_path / "moe", fused_moe_tensors(experts=3, hidden=64, inner=32), moe_config())
    description = describe(tmp_path / "moe")
    (part,) = plan_parts(description, base_plan(description, 4))
    assert part.file == "model.safetensors"
    pieces = [
        item for item in part.items if isinstance(item, Piece) and "layers.0.mlp.experts" in item.module
    ]
    cut = [(p.module.removeprefix("model.layers.0.mlp.experts."), p.first_row, p.rows, p.k) for p in pieces]
    assert [c for c in cut if "down" not in c[0]] == [
        ("0.gate_proj", 0, 32, 64), ("0.up_proj", 32, 32, 64),
        ("1.gate_proj", 64, 32, 64), ("1.up_proj", 96, 32, 64),
        ("2.gate_proj", 128, 32, 64), ("2.up_proj", 160, 32, 64),
    ]  # fmt: skip
    assert [c for c in cut if "down" in c[0]] == [(f"{e}.down_proj", e * 64, 64, 32) for e in range(3)]


def test_expert_modules_have_the_number_before_the_projection():
    assert expert_module("model.layers.0.mlp.experts.up_proj", 12) == "model.layers.0.mlp.experts.12.up_proj"


def test_a_plan_of_another_model_is_refused(sharded_llama):
    plan = base_plan(sharded_llama, 4)
    wider = msgspec.structs.replace(plan.matrices[0], shape=(3, 5))
    for other in (
        msgspec.structs.replace(plan, matrices=(wider, *plan.matrices[1:])),
        msgspec.structs.replace(plan, matrices=plan.matrices[1:]),
        msgspec.structs.replace(plan, kept=plan.kept[1:]),
    ):
        with pytest.raises(UsageError, match="does not belong to this model"):
            plan_parts(sharded_llama, other)
