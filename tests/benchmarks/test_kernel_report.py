"""Ratios, tables, targets and the picture, from a made-up run."""

import math
import re
from xml.etree import ElementTree as ET

import pytest

from benchmarks.kernels.layers import CLASSES, LLAMA, MAIN, Scheme
from benchmarks.kernels.plot import Axis, limit_line, roofline_svg, series_of
from benchmarks.kernels.points import CUBLAS, OURS, Point, Record
from benchmarks.kernels.ratios import best_peer, cell, layer_sum, time_ratio
from benchmarks.kernels.report import markdown, ratio_table
from benchmarks.kernels.targets import SPEEDUPS, verdicts
from tests.benchmarks.kernel_records import ATTENTION, record, roof


def test_a_cell_holds_the_geometric_means_over_its_layers():
    found = cell(record(), ATTENTION, 1, MAIN, "fp16")
    limits = [60.0 / (1 + MAIN.packed_bytes(layer.n, layer.k) / 1e6) for layer in ATTENTION]
    assert found.ours == pytest.approx(3.0)
    assert found.peer == pytest.approx(2.0)
    assert found.peer_names == ("quick",)
    assert found.limit == pytest.approx(math.sqrt(limits[0] * limits[1]))


def test_a_class_that_lacks_a_layer_has_no_mean():
    made = record()
    made.points = [p for p in made.points if (p.who, p.layer) != (OURS, ATTENTION[0].label)]
    assert cell(made, ATTENTION, 1, MAIN, "fp16").ours is None
    assert cell(made, CLASSES["opt-30b"], 1, MAIN, "fp16").limit is None


def test_a_peer_in_bfloat16_is_compared_with_cublas_in_bfloat16():
    made = record()
    made.points.append(Point("brain", LLAMA[0].label, MAIN.label, "bf16", 1, 35.0, 1))
    assert best_peer(made, LLAMA[0], 1, MAIN) == ("brain", 35.0, pytest.approx(120 / 35))


def test_the_sum_of_a_layer_needs_all_of_it():
    made = record()
    assert layer_sum(made, LLAMA, 1, (OURS, MAIN.label, "fp16")) == pytest.approx(80.0)
    assert layer_sum(made, LLAMA, 1, (CUBLAS, "", "fp16")) == pytest.approx(240.0)
    assert layer_sum(made, LLAMA, 2, (OURS, MAIN.label, "fp16")) is None


def test_schemes_are_compared_layer_by_layer():
    assert time_ratio(record(), LLAMA, 1, (Scheme(3, 128), "fp16"), (MAIN, "fp16")) == pytest.approx(0.75)
    assert time_ratio(record(), LLAMA, 1, (Scheme(8, None), "fp16"), (MAIN, "fp16")) is None


def test_the_ratio_table_names_class_rows_and_all_three_figures():
    shown = ratio_table(record(), MAIN, "fp16")
    assert "| layers | M=1 | M=16 |" in shown
    assert re.search(r"\| Llama-8B qkv, o \| 3\.00 \(2\.00; \d+\.\d\d\) \|", shown)
    assert "OPT" not in shown


def test_the_report_holds_every_part():
    report = markdown(record())
    for words in (
        "made up", "Roof", "100 TFLOP/s", "best peer", "One Llama-8B layer", "in a chain", "Experts",
        "Relative error", "same bits", "eager kernels.linear us", "Targets", "slow has no such thing",
    ):  # fmt: skip
        assert words in report


def test_every_table_of_the_report_has_as_many_cells_in_each_row():
    rows = [line for line in markdown(record()).splitlines() if line.startswith("|")]
    blocks = "\n".join(rows)
    assert rows
    for block in re.split(r"\n(?=\|[^\n]*\|\n\|---)", blocks):
        assert len({line.count("|") for line in block.splitlines()}) == 1


def test_an_empty_run_still_has_a_report():
    assert "Targets" in markdown(Record({"gpu": "none"}, roof()))


def test_targets_that_were_measured_get_a_verdict():
    found = {verdict.what: verdict for verdict in verdicts(record())}
    attention = found["Llama-8B qkv, o, int4-128, M=1: x over cuBLAS"]
    assert attention.met and attention.got == pytest.approx(3.0)
    assert not found["Llama-8B gate_up, down, int4-128, M=1: x over cuBLAS"].met
    assert not found["Llama-8B layer, M=1: sum, µs"].met  # 80 µs
    assert not found["Llama-8B layer, M=1: in a chain, µs"].met
    assert found["experts Mix gate_up, int4-128, batch 1: x over grouped_mm"].met
    assert found["eager kernels.linear us"].met
    assert not found["largest relative error, fp16"].met
    assert found["same bits in 20 runs, ours int4-128 fp16 M=1"].met
    assert not any("quick" in what for what in found)  # a peer's bits are its own affair
    assert found["Llama-8B qkv, int3 over int4, M=1: time"].met
    assert found["int4-64 over int4-128, M=1: time"].met


def test_every_target_is_of_a_class_and_a_usual_number_of_rows():
    assert set(SPEEDUPS) == set(CLASSES)
    assert all(set(rows) == {1, 16, 32, 64, 128, 256, 4096} for rows in SPEEDUPS.values())


def test_the_picture_is_a_document_with_one_mark_a_layer_and_kernel():
    drawn = ET.fromstring(roofline_svg(record()))  # noqa: S314 — our own text
    space = "{http://www.w3.org/2000/svg}"
    circles = drawn.findall(f"{space}circle")
    assert len(circles) == len(LLAMA) + 1  # and the legend's
    words = [element.text for element in drawn.iter(f"{space}text")]
    assert {"ours", "quick", "slow", "limit", "packed weights, MB", "µs"} <= set(words)


def test_every_mark_of_the_picture_lies_inside():
    drawn = ET.fromstring(roofline_svg(record()))  # noqa: S314
    _, _, width, height = map(float, drawn.attrib["viewBox"].split())
    for circle in drawn.iter("{http://www.w3.org/2000/svg}circle"):
        assert 0 < float(circle.attrib["cx"]) < width
        assert 0 < float(circle.attrib["cy"]) < height


def test_the_picture_has_no_point_of_another_dtype_of_ours():
    made = record()
    made.points.append(Point(OURS, LLAMA[0].label, MAIN.label, "bf16", 1, 1.0, 1))
    assert min(us for _, us in series_of(made, 1, MAIN, "fp16")[OURS]) == 20.0


def test_no_points_no_picture():
    with pytest.raises(ValueError, match="no points at 7 rows"):
        roofline_svg(record(), rows=7)


def test_the_limit_line_is_the_roof_of_a_layer_of_that_size():
    line = limit_line(record(), MAIN, 1, 1.0, 100.0)
    assert line[0] == (1.0, pytest.approx(2.0))
    assert line[-1][1] == pytest.approx(101.0)
    many = limit_line(record(), MAIN, 4096, 1.0, 100.0)
    weights = 100e6 * 8 / 4.125
    assert many[-1][1] == pytest.approx(2 * 4096 * weights / 100e12 * 1e6, rel=1e-6)


def test_an_axis_is_logarithmic_and_ticked_at_1_2_5():
    axis = Axis(1, 100, 0, 200)
    assert [axis.pixel(v) for v in (1, 10, 100)] == [0, 100, 200]
    assert axis.ticks() == [1, 2, 5, 10, 20, 50, 100]
