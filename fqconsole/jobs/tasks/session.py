"""The session job: load a model, keep it warm, and answer one prompt after the other; each is a run."""

import gc
import os
import time
from pathlib import Path

import torch

from fqconsole.fit import capacity_here, session_split
from fqconsole.fit.capacity import host_capacity
from fqconsole.generation import Session, open_session
from fqconsole.generation.device import release
from fqconsole.generation.options import with_seed
from fqconsole.generation.parallel.ranks import RankLostError
from fqconsole.gpus import open_gpus
from fqconsole.jobs.answer_memory import AnswerMemory
from fqconsole.jobs.desk import Desk
from fqconsole.jobs.failures import failure_of, is_device_lost, is_out_of_memory
from fqconsole.jobs.messages import (
    GenerationDone,
    GenerationStarted,
    JobDone,
    Send,
    SessionReady,
    StartSession,
)
from fqconsole.jobs.model_folder import look_at
from fqconsole.jobs.tasks.teller import Teller
from fqconsole.models import ModelDescription
from quantizer.device import resolve_device

LAST_WORDS = 0.3  # seconds: the thread that writes events gets the last one out
smallest_change = "Use fewer bits or a shorter --context, or load the model with --device cpu."


def run(request: StartSession, desk: Desk) -> None:
    """Load, then answer until the console wants no more. A prompt that fails leaves the session as it was."""
    session, memory = _load(request, desk)
    try:
        while (item := desk.orders.next_send()) is not None:
            number, send = item
            _answer(session, memory, send, number, desk)
    finally:
        for send in desk.orders.waiting_sends():
            desk.put(JobDone(t=time.time(), run_id=send.run_id, status="cancelled"))
        session.close()


def _load(request: StartSession, desk: Desk) -> tuple[Session, AnswerMemory]:
    description = look_at(Path(request.model_path))
    desk.stages.ended("look at the model")
    desk.watch.phase("load", 0, "B")

    def on_progress(done: float, total: float) -> None:
        desk.watch.checkpoint()
        desk.watch.retotal(total)
        desk.watch.progress(done)

    split, cuts = _split(request, description) if request.gpus > 1 else (request.split, None)
    session = open_session(
        Path(request.model_path),
        device=request.device,
        context=request.context,
        kv_bits=request.kv_bits,
        on_progress=on_progress,
        gpus=request.gpus,
        split=split,
        cuts=cuts,
        on_stuck=lambda error: _give_up(error, desk),
        stages=desk.stages,
    )
    desk.put(
        SessionReady(
            t=time.time(),
            model_path=str(session.path),
            precision=session.precision,
            device=str(session.device),
            context=session.context,
            has_chat_template=session.has_chat_template,
            load_seconds=session.load_seconds,
            weights_bytes=session.weights_bytes,
            path=session.matmul_path,
            pid=os.getpid(),
            stages={name: round(seconds, 3) for name, seconds in desk.stages.seconds.items()},
        )
    )
    return session, AnswerMemory(session, description)


def _answer(session: Session, memory: AnswerMemory, send: Send, number: int, desk: Desk) -> None:
    try:
        _generate(session, memory, send, number, desk)
    except Exception as error:
        if is_device_lost(error) or isinstance(error, RankLostError):
            raise
        failure = failure_of(
            error,
            send.run_id,
            "Send a shorter prompt, or load the model with a shorter --context or fewer bits.",
        )
        desk.put(failure)
        if is_out_of_memory(error):
            # The traceback holds the tensors of the failed step: it must go before memory can come back.
            error.__traceback__ = None
            gc.collect()
            release(session.torch_device)
    else:
        desk.put(
            JobDone(
                t=time.time(), run_id=send.run_id, status="cancelled" if desk.orders.cancelled else "done"
            )
        )


def _generate(session: Session, memory: AnswerMemory, send: Send, number: int, desk: Desk) -> None:
    rendered, ids = session.render(send.prompt, send.messages)
    sampling = with_seed(send.sampling)
    desk.put(
        GenerationStarted(
            t=time.time(),
            run_id=send.run_id,
            prompt_tokens=len(ids),
            rendered=rendered,
            seed=sampling.seed,
            pid=os.getpid(),
        )
    )
    teller = Teller(send.run_id, desk)
    result = session.generate(
        ids, sampling, stop=lambda: desk.orders.stop_asked(number), on_tokens=teller.take
    )
    teller.flush()
    desk.put(
        GenerationDone(
            t=time.time(),
            run_id=send.run_id,
            text=result.text,
            token_ids=tuple(result.token_ids),
            prompt_tokens=result.prompt_tokens,
            ttft_ms=result.ttft_ms,
            prefill_tok_s=result.prefill_tok_s,
            decode_tok_s=result.decode_tok_s,
            peak_bytes=result.peak_bytes,
            stop_reason=result.stop_reason,
            reused_tokens=result.reused_tokens,
        )
    )
    alone = session.ranks is None
    for event in memory.events(send.run_id, result) if alone else memory.exchange(send.run_id):
        desk.put(event)


def _split(request: StartSession, description: ModelDescription) -> tuple[str, tuple[int, ...] | None]:
    """How the model is split, as the preview reckons it unless it is asked for, and where each GPU's layers
    end if it comes to that; None where a GPU would have none.
    """
    first = resolve_device(request.device)
    count = request.gpus
    places = [torch.device("cuda", (first.index or 0) + rank) for rank in range(count)]
    if first.type == "cpu":
        capacity = host_capacity()
        rooms = [capacity.free_bytes // count] * count
    else:
        resolve_device(str(places[-1]))
        capacity = capacity_here(open_gpus().sample())
        rooms = [torch.cuda.mem_get_info(place)[0] for place in places]
    found = session_split(description, capacity, rooms, context=request.context, kv_bits=request.kv_bits)
    whole = all(a < b for a, b in zip((0, *found.ends), found.ends, strict=False))
    by_layers = request.split == "auto" and found.split == "layer"
    return "layer" if by_layers else request.split, found.ends if whole else None


def _give_up(error: RankLostError, desk: Desk) -> None:
    """End this process from another thread: the main one waits in the driver for a GPU that is gone."""
    desk.put(failure_of(error, "", smallest_change))
    time.sleep(LAST_WORDS)
    os._exit(error.exit_code)
