"""Tokens per second against the limit that memory sets, at each precision.

    python -m benchmarks.generate [--models demo demo-moe] [--device auto]   # the built-in models
    python -m benchmarks.generate --shape llama-3-8b --device cuda           # random weights, made in place
    python -m benchmarks.generate --shape llama-3-8b --tiny --device cpu     # the same path, small

All shapes in one call, as far as a budget of time goes: `python -m benchmarks.generate_table`.

Prompt 128 tokens, 128 new tokens, greedy; the middle of five runs after a warm-up. Limit: bytes that a token
must read (packed weights, scales, 16-bit parts, chosen experts, keys and values) over the
bandwidth of a streaming read measured in the same run. `transformers` is its own `generate` on the same
16-bit weights.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks._shapes import SHAPES, config_of
from benchmarks._table import hardware, table
from fqconsole.demo import heldout_text
from fqconsole.generation import Generation, Session, open_session
from fqconsole.generation.assembly import assemble
from fqconsole.generation.batch import BatchSteps, generate_together
from fqconsole.generation.decoder import Decoder
from fqconsole.generation.decoding import DecodeInputs, generate_tokens, warm_up
from fqconsole.generation.experts import Experts, PackedStacks
from fqconsole.generation.modules import PackedLinear
from fqconsole.generation.options import Sampling
from fqconsole.generation.static_cache import StaticCache, cache_bytes
from fqconsole.generation.steps import DecoderSteps
from fqconsole.models import describe, resolve_model
from quantizer.device import resolve_device
from quantizer.engine import analyse, quantize
from quantizer.head import HEAD_BITS

RUNS = 5
BITS = (16, 8, 4, 3)
READ_BYTES = 512 << 20
NEVER: Callable[[], bool] = lambda: False  # noqa: E731 - a constant of that type


@dataclass(frozen=True)
class Asked:
    """What every row of a table has in common."""

    device: torch.device
    prompt: int
    new: int
    batch: int
    kv_bits: int
    bits: tuple[int, ...] = BITS
    head: int = 16  # bits of the output head where matrices are packed

    @property
    def sampling(self) -> Sampling:
        return Sampling(temperature=0, max_new_tokens=self.new)


@dataclass(frozen=True)
class Line:
    """One row of the table: medians. Speeds are of all texts of a batch together."""

    model: str
    precision: str
    path: str
    weights_bytes: int
    ttft_ms: float
    prefill_tok_s: float
    decode_tok_s: float
    limit_tok_s: float | None = None
    peak_bytes: int | None = None
    joules_per_token: float | None = None


def measure_builtin(model: str, asked: Asked, bandwidth: float) -> Iterator[Line]:
    """The model in 16 bits and quantized, each opened as any user's would be."""
    description = describe(resolve_model(model))
    if description.path is None:
        raise SystemExit(f"{model} is not on this machine")
    text = heldout_text(40)
    with tempfile.TemporaryDirectory() as folder:
        places = [Path(description.path)] if 16 in asked.bits else []
        for bits in (bits for bits in asked.bits if bits != 16):
            out = Path(folder) / f"int{bits}"
            plan = analyse(description, bits=bits, device=str(asked.device))
            quantize(description, plan, out, device=str(asked.device))
            places.append(out)
        for place in places:
            with open_session(place, device=str(asked.device), kv_bits=asked.kv_bits) as session:
                _, ids = session.render(text)
                # No end token, so that every run makes the same number of tokens.
                session.end_tokens = frozenset()
                answers = [_answer(session, ids[: asked.prompt], asked) for _ in range(RUNS)]
                limit = _limit(session._model, session._decoder, asked, bandwidth)
                path, held = session.matmul_path, session.weights_bytes
                yield _line(model, session.precision, path, held, answers, limit)


def _answer(session: Session, ids: list[int], asked: Asked) -> list[Generation]:
    if asked.batch > 1:
        return session.generate_batch([ids] * asked.batch, asked.sampling)
    return [session.generate(ids, asked.sampling)]


def measure_shape(name: str, asked: Asked, bandwidth: float, *, tiny: bool, peers: bool) -> Iterator[Line]:
    """Random weights made in place, at every precision."""
    from transformers import CONFIG_MAPPING

    from benchmarks._random_model import fill, model_of

    fields = config_of(name, tiny)
    if asked.head != 16:
        fields["tie_word_embeddings"] = False  # a packed head lies beside the embedding
    config = CONFIG_MAPPING[fields["model_type"]].from_dict(fields)
    ids = [(7 * i) % 900 + 3 for i in range(asked.prompt)]
    for bits in asked.bits:
        torch.manual_seed(0)
        description, model = model_of(config)
        head = 16 if bits == 16 else asked.head
        held = fill(model, description, bits, asked.device, head=head)
        dtype = next(p.dtype for p in model.parameters() if p.dim() > 1)
        decoder = assemble(model, dtype, asked.device)
        if decoder is None:
            raise SystemExit(f"{name} has no forward of ours")
        run = runner_of(decoder, ids, asked)
        run()
        energy = _energy(asked.device)
        answers = [run() for _ in range(RUNS)]
        joules = _joules(asked.device, energy, RUNS * asked.batch * asked.new)
        limit = _limit(model, decoder, asked, bandwidth)
        path = next((m.matrix.path for m in model.modules() if isinstance(m, PackedLinear)), "16-bit")
        precision = "16-bit" if bits == 16 else f"int{bits}" + (f", head int{head}" if head != 16 else "")
        yield _line(name, precision, path, held, answers, limit, joules)
        if bits == 16 and peers and asked.batch == 1:
            yield _transformers(name, model, ids, held, asked)
        del model, decoder, run
        if asked.device.type == "cuda":
            torch.cuda.empty_cache()


def runner_of(decoder: Decoder, ids: list[int], asked: Asked) -> Callable[[], list[Generation]]:
    """One run of `ids`, again and again."""
    context = asked.prompt + asked.new
    cache = StaticCache(decoder, asked.batch, context, bits=asked.kv_bits)
    inputs = DecodeInputs(asked.device, context, frozenset(), lambda ids: "")
    if asked.batch > 1:
        together = BatchSteps(decoder, cache)

        def run() -> list[Generation]:
            with torch.inference_mode():
                return generate_together(inputs, together, [ids] * asked.batch, asked.sampling, NEVER)

        return run
    steps = DecoderSteps(decoder, cache)
    warm_up(steps, asked.device, [asked.prompt])
    return lambda: [generate_tokens(inputs, steps, ids, asked.sampling)]


def _transformers(name: str, model: Any, ids: list[int], held: int, asked: Asked) -> Line:
    """transformers' own generate: the time of all tokens less that of the first."""
    given = torch.tensor([ids], device=asked.device)

    def seconds(count: int) -> float:
        _wait(asked.device)
        begin = time.perf_counter()
        model.generate(
            given, max_new_tokens=count, min_new_tokens=count, do_sample=False,
            attention_mask=torch.ones_like(given), pad_token_id=0,
        )  # fmt: skip
        _wait(asked.device)
        return time.perf_counter() - begin

    seconds(asked.new)
    first = median(seconds(1) for _ in range(RUNS))
    whole = median(seconds(asked.new) for _ in range(RUNS))
    decode = (asked.new - 1) / (whole - first)
    return Line(name, "16-bit", "transformers", held, first * 1000, asked.prompt / first, decode)


def _limit(model: Any, decoder: Decoder | None, asked: Asked, bandwidth: float) -> float | None:
    """Tokens a second, of all texts together, if reading were all there is to do."""
    if decoder is None:
        return None
    length = asked.prompt + asked.new // 2
    width = 1 if asked.kv_bits == 8 else decoder.dtype.itemsize
    cached = cache_bytes(decoder.cache_shapes, asked.batch, length, width, 8 if asked.kv_bits == 8 else 0)
    return bandwidth / (read_bytes(model, decoder, asked.batch) + cached) * asked.batch


def read_bytes(model: Any, decoder: Decoder, batch: int) -> float:
    """Bytes of weights that a step of `batch` tokens reads at least; of experts as many as can be chosen."""
    skipped: set[int] = set()
    total = 0.0
    for layer in decoder.layers:
        if not isinstance(layer.feed, Experts):
            continue
        stacks = layer.feed.stacks
        chosen = min(1.0, batch * layer.feed.routing.k / layer.feed.routing.weight.shape[0])
        if isinstance(stacks, PackedStacks):
            total += chosen * (stacks.rising.bytes + stacks.falling.bytes)
        else:
            total += chosen * sum(p.nbytes for p in stacks.module.parameters())
            skipped |= {id(p) for p in stacks.module.parameters()}
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings()
    if isinstance(head, PackedLinear) or head.weight is not embedding:
        skipped.add(id(embedding))
    total += sum(p.nbytes for p in model.parameters() if id(p) not in skipped)
    return total + sum(m.matrix.bytes for m in model.modules() if isinstance(m, PackedLinear))


def bandwidth_of(device: torch.device) -> float:
    """Bytes a second of a streaming read of half a GiB, by the fastest way known here."""
    if device.type == "cuda":
        from benchmarks.kernels.roof import DEPENDENT_CAPABILITY, read_curve

        dependent = torch.cuda.get_device_capability(device) >= DEPENDENT_CAPABILITY
        ((size, microseconds),) = read_curve((READ_BYTES,), dependent=dependent)
        return size / microseconds * 1e6
    numbers = torch.ones(READ_BYTES // 4)
    best = float("inf")
    for _ in range(RUNS):
        begin = time.perf_counter()
        numbers.sum()
        best = min(best, time.perf_counter() - begin)
    return READ_BYTES / best


def _energy(device: torch.device) -> int | None:
    """Millijoules that the GPU has used since its driver was loaded; None where it does not tell."""
    if device.type != "cuda":
        return None
    import pynvml

    try:
        pynvml.nvmlInit()
        uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        return int(pynvml.nvmlDeviceGetTotalEnergyConsumption(pynvml.nvmlDeviceGetHandleByUUID(uuid)))
    except pynvml.NVMLError:
        return None


def _joules(device: torch.device, before: int | None, tokens: int) -> float | None:
    """Per new token, the prompts' part included."""
    after = _energy(device)
    return None if before is None or after is None else (after - before) / 1000 / tokens


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _line(  # noqa: PLR0917 - one row
    model: str,
    precision: str,
    path: str,
    weights_bytes: int,
    runs: list[list[Generation]],
    limit: float | None = None,
    joules: float | None = None,
) -> Line:
    return Line(
        model=model,
        precision=precision,
        path=path,
        weights_bytes=weights_bytes,
        ttft_ms=median(answers[0].ttft_ms for answers in runs),
        prefill_tok_s=median(answers[0].prefill_tok_s for answers in runs),
        decode_tok_s=median(sum(answer.decode_tok_s or 0.0 for answer in answers) for answers in runs),
        limit_tok_s=limit,
        peak_bytes=max(answers[0].peak_bytes for answers in runs),
        joules_per_token=joules,
    )


def show(lines: list[Line]) -> str:
    """The table for people."""
    header = (
        "model", "precision", "path", "weights", "TTFT", "prefill tok/s", "decode tok/s", "limit tok/s",
        "of the limit", "peak", "J/token",
    )  # fmt: skip
    rows = [
        (
            line.model,
            line.precision,
            line.path,
            _gib(line.weights_bytes),
            f"{line.ttft_ms:.1f} ms",
            f"{line.prefill_tok_s:.0f}",
            f"{line.decode_tok_s:.1f}",
            "" if line.limit_tok_s is None else f"{line.limit_tok_s:.0f}",
            "" if line.limit_tok_s is None else f"{line.decode_tok_s / line.limit_tok_s:.0%}",
            "" if line.peak_bytes is None else _gib(line.peak_bytes),
            "" if line.joules_per_token is None else f"{line.joules_per_token:.3f}",
        )
        for line in lines
    ]
    return table(header, rows)


def _gib(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**28 else f"{count / 2**20:.1f} MiB"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["demo", "demo-moe"])
    parser.add_argument("--shape", choices=sorted(SHAPES), help="random weights at a real model's shape")
    parser.add_argument("--tiny", action="store_true", help="keep the kind of the shape, not its size")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--new", type=int, default=128)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--kv-bits", type=int, choices=(16, 8), default=16)
    parser.add_argument("--bits", type=int, nargs="+", choices=BITS, default=BITS)
    parser.add_argument("--head", type=int, choices=HEAD_BITS, default=16, help="of --shape")
    parser.add_argument("--no-peers", action="store_true", help="leave out transformers' own generate")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    options = parser.parse_args()
    asked = Asked(
        device=resolve_device(options.device),
        prompt=options.prompt,
        new=options.new,
        batch=options.batch,
        kv_bits=options.kv_bits,
        bits=tuple(options.bits),
        head=options.head,
    )
    bandwidth = bandwidth_of(asked.device)
    lines: list[Line] = []
    if options.shape:
        peers = not options.no_peers
        lines.extend(measure_shape(options.shape, asked, bandwidth, tiny=options.tiny, peers=peers))
    else:
        for model in options.models:
            lines.extend(measure_builtin(model, asked, bandwidth))
    report: dict[str, Any] = {
        "hardware": hardware(asked.device), "prompt": asked.prompt, "new": asked.new, "batch": asked.batch,
        "runs": RUNS, "bytes_per_second": bandwidth,
    }  # fmt: skip
    if options.json:
        print(json.dumps({**report, "lines": [asdict(line) for line in lines]}))
        return
    print(report["hardware"])
    print(
        f"prompt {asked.prompt}, {asked.new} new tokens, batch {asked.batch}, greedy, median of {RUNS}; "
        f"streaming read {bandwidth / 1e9:.1f} GB/s"
    )
    print(show(lines))


if __name__ == "__main__":
    main()
