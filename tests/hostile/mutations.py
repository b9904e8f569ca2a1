"""Ways to spoil a good file: bytes flipped, cut, doubled and put in; values of a JSON document exchanged."""

import copy
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

NASTY: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**30, -(10**30), 0.5, 1e308, "", "a", "/etc/passwd",
    "../../etc/passwd", "\x1b[2J", "[bold]x[/bold]", "\u202eevil", "\ud800", "'; DROP TABLE runs; --",
    "x" * 5000, [], {}, [[]], [{}], {"a": {}}, [None], [-1], [2**70], {"": None},
)  # fmt: skip
DEEP = 3000  # brackets in each other: more than a parser that calls itself stands
PIECES = (b"\0", b"\xff\xfe", b"[" * DEEP, b'{"a":' * DEEP, b"-", b"9" * 400, b"\x1b[2J")


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value below `value`."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in items:
        yield (*path, key)
        yield from places(below, (*path, key))


@st.composite
def spoilt_values(draw: st.DrawFn, document: Any) -> Any:
    """`document` with one to three of its values exchanged, taken away or put elsewhere."""
    spoilt = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        known = list(places(spoilt))
        if not known:
            break
        *before, last = draw(st.sampled_from(known))
        parent = spoilt
        for key in before:
            parent = parent[key]
        action = draw(st.sampled_from(["exchange", "take away", "double"]))
        if action == "exchange":
            parent[last] = copy.deepcopy(draw(st.sampled_from(NASTY)))
        elif action == "take away":
            del parent[last]
        elif isinstance(parent, list):
            parent.append(copy.deepcopy(parent[last]))
        else:
            parent[str(last) + "_"] = copy.deepcopy(parent[last])
    return spoilt


@st.composite
def spoilt_bytes(draw: st.DrawFn, data: bytes) -> bytes:
    """`data` with one to four places changed."""
    spoilt = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(spoilt) - 1)))
        action = draw(st.sampled_from(["set", "cut", "put in", "end here"]))
        if action == "set" and spoilt:
            spoilt[at] = draw(st.integers(0, 255))
        elif action == "cut":
            del spoilt[at : at + draw(st.integers(1, 64))]
        elif action == "put in":
            spoilt[at:at] = draw(
                st.sampled_from(
                    [b"\0", b"\xff\xfe", b"[" * DEEP, b'{"a":' * DEEP, b"-", b"9" * 400, b"\x1b[2J"]
                )
                | st.binary(max_size=16)
            )
        else:
            del spoilt[at:]
    return bytes(spoilt)


def spoilt_json(document: Any) -> st.SearchStrategy[bytes]:
    """The bytes of a JSON document of which values, or bytes, were changed."""
    written = json.dumps(document).encode()
    return spoilt_values(document).map(lambda value: json.dumps(value).encode()) | spoilt_bytes(written)
