"""Runs begin here: a row in the store, and the request that carries its id to a worker."""

import os
import platform
import re
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import psutil

from fqconsole import paths
from fqconsole.endpoints.address import is_address, parse_address
from fqconsole.generation.options import Sampling
from fqconsole.jobs.checkpoint_identity import identify
from fqconsole.jobs.messages import Send, StartDownload, StartEvaluate, StartQuantize, StartTasks
from quantizer.methods import DEFAULT_MODE
from quantizer.plan import ExpertSets, Granularity
from quantizer.scheme import WIDTHS, group_word
from store import Store

START_TOLERANCE = 2.0  # seconds: start times of processes are known to a clock tick, and clocks are set

Predicted = Mapping[str, int]  # term of the fit preview → bytes
BaseGroup = int | Literal["default"] | None


def begin_quantize(
    store: Store,
    *,
    model_id: str,
    model_path: str | Path,
    out: str | Path,
    bits: int,
    granularity: Granularity = "adaptive",
    group_size: BaseGroup = "default",
    threshold: float = 0.7,
    mode: str = DEFAULT_MODE,
    device: str = "auto",
    plan_path: str | Path | None = None,
    experts: ExpertSets = "model",
    head: int = 16,
    widths: Sequence[int] = WIDTHS,
    revision: str | None = None,
    predicted: Predicted | None = None,
    predicted_gpu: int | None = None,
) -> StartQuantize:
    """A quantize run, of the plan in `plan_path` where granularity is "planned".

    `predicted` are the preview's terms on `predicted_gpu` (None: the host)."""
    options: dict[str, Any] = {
        "model_path": place(model_path),
        "out": place(out),
        "bits": bits,
        "granularity": granularity,
        "group_size": group_size,
        "threshold": threshold,
        "mode": mode,
        "device": device,
        "experts": experts,
        "head": head,
    }
    if tuple(widths) != WIDTHS:
        options["widths"] = tuple(widths)
    if plan_path is not None:
        options["plan_path"] = place(plan_path)
    run_id = _begin(
        store,
        "quantize",
        model_id,
        revision=revision,
        path=place(out),
        options=options,
        bits=bits,
        group_size=None if group_size == "default" else group_size or 0,
        granularity=granularity,
        predicted=predicted,
        predicted_gpu=predicted_gpu,
    )
    return StartQuantize(run_id=run_id, model_id=model_id, **options)


def begin_evaluate(
    store: Store,
    *,
    checkpoint_path: str | Path,
    reference_path: str | Path,
    text_path: str | Path | None = None,
    window: int = 512,
    max_tokens: int = 32768,
    device: str = "auto",
    model_id: str | None = None,
    predicted: Predicted | None = None,
    predicted_gpu: int | None = None,
) -> StartEvaluate:
    """An evaluate run; `model_id` names the model where the checkpoint does not say what it was made from."""
    options: dict[str, Any] = {
        "checkpoint_path": place(checkpoint_path),
        "reference_path": place(reference_path),
        "text_path": None if text_path is None else place(text_path),
        "window": window,
        "max_tokens": max_tokens,
        "device": device,
    }
    run_id = _begin_on_checkpoint(
        store,
        "evaluate",
        checkpoint_path,
        model_id=model_id,
        options=options,
        predicted=predicted,
        predicted_gpu=predicted_gpu,
    )
    return StartEvaluate(run_id=run_id, **options)


def begin_tasks(
    store: Store,
    *,
    checkpoint_path: str | Path,
    tasks: Sequence[str],
    task_path: str | Path | None = None,
    limit: int | None = None,
    fewshot: int | None = None,
    batch: int | None = None,
    device: str = "auto",
    model_id: str | None = None,
) -> StartTasks:
    """An evaluate run of benchmark tasks, on a quantized or a 16-bit model."""
    options: dict[str, Any] = {
        "checkpoint_path": place(checkpoint_path),
        "tasks": tuple(tasks),
        "task_path": None if task_path is None else place(task_path),
        "limit": limit,
        "fewshot": fewshot,
        "batch": batch,
        "device": device,
    }
    run_id = _begin_on_checkpoint(
        store,
        "evaluate",
        checkpoint_path,
        model_id=model_id,
        options={**options, "tasks": ",".join(tasks)},
        predicted=None,
        predicted_gpu=None,
    )
    return StartTasks(run_id=run_id, **options)


def begin_generate(
    store: Store,
    *,
    model_path: str | Path,
    sampling: Sampling,
    prompt: str | None = None,
    messages: Sequence[tuple[str, str]] | None = None,
    context: int | None = None,
    device: str = "auto",
    model_id: str | None = None,
    predicted: Predicted | None = None,
    predicted_gpu: int | None = None,
    preset: str | None = None,
    shown_as: str | None = None,
    gpus: int = 1,
) -> Send:
    """A generate run in the session on `model_path`, a folder or the address of a server.

    Exactly one of `prompt` and `messages` is given.

    `preset` names the way of sampling; `shown_as` is X or Y where two answers are compared blindly.
    """
    if (prompt is None) == (messages is None):
        raise ValueError("a generation has either a prompt or messages")
    address = parse_address(str(model_path)) if is_address(str(model_path)) else None
    options = {
        "model_path": place(model_path) if address is None else str(address),
        "context": context,
        "device": device,
        "template": messages is not None,
    }
    options |= {name: word for name, word in (("preset", preset), ("shown_as", shown_as)) if word}
    options |= {"gpus": gpus} if gpus > 1 else {}
    if address is not None:
        model = model_id or address.model or address.host
        run_id = _begin(store, "generate", model, revision=None, path=str(address), options=options)
    else:
        run_id = _begin_on_checkpoint(
            store,
            "generate",
            model_path,
            model_id=model_id,
            options=options,
            predicted=predicted,
            predicted_gpu=predicted_gpu,
        )
    said = prompt if prompt is not None else conversation(messages or ())
    store.add_generation(run_id, {"prompt": said, "sampling": msgspec.to_builtins(sampling)})
    return Send(
        run_id=run_id,
        sampling=sampling,
        prompt=prompt,
        messages=None if messages is None else tuple((role, content) for role, content in messages),
    )


def begin_download(store: Store, model_id: str, *, revision: str | None = None) -> StartDownload:
    """A download run."""
    run_id = _begin(store, "download", model_id, revision=revision, path=None, options={"revision": revision})
    return StartDownload(run_id=run_id, model_id=model_id, revision=revision)


def conversation(messages: Sequence[tuple[str, str]]) -> str:
    """Messages as the one text that is stored and compared: a lone question is just its words."""
    if len(messages) == 1 and messages[0][0] == "user":
        return messages[0][1]
    return "\n\n".join(f"{role}: {content}" for role, content in messages)


def place(path: str | Path) -> str:
    """An absolute path without links, so that one folder has one name in the store."""
    return str(Path(path).expanduser().resolve())


def suggest_checkpoint_path(
    model_id: str, bits: int, granularity: Granularity, group_size: BaseGroup, head: int = 16
) -> Path:
    """A folder under the checkpoints folder that is not there yet, named by what will be in it."""
    name = model_id.rstrip("/").rpartition("/")[2]
    model = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "model"
    words = [model, f"int{bits}"]
    if group_size is None:
        words.append("channel")
    elif group_size != "default":
        words.append(f"g{group_word(group_size)}")
    if granularity != "fixed":
        words.append(granularity)
    if head != 16:
        words.append(f"head{head}")
    first = paths.checkpoints_dir() / "-".join(words)
    path, number = first, 2
    while path.exists():
        path = first.with_name(f"{first.name}-{number}")
        number += 1
    return path


def sweep_interrupted(store: Store) -> list[str]:
    """Mark runs whose recorder died as interrupted; called when a console or a command starts."""
    return store.mark_interrupted(alive)


def alive(pid: int, pid_started: float) -> bool:
    """Whether the process with this id that started then still runs; ids are used again."""
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - pid_started) <= START_TOLERANCE
        return bool(same and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _begin_on_checkpoint(
    store: Store,
    kind: str,
    path: str | Path,
    *,
    model_id: str | None,
    options: Mapping[str, Any],
    predicted: Predicted | None,
    predicted_gpu: int | None,
) -> str:
    """A run on a folder with a model: a child of the quantize run that made it, where that is known."""
    folder = place(path)
    found = identify(Path(folder))
    parent = store.latest_checkpoint_run(folder)
    made = None if parent is None else store.rows([parent])[0]
    return _begin(
        store,
        kind,
        (made.model if made else None) or found.model or model_id or Path(folder).name,
        revision=(made.revision if made else None) or found.revision,
        path=folder,
        options=options,
        bits=found.bits or (made.bits if made else None),
        group_size=found.group_size,
        granularity=made.granularity if made else None,
        parent=parent,
        predicted=predicted,
        predicted_gpu=predicted_gpu,
    )


def _begin(
    store: Store,
    kind: str,
    model: str,
    *,
    revision: str | None,
    path: str | None,
    options: Mapping[str, Any],
    bits: int | None = None,
    group_size: int | None = None,
    granularity: str | None = None,
    parent: str | None = None,
    predicted: Predicted | None = None,
    predicted_gpu: int | None = None,
) -> str:
    with store.transaction():
        run_id = store.begin_run(
            kind,
            model,
            revision=revision,
            path=path,
            options=options,
            host={"name": socket.gethostname(), "system": f"{platform.system()} {platform.release()}"},
            pid=os.getpid(),
            pid_started=psutil.Process().create_time(),
            parent=parent,
            bits=bits,
            group_size=group_size,
            granularity=granularity,
        )
        if predicted:
            store.add_memory(
                run_id,
                [{"gpu": predicted_gpu, "term": term, "predicted": size} for term, size in predicted.items()],
            )
    return run_id
