"""`fqconsole generate`: text from a quantized model or a 16-bit one, or from two of them side by side."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fqconsole.cli import completions
from fqconsole.cli.options import Device, Events, Force, Json, Quiet, SharingGpus, Split
from fqconsole.cli.output import Output
from fqconsole.errors import UsageError

if TYPE_CHECKING:
    from fqconsole.cli.answering import Question


def generate(
    checkpoint: Annotated[
        str | None,
        typer.Argument(
            metavar="[CHECKPOINT]",
            autocompletion=completions.checkpoints,
            help="A quantized model's folder or name, the run that made it (r0012), or any model.",
        ),
    ] = None,
    *,
    endpoint: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Ask the model that an OpenAI-compatible server has (http://127.0.0.1:8000/v1); with a "
            "CHECKPOINT, side by side. Its token: FQCONSOLE_ENDPOINT_KEY.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Of --endpoint: which model. [default: the only one there]"),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(
            "--prompt",
            "-p",
            metavar="TEXT",
            help="The prompt; - reads stdin. [default: the model's suggestion, if any]",
        ),
    ] = None,
    messages: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help='A conversation, JSON: [{"role": "user", "content": "..."}]. Needs a chat model.',
        ),
    ] = None,
    system: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="A system message before the prompt. Needs a chat model."),
    ] = None,
    raw: Annotated[
        bool,
        typer.Option("--raw", help="Send the prompt as it is, also to a model that has a chat template."),
    ] = False,
    compare: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            autocompletion=completions.checkpoints,
            help="Then the same prompt and seed on this model, or a server's (http://…), side by side.",
        ),
    ] = None,
    max_new_tokens: Annotated[
        int, typer.Option(metavar="N", min=1, help="Generate at most this many tokens.")
    ] = 256,
    greedy: Annotated[
        bool, typer.Option("--greedy", help="Always the likeliest token; the same as --temperature 0.")
    ] = False,
    temperature: Annotated[
        float, typer.Option(metavar="T", min=0.0, help="How freely tokens are drawn; 0 is greedy.")
    ] = 0.7,
    top_p: Annotated[
        float,
        typer.Option(
            metavar="P",
            min=0.0,
            max=1.0,
            help="Draw from the likeliest tokens that make up this share; 1 is off.",
        ),
    ] = 0.95,
    top_k: Annotated[
        int, typer.Option(metavar="K", min=0, help="Draw from the K likeliest tokens; 0 is off.")
    ] = 0,
    min_p: Annotated[
        float,
        typer.Option(
            metavar="P",
            min=0.0,
            max=1.0,
            help="Leave out tokens under this share of the likeliest; 0 is off.",
        ),
    ] = 0.0,
    repetition_penalty: Annotated[
        float, typer.Option(metavar="R", help="Above 1: tokens that occurred are drawn less; 1 is off.")
    ] = 1.0,
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=0, help="The same seed gives the same text. [default: drawn, and told]"
        ),
    ] = None,
    stop: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="End before this text; may be given more than once."),
    ] = None,
    context: Annotated[
        int | None,
        typer.Option(
            metavar="TOKENS",
            min=1,
            help="Room for prompt and answer. [default: 8192, or the model's own limit]",
        ),
    ] = None,
    kv_bits: Annotated[
        int,
        typer.Option(metavar="8|16", min=8, max=16, help="Width of keys and values; 8 halves their memory."),
    ] = 16,
    prompts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help='Many prompts, a JSON line each: {"prompt": "...", "id": ...}; answers come as JSON lines.',
        ),
    ] = None,
    replicas: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="Of --prompts: sessions that answer, each on GPUs of its own."),
    ] = 1,
    gpus: SharingGpus = 1,
    split: Split = "auto",
    device: Device = "auto",
    force: Force = False,
    json: Json = False,
    events: Events = False,
    quiet: Quiet = False,
) -> None:
    """Generate text and measure it: time to first token, prefill and decode speed, peak memory.

    The text goes to stdout as it comes, everything else to stderr.
    """
    from fqconsole.cli.answering import Answerer, Question
    from fqconsole.cli.run_store import open_store
    from fqconsole.generation.options import Sampling, problem, with_seed

    output = Output(json=json, quiet=quiet, events=events)
    if messages is not None and (prompt is not None or system is not None or raw):
        raise UsageError(
            "--messages holds the whole conversation.", "Leave --prompt, --system and --raw out."
        )
    if raw and system is not None:
        raise UsageError("--raw sends no system message.", "Leave one of --raw and --system out.")
    sampling = Sampling(
        temperature=0.0 if greedy else temperature,
        top_p=top_p,
        top_k=top_k,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        seed=seed,
        max_new_tokens=max_new_tokens,
        stop=tuple(stop or ()),
    )
    wrong = problem(sampling)
    if wrong:
        raise UsageError(wrong, "See fqconsole generate --help.")
    models = _models(checkpoint, endpoint, model, compare)
    question = Question(
        prompt=prompt,
        messages=messages,
        system=system,
        raw=raw,
        sampling=with_seed(sampling),
        context=context,
        device=device,
        force=force,
        kv_bits=kv_bits,
        gpus=gpus,
        split=split,
    )
    if prompts is not None or replicas > 1:
        _answer_file(prompts, replicas, models, question, output)
        return
    with open_store() as store:
        answerer = Answerer(store, output, question, stream=len(models) == 1)
        documents = [answerer.answer(word) for word in models]
    if json:
        output.result(documents[0] if len(models) == 1 else {"generations": documents})
    elif not events:
        _finish(documents, output)


def _answer_file(
    prompts: Path | None, replicas: int, models: list[str], question: "Question", output: Output
) -> None:
    """Every prompt of the file, by as many sessions."""
    from fqconsole.cli.prompt_file import prompts_of
    from fqconsole.cli.replicas import Replicas
    from fqconsole.cli.run_store import open_store
    from fqconsole.endpoints.address import is_address

    if prompts is None:
        raise UsageError("--replicas answer many prompts.", "Give --prompts FILE too.")
    if len(models) > 1 or is_address(models[0]) or question.prompt or question.messages:
        raise UsageError(
            "--prompts goes to one model of this machine.", "Leave the other prompt or model out."
        )
    lines = prompts_of(prompts)
    with open_store() as store:
        Replicas(store, output, question, models[0], replicas).answer(lines)


def _models(checkpoint: str | None, endpoint: str | None, name: str | None, compare: str | None) -> list[str]:
    """What is asked, in order: one model or two, each a word or a server's address."""
    from fqconsole.endpoints.address import parse_address

    if name is not None and endpoint is None:
        raise UsageError("--model names a model of a server.", "Give --endpoint URL too.")
    served = None if endpoint is None else str(parse_address(endpoint, name))
    words = [word for word in (checkpoint, served, compare) if word is not None]
    if not words:
        raise UsageError("There is no model to ask.", "Name a CHECKPOINT, or a server with --endpoint URL.")
    if len(words) > 2:
        raise UsageError("Two models can stand side by side, not three.", "Leave one out.")
    return words


def _finish(documents: list[dict[str, Any]], output: Output) -> None:
    import shutil

    from fqconsole.cli.side_by_side import side_by_side

    if len(documents) == 1:
        output.say(measured(documents[0]))
        return
    columns = [(f"{document['model']} {document['precision']}", document["text"]) for document in documents]
    output.line(side_by_side(columns[0], columns[1], shutil.get_terminal_size().columns))
    for document in documents:
        output.say(measured(document))


def measured(document: dict[str, Any]) -> str:
    """One line of the numbers of a generation."""
    from fqconsole.cli.quantities import UNKNOWN, number, size, speed

    tokens = UNKNOWN if document["tokens"] is None else document["tokens"]
    return (
        f"{document['run_id']}  {document['precision']}: TTFT {number(document['ttft_ms'], 3)} ms, prefill "
        f"{speed(document['prefill_tok_s'])} tok/s, decode {speed(document['decode_tok_s'])} tok/s, "
        f"{tokens} tokens, peak {size(document['peak_bytes'])}, "
        f"ended by {document['stop_reason']}"
        + (f", seed {document['seed']}" if document["seed"] is not None else "")
    )
