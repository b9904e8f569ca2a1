"""The schema, as numbered steps. A step is never edited after a release: a later one changes what it made."""

import sqlite3
from typing import Any

from sqlite_utils.migrations import Migrations

migrations = Migrations("fqconsole")


@migrations()  # type: ignore[untyped-decorator]
def m001_runs(db: Any) -> None:
    """Runs and all that is measured of them.

    `group_size` 0 is channel, NULL not known or not quantized. `gpu` -1 is the host, `step` -1 the whole run:
    NULL would let the same row in twice.
    """
    _execute(
        db.conn,
        """
        CREATE TABLE runs (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            kind TEXT NOT NULL,
            status TEXT NOT NULL,
            started REAL NOT NULL,
            ended REAL,
            model TEXT NOT NULL,
            revision TEXT,
            path TEXT,
            bits INTEGER,
            group_size INTEGER,
            granularity TEXT,
            plan TEXT,
            options TEXT NOT NULL DEFAULT '{}',
            host TEXT NOT NULL DEFAULT '{}',
            device TEXT,
            pid INTEGER NOT NULL,
            pid_started REAL NOT NULL,
            parent INTEGER REFERENCES runs(id) ON DELETE SET NULL,
            baseline INTEGER NOT NULL DEFAULT 0,
            note TEXT NOT NULL DEFAULT '',
            tags TEXT NOT NULL DEFAULT '',
            error TEXT
        );
        CREATE INDEX runs_started ON runs (started, id);
        CREATE INDEX runs_status ON runs (status);
        CREATE INDEX runs_parent ON runs (parent);
        CREATE INDEX runs_path ON runs (path, kind);
        CREATE INDEX runs_model ON runs (model);

        CREATE TABLE matrices (
            run_id INTEGER NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
            name TEXT NOT NULL,
            position INTEGER NOT NULL,
            layer INTEGER,
            kind TEXT NOT NULL,
            shape TEXT NOT NULL,
            bits INTEGER NOT NULL,
            group_size INTEGER NOT NULL,
            statistic TEXT NOT NULL,
            relative_error REAL NOT NULL,
            bytes INTEGER NOT NULL,
            seconds REAL NOT NULL,
            reason TEXT NOT NULL,
            PRIMARY KEY (run_id, name)
        ) WITHOUT ROWID;

        CREATE TABLE metrics (
            run_id INTEGER NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
            name TEXT NOT NULL,
            step INTEGER NOT NULL DEFAULT -1,
            value REAL NOT NULL,
            PRIMARY KEY (run_id, name, step)
        ) WITHOUT ROWID;

        CREATE TABLE texts (
            id INTEGER PRIMARY KEY,
            hash TEXT NOT NULL UNIQUE,
            text TEXT NOT NULL
        );
        CREATE VIRTUAL TABLE texts_fts USING fts5 (
            text, content='texts', content_rowid='id', tokenize='unicode61 remove_diacritics 2'
        );

        CREATE TABLE generations (
            run_id INTEGER PRIMARY KEY REFERENCES runs(id) ON DELETE CASCADE,
            prompt_hash TEXT,
            rendered_hash TEXT,
            output_hash TEXT,
            sampling TEXT NOT NULL DEFAULT '{}',
            seed INTEGER,
            ttft_ms REAL,
            prefill_tok_s REAL,
            decode_tok_s REAL,
            tokens_in INTEGER,
            tokens_out INTEGER,
            stop_reason TEXT
        );
        CREATE INDEX generations_prompt ON generations (prompt_hash);
        CREATE INDEX generations_rendered ON generations (rendered_hash);
        CREATE INDEX generations_output ON generations (output_hash);

        CREATE TABLE memory (
            run_id INTEGER NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
            gpu INTEGER NOT NULL DEFAULT -1,
            term TEXT NOT NULL,
            predicted INTEGER,
            measured INTEGER,
            PRIMARY KEY (run_id, gpu, term)
        ) WITHOUT ROWID;

        CREATE TABLE gpu_samples (
            run_id INTEGER NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
            gpu INTEGER NOT NULL,
            t REAL NOT NULL,
            util REAL,
            mem INTEGER,
            power REAL,
            temp REAL,
            PRIMARY KEY (run_id, gpu, t)
        ) WITHOUT ROWID
        """,
    )
    for trigger in _TEXT_TRIGGERS:
        db.conn.execute(trigger)


@migrations()  # type: ignore[untyped-decorator]
def m002_votes(db: Any) -> None:
    """Blind votes on two answers; `first_run` was shown as X, `second_run` as Y."""
    _execute(
        db.conn,
        """
        CREATE TABLE votes (
            first_run INTEGER NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
            second_run INTEGER NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
            choice TEXT NOT NULL,
            voted REAL NOT NULL,
            PRIMARY KEY (first_run, second_run)
        ) WITHOUT ROWID;
        CREATE INDEX votes_second ON votes (second_run)
        """,
    )


# The search index follows the texts: a trigger holds semicolons, so each is one statement of its own.
_TEXT_TRIGGERS = (
    """
    CREATE TRIGGER texts_inserted AFTER INSERT ON texts BEGIN
        INSERT INTO texts_fts (rowid, text) VALUES (new.id, new.text);
    END
    """,
    """
    CREATE TRIGGER texts_deleted AFTER DELETE ON texts BEGIN
        INSERT INTO texts_fts (texts_fts, rowid, text) VALUES ('delete', old.id, old.text);
    END
    """,
)


def _execute(connection: sqlite3.Connection, script: str) -> None:
    """Each statement by itself: `executescript` would commit the transaction that the step runs in."""
    for statement in script.split(";\n"):
        if statement.strip():
            connection.execute(statement)
