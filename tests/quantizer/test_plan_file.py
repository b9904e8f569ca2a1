"""A plan as TOML: written, read back the same, and every mistake named with its line."""

import pytest

from fqconsole.errors import UsageError
from fqconsole.models import describe, resolve_model
from quantizer.candidate_errors import measure_candidates
from quantizer.methods import MODES
from quantizer.plan_file import plan_text, read_plan_file, schemes_of
from quantizer.planner import Planner
from quantizer.scheme import Scheme

Q = "model.layers.0.self_attn.q_proj"
DOWN = "model.layers.1.mlp.down_proj"


@pytest.fixture(scope="module")
def planner():
    description = describe(resolve_model("demo"))
    return Planner(description, measure_candidates(description, methods=MODES["fast"], device="cpu"))


@pytest.fixture
def saved(planner, tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text(plan_text(planner, planner.within_bits(4, "4 bits"), "fast"))
    return path


def edited(path, name, line):
    """The file with another line for one matrix; the number of that line."""
    lines = path.read_text().splitlines()
    number = next(at for at, old in enumerate(lines) if old.startswith(f'"{name}"'))
    lines[number] = line
    path.write_text("\n".join(lines))
    return number + 1


@pytest.mark.parametrize("bits", [3.1, 4.0, 6.0, 12.0])
def test_what_is_written_is_read_back(planner, tmp_path, bits):
    plan = planner.within_bits(bits, "target")
    path = tmp_path / "plan.toml"
    path.write_text(plan_text(planner, plan, "fast"))
    found = read_plan_file(path)
    assert found.mode == "fast"
    assert schemes_of(found, planner.draft.matrices) == planner.schemes(plan)
    again = planner.with_schemes(schemes_of(found, planner.draft.matrices), plan.target)
    assert again == plan


def test_an_edit_by_hand_is_taken(planner, saved):
    edited(saved, DOWN, f'"{DOWN}" = {{ bits = 8, group = 256 }}')
    schemes = schemes_of(read_plan_file(saved), planner.draft.matrices)
    assert (schemes[DOWN].bits, schemes[DOWN].group_size) == (8, 256)
    plan = planner.with_schemes(schemes, "by hand")
    assert planner.plan_loss(plan) is None  # groups of 256 are no candidate: nobody measured them
    edited(saved, DOWN, f'"{DOWN}" = {{ bits = 16 }}')
    plan = planner.with_schemes(schemes_of(read_plan_file(saved), planner.draft.matrices), "by hand")
    assert DOWN not in {matrix.name for matrix in plan.matrices}


@pytest.mark.parametrize(
    ("name", "line", "words"),
    [
        (DOWN, f'"{DOWN}" = {{ bits = 5, group = 64 }}', ("bits 5", "8, 4, 3 or 16")),
        (DOWN, f'"{DOWN}" = {{ bits = true, group = 64 }}', ("bits True",)),
        (DOWN, f'"{DOWN}" = {{ bits = 4, group = 48 }}', ("group 48", "256, 128, 64")),
        (DOWN, f'"{DOWN}" = {{ bits = 4, group = [1] }}', ("group [1]",)),
        (DOWN, f'"{DOWN}" = {{ bits = 4 }}', ("no group",)),
        (DOWN, f'"{DOWN}" = {{ bits = 4, group = 64, speed = 1 }}', ("'speed'",)),
        (DOWN, f'"{DOWN}" = 4', ("is not {",)),
        (Q, f'"{Q}" = {{ bits = 8, group = 32 }}', ("engines run them as one", "8 bits in groups of 32")),
        (Q, f'"{Q}" = {{ bits = 16 }}', ("engines run them as one", "16 bits")),
        (DOWN, f'"{DOWN}x" = {{ bits = 4, group = 64 }}', (f"no matrix {DOWN}x", f"mean {DOWN}?")),
    ],
)
def test_a_mistake_is_named_with_its_line(planner, saved, name, line, words):
    number = edited(saved, name, line)
    with pytest.raises(UsageError) as told:
        schemes_of(read_plan_file(saved), planner.draft.matrices)
    sentence = str(told.value)
    assert all(word in sentence for word in words), sentence
    # A broken set is told at the first member that differs from the first.
    assert "engines" in sentence or f"line {number}" in sentence


def test_groups_that_do_not_divide_are_refused(tmp_path):
    from tests.quantizer.synthetic_models import save_llama

    description = save_llama(tmp_path / "odd", layers=1, hidden=64, inner=96)
    made = Planner(description, measure_candidates(description, methods=MODES["fast"], device="cpu"))
    path = tmp_path / "plan.toml"
    path.write_text(plan_text(made, made.within_bits(6, "6"), "fast"))
    name = "model.layers.0.mlp.down_proj"
    edited(path, name, f'"{name}" = {{ bits = 4, group = 64 }}')
    with pytest.raises(UsageError, match=r"do not divide its rows of 96.*32, 16"):
        schemes_of(read_plan_file(path), made.draft.matrices)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model = ", "is no TOML"),
        ("[matrices]\n'a' = { bits = 4 }\n'a' = { bits = 4 }\n", "is no TOML.*line 3"),
        ("speed = 3\n[matrices]\na = {}\n", "entry 'speed'"),
        ("model = 'demo'\n", "no \\[matrices\\]"),
        ("format = 9\n[matrices]\na = {}\n", "format 9"),
        ("mode = 'quick'\n[matrices]\na = {}\n", "no mode 'quick'"),
        ("[matrices]\n'model.layers.0.mlp.down_proj' = { bits = 16 }\n", "lacks .* and 54 more"),
    ],
)
def test_files_that_are_no_plan_are_told_in_a_sentence(planner, tmp_path, text, words):
    path = tmp_path / "plan.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=words):
        schemes_of(read_plan_file(path), planner.draft.matrices)


def test_a_file_that_is_missing_or_binary_is_told_in_a_sentence(tmp_path):
    with pytest.raises(UsageError, match="can't be read"):
        read_plan_file(tmp_path / "none.toml")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="UTF-8"):
        read_plan_file(tmp_path / "binary")


def test_a_head_has_a_line_only_where_it_was_asked_for(planner, saved, tmp_path):
    assert "lm_head" not in saved.read_text()
    description = describe(resolve_model("demo"))
    headed = Planner(description, planner._measured, head=8)
    plan = headed.within_bits(4, "4 bits")
    (head,) = (matrix for matrix in plan.matrices if matrix.layer is None)
    assert (head.name, head.scheme.bits, plan.head) == ("lm_head", 8, 8)
    assert headed.plan_bytes(plan) <= headed.weights * 4 / 8
    assert all(matrix.layer is not None for matrix in planner.within_bits(4, "4 bits").matrices)
    path = tmp_path / "head.toml"
    path.write_text(plan_text(headed, plan, "fast"))
    assert read_plan_file(path).head == 8
    edited(path, "lm_head", '"lm_head" = { bits = 4, group = 32 }')
    found = read_plan_file(path)
    smaller = Planner(description, planner._measured, head=found.head)
    made = smaller.with_schemes(schemes_of(found, smaller.draft.matrices), "by hand")
    assert made.matrices[-1].scheme == Scheme(4, 32)
    assert smaller.plan_loss(made) > headed.plan_loss(plan)
    edited(path, "lm_head", '"lm_head" = { bits = 16 }')
    found = read_plan_file(path)
    assert found.head == 16
    assert "lm_head" not in schemes_of(found, planner.draft.matrices)


def test_the_widths_of_a_plan_are_kept_to(planner, saved, tmp_path):
    assert "widths" not in saved.read_text()
    narrow = Planner(describe(resolve_model("demo")), planner._measured, widths=(4, 8))
    plan = narrow.within_bits(5, "5 bits")
    path = tmp_path / "narrow.toml"
    path.write_text(plan_text(narrow, plan, "fast"))
    found = read_plan_file(path)
    assert found.widths == (4, 8)
    assert narrow.with_schemes(schemes_of(found, narrow.draft.matrices), plan.target) == plan
    for line in ("{ bits = 3, group = 64 }", "{ bits = 16 }"):
        number = edited(path, DOWN, f'"{DOWN}" = {line}')
        with pytest.raises(UsageError, match=rf"line {number}: {DOWN} has bits .* the widths \[4, 8\]"):
            schemes_of(read_plan_file(path), planner.draft.matrices)


@pytest.mark.parametrize(
    ("said", "word"), [("8", "no list"), ('["4"]', "no list"), ("[4, 5]", "5 bits"), ("[16]", "nothing to")]
)
def test_widths_that_no_plan_has_are_refused(saved, said, word):
    saved.write_text(saved.read_text().replace("[matrices]", f"widths = {said}\n[matrices]"))
    with pytest.raises(UsageError, match=word):
        read_plan_file(saved)
