"""Runs written out: what programs read is whole, what people see runs nothing."""

import csv
import io
import json
import re
from html.parser import HTMLParser

import pytest

from store.export import to_csv, to_html, to_json, to_markdown, to_text
from store.wording import show, show_bytes, show_change, show_precision, show_seconds, significant

EVIL = '<script>alert("x")</script> & "quotes" | `code` =cmd()'


@pytest.fixture
def runs(store, add):
    """Two runs whose every text tries to be more than text."""
    first = add(
        model=EVIL, bits=16, metrics={"perplexity": 9.72, "bytes": 2**34}, note=EVIL, tags=["=evil", "demo"],
        host={"device_name": EVIL}, options={"x": EVIL},
    )  # fmt: skip
    second = add(
        "generate", bits=4, group_size=32, metrics={"perplexity": 9.81, "decode_tok_s": 148.0},
        prompt=EVIL, output="千问 é🙂 </pre>" + EVIL,
    )  # fmt: skip
    store.add_matrices(
        first,
        [
            {"name": f"layers.{place}.{EVIL}", "index": place, "layer": place, "kind": "q_proj",
             "shape": (64, 64), "bits": 4, "group_size": 32, "statistic": {"64": 0.5},
             "relative_error": 0.1 + place / 100, "bytes": 5, "seconds": 0.1, "reason": EVIL}
            for place in range(20)
        ],
    )  # fmt: skip
    store.add_memory(first, [{"gpu": 0, "term": EVIL, "predicted": 2**30, "measured": 2**31}])
    store.finish_run(add(end=None), "failed", error={"what": EVIL, "next_step": "", "code": "x"})
    return [first, second, "r0003"]


class Elements(HTMLParser):
    """Every element, attribute and text of a page, and whether what opens is closed."""

    def __init__(self):
        super().__init__()
        self.elements, self.attributes, self.texts, self.open = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in ("meta", "rect"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def parsed(page):
    elements = Elements()
    elements.feed(page)
    elements.close()
    return elements


def test_the_page_needs_nothing_else_and_runs_nothing(store, runs):
    page = to_html(store, runs)
    elements = parsed(page)
    assert elements.open == []
    assert not {"script", "link", "img", "iframe", "object", "a", "form"} & set(elements.elements)
    assert not [one for one in elements.attributes if one[1].startswith("on") or one[1] in ("src", "href")]
    assert "http" not in page.replace("http-equiv", "")
    assert "default-src &#x27;none&#x27;" in page


def test_every_text_of_the_page_is_text(store, runs):
    page = to_html(store, runs)
    assert "<script" not in page
    text = "".join(parsed(page).texts)
    assert text.count(EVIL) >= 20
    assert "千问 é🙂 </pre>" in text


def test_the_page_shows_the_comparison_as_numbers_words_and_bars(store, runs):
    page = to_html(store, runs, baseline=runs[0])
    assert f"Against {runs[0]}" in page
    assert '+0.93 % <span class="worse">worse</span>' in page
    bars = re.findall(r'<rect class="([^"]+)" x="150" y="\d+" width="([\d.]+)"', page)
    assert {style for style, _ in bars} == {"bar", "bar hollow"}
    assert all(0 <= float(width) <= 320 for _, width in bars)


def test_a_page_of_one_run_and_of_none(store, runs):
    assert "Against" not in to_html(store, runs[:1])
    assert "No run was chosen" in to_html(store, [])


def test_json_holds_everything_and_is_strict(store, runs):
    store.add_gpu_samples(runs[0], [{"t": 1.0, "gpu": 0, "util": float("inf")}])
    found = json.loads(to_json(store, runs), parse_constant=pytest.fail)
    assert found["format"] == 1
    assert [run["row"]["run_id"] for run in found["runs"]] == runs
    assert found["runs"][0]["row"]["note"] == EVIL
    assert len(found["runs"][0]["matrices"]) == 20
    assert found["runs"][1]["generation"]["output"].startswith("千问 é🙂")
    assert found["runs"][0]["gpu_samples"][0]["util"] is None


def test_csv_has_a_line_a_run_and_no_formulas(store, runs):
    store.set_note(runs[1], "=HYPERLINK(1)")
    rows = list(csv.DictReader(io.StringIO(to_csv(store, runs))))
    assert [row["run_id"] for row in rows] == runs
    assert rows[0]["model"] == EVIL
    assert rows[0]["perplexity"] == "9.72"
    assert rows[1]["note"] == "'=HYPERLINK(1)"
    assert rows[0]["tags"] == "'=evil demo" or rows[0]["tags"] == "demo =evil"
    assert rows[0]["kl_divergence"] == ""
    assert not [value for row in rows for value in row.values() if value.startswith(("=", "+", "@"))]


def test_markdown_is_a_table_that_nothing_breaks_out_of(store, runs):
    text = to_markdown(store, runs)
    table = [line for line in text.splitlines() if line.startswith("|")]
    columns = [len(re.findall(r"(?<!\\)\|", line)) for line in table]
    assert len(set(columns[:5])) == 1
    assert not re.search(r"(?<!\\)[<`]", text)
    assert "## Against r0001" in text
    assert "\\<script\\>" in text


def test_text_is_aligned(store, runs):
    lines = to_text(store.compare(runs[:2])).splitlines()
    place = lines[0].index("r0002")
    # Every second column starts under its head.
    assert all(line[place - 1] == " " for line in lines[:-1] if len(line) > place)
    assert "(baseline)" in lines[0]
    assert "the same for all" in lines[-1]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "bytes", "—"),
        (15.3 * 2**30, "bytes", "15.3 GiB"),
        (0.35 * 2**30, "bytes", "0.3 GiB"),
        (13 * 2**20, "bytes", "13.0 MiB"),
        (2048, "bytes", "2.0 KiB"),
        (12, "bytes", "12 B"),
        (38.4, "ms", "38.4 ms"),
        (148.2, "tok/s", "148"),
        (9.814, "number", "9.81"),
        (1.7852, "perplexity", "1.785"),
        (999.96, "perplexity", "1000"),
        (5117.7, "perplexity", "5118"),
        (0.0123, "number", "0.0123"),
        (0.00001234, "number", "1.23e-05"),
        (0.964, "share", "96.4 %"),
        (4096, "count", "4 096"),
        (0.0, "number", "0"),
        (75, "s", "1 min 15 s"),
    ],
)
def test_numbers_have_units_and_few_digits(value, unit, text):
    assert show(value, unit) == text


def test_the_smaller_words():
    assert [show_change(change) for change in (None, -0.63, 0.009, -0.0001, 1.084, 0.04)] == [
        "", "−63 %", "+0.90 %", "−0.01 %", "+108 %", "+4.0 %",
    ]  # fmt: skip
    assert show_change(-0.00001) == "0 %"
    assert [show_seconds(value) for value in (0.04, 59.96, 3599.9, 7800)] == [
        "0.0 s", "1 min 00 s", "1 h 00 min", "2 h 10 min",
    ]  # fmt: skip
    assert show_precision(None, None) == "—"
    assert show_precision(8, "channel") == "int8 / channel"
    assert significant(-71.04) == "-71.0"
    assert show_bytes(-(2**30)) == "-1.0 GiB"
