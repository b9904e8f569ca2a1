"""The benchmark job: tasks of lm-evaluation-harness on one model."""

import time
from pathlib import Path

from fqconsole.evaluation.harness import run_tasks
from fqconsole.jobs.desk import Desk
from fqconsole.jobs.memory_peak import tell_peak
from fqconsole.jobs.messages import StartTasks, TasksDone
from fqconsole.jobs.model_folder import look_at

smallest_change = "Use a smaller --batch, free memory on the GPU, or evaluate with --device cpu."


def run(request: StartTasks, desk: Desk) -> None:
    """Run `request.tasks` on `request.checkpoint_path`."""
    model = Path(request.checkpoint_path)
    look_at(model)
    found = run_tasks(
        model,
        request.tasks,
        task_path=None if request.task_path is None else Path(request.task_path),
        limit=request.limit,
        fewshot=request.fewshot,
        batch=request.batch,
        device=request.device,
        watch=desk.watch,
    )
    desk.put(
        TasksDone(
            t=time.time(),
            run_id=request.run_id,
            scores=found.scores,
            seconds=found.seconds,
            versions=found.versions,
        )
    )
    tell_peak(desk.put, request.run_id)
