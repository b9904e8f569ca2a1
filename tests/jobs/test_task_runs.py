"""A run of benchmark tasks, from its row to a line of a comparison; the harness itself is a stand-in."""

from types import SimpleNamespace

import pytest

from fqconsole.evaluation.task_names import TaskScore
from fqconsole.jobs import messages as m
from fqconsole.jobs.recorder import Recorder
from fqconsole.jobs.runs import begin_tasks
from store import Store
from tests.jobs.examples import T

SIGNATURE = "nrefs:1|case:mixed|tok:13a"


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "runs.db") as opened:
        yield opened


def scores(accuracy):
    return (
        TaskScore("piqa", "acc", accuracy, 0.02, True, 400),
        TaskScore("wmt16-de-en", "bleu", 31.5, None, True, 100, SIGNATURE),
    )


def ran(store, folder, accuracy):
    request = begin_tasks(store, checkpoint_path=folder, tasks=("piqa", "wmt16-de-en"), limit=400)
    recorder = Recorder(store)
    for event in (
        m.TasksDone(
            t=T, run_id=request.run_id, scores=scores(accuracy), seconds=2.0, versions={"lm_eval": "0.4.13"}
        ),
        m.JobDone(t=T, run_id=request.run_id, status="done"),
    ):
        recorder.feed(event)
    return request.run_id


def test_scores_become_metrics_of_an_evaluate_run_with_how_they_were_made(store, tmp_path):
    run = store.run(ran(store, tmp_path, 0.75))
    assert (run.row.kind, run.row.status) == ("evaluate", "done")
    assert run.options["tasks"] == "piqa,wmt16-de-en"
    found = {metric.name: metric.value for metric in run.metrics}
    assert found["task piqa acc"] == 0.75
    assert found["task piqa acc error"] == 0.02
    assert found["task wmt16-de-en bleu"] == 31.5
    assert run.host["harness"] == {"lm_eval": "0.4.13"}
    assert run.host["bleu"] == SIGNATURE


def test_two_models_scores_stand_beside_each_other(store, tmp_path):
    runs = [ran(store, tmp_path, accuracy) for accuracy in (0.75, 0.60)]
    lines = {row.name: row for row in store.compare(runs).rows}
    assert lines["task piqa acc"].cells[1].verdict == "worse"
    assert "task wmt16-de-en bleu" not in lines  # alike


def test_the_job_hands_everything_on_and_tells_what_came(monkeypatch, tmp_path):
    from fqconsole.jobs.tasks import benchmark

    asked = {}

    def run_tasks(model, tasks, **options):
        asked.update(model=model, tasks=tasks, **options)
        return SimpleNamespace(scores=scores(0.75), seconds=1.5, versions={"lm_eval": "0.4.13"})

    monkeypatch.setattr(benchmark, "run_tasks", run_tasks)
    monkeypatch.setattr(benchmark, "look_at", lambda folder: None)
    told = []
    desk = SimpleNamespace(put=told.append, watch="the job's watch")
    benchmark.run(
        m.StartTasks(run_id="r0007", checkpoint_path=str(tmp_path), tasks=("piqa",), limit=3, batch=8), desk
    )
    assert asked == {
        "model": tmp_path, "tasks": ("piqa",), "task_path": None, "limit": 3, "fewshot": None, "batch": 8,
        "device": "auto", "watch": "the job's watch",
    }  # fmt: skip
    assert isinstance(told[0], m.TasksDone)
    assert (told[0].run_id, told[0].scores) == ("r0007", scores(0.75))
