"""An empty store, and runs in it with few words."""

import pytest

from store import Store

T = 1763827200.0


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "runs.db") as opened:
        yield opened


@pytest.fixture
def add(store):
    """`add(kind="generate", ppl=9.8, ...)` is the id of a new run; `end` None leaves it running."""

    def begin(
        kind="quantize", model="demo", *, end="done", metrics=None, prompt=None, output=None, **columns
    ):
        sampling = columns.pop("sampling", {"temperature": 0.0})
        tags, note = columns.pop("tags", ()), columns.pop("note", "")
        given = {"options": {}, "host": {}, "pid": 1, "pid_started": 0.0, "started": T} | columns
        device = given.pop("device", None)
        run_id = store.begin_run(kind, model, **given)
        if device is not None:
            store.update_run(run_id, device=device)
        store.add_metrics(run_id, metrics or {})
        if prompt is not None:
            store.add_generation(run_id, {"prompt": prompt, "output": output, "sampling": sampling})
        if tags:
            store.set_tags(run_id, tags)
        if note:
            store.set_note(run_id, note)
        if end is not None:
            store.finish_run(run_id, end, ended=given["started"] + 60)
        return run_id

    return begin


def ids(rows):
    return [row.run_id for row in rows]
