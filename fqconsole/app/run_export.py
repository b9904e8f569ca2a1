"""Runs written to a file for a colleague, a spreadsheet or a page."""

import time
from pathlib import Path
from typing import Any

from fqconsole.private_files import write_new_private

FORMATS = {
    "Markdown, for a report": ("to_markdown", ".md"),
    "CSV, for a spreadsheet": ("to_csv", ".csv"),
    "JSON, with everything that was measured": ("to_json", ".json"),
    "HTML, one page that needs no other file": ("to_html", ".html"),
}


def write_export(store: Any, run_ids: list[str], form: str, *, now: float) -> Path:
    """Write the runs beside the run database, under a name that is not taken; returns the file.

    `form` is a key of FORMATS. Raises StoreError, and OSError where the file can't be written.
    """
    from store import export

    function, ending = FORMATS[form]
    text: str = getattr(export, function)(store, run_ids)
    folder = Path(store.path).parent / "exports"
    stem = f"runs-{time.strftime('%Y%m%d-%H%M%S', time.localtime(now))}"
    return write_new_private(folder, stem, ending, text)
