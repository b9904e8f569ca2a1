"""`fqconsole serve-command`: how vLLM or SGLang serve a checkpoint, printed or started."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fqconsole.cli.options import Checkpoint, Json, Quiet
from fqconsole.cli.output import Output
from fqconsole.errors import UsageError

if TYPE_CHECKING:
    from fqconsole.serving.advice import Advice


class EngineName(StrEnum):
    """The engines whose rules are known."""

    vllm = "vllm"
    sglang = "sglang"


def serve_command(
    checkpoint: Checkpoint,
    *,
    engine: Annotated[EngineName, typer.Option(help="Which engine.")] = EngineName.vllm,
    gpus: Annotated[int, typer.Option(metavar="N", min=1, max=64, help="GPUs of each machine.")] = 1,
    nodes: Annotated[int, typer.Option(metavar="N", min=1, max=64, help="Machines.")] = 1,
    ray: Annotated[bool, typer.Option("--ray", help="Join several machines through Ray (vLLM).")] = False,
    head: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Of several machines: the address of the first.")
    ] = None,
    context: Annotated[
        int | None,
        typer.Option(metavar="TOKENS", min=1, help="Room for prompt and answer. [default: the model's own]"),
    ] = None,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where the server listens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="PORT", min=1, max=65535, help="Its port.")] = 8000,
    start: Annotated[
        bool, typer.Option("--start", help="Start it here and stay with it; Ctrl-C ends it.")
    ] = False,
    python: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Of --start: the interpreter of the environment with the engine."),
    ] = None,
    image: Annotated[
        str | None, typer.Option(metavar="IMAGE", help="Of --start: a container image with the engine.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Print or start it also where the engine is known to refuse.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Print the exact command that serves a checkpoint on vLLM or SGLang, and which kernels it will run on.

    Where the engine would fail, the command is refused with the reason. Nothing is started without --start.
    """
    from fqconsole.cli.model_choice import chosen
    from fqconsole.cli.run_store import open_store
    from fqconsole.models import describe
    from fqconsole.serving.advice import advise
    from fqconsole.serving.commands import HEAD, Wish

    output = Output(json=json, quiet=quiet)
    _check(engine, ray=ray, nodes=nodes, start=start, python=python, image=image)
    with open_store() as store:
        model = describe(chosen(checkpoint, store))
    wish = Wish(context or model.context_length, host, port, head or HEAD, ray)
    advice = advise(model, engine.value, gpus, nodes, wish)
    if advice.refusals and not force:
        raise UsageError(
            f"{advice.version} can't serve {advice.model}: {'; '.join(advice.refusals)}.",
            "Quantize the model again (4 or 8 bits, adaptive or fixed), or give --force to see the command.",
        )
    if start:
        _start(advice, python, image, output)
    elif json:
        output.result(document(advice))
    else:
        output.line(page(advice))


def _check(
    engine: EngineName, *, ray: bool, nodes: int, start: bool, python: str | None, image: str | None
) -> None:
    if ray and (nodes == 1 or engine is EngineName.sglang):
        raise UsageError("--ray joins several machines for vLLM.", "Give --nodes 2 or more, or leave it out.")
    if not start and (python or image):
        raise UsageError("--python and --image are for --start.", "Give --start too.")
    if start and (nodes > 1 or (python is None) == (image is None)):
        raise UsageError(
            "--start runs an engine of this machine.",
            "Give --python /path/to/venv/bin/python or --image IMAGE, and one machine.",
        )


def page(advice: "Advice") -> str:
    """The advice for people; the command lines can be copied."""
    import shlex

    from fqconsole.cli.quantities import group, size
    from fqconsole.cli.table import table

    layout = advice.layout
    one = "1 GPU" if layout.gpus == 1 else f"{layout.gpus} GPUs"
    shared = f"{layout.nodes} machines of {one}" if layout.nodes > 1 else one
    lines = [
        f"{advice.model} on {advice.version}, {shared}: tensor parallel {layout.tensor}"
        + (f", pipeline parallel {layout.pipeline}" if layout.pipeline > 1 else "")
        + (", expert parallel" if layout.expert_parallel else ""),
        f"each GPU: weights about {size(advice.weights_bytes_per_gpu)}, "
        f"cache of one sequence of {advice.wish.context:,} tokens {size(advice.kv_bytes_per_gpu)}",
    ]
    if advice.kernels:
        generations = list(advice.kernels[0].kernels)
        rows = [
            [
                f"int{use.scheme.bits}",
                group(use.scheme.group_size),
                f"{use.matrices:,}" + (" experts" if use.experts else ""),
                *(use.kernels[name] or "none" for name in generations),
            ]
            for use in advice.kernels
        ]
        lines += ["", table(["bits", "group", "matrices", *generations], rows)]
    lines += [f"note: {note}" for note in advice.notes]
    lines += [f"warning: {reason}" for reason in advice.refusals]
    lines.append("")
    for step in advice.steps:
        if len(advice.steps) > 1:
            lines.append(f"# {step.where}")
        lines.append(shlex.join(step.words))
    return "\n".join(lines)


def document(advice: "Advice") -> dict[str, Any]:
    """The advice for programs."""
    layout = advice.layout
    return {
        "engine": advice.engine,
        "version": advice.version,
        "model": advice.model,
        "checkpoint": advice.folder,
        "gpus": layout.gpus,
        "nodes": layout.nodes,
        "tensor_parallel": layout.tensor,
        "pipeline_parallel": layout.pipeline,
        "expert_parallel": layout.expert_parallel,
        "context": advice.wish.context,
        "weights_bytes_per_gpu": advice.weights_bytes_per_gpu,
        "kv_bytes_per_gpu": advice.kv_bytes_per_gpu,
        "kernels": [
            {
                "bits": use.scheme.bits,
                "group_size": use.scheme.group_size,
                "matrices": use.matrices,
                "experts": use.experts,
                "fast": use.fast,
                **use.kernels,
            }
            for use in advice.kernels
        ],
        "commands": [{"where": step.where, "words": step.words} for step in advice.steps],
        "notes": advice.notes,
        "refusals": advice.refusals,
    }


def _start(advice: "Advice", python: str | None, image: str | None, output: Output) -> None:
    """Run the engine until it ends or a signal comes; then it is ended too."""
    from fqconsole.cli.job_driver import JobDriver
    from fqconsole.cli.run_store import open_store
    from fqconsole.jobs.messages import AnyEvent, SessionReady, StartEndpoint

    step = advice.steps[0]
    url = f"http://{advice.wish.host}:{advice.wish.port}/v1"
    afterwards: tuple[str, ...] = ()
    if python is not None:
        from fqconsole.serving.commands import through_python

        words = through_python(step, python)
    else:
        from fqconsole.serving.commands import through_container

        container = _container(str(image))
        words = through_container(step, container, advice.wish, advice.folder)
        afterwards = container.removal

    def watch(event: AnyEvent) -> None:
        if isinstance(event, SessionReady):
            if output.json:
                output.result({"url": url, "model": advice.model}, lines=True)
            else:
                output.line(f"{url}#{advice.model}")

    request = StartEndpoint(url=url, model=advice.model, command=words, afterwards=afterwards)
    with open_store() as store:
        JobDriver(store, output).run(request, "", watch)


def _container(image: str) -> Any:
    import os
    import shutil

    from fqconsole.serving.commands import Container

    runtime = next((name for name in ("docker", "podman") if shutil.which(name)), None)
    if runtime is None:
        raise UsageError("Neither docker nor podman is here.", "Install one, or give --python.")
    return Container(image, runtime, f"fqconsole-engine-{os.getpid()}")
