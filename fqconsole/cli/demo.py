"""`fqconsole demo`: the five steps of the console, without a screen."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fqconsole.cli import completions
from fqconsole.cli.options import Device, Json, Quiet
from fqconsole.cli.output import Output

if TYPE_CHECKING:
    from fqconsole.models import ModelDescription

SEED = 7  # the same text every time


def demo(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            autocompletion=completions.models,
            help="A built-in model or any other 16-bit one on this machine.",
        ),
    ] = "demo",
    *,
    bits: Annotated[int, typer.Option(metavar="BITS", help="Width of a stored weight: 8, 4 or 3.")] = 4,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Do the five steps: pick a model, see the fit, quantize it, see what was lost, and let it write.

    The runs are recorded and the checkpoint stays, as after the same steps in the console.
    """
    from fqconsole.cli.answering import Answerer, Question
    from fqconsole.cli.evaluate import evaluated
    from fqconsole.cli.quantize import chosen_options, quantized, source_model
    from fqconsole.cli.run_store import open_store
    from fqconsole.generation.options import Sampling

    output = Output(json=json, quiet=quiet)
    choice = chosen_options(bits, None, None, 0.7)
    with open_store() as store:
        description = source_model(model)
        _tell(output, "1 model", _model_line(description))
        option = _fit(description, bits, device)
        _tell(output, "2 fit", _fit_line(option))
        checkpoint = quantized(store, output, model, out=None, device=device, force=False, **choice)
        _tell(output, "3 quantize", _quantize_line(checkpoint))
        lost = evaluated(store, output, checkpoint["checkpoint"], reference=model, device=device)
        _tell(output, "4 evaluate", _evaluate_line(lost))
        question = Question(
            prompt=description.suggested_prompt or "Once upon a time",
            sampling=Sampling(seed=SEED, max_new_tokens=120),
            device=device,
        )
        answer = Answerer(store, output, question, stream=False).answer(checkpoint["checkpoint"])
        _tell(output, "5 generate", _generate_line(question.prompt or "", answer))
    if json:
        steps = {"quantize": checkpoint, "evaluate": lost, "generate": answer}
        output.result({"model": description.id, "fit": option, **steps})
    else:
        output.line(f"{'run':10} {checkpoint['run_id']}, {lost['run_id']}, {answer['run_id']}")
        output.say("next: fqconsole runs, or fqconsole alone for the console")


def _tell(output: Output, step: str, text: str) -> None:
    if not output.json:
        output.line(f"{step:10} " + text.replace("\n", "\n" + " " * 11))


def _fit(description: "ModelDescription", bits: int, device: str) -> Any:
    from fqconsole.cli.memory_check import capacity
    from fqconsole.fit import preview

    return preview(description, capacity(device=device), bits=(bits,), gpu_counts=(1,)).options[0]


def _model_line(model: "ModelDescription") -> str:
    from fqconsole.cli.quantities import parameters, size

    return f"{model.id}: {model.architecture}, {parameters(model.parameters)} weights, {size(model.bytes)}"


def _fit_line(option: Any) -> str:
    from fqconsole.cli.quantities import precision, size

    return (
        f"{precision(option.bits)} {option.verdict}: {size(option.total_bytes_per_gpu)} of "
        f"{size(option.capacity_bytes)} free"
    )


def _quantize_line(document: dict[str, Any]) -> str:
    from fqconsole.cli.quantities import duration, precision, size

    return (
        f"{precision(document['bits'])} {document['granularity']}: "
        f"{document['bits_per_weight']:.3f} bits per weight, "
        f"{size(document['bytes'])} of {size(document['source_bytes'])}, {duration(document['seconds'])}\n"
        f"{document['checkpoint']}"
    )


def _evaluate_line(document: dict[str, Any]) -> str:
    from fqconsole.cli.quantities import number

    return (
        f"perplexity {number(document['perplexity'])} (16-bit {number(document['reference_perplexity'])}), "
        f"KL {number(document['kl_divergence'], 3)}, same top token {document['top1_agreement']:.1%} "
        f"over {document['tokens']} tokens"
    )


def _generate_line(prompt: str, document: dict[str, Any]) -> str:
    from fqconsole.cli.quantities import number, size, speed

    return (
        f"{prompt}{document['text']}\n"
        f"TTFT {number(document['ttft_ms'], 3)} ms, decode {speed(document['decode_tok_s'])} tok/s, "
        f"peak {size(document['peak_bytes'])}"
    )
