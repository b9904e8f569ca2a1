"""The latest runs by their ids alone: for shells that complete a word, which can't wait for a whole store."""

import sqlite3
from pathlib import Path

from store.run_ids import to_word


def recent_run_ids(path: Path, *, kind: str | None = None, most: int = 50) -> list[tuple[str, str]]:
    """(run id, "kind model status") of the latest runs, newest first; empty where nothing can be read."""
    query = "SELECT id, kind, model, status FROM runs WHERE (? IS NULL OR kind = ?) ORDER BY id DESC LIMIT ?"
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=0.2)
        try:
            rows = connection.execute(query, (kind, kind, most)).fetchall()
        finally:
            connection.close()
    except (sqlite3.Error, OSError):
        return []
    return [(to_word(number), f"{sort} {model} {status}") for number, sort, model, status in rows]
