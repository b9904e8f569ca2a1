"""What can go wrong with the runs file, in the operator's words."""


class StoreError(Exception):
    """A failure of the runs file: `what` says what is wrong and where, `next_step` what to do about it."""

    exit_code = 1
    code = "store"

    def __init__(self, what: str, next_step: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.what} {self.next_step}".strip()


class FilterError(StoreError):
    """A filter or a sort order that can't be read."""

    exit_code = 2
    code = "usage"


class UnknownRunError(StoreError):
    """There is no such run."""

    exit_code = 2
    code = "usage"
