"""The runs in a few sentences, for who reads nothing else."""

from collections.abc import Sequence

from store.comparison import Comparison
from store.points import Point, distinct
from store.wording import show, show_bytes, show_change

WORDS = (
    ("bits / group", "how many bits each weight has, and how many weights share one scale"),
    ("perplexity", "how surprised the model is by a text it has not seen: lower is better"),
    ("KL divergence", "how far its choice of the next word lies from the original's: 0 is the same"),
    ("tok/s", "tokens (about three quarters of a word) written each second"),
    ("TTFT", "time from the question to the first token of the answer"),
)


def in_short(points: Sequence[Point], comparison: Comparison) -> list[str]:
    """One sentence for each run against the baseline; a run of which nothing can be compared, or the same as
    of another one, has none.
    """
    base = next((point for point in points if point.run_id == comparison.baseline), None)
    if base is None:
        return []
    known = {point.run_id: point for point in distinct([base, *points])}
    sentences = []
    for run_id in comparison.run_ids:
        point = known.get(run_id)
        if point is None or run_id == base.run_id:
            continue
        parts = [part for part in (_size(point, base), _speed(point, base, comparison), _quality(point, base))
                 if part]  # fmt: skip
        if parts:
            sentences.append(f"{_named(point)} against {_named(base)}: {'; '.join(parts)}.")
    return sentences


def _named(point: Point) -> str:
    """`int4 / 64 (r0042)`, `16-bit (r0038)`."""
    return f"{point.precision} ({point.run_id})"


def _size(point: Point, base: Point) -> str:
    if not point.bytes or not base.bytes or point.bytes == base.bytes:
        return ""
    change = show_change(point.bytes / base.bytes - 1)
    return f"{show_bytes(point.bytes)} in place of {show_bytes(base.bytes)} ({change})"


def _speed(point: Point, base: Point, comparison: Comparison) -> str:
    if not point.decode_tok_s or not base.decode_tok_s:
        return ""
    speeds = f"{show(point.decode_tok_s, 'tok/s')} against {show(base.decode_tok_s, 'tok/s')} tok/s"
    row = next((row for row in comparison.rows if row.name == "decode_tok_s"), None)
    if row is not None:
        cell = row.cells[comparison.run_ids.index(point.run_id)]
        if cell.verdict == "within noise":
            return f"as fast within noise ({speeds})"
    ratio = point.decode_tok_s / base.decode_tok_s
    return f"{ratio:.2f} times as fast ({speeds})" if ratio < 10 else f"{ratio:.0f} times as fast ({speeds})"


def _quality(point: Point, base: Point) -> str:
    if not point.perplexity or not base.perplexity or point.perplexity == base.perplexity:
        return ""
    change = show_change(point.perplexity / base.perplexity - 1)
    texts = [show(value, "perplexity") for value in (point.perplexity, base.perplexity)]
    if texts[0] == texts[1]:
        texts = [f"{value:.4f}" for value in (point.perplexity, base.perplexity)]
    return f"perplexity {texts[0]} against {texts[1]} ({change})"
