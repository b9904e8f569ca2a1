"""Prompts and answers, stored once each under the hash of their letters."""

import hashlib
import sqlite3


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
