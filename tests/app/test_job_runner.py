"""Jobs belong to the console: started, told in batches, recorded in order, ended for certain."""

import asyncio

import pytest

from fqconsole.app.job_runner import JobRunner
from fqconsole.app.messages import JobChanged, JobEvents
from fqconsole.app.store_thread import StoreThread, sentence
from fqconsole.errors import OperatorError
from fqconsole.jobs.messages import (
    CheckpointWritten,
    GenerationStarted,
    JobDone,
    JobFailed,
    LogLine,
    MatrixDone,
    Pause,
    Paused,
    Progress,
    Resume,
    StartQuantize,
    StartSession,
)
from tests.app.fake_plan import quantize_events
from tests.app.fakes import DEMO, NOW, FakeGpu, FakeJob, FakeRecorder, FakeStore, JobScripts, fake_services

REQUEST = StartQuantize(run_id="r0001", model_id="demo", model_path="/m", out="/o", bits=4)


class Listener:
    """Notes every message that is posted to it."""

    def __init__(self):
        self.messages = []

    def post_message(self, message):
        self.messages.append(message)
        return True

    def events(self):
        return [
            event for message in self.messages if isinstance(message, JobEvents) for event in message.events
        ]

    def statuses(self):
        return [message.job.status for message in self.messages if isinstance(message, JobChanged)]


class Table:
    """A runner with one listener and a store in its own thread."""

    def __init__(self, job, *, store=None, **changes):
        self.store_object = store or FakeStore()
        services = fake_services(jobs=JobScripts(quantize=job, session=job), **changes)
        self.listener = Listener()
        self.store = StoreThread(lambda: self.store_object)
        self.runner = JobRunner(services, self.store, lambda: [self.listener])


async def test_every_event_reaches_the_screens_and_the_recorder_in_order():
    events = quantize_events(DEMO)
    table = Table(FakeJob(events))
    handle = await table.runner.start(REQUEST, kind="quantize", title="demo → int4")
    await table.runner.settle()
    assert table.listener.events() == events
    assert table.store_object.fed == events
    assert handle.status == "done"
    assert handle.ended == NOW
    assert not any(isinstance(event, Progress) for event in handle.history)
    assert handle.progress == [event for event in events if isinstance(event, Progress)][-1]


async def test_a_later_job_leaves_of_an_earlier_one_only_what_it_came_to():
    table = Table(FakeJob(quantize_events(DEMO)))
    first = await table.runner.start(REQUEST, kind="quantize", title="demo")
    await table.runner.settle()
    whole = len(first.history)
    table.runner._services.start_job.scripts["quantize"] = FakeJob(quantize_events(DEMO))
    second = await table.runner.start(REQUEST, kind="quantize", title="demo")
    await table.runner.settle()
    kinds = {type(event) for event in first.history}
    assert {CheckpointWritten, JobDone} <= kinds and MatrixDone not in kinds
    assert len(second.history) == whole > len(first.history)


async def test_a_worker_that_ends_without_a_word_is_a_failed_job():
    table = Table(FakeJob(quantize_events(DEMO, upto=3)))
    handle = await table.runner.start(REQUEST, kind="quantize", title="demo")
    await table.runner.settle()
    assert handle.status == "failed"
    assert "without saying" in handle.failure.what
    assert isinstance(table.store_object.fed[-1], JobFailed)


async def test_a_worker_that_cannot_be_started_is_a_failed_job_with_the_reason():
    async def start(_request):
        raise OperatorError("The worker process could not be started: no memory.", "Close something.")

    table = Table(FakeJob(()), start_job=start)
    handle = await table.runner.start(REQUEST, kind="quantize", title="demo")
    await table.runner.settle()
    assert handle.failure.what.startswith("The worker process could not be started")


async def test_pause_asks_once_to_pause_and_then_to_go_on():
    job = FakeJob([LogLine(NOW, "info", "a"), Paused(NOW), JobDone(NOW, "r0001", "done")], hold=2)
    table = Table(job)
    handle = await table.runner.start(REQUEST, kind="quantize", title="demo")
    await asyncio.sleep(0)
    while len(handle.pending) < 2:
        await asyncio.sleep(0)
    await handle.pause_or_go_on()
    await table.runner.flush_all()
    assert handle.status == "paused"
    await handle.pause_or_go_on()
    assert [type(request) for request in job.asked] == [Pause, Resume]
    job.released.set()
    await table.runner.settle()


async def test_cancel_ends_the_job_as_cancelled():
    job = FakeJob(quantize_events(DEMO), hold=12)
    table = Table(job)
    handle = await table.runner.start(REQUEST, kind="quantize", title="demo")
    while handle.job is None:
        await asyncio.sleep(0)
    await table.runner.end_all()
    await table.runner.settle()
    assert handle.status == "cancelled"
    assert table.runner.active == []


async def test_a_session_outlives_its_answers_and_gpu_readings_go_to_the_answer_under_way():
    script = [GenerationStarted(NOW, "r0007", 5, "Hi", 1), JobDone(NOW, "r0007", "done")]
    job = FakeJob(script, hold=1)
    table = Table(job)
    handle = await table.runner.start(StartSession(model_path="/m"), kind="session", title="demo")
    while not handle.pending:
        await asyncio.sleep(0)
    await table.runner.flush_all()
    await table.runner.note_gpus((FakeGpu(0),))
    assert table.store_object.gpu_readings == [("r0007", (FakeGpu(0),))]
    job.released.set()
    await table.runner.settle()
    assert handle.current_run == ""
    assert handle.status == "done"


async def test_a_recorder_that_fails_does_not_end_the_job():
    class Full(FakeRecorder):
        def feed(self, event):
            raise OperatorError("The disk with the run database is full.", "Free some space.")

    table = Table(FakeJob(quantize_events(DEMO)), make_recorder=Full)
    handle = await table.runner.start(REQUEST, kind="quantize", title="demo")
    await table.runner.settle()
    assert handle.status == "done"
    assert table.runner.record_problem == "The disk with the run database is full. Free some space."


async def test_the_request_is_made_in_the_thread_of_the_store():
    import threading

    threads = []

    def make(store):
        threads.append(threading.current_thread().name)
        assert isinstance(store, FakeStore)
        return REQUEST

    table = Table(FakeJob(quantize_events(DEMO)))
    await table.runner.begin(make, kind="quantize", title="demo")
    await table.runner.settle()
    assert threads[0].startswith("store")


async def test_a_store_that_cannot_be_opened_is_a_sentence():
    def broken():
        raise OperatorError("The run database was written by a newer fqconsole.", "Update fqconsole.")

    store = StoreThread(broken)
    assert await store.problem() == "The run database was written by a newer fqconsole. Update fqconsole."
    with pytest.raises(OperatorError):
        await store.call(lambda _store: None)
    store.close()


def test_a_foreign_error_keeps_its_name():
    assert sentence(ValueError("odd")) == "ValueError: odd"
