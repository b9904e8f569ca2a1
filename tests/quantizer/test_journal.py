"""The journal after torn lines, other plans and changed sources."""

import msgspec
import pytest

from fqconsole.errors import OperatorError, UsageError
from quantizer import base_plan
from quantizer.journal import (
    JOURNAL,
    Journal,
    JournalHead,
    MatrixSums,
    PartRecord,
    WrittenShard,
    read_journal,
    source_states,
)

RECORDS = [
    PartRecord(
        WrittenShard(f"model-{number}.safetensors", 100 + number, "ab" * 32),
        (MatrixSums(number, 1, 0.1 + number / 3, 1 / 3, 0.25),),
        None if number else "cd" * 32,
    )
    for number in range(3)
]


@pytest.fixture
def head(sharded_llama):
    return JournalHead(base_plan(sharded_llama, 4), (), "0.1.0")


def filled(folder, head):
    journal = Journal(folder, head)
    for record in RECORDS:
        journal.add(record)
    journal.close()


def test_what_was_finished_is_read_again_exactly(tmp_path, head):
    filled(tmp_path, head)
    found, records, _ = read_journal(tmp_path)
    assert found == head
    assert records == RECORDS


@pytest.mark.parametrize("lost", [1, 7, 40])
def test_a_line_torn_by_a_kill_is_left_out_and_written_over(tmp_path, head, lost):
    filled(tmp_path, head)
    path = tmp_path / JOURNAL
    path.write_bytes(path.read_bytes()[:-lost])
    journal = Journal(tmp_path, head)
    assert list(journal.finished) == [record.shard.file for record in RECORDS[:2]]
    journal.add(RECORDS[2])
    journal.close()
    assert read_journal(tmp_path)[1] == RECORDS


def test_a_torn_head_is_as_no_journal(tmp_path, head):
    (tmp_path / JOURNAL).write_bytes(b'{"type":"head","plan"')
    Journal(tmp_path, head).close()
    assert read_journal(tmp_path)[0] == head


def test_the_later_line_of_a_part_counts(tmp_path, head):
    filled(tmp_path, head)
    again = msgspec.structs.replace(RECORDS[0], source_sha256="ef" * 32)
    journal = Journal(tmp_path, head)
    journal.forget(RECORDS[0].shard.file)
    journal.add(again)
    journal.close()
    journal = Journal(tmp_path, head)
    assert journal.finished[RECORDS[0].shard.file] == again
    journal.close()


def test_another_plan_program_or_source_is_refused_with_a_way_out(tmp_path, head, sharded_llama):
    filled(tmp_path, head)
    for other, words in (
        (msgspec.structs.replace(head, plan=base_plan(sharded_llama, 3)), "another plan"),
        (msgspec.structs.replace(head, program="9.9"), "another version"),
    ):
        with pytest.raises(UsageError, match=rf"{words}.*Delete"):
            Journal(tmp_path, other)


def test_source_states_change_with_the_file(tmp_path):
    (tmp_path / "m").write_bytes(b"one")
    before = source_states(tmp_path, ["m"])
    (tmp_path / "m").write_bytes(b"three")
    assert source_states(tmp_path, ["m"]) != before
    with pytest.raises(OperatorError, match="gone can't be read"):
        source_states(tmp_path, ["gone"])
