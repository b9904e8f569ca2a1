"""The heat map: where cells stand, what their signs say, and that no layer is lost at any size."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fqconsole.app import heat_map
from fqconsole.app.heat_map import MapCell, layout

KINDS = ("self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.experts.down_proj")
ONE = MapCell("m", 3, "mlp.down_proj", 4, 32)


def model(layers, kinds=4):
    return [
        MapCell(f"{layer}.{kind}", layer, kind, 4, 64) for layer in range(layers) for kind in KINDS[:kinds]
    ]


@given(
    st.integers(min_value=1, max_value=200),
    st.integers(min_value=1, max_value=4),
    st.integers(min_value=20, max_value=200),
    st.integers(min_value=3, max_value=60),
)
def test_every_matrix_has_one_place_and_every_place_gives_it_back(layers, kinds, width, height):
    found = layout(model(layers, kinds), width, height)
    assert found.blocks * found.block_width + (found.blocks - 1) * heat_map.GAP <= max(
        width, found.block_width
    )
    assert found.blocks * found.lines >= layers
    seen = set()
    for x in range(found.blocks * (found.block_width + heat_map.GAP)):
        for y in range(found.lines):
            place = found.row_of(x, y)
            if place is not None:
                seen.add(place)
    assert seen == {(layer, kind) for layer in range(layers) for kind in range(kinds)}


def test_layers_go_on_in_the_next_block_and_cells_get_narrower_before_one_is_hidden():
    assert (layout(model(8), 60, 10).cell, layout(model(8), 60, 10).blocks) == (3, 1)
    assert (layout(model(20), 60, 11).blocks, layout(model(20), 60, 11).lines) == (2, 10)
    tight = layout(model(36), 40, 13)
    assert (tight.cell, tight.blocks) == (2, 3)


def test_a_cell_says_bits_and_group_without_colour():
    assert heat_map.glyph(ONE, "bits", 0, 0) == "4t"
    assert heat_map.glyph(replace(ONE, error=0.1), "bits", 0, 0) == "4T"
    assert heat_map.glyph(replace(ONE, bits=8, group=None), "bits", 0, 0) == "8c"
    assert heat_map.glyph(replace(ONE, bits=16, group=None), "bits", 0, 0) == "16"
    assert heat_map.glyph(replace(ONE, bits=None), "bits", 0, 0) == "· "
    assert heat_map.glyph(replace(ONE, group=48), "bits", 0, 0) == "4o"
    assert heat_map.glyph(None, "bits", 0, 0) == "  "


def test_errors_are_digits_from_the_least_to_the_largest():
    cells = [replace(ONE, error=error) for error in (0.01, 0.1, 1.0)]
    low, high = heat_map.error_range(cells)
    assert [heat_map.glyph(cell, "error", low, high)[0] for cell in cells] == ["0", "5", "9"]
    assert heat_map.glyph(replace(ONE, error=0.1, finer=True), "error", low, high) == "5+"
    assert heat_map.glyph(ONE, "error", low, high) == "· "


@given(st.floats(min_value=0, max_value=10), st.floats(min_value=1e-6, max_value=10), st.floats(1, 100))
def test_a_level_is_a_digit(error, low, factor):
    assert 0 <= heat_map.level(error, low, low * factor) <= 9


def test_planned_and_done_look_different_and_so_do_widths():
    colours = {
        heat_map.colour(replace(ONE, bits=bits, error=error), "bits", 0, 0)
        for bits in (3, 4, 8)
        for error in (None, 0.1)
    }
    assert len(colours) == 6
    assert heat_map.colour(replace(ONE, bits=None), "bits", 0, 0) == "waiting"
    assert heat_map.colour(ONE, "error", 0.01, 1.0) == "waiting"


def test_the_legend_names_only_what_occurs_and_cuts_no_word():
    cells = [ONE, replace(ONE, group=None, bits=8), replace(ONE, bits=16, group=None)]
    assert heat_map.legend(cells, "bits", 40) == "c channel · t 32 · 16 kept"
    assert heat_map.legend(cells, "bits", 18) == "c channel · t 32"
    assert heat_map.legend([replace(ONE, error=0.1)], "bits", 18) == "T 32"
    assert heat_map.legend([replace(ONE, bits=None)], "bits", 40) == "bits and group of each matrix"
    assert heat_map.legend([replace(ONE, error=0.04)], "error", 40) == "0 = 0.04 · 9 = 0.04 · + finer"
    assert heat_map.legend(cells, "error", 40) == "errors: 0 least, 9 largest"


def test_columns_stand_in_the_order_in_which_a_layer_uses_them():
    names = ("mlp.down_proj", "mlp.gate_proj", "self_attn.o_proj", "self_attn.q_proj", "mixer.in_proj")
    cells = [MapCell(name, 0, name) for name in names]
    assert layout(cells, 60, 10).kinds == (
        "self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj", "mixer.in_proj",
    )  # fmt: skip


@pytest.mark.parametrize("cell", [2, 3])
def test_heads_are_as_wide_as_their_columns(cell):
    words = heat_map.heads(["self_attn.q_proj", "mlp.gate_up_proj", "mlp.down_proj", "proj"], cell)
    assert {len(word) for word in words} == {cell}
    assert [word[0] for word in words] == ["q", "g", "d", "p"]


def test_a_matrix_in_words():
    assert heat_map.sentence(replace(ONE, error=0.0433)) == (
        "layer 3 down_proj · int4 groups of 32 · error .0433"
    )
    assert heat_map.sentence(replace(ONE, group=None)) == "layer 3 down_proj · int4 channel · planned"
    assert "stays in 16 bits" in heat_map.sentence(replace(ONE, bits=16))
