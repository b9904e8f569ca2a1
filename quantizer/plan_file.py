"""A plan as a text that people edit: TOML, one line a matrix.

    model = "demo"
    mode = "best"

    [matrices]
    "model.layers.0.self_attn.q_proj" = { bits = 4, group = 64 }       # 18.0 KiB, predicted loss 0.012 %
    "model.layers.0.mlp.down_proj" = { bits = 8, group = "channel" }
    "model.layers.1.mlp.down_proj" = { bits = 16 }                     # stays as it is

It holds what can be chosen and nothing else; the rest of a plan follows from the model.
"""

import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import msgspec

from fqconsole.errors import MALFORMED, UsageError
from quantizer.base import require_expert_sets, require_widths
from quantizer.head import HEAD_BITS
from quantizer.ladder import RUNGS
from quantizer.matrices import is_head, is_routed, layer_of
from quantizer.measured import KEPT
from quantizer.methods import DEFAULT_MODE, methods_of
from quantizer.plan import ExpertSets, MatrixPlan, Plan
from quantizer.planner import Planner
from quantizer.scheme import BITS, WIDTHS, Scheme, group_word

FORMAT = 1
KEYS = ("format", "model", "mode", "experts", "widths", "target", "matrices")
EXPERTS_REMARK = '# "model": experts of all layers agree, as transformers alone reads them; "layer": of each'
FIX = "Mend that line, or make the file anew with fqconsole plan --save."


class PlanFile(msgspec.Struct, frozen=True):
    """What a plan file says, as it is typed: nothing is checked against a model yet."""

    path: str
    mode: str
    experts: ExpertSets
    head: int  # bits of the output head; 16: it has no line
    widths: tuple[int, ...]  # what all other matrices may have
    matrices: dict[str, dict[str, Any]]
    lines: dict[str, int]  # of each matrix

    def place(self, matrix: str) -> str:
        """`plan.toml, line 12`, as far as the line is known."""
        line = self.lines.get(matrix)
        return self.path if line is None else f"{self.path}, line {line}"


def plan_text(planner: Planner, plan: Plan, mode: str) -> str:
    """The file of a plan."""
    bits = planner.plan_bytes(plan) * 8 / max(1, planner.weights)
    loss = planner.plan_loss(plan)
    told = "" if loss is None else f", predicted loss {loss:.3%}"
    lines = [
        "# A plan of fqconsole. Edit bits (8, 4, 3, or 16 to leave a matrix as it is) and group",
        '# ("channel" or 256, 128, 64, 32, 16), then: fqconsole quantize MODEL --plan THIS_FILE',
        "# Matrices that engines run as one (q, k, v; gate, up; a layer's experts) need the same scheme.",
        f"# As it was made: {bits:.3f} bits per weight{told}.",
        f"format = {FORMAT}",
        f"model = {_string(plan.model)}",
        f"mode = {_string(mode)}",
        f"target = {_string(plan.target or f'--bits {plan.bits}')}",
        *_experts_lines(planner, plan),
        *([] if plan.widths == WIDTHS else [f"widths = {list(plan.widths)}"]),
        "",
        "[matrices]",
    ]
    schemes = planner.schemes(plan)
    for matrix in planner.draft.matrices:
        scheme = schemes[matrix.name]
        share = planner.matrix_loss(matrix, scheme)
        remark = f"{planner.matrix_bytes(matrix, scheme)} B"
        remark += "" if share is None else f", predicted loss {share:.4%}"
        lines.append(f"{_string(matrix.name)} = {_scheme_text(scheme)}  # {remark}")
    return "\n".join(lines) + "\n"


def _experts_lines(planner: Planner, plan: Plan) -> list[str]:
    """What says which experts agree; nothing for a model without."""
    if not any(is_routed(matrix.tensors[0]) for matrix in planner.draft.matrices):
        return []
    return [EXPERTS_REMARK, f"experts = {_string(plan.experts)}"]


def read_plan_file(path: Path) -> PlanFile:
    """Raises UsageError, with the line where it is known, for a file that is missing or no plan."""
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text)
    except OSError as failure:
        raise UsageError(f"{path} can't be read: {failure.strerror}.", "Check its name.") from failure
    except UnicodeDecodeError as failure:
        raise UsageError(f"{path} is no text in UTF-8.", "Make it with fqconsole plan --save.") from failure
    except MALFORMED as failure:
        raise UsageError(f"{path} is no TOML: {failure}.", FIX) from failure
    unknown = [key for key in content if key not in KEYS]
    if unknown:
        raise UsageError(f"{path} has an entry {unknown[0]!r}, which no plan has.", FIX)
    if content.get("format", FORMAT) != FORMAT:
        raise UsageError(f"{path} has format {content['format']!r}, not {FORMAT}.", "Update fqconsole.")
    matrices = content.get("matrices")
    if not isinstance(matrices, dict) or not matrices:
        raise UsageError(f"{path} has no [matrices].", "Make it with fqconsole plan --save.")
    mode = content.get("mode", DEFAULT_MODE)
    methods_of(str(mode))
    experts = require_expert_sets(str(content.get("experts", "model")))
    widths = _widths(path, content.get("widths", list(WIDTHS)))
    lines = _lines(text, matrices)
    head = _head_bits(matrices)
    if head == HEAD_BITS[0]:
        matrices = {name: entry for name, entry in matrices.items() if not is_head(name)}
    found = PlanFile(str(path), str(mode), experts, head, widths, matrices, lines)
    for name, entry in matrices.items():
        if not isinstance(entry, dict):
            raise UsageError(f"{found.place(name)}: {name} is not {{ bits = …, group = … }}.", FIX)
    return found


def _widths(path: Path, said: Any) -> tuple[int, ...]:
    if not isinstance(said, list) or not all(type(width) is int for width in said):
        raise UsageError(f"{path} has widths {said!r}, which are no list.", "Write [4, 8, 16], say.")
    return require_widths(said)


def _head_bits(matrices: Mapping[str, Any]) -> int:
    """What the line of the output head says; a plan for layers alone has none."""
    for name, entry in matrices.items():
        if is_head(name) and isinstance(entry, dict) and isinstance(entry.get("bits"), int):
            return int(entry["bits"])
    return HEAD_BITS[0]


def schemes_of(found: PlanFile, matrices: Sequence[MatrixPlan]) -> dict[str, Scheme]:
    """The scheme of every matrix of a model. Raises UsageError naming the matrix, with its line, that is
    unknown, missing, impossible, or split from those that engines run as one with it.
    """
    known = {matrix.name: matrix for matrix in matrices}
    for name in found.matrices:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"Did you mean {near[0]}?" if near else "Is this the plan of another model?"
            raise UsageError(f"{found.place(name)}: the model has no matrix {name}.", hint)
    missing = [name for name in known if name not in found.matrices]
    if missing:
        raise UsageError(
            f"{found.path} lacks {missing[0]}"
            + (f" and {len(missing) - 1} more." if len(missing) > 1 else "."),
            "Give every matrix a line; { bits = 16 } leaves one as it is.",
        )
    schemes = {name: _scheme(found, matrix) for name, matrix in known.items()}
    _require_whole_sets(found, matrices, schemes)
    return schemes


def _scheme(found: PlanFile, matrix: MatrixPlan) -> Scheme:
    entry = found.matrices[matrix.name]
    where = f"{found.place(matrix.name)}: {matrix.name}"
    strange = [key for key in entry if key not in ("bits", "group")]
    if strange:
        raise UsageError(f"{where} has {strange[0]!r}, which is neither bits nor group.", FIX)
    bits, group = entry.get("bits"), entry.get("group", "channel")
    if type(bits) is not int or bits not in (*BITS, KEPT.bits):
        raise UsageError(f"{where} has bits {bits!r}.", f"Choose {', '.join(map(str, BITS))} or 16.")
    if bits not in found.widths and matrix.layer is not None:
        raise UsageError(
            f"{where} has bits {bits}, which the widths {list(found.widths)} of the file leave out.",
            "Choose one of them, or add it to widths.",
        )
    if bits == KEPT.bits:
        return KEPT
    if "group" not in entry:
        raise UsageError(f"{where} has no group.", f'Choose "channel" or {_groups_for(matrix)}.')
    if group == "channel":
        return Scheme(bits, None)
    if type(group) is not int or group not in RUNGS:
        raise UsageError(f"{where} has group {group!r}.", f'Choose "channel" or {_groups_for(matrix)}.')
    if matrix.shape[-1] % group:
        raise UsageError(
            f"{where} has groups of {group}, which do not divide its rows of {matrix.shape[-1]}.",
            f'Choose "channel" or {_groups_for(matrix)}.',
        )
    return Scheme(bits, group)


def _groups_for(matrix: MatrixPlan) -> str:
    return ", ".join(str(group) for group in RUNGS if matrix.shape[-1] % group == 0) or "nothing else"


def _require_whole_sets(
    found: PlanFile, matrices: Sequence[MatrixPlan], schemes: Mapping[str, Scheme]
) -> None:
    sets: dict[str, list[str]] = defaultdict(list)
    for matrix in matrices:
        sets[matrix.fused_set].append(matrix.name)
    for first, *others in sets.values():
        for name in others:
            if schemes[name] == schemes[first]:
                continue
            says = (
                f"{found.place(name)}: {name} has {_words(schemes[name])} and {first} has "
                f"{_words(schemes[first])}, but "
            )
            if found.experts == "model" and layer_of(name) != layer_of(first):
                raise UsageError(
                    f"{says}transformers reads one scheme for the experts of all layers.",
                    'Give both the same bits and group, or set experts = "layer" above the matrices.',
                )
            raise UsageError(f"{says}engines run them as one.", "Give both the same bits and group.")


def _words(scheme: Scheme) -> str:
    if scheme.bits == KEPT.bits:
        return "16 bits"
    groups = "whole rows" if scheme.group_size is None else f"groups of {scheme.group_size}"
    return f"{scheme.bits} bits in {groups}"


def _scheme_text(scheme: Scheme) -> str:
    if scheme.bits == KEPT.bits:
        return "{ bits = 16 }"
    group = '"channel"' if scheme.group_size is None else group_word(scheme.group_size)
    return f"{{ bits = {scheme.bits}, group = {group} }}"


def _string(text: str) -> str:
    """A TOML basic string: JSON's escapes are TOML's too."""
    return msgspec.json.encode(text).decode().replace("\x7f", "\\u007f")


def _lines(text: str, names: Mapping[str, Any]) -> dict[str, int]:
    """The line on which each matrix begins, as far as it is written in quotes, as we write it."""
    found: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        start = line.strip()
        if start[:1] in ('"', "'"):
            name = start[1:].partition(start[0])[0]
            if name in names:
                found.setdefault(name, number)
    return found
