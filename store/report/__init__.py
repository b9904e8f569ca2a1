"""One self-contained HTML page about some runs, made for people who do not know the console."""

from store.report.page import page

__all__ = ["page"]
