"""Events become rows: one recorder for any number of workers, and the same stream gives the same rows."""

import time
from collections.abc import Callable, Iterable
from typing import Any

from fqconsole.endpoints.address import is_address, parse_address
from fqconsole.jobs.messages import (
    AnyEvent,
    CheckpointWritten,
    DownloadDone,
    EvaluationDone,
    GenerationDone,
    GenerationStarted,
    JobDone,
    JobFailed,
    MatrixDone,
    MemoryMeasured,
    PlanReady,
    SessionReady,
    TasksDone,
    WorkerStarted,
    to_builtins,
)
from fqconsole.jobs.plan_summary import plan_summary
from store import Store, UnknownRunError, task_metrics

COMMIT_SECONDS = 0.3  # rows that arrive within this time share one commit


class Recorder:
    """Feed it every event of every worker, in order. Rows are committed a few times a second and at each end.

    Raises StoreError; what could not be written is tried again with the next event. Events without a run id
    (a prompt that shall not be kept) leave no row. Use it from one thread at a time.
    """

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._waiting: list[Callable[[], None]] = []
        self._committed = clock()
        self._workers: dict[int, WorkerStarted] = {}
        self._sessions: dict[int, SessionReady] = {}
        # Events that leave rows; the others are for the screen alone.
        self._writers: dict[type, Callable[[Any], None]] = {
            WorkerStarted: self._worker_started,
            PlanReady: self._plan_ready,
            MatrixDone: self._matrix_done,
            CheckpointWritten: self._checkpoint_written,
            GenerationStarted: self._generation_started,
            GenerationDone: self._generation_done,
            MemoryMeasured: self._memory_measured,
            EvaluationDone: self._evaluation_done,
            TasksDone: self._tasks_done,
            DownloadDone: self._download_done,
            JobDone: self._job_done,
            JobFailed: self._job_failed,
        }

    def feed(self, event: AnyEvent) -> None:
        """Turn one event into rows."""
        if isinstance(event, WorkerStarted):
            self._workers[event.pid] = event
        if isinstance(event, SessionReady):
            self._sessions[event.pid] = event
        write = self._writers.get(type(event))
        run_id: str = getattr(event, "run_id", "")
        if write is not None and run_id:
            self._waiting.append(lambda: write(event))
        if isinstance(event, JobDone | JobFailed) or self._due():
            self.flush()

    def feed_gpus(self, run_id: str, snapshots: Iterable[Any]) -> None:
        """Readings of `fqconsole.gpus` taken while a run goes on."""
        rows = [
            {
                "t": snapshot.t,
                "gpu": snapshot.index,
                "util": snapshot.utilization,
                "mem": snapshot.memory_used,
                "power": snapshot.power_watts,
                "temp": snapshot.temperature,
            }
            for snapshot in snapshots
        ]
        if rows and run_id:
            self._waiting.append(lambda: self._store.add_gpu_samples(run_id, rows))
        if self._due():
            self.flush()

    def flush(self) -> None:
        """Commit what waits."""
        self._committed = self._clock()
        if not self._waiting:
            return
        unknown: UnknownRunError | None = None
        with self._store.transaction():
            for write in self._waiting:
                try:
                    write()
                except UnknownRunError as error:  # a run deleted meanwhile must not hold up the others
                    unknown = error
        self._waiting.clear()
        if unknown is not None:
            raise unknown

    def _due(self) -> bool:
        return self._clock() - self._committed >= COMMIT_SECONDS

    def _worker_started(self, event: WorkerStarted) -> None:
        self._store.update_run(event.run_id, host=_host(event), device=event.device)

    def _plan_ready(self, event: PlanReady) -> None:
        plan = event.plan
        columns = {
            "plan": plan_summary(event),
            "bits": plan.bits,
            "group_size": plan.group_size or 0,
            "granularity": plan.granularity,
        }
        if plan.revision is not None:
            columns["revision"] = plan.revision
        self._store.update_run(event.run_id, **columns)
        self._store.add_metrics(
            event.run_id, {"bits_per_weight": event.bits_per_weight, "predicted_bytes": event.predicted_bytes}
        )

    def _matrix_done(self, event: MatrixDone) -> None:
        self._store.add_matrices(event.run_id, [to_builtins(event)])

    def _checkpoint_written(self, event: CheckpointWritten) -> None:
        names = ("bytes", "source_bytes", "bits_per_weight", "model_bits_per_weight", "seconds")
        self._store.add_metrics(event.run_id, {name: getattr(event, name) for name in names})

    def _generation_started(self, event: GenerationStarted) -> None:
        self._store.add_generation(
            event.run_id, {"rendered": event.rendered, "seed": event.seed, "tokens_in": event.prompt_tokens}
        )
        worker = self._workers.get(event.pid)
        if worker is not None:
            self._store.update_run(event.run_id, host=_host(worker), device=worker.device)
        session = self._sessions.get(event.pid)
        if session is not None:
            self._store.update_run(
                event.run_id,
                host={"matmul": session.path, "precision": session.precision},
                device=session.device,
            )
            if is_address(session.model_path):  # only now it is known which model is served there
                model = parse_address(session.model_path).model
                self._store.update_run(event.run_id, model=model, path=session.model_path)
            self._store.add_metrics(
                event.run_id, {"load_seconds": session.load_seconds, "weights_bytes": session.weights_bytes}
            )

    def _generation_done(self, event: GenerationDone) -> None:
        measured = {
            "ttft_ms": event.ttft_ms,
            "prefill_tok_s": event.prefill_tok_s,
            "decode_tok_s": event.decode_tok_s,
            "tokens_in": event.prompt_tokens,
            "tokens_out": event.tokens,
        }
        self._store.add_generation(
            event.run_id, {"output": event.text, "stop_reason": event.stop_reason, **measured}
        )
        self._store.add_metrics(event.run_id, {**measured, "peak_bytes": event.peak_bytes})

    def _memory_measured(self, event: MemoryMeasured) -> None:
        row = {"gpu": event.gpu, "term": event.term, "measured": event.bytes, "predicted": event.predicted}
        self._store.add_memory(event.run_id, [row])

    def _evaluation_done(self, event: EvaluationDone) -> None:
        names = ("perplexity", "reference_perplexity", "kl_divergence", "top1_agreement", "tokens", "seconds")
        self._store.add_metrics(event.run_id, {name: getattr(event, name) for name in names})

    def _tasks_done(self, event: TasksDone) -> None:
        metrics: dict[str, float] = {"seconds": event.seconds}
        for score in event.scores:
            metrics |= task_metrics(
                score.task, score.metric, score.value, score.standard_error, questions=score.questions
            )
        self._store.add_metrics(event.run_id, metrics)
        signatures = {score.metric: score.signature for score in event.scores if score.signature}
        self._store.update_run(event.run_id, host={"harness": event.versions, **signatures})

    def _download_done(self, event: DownloadDone) -> None:
        self._store.update_run(event.run_id, path=event.path)
        self._store.add_metrics(event.run_id, {"bytes": event.bytes})

    def _job_done(self, event: JobDone) -> None:
        self._store.finish_run(event.run_id, event.status, ended=event.t)

    def _job_failed(self, event: JobFailed) -> None:
        names = ("code", "what", "next_step", "exit_code", "details")
        error = {name: getattr(event, name) for name in names}
        self._store.finish_run(event.run_id, "failed", error=error, ended=event.t)


def _host(event: WorkerStarted) -> dict[str, Any]:
    return {
        "versions": event.versions,
        "device": event.device,
        "device_name": event.device_name,
        "worker_pid": event.pid,
    }
