"""Runs as points in a plane, as inline SVG; the front of those that none beats in both is joined."""

from collections.abc import Sequence

from store.axes import Axis, Scale, scale_of
from store.points import Point, distinct, front
from store.report.escaping import escape

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 88, 16, 14, 48  # units around the area of the plot
LETTER = 6.4  # units of an average letter at 12 px
LINE = 14

Box = tuple[float, float, float, float]  # left, top, right, bottom


def scatter(points: Sequence[Point], x: Axis, y: Axis) -> str:
    """The points that have both numbers; empty where fewer than two have them: one point tells nothing."""
    shown = [point for point in distinct(points) if None not in (point.value(x), point.value(y))]
    if len(shown) < 2:
        return ""
    across = scale_of([point.value(x) or 0.0 for point in shown], x)
    up = scale_of([point.value(y) or 0.0 for point in shown], y)
    title = f"{y.label} against {x.label}"
    best = front(shown, x, y)
    names = {point.run_id for point in best}
    spots = {point.run_id: (_across(across, point.value(x)), _up(up, point.value(y))) for point in shown}
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title>",
        *_axes(across, up, x, y),
    ]
    if len(best) > 1:
        corners = " ".join(f"{a:.1f},{b:.1f}" for a, b in (spots[point.run_id] for point in best))
        parts.append(f'<polyline class="front" points="{corners}"/>')
    taken: list[Box] = [(a - 7, b - 7, a + 7, b + 7) for a, b in spots.values()]
    for point in sorted(shown, key=lambda point: (not point.baseline, point.run_id not in names)):
        parts.append(_spot(point, spots[point.run_id], x, y, best=point.run_id in names))
        parts.append(_label(point, spots[point.run_id], taken, best=point.run_id in names))
    return "".join([*parts, "</svg>"])


def _across(scale: Scale, value: float | None) -> float:
    return LEFT + scale.place(value or 0.0) * (WIDTH - LEFT - RIGHT)


def _up(scale: Scale, value: float | None) -> float:
    return TOP + (1 - scale.place(value or 0.0)) * (HEIGHT - TOP - BOTTOM)


def _axes(across: Scale, up: Scale, x: Axis, y: Axis) -> list[str]:
    parts = []
    for mark, text in zip(across.marks, across.texts(x), strict=True):
        place = _across(across, mark)
        parts.append(f'<path class="grid-line" d="M{place:.1f} {TOP}V{HEIGHT - BOTTOM}"/>')
        parts.append(
            f'<text class="middle faint" x="{place:.1f}" y="{HEIGHT - BOTTOM + 16}">{escape(text)}</text>'
        )
    for mark, text in zip(up.marks, up.texts(y), strict=True):
        place = _up(up, mark)
        parts.append(f'<path class="grid-line" d="M{LEFT} {place:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="label faint" x="{LEFT - 8}" y="{place + 4:.1f}">{escape(text)}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text class="middle" x="{middle}" y="{HEIGHT - 10}">{escape(_named(x, across))}</text>')
    centre = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text class="middle" transform="translate(14 {centre}) rotate(-90)">{escape(_named(y, up))}</text>'
    )
    return parts


def _named(axis: Axis, scale: Scale) -> str:
    logarithmic = ", logarithmic" if scale.logarithmic else ""
    return f"{axis.label} ({axis.better} is better{logarithmic})"


def _spot(point: Point, spot: tuple[float, float], x: Axis, y: Axis, *, best: bool) -> str:
    a, b = spot
    words = f"{point.run_id} {point.precision}: {x.show(point.value(x))}, {y.show(point.value(y))} {y.label}"
    title = f"<title>{escape(words)}</title>"
    if point.baseline:
        return f'<path class="base" d="M{a:.1f} {b - 7:.1f}l7 7l-7 7l-7 -7z">{title}</path>'
    style = "best" if best else "other"
    return f'<circle class="{style}" cx="{a:.1f}" cy="{b:.1f}" r="5">{title}</circle>'


def _label(point: Point, spot: tuple[float, float], taken: list[Box], *, best: bool) -> str:
    """Beside the point where there is room, else above or below it, else nowhere: the table has it too."""
    a, b = spot
    text = f"{point.precision} · {point.run_id}"
    width = len(text) * LETTER
    for left, middle in ((a + 10, b), (a - 10 - width, b), (a - width / 2, b - 15), (a - width / 2, b + 15),
                         (a + 10, b - 15), (a + 10, b + 15)):  # fmt: skip
        box = (left, middle - LINE / 2, left + width, middle + LINE / 2)
        inside = box[0] >= LEFT and box[2] <= WIDTH and box[1] >= 0 and box[3] <= HEIGHT - BOTTOM
        if inside and not any(_overlap(box, other) for other in taken):
            taken.append(box)
            style = "strong" if best or point.baseline else "faint"
            return f'<text class="{style}" x="{left:.1f}" y="{middle + 4:.1f}">{escape(text)}</text>'
    return ""


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
