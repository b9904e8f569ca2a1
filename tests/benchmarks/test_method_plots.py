"""The pictures of docs/method.md: what is measured, what is drawn, and what is said in words."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import torch

from benchmarks._chart import Panel, Series, chart, ticks_between
from benchmarks.method_plots import GroupErrors, group_errors, groups_svg, planner_svg

NAMES = "{http://www.w3.org/2000/svg}"
DOCS = Path(__file__).parents[2] / "docs"


def test_finer_groups_lose_less_where_outliers_lie_together():
    weights = torch.randn(64, 128, generator=torch.Generator().manual_seed(1))
    even = group_errors(weights, 64).errors
    weights[:, :32] *= 6
    spoilt = group_errors(weights, 32).errors
    assert set(even) == {None, 128, 64, 32, 16}
    assert even[None] == even[128] > even[64] > even[32] > even[16]
    assert spoilt[64] / spoilt[32] > 1.3 * even[64] / even[32]


def test_the_picture_of_groups_has_a_dot_for_every_choice():
    errors = {None: 0.04, 64: 0.02, 32: 0.01}
    drawn = groups_svg({"demo": [GroupErrors(errors, 64), GroupErrors(errors, 32)] * 2})
    root = ET.fromstring(drawn)  # noqa: S314 - our own text
    assert len(root.findall(f"{NAMES}polyline")) == 4
    assert len(root.findall(f"{NAMES}circle")) == 4 + 1  # one of them in the legend
    assert "groups of 64 for 2 matrices, groups of 32 for 2 matrices" in root.findtext(f"{NAMES}desc")


def test_the_picture_of_the_planner_tells_its_gains():
    def line(mode, plan, gain):
        return {"model": "demo", "mode": mode, "plan": plan, "bits_per_weight": 4.25, "kl_divergence": 1e-3,
                "gain": gain}  # fmt: skip

    lines = [
        line(mode, *kind) for mode in ("finequant", "best") for kind in (("int4", None), ("planned", 7.1))
    ]
    drawn = planner_svg(lines)
    assert "divided by 7.1 at least and 7 at most" in drawn
    assert drawn.count("<rect") == 1 + 1 + 2  # ground, legend, one rule in each panel


def test_a_chart_holds_its_points_and_escapes_its_words():
    drawn = chart("a < b", "about & more", "y", [Panel("p", [Series("s", [(0, 1), (1, 100)], "ours")],
                                                       [(0, "0"), (1, "1")], "x")])  # fmt: skip
    root = ET.fromstring(drawn)  # noqa: S314 - our own text
    width, height = map(float, root.get("viewBox").split()[2:])
    for dot in root.findall(f"{NAMES}circle"):
        assert 0 < float(dot.get("cx")) < width
        assert 0 < float(dot.get("cy")) < height
    assert root.findtext(f"{NAMES}title") == "a < b"


@pytest.mark.parametrize(
    ("low", "high", "ticks"), [(-2.1, -0.9, [0.01, 0.02, 0.05, 0.1]), (0, 3, [1, 10, 100, 1000])]
)
def test_ticks_are_round_numbers(low, high, ticks):
    assert ticks_between(low, high) == ticks


@pytest.mark.parametrize("name", ["method-groups.svg", "method-planner.svg"])
def test_the_pictures_of_the_docs_have_words_and_dark_colours(name):
    root = ET.fromstring((DOCS / name).read_text())  # noqa: S314 - our own file
    assert root.get("role") == "img"
    assert root.findtext(f"{NAMES}title")
    assert len(root.findtext(f"{NAMES}desc")) > 60
    assert "prefers-color-scheme: dark" in root.findtext(f"{NAMES}style")
    assert re.search(rf"!\[[^\]]{{20,}}\]\({name}\)", (DOCS / "method.md").read_text())
