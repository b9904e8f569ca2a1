"""Adds up what is known of each matrix while its pieces are finished, in this run or an earlier one."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from quantizer.journal import MatrixSums
from quantizer.parts import Part, Piece
from quantizer.plan import Plan
from quantizer.rounding import relative_error
from quantizer.watch import MatrixResult, Watch

ERROR_DIGITS = 6  # significant: sums of the same numbers on other devices may differ in the last ones


class Tally:
    """Sums per matrix; tells the watch of a matrix when its last piece is in."""

    def __init__(self, plan: Plan, parts: Sequence[Part], watch: Watch) -> None:
        self._plan = plan
        self._watch = watch
        self._missing = dict.fromkeys(range(len(plan.matrices)), 0)
        for part in parts:
            for item in part.items:
                if isinstance(item, Piece):
                    self._missing[item.matrix] += 1
        self._sums: dict[int, list[MatrixSums]] = defaultdict(list)
        self.errors: dict[int, float] = {}  # relative error of the finished matrices, by index in the plan

    def add(self, sums: Iterable[MatrixSums]) -> None:
        """Take in pieces that are finished."""
        for new in sums:
            self._sums[new.matrix].append(new)
            self._missing[new.matrix] -= new.pieces
            if self._missing[new.matrix] == 0:
                self._finish(new.matrix, self._sums.pop(new.matrix))

    def _finish(self, matrix: int, sums: Sequence[MatrixSums]) -> None:
        error = relative_error(
            math.fsum(piece.squared_error for piece in sums), math.fsum(piece.squared_norm for piece in sums)
        )
        self.errors[matrix] = float(f"{error:.{ERROR_DIGITS}g}")
        self._watch.matrix(
            MatrixResult(
                index=len(self.errors) - 1,
                count=len(self._plan.matrices),
                matrix=self._plan.matrices[matrix],
                relative_error=self.errors[matrix],
                seconds=sum(piece.seconds for piece in sums),
            )
        )
