"""The file: made for its owner only, brought up to date, and every way it can be unusable as a sentence."""

import os
import sqlite3
import stat
import subprocess
import sys
import textwrap

import pytest
import sqlite_utils

from store import Store, StoreError
from store.database import Database, _told
from store.migrations import migrations


def test_the_file_and_its_folder_are_the_owners_alone(tmp_path):
    path = tmp_path / "data" / "deeper" / "runs.db"
    with Store.open(path) as store:
        store.begin_run("quantize", "demo", options={}, host={}, pid=1, pid_started=0.0)
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_it_uses_wal_and_keeps_what_refers_to_nothing_out(tmp_path):
    with Store.open(tmp_path / "runs.db") as store:
        database = store._database
        assert database.row("PRAGMA journal_mode")[0] == "wal"
        assert database.row("PRAGMA foreign_keys")[0] == 1
        with pytest.raises(StoreError), database.writing() as connection:
            connection.execute("INSERT INTO metrics (run_id, name, value) VALUES (77, 'a', 1)")


def test_opening_again_changes_nothing(tmp_path):
    def schema(path):
        with sqlite3.connect(path) as connection:
            return connection.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall()

    Store.open(tmp_path / "runs.db").close()
    before = schema(tmp_path / "runs.db")
    Store.open(tmp_path / "runs.db").close()
    assert schema(tmp_path / "runs.db") == before


def test_every_step_is_numbered_and_in_order():
    names = [migration.name for migration in migrations._migrations]
    assert [name[:5] for name in names] == [f"m{number:03}_" for number in range(1, len(names) + 1)]


@pytest.mark.parametrize("applied", range(len(migrations._migrations)))
def test_an_older_file_comes_up_to_date_and_ends_like_a_new_one(tmp_path, applied):
    older, newer = tmp_path / "older.db", tmp_path / "newer.db"
    database = sqlite_utils.Database(older)
    if applied:
        migrations.apply(database, stop_before=migrations._migrations[applied].name)
    else:
        migrations.ensure_migrations_table(database)
    database.close()
    schemas = []
    for path in (older, newer):
        with Store.open(path) as store:
            rows = store._database.rows("SELECT name, sql FROM sqlite_master ORDER BY name")
            schemas.append([tuple(row) for row in rows])
    assert schemas[0] == schemas[1]


def test_a_file_of_a_newer_version_is_left_alone(tmp_path):
    path = tmp_path / "runs.db"
    Store.open(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES (?, ?, ?)",
            ("fqconsole", "m999_future", "2099"),
        )
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"newer fqconsole.*m999_future.*Update"):
        Store.open(path)
    assert path.read_bytes() == before


def test_a_database_of_another_program_is_left_alone(tmp_path):
    path = tmp_path / "runs.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.close()
    with pytest.raises(StoreError, match="another program"):
        Store.open(path)
    with sqlite3.connect(path) as connection:
        assert [row[0] for row in connection.execute("SELECT name FROM sqlite_master")] == ["recipes"]


@pytest.mark.parametrize(
    "content", [b"this is no database, it is a letter " * 100, b"SQLite format 3\x00" + b"\x07" * 5000]
)
def test_a_damaged_file_is_a_sentence_and_stays_as_it_is(tmp_path, content):
    path = tmp_path / "runs.db"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"damaged.*Move it away"):
        Store.open(path)
    assert path.read_bytes() == content


def test_a_file_damaged_while_it_is_open_is_a_sentence(tmp_path):
    path = tmp_path / "runs.db"
    with Store.open(path) as store:
        for number in range(200):
            store.begin_run(
                "quantize", f"model {number}", options={"x": "y" * 500}, host={}, pid=1, pid_started=0.0
            )
        store._database.row("PRAGMA wal_checkpoint(TRUNCATE)")
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\xff" * (size - size // 2))
    with pytest.raises(StoreError, match="damaged"), Store.open(path) as store:
        store.list_runs(limit=10_000, sort="note asc")


def test_a_file_that_another_program_holds_is_a_sentence(tmp_path):
    path = tmp_path / "runs.db"
    Store.open(path).close()
    database = Database.open(path, busy_seconds=0.05)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(StoreError, match="held by another program"):
            Store(database).begin_run("quantize", "demo", options={}, host={}, pid=1, pid_started=0.0)
        assert Store(database).list_runs() == []
    finally:
        other.close()
    Store(database).begin_run("quantize", "demo", options={}, host={}, pid=1, pid_started=0.0)
    database.close()


def test_a_new_file_that_another_program_holds_is_a_sentence(tmp_path):
    path = tmp_path / "runs.db"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(StoreError, match="held by another program"):
            Database.open(path, busy_seconds=0.05)
    finally:
        other.close()


def test_a_file_that_may_only_be_read_is_a_sentence(tmp_path):
    path = tmp_path / "runs.db"
    Store.open(path).close()
    # Root may write anything, so the connection itself is one that only reads.
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    with pytest.raises(StoreError, match=r"can't be written.*permissions"), _told(path):
        connection.execute("DELETE FROM runs")
    connection.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_a_sentence(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="can't be opened"):
        Store.open(tmp_path / "runs.db")


def test_a_folder_in_the_place_of_the_file_is_a_sentence(tmp_path):
    with pytest.raises(StoreError, match="is a folder"):
        Store.open(tmp_path)


def test_a_file_in_the_place_of_the_folder_is_a_sentence(tmp_path):
    (tmp_path / "data").write_text("not a folder")
    with pytest.raises(StoreError, match="can't be opened"):
        Store.open(tmp_path / "data" / "runs.db")


def test_a_file_that_another_program_makes_just_now_is_no_strangers(tmp_path, monkeypatch):
    """Its tables come between two looks of this one: at what is there, and at what was applied."""
    path = tmp_path / "runs.db"
    look, others = migrations.applied, []

    def looked(database):
        found = look(database)
        if not others:
            others.append(None)
            with Store.open(path) as store:
                others.append(
                    store.begin_run("quantize", "demo", options={}, host={}, pid=1, pid_started=0.0)
                )
        return found

    monkeypatch.setattr(migrations, "applied", looked)
    with Store.open(path) as store:
        assert store.run(others[1]).row.model == "demo"


def test_two_programs_may_make_the_file_at_the_same_moment(tmp_path):
    script = textwrap.dedent("""
        import sys
        from pathlib import Path
        from store import Store

        sys.stdin.readline()
        with Store.open(Path(sys.argv[1])) as store:
            for number in range(25):
                run = store.begin_run("quantize", sys.argv[2], options={}, host={}, pid=1, pid_started=0.0)
                store.add_metrics(run, {"a": number})
                store.add_generation(run, {"prompt": "the same words", "output": f"{sys.argv[2]} {number}"})
                store.finish_run(run, "done")
    """)
    path = tmp_path / "runs.db"
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(path), name],
            stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for name in ("left", "right", "middle")
    ]  # fmt: skip
    for program in programs:
        program.stdin.write("go\n")
        program.stdin.flush()
    problems = [program.communicate(timeout=60)[1] for program in programs]
    assert problems == ["", "", ""]
    with Store.open(path) as store:
        rows = store.list_runs()
        assert len({row.run_id for row in rows}) == 75
        assert {name: sum(row.model == name for row in rows) for name in ("left", "right", "middle")} == {
            "left": 25,
            "right": 25,
            "middle": 25,
        }
        assert store.count_runs('"the same words"') == 75
        assert store._database.row("PRAGMA integrity_check")[0] == "ok"


def test_a_program_killed_while_it_writes_leaves_the_file_whole(tmp_path):
    script = textwrap.dedent("""
        import sys
        from pathlib import Path
        from store import Store

        store = Store.open(Path(sys.argv[1]))
        number = 0
        while True:
            with store.transaction():
                for _ in range(10):
                    store.begin_run("quantize", "demo", options={}, host={}, pid=1, pid_started=0.0)
            number += 1
            if number == 20:
                print("going", flush=True)
    """)
    path = tmp_path / "runs.db"
    program = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE)
    program.stdout.readline()
    program.kill()
    program.communicate()
    with Store.open(path) as store:
        count = store.count_runs()
        assert count >= 200
        assert count % 10 == 0
        assert store._database.row("PRAGMA integrity_check")[0] == "ok"
