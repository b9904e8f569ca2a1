"""The rows of the model list: words, filter, order, details."""

import msgspec
import pytest

from fqconsole.app import model_rows
from fqconsole.app.model_rows import (
    ModelRow,
    arranged,
    attention_words,
    cells,
    counts,
    detail_lines,
    matches,
    short_id,
)
from fqconsole.app.verdicts import BestFit
from fqconsole.models.description import LayerAttention, ModelEntry, QuantizationInfo
from tests.app.fakes import BIG_MOE, BROKEN, DEMO, LLAMA, QWEN, WIDE, entry

ROWS = [
    ModelRow(entry(QWEN), QWEN, BestFit(16, "fits", 0.22)),
    ModelRow(entry(LLAMA), LLAMA, BestFit(4, "fits", 0.52)),
    ModelRow(entry(BIG_MOE), BIG_MOE, BestFit(3, "does not fit", 1.13)),
    ModelRow(BROKEN, problem=BROKEN.problem),
]


def layered(*layers: LayerAttention):
    return msgspec.structs.replace(QWEN, attention=layers)


def test_attention_in_words():
    full = LayerAttention("full", 8, 128, 128)
    sliding = LayerAttention("sliding", 8, 128, 128, window=1024)
    assert attention_words(layered(full, sliding, full)) == "gqa+swa"
    assert attention_words(layered(LayerAttention("full", 32, 128, 128))) == "mha"
    assert attention_words(layered(LayerAttention("full", 1, 128, 128))) == "mqa"
    assert attention_words(BIG_MOE) == "gqa, moe"


@pytest.mark.parametrize(
    ("words", "found"),
    [("qwen", 2), ("QWEN moe", 1), ("cache", 4), ("llama instruct", 1), ("zzz", 0), ("", 4)],
)
def test_every_word_of_the_filter_must_occur(words, found):
    assert sum(matches(row, words) for row in ROWS) == found


def test_orders():
    def ids(order):
        return [short_id(row.entry) for row in arranged(ROWS, "", order)]

    assert ids("listed")[0] == "Qwen3-8B"
    assert ids("name")[:2] == ["Llama-3.1-70B-Instruct", "Qwen3-235B-A22B"]
    assert ids("size")[0] == "Qwen3-235B-A22B"
    assert ids("fit")[0] == "Qwen3-8B"
    assert all(ids(order)[-1] == "pickled-model" for order in model_rows.ORDERS)


def test_a_model_that_cannot_be_used_says_so_in_its_row_and_why_in_its_details():
    assert any("unusable" in str(getattr(cell, "text", cell)) for cell in cells(ROWS[3]))
    assert detail_lines(ROWS[3]) == [BROKEN.problem]


def test_a_quantized_checkpoint_offers_to_talk():
    made = msgspec.structs.replace(
        DEMO, source="folder", quantization=QuantizationInfo("compressed-tensors", 4, (64,), True, "demo")
    )
    row = ModelRow(ModelEntry("/data/demo-int4", "folder", "/data/demo-int4"), made)
    assert "talk" in cells(row)[-1].text
    assert "Quantized to int4 from demo" in detail_lines(row)[-1]


def test_counts_name_the_sources():
    assert counts([ModelRow(entry(DEMO)), *ROWS]) == "1 built in · 4 in the HF cache"
    assert counts([]) == ""


def test_names_of_folders_and_wide_characters():
    assert short_id(ModelEntry("/data/models/mine/", "folder", "/data/models/mine")) == "mine"
    assert short_id(entry(WIDE)) == "千问-小说🙂"


def test_every_row_has_as_many_cells_as_there_are_columns():
    from fqconsole.app.screens.models import COLUMNS

    for row in [*ROWS, ModelRow(entry(DEMO))]:
        assert len(cells(row)) == len(COLUMNS)
