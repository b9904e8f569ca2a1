"""The session job: load a model, keep it warm, and answer one prompt after the other; each is a run."""

import gc
import os
import time
from pathlib import Path

from fqconsole.generation import Session, open_session
from fqconsole.generation.device import release
from fqconsole.generation.options import with_seed
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
    desk.watch.phase("load", 0, "B")

    def on_progress(done: float, total: float) -> None:
        desk.watch.checkpoint()
        desk.watch.retotal(total)
        desk.watch.progress(done)

    session = open_session(
        Path(request.model_path),
        device=request.device,
        context=request.context,
        kv_bits=request.kv_bits,
        on_progress=on_progress,
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
        )
    )
    return session, AnswerMemory(session, description)


def _answer(session: Session, memory: AnswerMemory, send: Send, number: int, desk: Desk) -> None:
    try:
        _generate(session, memory, send, number, desk)
    except Exception as error:
        if is_device_lost(error):
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
    for event in memory.events(send.run_id, result):
        desk.put(event)
