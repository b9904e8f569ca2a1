"""One self-contained HTML page about some runs, made for people who do not know the console."""

from store.report.page import page
from store.report.summary import in_short

__all__ = ["in_short", "page"]
