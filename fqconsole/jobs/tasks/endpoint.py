"""The endpoint job: prompts go to a model that a server has, with the events of a session.

Needs no torch. Speeds are seen from this side of the network; what a server does not tell is None.
"""

import os
import time
from pathlib import Path

import msgspec

from fqconsole import paths
from fqconsole.endpoints.address import Address, parse_address
from fqconsole.endpoints.client import EndpointClient, ServedModel
from fqconsole.endpoints.conversation import converse, has_chat
from fqconsole.endpoints.failure import EndpointError
from fqconsole.generation.options import with_seed
from fqconsole.jobs.desk import Desk
from fqconsole.jobs.failures import failure_of
from fqconsole.jobs.messages import (
    GenerationDone,
    GenerationStarted,
    JobDone,
    Send,
    SessionReady,
    StartEndpoint,
)
from fqconsole.jobs.tasks.teller import Teller
from fqconsole.jobs.worker_log import last_lines, new_worker_log
from fqconsole.serving.engine import Engine

smallest_change = "Close other programs."
POLL_SECONDS = 0.25


def run(request: StartEndpoint, desk: Desk) -> None:
    """Start the server where that is asked for, then answer until the console wants no more."""
    address = parse_address(request.url, request.model)
    client = EndpointClient(address, request.key_variable)
    began = time.monotonic()
    engine = _start(request, client, desk) if request.command else None
    try:
        served = _choose(client.models(), address)
        chat = has_chat(client, served.name)
        desk.put(
            SessionReady(
                t=time.time(),
                model_path=str(Address(address.url, served.name)),
                precision="remote",
                device=address.host,
                context=served.context,
                has_chat_template=chat,
                load_seconds=time.monotonic() - began,
                weights_bytes=None,
                path="endpoint",
                pid=os.getpid(),
            )
        )
        while (item := desk.orders.next_send()) is not None:
            number, send = item
            _answer(client, served.name, send if chat else _as_prompt(send), number, desk)
    finally:
        for send in desk.orders.waiting_sends():
            desk.put(JobDone(t=time.time(), run_id=send.run_id, status="cancelled"))
        if engine is not None:
            engine.end()


def _start(request: StartEndpoint, client: EndpointClient, desk: Desk) -> Engine:
    """Start the server and wait until it is healthy. Raises EndpointError where it ends or takes too long."""
    desk.watch.phase("start the server", request.start_seconds, "s")
    log = new_worker_log(paths.log_dir(), "engine")
    # vLLM reads its own token from here; in the command it would stand in every list of processes.
    key = os.environ.get(request.key_variable, "")
    engine = Engine.start(request.command, request.afterwards, log, {"VLLM_API_KEY": key} if key else {})
    began = time.monotonic()
    try:
        while not client.healthy():
            desk.watch.checkpoint()
            waited = time.monotonic() - began
            code = engine.ended(within=POLL_SECONDS)
            if code is not None:
                raise EndpointError(
                    f"The server ended with exit code {code} before it answered: {_last_line(log)}",
                    f"Its log is {log}.",
                )
            if waited > request.start_seconds:
                raise EndpointError(f"The server does not answer after {waited:.0f} s.", f"Its log is {log}.")
            desk.watch.progress(waited, note=_last_line(log))
    except BaseException:
        engine.end()
        raise
    return engine


def _last_line(log: Path) -> str:
    lines = [line for line in last_lines(log).splitlines() if line.strip()]
    return lines[-1].strip()[:200] if lines else "it said nothing"


def _choose(models: list[ServedModel], address: Address) -> ServedModel:
    """The model that was named, or the only one. Raises EndpointError naming those that are served."""
    named = [model for model in models if model.name == address.model]
    if named:
        return named[0]
    if address.model is None and len(models) == 1:
        return models[0]
    names = ", ".join(model.name for model in models[:10]) or "none"
    wanted = "more than one model" if address.model is None else f"no model {address.model}"
    wanted = "no model" if not models else wanted
    raise EndpointError(
        f"The server at {address.host} has {wanted}; it has {names}.", "Name one with --model."
    )


def _as_prompt(send: Send) -> Send:
    """A lone question without its conversation, for a server that renders none."""
    if send.messages is None or [role for role, _ in send.messages] != ["user"]:
        return send
    return msgspec.structs.replace(send, messages=None, prompt=send.messages[0][1])


def _answer(client: EndpointClient, model: str, send: Send, number: int, desk: Desk) -> None:
    """A prompt that fails leaves the session as it was."""
    try:
        _generate(client, model, send, number, desk)
    except Exception as error:  # noqa: BLE001 - whatever ends a run is told as its last event
        desk.put(failure_of(error, send.run_id, smallest_change))
    else:
        desk.put(
            JobDone(
                t=time.time(), run_id=send.run_id, status="cancelled" if desk.orders.cancelled else "done"
            )
        )


def _generate(client: EndpointClient, model: str, send: Send, number: int, desk: Desk) -> None:
    sampling = with_seed(send.sampling)
    said = send.prompt if send.messages is None else "\n\n".join(f"{a}: {b}" for a, b in send.messages)
    desk.put(
        GenerationStarted(
            t=time.time(),
            run_id=send.run_id,
            prompt_tokens=None,
            rendered=said or "",
            seed=sampling.seed,
            pid=os.getpid(),
        )
    )
    teller = Teller(send.run_id, desk)
    found = converse(
        client,
        model,
        sampling,
        prompt=send.prompt,
        messages=send.messages,
        stop=lambda: desk.orders.stop_asked(number),
        on_text=teller.take,
    )
    teller.flush()
    desk.put(
        GenerationDone(
            t=time.time(),
            run_id=send.run_id,
            text=found.text,
            token_ids=(),
            prompt_tokens=found.prompt_tokens,
            ttft_ms=found.ttft_ms,
            prefill_tok_s=None,
            decode_tok_s=found.decode_tok_s,
            peak_bytes=None,
            stop_reason=found.stop_reason,
            new_tokens=found.new_tokens,
        )
    )
