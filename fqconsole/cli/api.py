"""`fqconsole api`: an OpenAI-compatible server on loopback, from a session that stays warm."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fqconsole.cli.options import Checkpoint, Device, Force, Json, Quiet, SharingGpus, Split
from fqconsole.cli.output import Output
from fqconsole.errors import UsageError
from fqconsole.installing import to_have

if TYPE_CHECKING:
    from fqconsole.api.application import Answered
    from fqconsole.api.ledger import Ledger
    from fqconsole.api.server import ApiServer

TOKEN_VARIABLE = "FQCONSOLE_API_TOKEN"  # noqa: S105 - the name of a variable
TOKEN_BYTES = 24


def api(
    checkpoint: Checkpoint,
    *,
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="Port of 127.0.0.1; 0 takes a free one.")
    ] = 8080,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="What clients call the model. [default: its own name]")
    ] = None,
    context: Annotated[
        int | None,
        typer.Option(
            metavar="TOKENS",
            min=1,
            help="Room for prompt and answer. [default: 8192, or the model's own limit]",
        ),
    ] = None,
    device: Device = "auto",
    gpus: SharingGpus = 1,
    split: Split = "auto",
    token: Annotated[
        bool,
        typer.Option(
            "--token/--no-token",
            help="Ask clients for a bearer token: FQCONSOLE_API_TOKEN where that is set, else a new one that "
            "is printed once.",
        ),
    ] = True,
    log: Annotated[
        bool, typer.Option("--log/--no-log", help="Keep every answer as a run of the record.")
    ] = True,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Serve a model to OpenAI's clients on this machine, one answer at a time.

    The model is loaded once and kept warm. Chat completions, completions and models, streamed or whole, at
    http://127.0.0.1:8080/v1. What clients need is printed on stdout when the port answers. Ctrl-C ends it.
    """
    from fqconsole.cli.memory_check import predicted_gpu, room_to_generate
    from fqconsole.cli.model_choice import chosen
    from fqconsole.cli.run_store import open_store
    from fqconsole.jobs.messages import StartSession
    from fqconsole.models import describe

    _require_server()
    from fqconsole.api.server import ApiServer, open_listener

    output = Output(json=json, quiet=quiet)
    with open_store() as store:
        model = describe(chosen(checkpoint, store))
    folder = str(model.path)
    predicted = room_to_generate(model, context, device, force=force, gpus=gpus, split=split)
    listener = open_listener(port)
    keeping: dict[str, Any] = {
        "model_path": folder,
        "model_id": model.id,
        "context": context,
        "device": device,
        "predicted": predicted if gpus == 1 else None,
        "predicted_gpu": predicted_gpu(device),
        "gpus": gpus,
    }
    server = ApiServer(
        start=StartSession(model_path=folder, context=context, device=device, gpus=gpus, split=split),
        name=name or model.id.rstrip("/").rpartition("/")[2],
        listener=listener,
        ledger=_ledger(keeping if log else None, output),
    )
    _carry_out(server, output, *token_for(wanted=token))


def _require_server() -> None:
    try:
        import starlette
        import uvicorn
    except ModuleNotFoundError as missing:
        raise UsageError(
            f"The server needs {missing.name}, which is not installed.",
            to_have("api"),
        ) from None
    del starlette, uvicorn


def _ledger(keeping: dict[str, Any] | None, output: Output) -> "Ledger":
    from fqconsole import paths
    from fqconsole.api.ledger import NoLedger, StoreLedger

    return NoLedger() if keeping is None else StoreLedger(paths.store_file(), keeping, complain=output.say)


def _carry_out(server: "ApiServer", output: Output, token: str | None, fresh: bool) -> None:
    """Serve until the end. Raises EndedBySignal, or JobError when the session ended by itself."""
    import asyncio

    from fqconsole.cli.ending import EndedBySignal, heeded, listen
    from fqconsole.cli.job_driver import JobError
    from fqconsole.cli.narration import Narrator

    narrator = Narrator(output)

    def on_ready() -> None:
        narrator.close()
        output.say(f"{server.name} answers at {server.url}; Ctrl-C ends it")
        if output.json:
            made = token if fresh else None
            output.result({"url": server.url, "model": server.name, "token": made}, lines=True)
            return
        output.line(f"export OPENAI_BASE_URL={server.url}")
        if fresh:
            output.line(f"export OPENAI_API_KEY={token}")

    server.token = token
    server.on_event = narrator.feed
    server.on_ready = on_ready
    server.on_answer = lambda answered: output.say(answer_line(answered))
    try:
        asyncio.run(server.run(heeded()))
    finally:
        listen()
        narrator.close()
        server.close()
    if server.ended_by is not None:
        raise EndedBySignal(server.ended_by)
    if server.failure is not None:
        raise JobError(server.failure, server.log_path)


def token_for(*, wanted: bool) -> tuple[str | None, bool]:
    """The token and whether it was made here."""
    import os
    import secrets

    if not wanted:
        return None, False
    given = os.environ.get(TOKEN_VARIABLE, "")
    return (given, False) if given else (secrets.token_urlsafe(TOKEN_BYTES), True)


def answer_line(answered: "Answered") -> str:
    """One line of one answer: its run, its size and its speed, never its text."""
    from fqconsole.cli.quantities import speed

    head = f"{answered.run_id or '-'}  {answered.kind}: "
    done = answered.done
    if done is None:
        return head + answered.problem
    return (
        f"{head}{done.prompt_tokens} → {done.tokens} tokens, decode {speed(done.decode_tok_s)} "
        f"tok/s, ended by {done.stop_reason}"
    )
