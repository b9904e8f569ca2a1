"""One part of an estimate, with where it comes from: nothing is shown without its origin."""

from typing import Literal

import msgspec

Origin = Literal["headers", "formula", "default", "measured"]


class Term(msgspec.Struct, frozen=True):
    """Bytes on the fullest GPU. `detail`: a few words on the first line, the formula on the next ones."""

    name: str
    bytes: int
    origin: Origin
    detail: str
