"""Prompts and answers, stored once each under the hash of their letters."""

import hashlib
import sqlite3

from store.database import Database


def text_hash(text: str) -> str:
    """sha256 of the UTF-8 bytes, hexadecimal."""
    return hashlib.sha256(storable(text).encode()).hexdigest()


def storable(text: str) -> str:
    """The text with half characters (lone surrogates) replaced: SQLite takes UTF-8 only."""
    return text.encode("utf-8", "replace").decode()


def keep_text(connection: sqlite3.Connection, text: str) -> str:
    """Store a text unless it is there already, and return its hash."""
    key = text_hash(text)
    connection.execute(
        "INSERT INTO texts (hash, text) VALUES (?, ?) ON CONFLICT (hash) DO NOTHING", (key, storable(text))
    )
    return key


def drop_unused(connection: sqlite3.Connection) -> None:
    """Remove texts that no generation refers to."""
    connection.execute("""
        DELETE FROM texts WHERE
            NOT EXISTS (SELECT 1 FROM generations WHERE prompt_hash = texts.hash)
            AND NOT EXISTS (SELECT 1 FROM generations WHERE rendered_hash = texts.hash)
            AND NOT EXISTS (SELECT 1 FROM generations WHERE output_hash = texts.hash)
    """)


def recent_prompts(database: Database, limit: int) -> list[tuple[str, bool]]:
    """The latest prompts, newest first, and whether each went through a chat template: then it is the whole
    conversation.
    """
    rows = database.rows(
        """SELECT text, coalesce(json_extract(options, '$.template'), 0) AS template
           FROM generations JOIN runs ON runs.id = run_id JOIN texts ON texts.hash = prompt_hash
           ORDER BY run_id DESC LIMIT ?""",
        (limit,),
    )
    return [(row["text"], bool(row["template"])) for row in rows]
