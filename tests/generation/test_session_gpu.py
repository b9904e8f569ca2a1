"""The same session on a real GPU: the CPU's answers, the device's clock and memory."""

import copy

import pytest
import torch

from fqconsole.errors import DeviceError, OperatorError
from fqconsole.evaluation import evaluate
from fqconsole.generation.assembly import assemble
from fqconsole.generation.batch import BatchSteps
from fqconsole.generation.loading import load_model
from fqconsole.generation.options import Sampling
from fqconsole.generation.session import open_session
from fqconsole.generation.static_cache import StaticCache
from quantizer.watch import SilentWatch
from tests.generation.test_families import CASES, IDS, tiny_model
from tests.generation.tiny_models import TEXT, quantize, save_llama, write_tokenizer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]
NAMES = ["llama", "qwen3_moe", "opt"]
GREEDY = Sampling(temperature=0, max_new_tokens=24)


@pytest.mark.parametrize("kind", ["16-bit", "packed"])
@pytest.mark.parametrize("name", NAMES)
def test_greedy_tokens_are_the_cpus(tiny, name, kind):
    """Each token is the one the CPU finds most likely after the same text, up to a rounding of bf16."""
    folder = tiny(name)[0 if kind == "16-bit" else 1]
    with open_session(folder, device="cuda") as session:
        _, ids = session.render("Mara gave the red lamp")
        answer = session.generate(ids, GREEDY)
        matmul = session.matmul_path
    assert ("triton" in matmul.lower()) == (kind == "packed")
    with open_session(folder, device="cpu") as session:
        logits = session.logits(torch.tensor([ids + list(answer.token_ids)]))[0]
    for position, token in enumerate(answer.token_ids, start=len(ids) - 1):
        row = logits[position]
        assert row.max() - row[token] < 3e-2 * row.abs().max()


@pytest.mark.parametrize("name", NAMES)
def test_packed_logits_are_the_cpus(tiny, name):
    ids = torch.randint(3, 384, (2, 40), generator=torch.Generator().manual_seed(1))
    with open_session(tiny(name)[1], device="cuda") as session:
        found = session.logits(ids).cpu()
    with open_session(tiny(name)[1], device="cpu") as session:
        expected = session.logits(ids)
    far = (found - expected).abs().amax(-1) >= 3e-2 * expected.abs().max()
    # Where two experts' gates are equal to rounding, a token may take another one: rare, and nobody's fault.
    assert far.float().mean() <= (0.1 if "moe" in name else 0)


def test_time_and_memory_are_the_devices(tiny):
    with open_session(tiny("llama")[1], device="cuda") as session:
        session.generate([5, 7], GREEDY)  # cuBLAS takes a workspace for each stream once and keeps it
    before = torch.cuda.memory_allocated()
    with open_session(tiny("llama")[1], device="cuda") as session:
        _, ids = session.render("Mara gave")
        answer = session.generate(ids, GREEDY)
        assert session.device == "cuda:0"
        assert answer.ttft_ms > 0
        assert answer.prefill_tok_s > 0
        assert answer.decode_tok_s > 0
        assert session.weights_bytes < answer.peak_bytes - before < session.weights_bytes + (64 << 20)
    assert torch.cuda.memory_allocated() == before


def test_quantized_matrices_are_never_made_whole_in_16_bits(tmp_path):
    save_llama(tmp_path / "source", hidden_size=512, intermediate_size=2048, num_hidden_layers=8)
    quantize(tmp_path / "source", tmp_path / "packed", tmp_path / "plain", bits=4, group_size=64)
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    loaded = load_model(tmp_path / "packed", torch.device("cuda", 0))
    largest = 512 * 2048 * 2  # one matrix in bf16
    assert torch.cuda.max_memory_allocated() - before < loaded.weights_bytes + largest


def test_a_seed_gives_the_same_answer(tiny):
    sampling = Sampling(temperature=1.0, seed=5, max_new_tokens=20)
    with open_session(tiny("llama")[1], device="cuda") as session:
        _, ids = session.render("Otto")
        assert session.generate(ids, sampling).token_ids == session.generate(ids, sampling).token_ids


def test_nan_is_named_on_the_device_too(tiny):
    with open_session(tiny("llama")[0], device="cuda") as session:
        session._model.model.embed_tokens.weight[7] = float("nan")
        with pytest.raises(OperatorError, match=r"NaN.*first in the embedding"):
            session.generate([5, 7], GREEDY)
        assert session.generate([5, 6], Sampling(temperature=0, max_new_tokens=1)).token_ids


def test_out_of_memory_leaves_the_session_usable(tmp_path):
    save_llama(tmp_path, max_position_embeddings=8192, num_hidden_layers=4)
    write_tokenizer(tmp_path)
    with open_session(tmp_path, device="cuda", context=8192) as session:
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + (1 << 20)) / total)
        try:
            with pytest.raises(torch.OutOfMemoryError):
                session.generate([5] * 8000, GREEDY)
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        assert session.generate([5] * 10, GREEDY).token_ids


@pytest.mark.parametrize("case", CASES)
def test_captured_steps_give_the_logits_of_transformers(case):
    """Of every family, in bf16, on texts of several lengths: a graph is captured once and replayed.

    Where two experts are equally good to a rounding of bf16, a text may take another one than in
    transformers, or transformers another one than in float32: it is compared with both, and one of three
    texts may differ.
    """
    device = torch.device("cuda", 0)
    model = copy.deepcopy(tiny_model(case)).to(device, torch.bfloat16)
    exact = copy.deepcopy(model).float()
    first = 27 if case == "phi3, long" else 4  # a batch has the rotary angles of its longest text
    texts = [IDS[: first + 5].tolist(), IDS[4:36].tolist(), IDS[1 : first + 5].tolist()]
    far = set()
    with torch.inference_mode():
        decoder = assemble(model, torch.bfloat16, device)
        steps = BatchSteps(decoder, StaticCache(decoder, 3, 64))
        logits = steps.prompts(texts, lambda: False)
        for _ in range(6):
            for place, (text, row) in enumerate(zip(texts, logits.float(), strict=True)):
                given = torch.tensor([text], device=device)
                expected = [m(given, use_cache=False).logits[0, -1].float() for m in (model, exact)]
                off = min(float((row - other).abs().max() / other.abs().max()) for other in expected)
                far |= {place} if off >= 6e-2 else set()
            tokens = logits.argmax(-1)
            for text, token in zip(texts, tokens.tolist(), strict=True):
                text.append(token)
            logits = steps.step(tokens, [True] * 3)
        assert list(steps._graphs._captured) == [3]
    assert len(far) <= (1 if hasattr(model.config.get_text_config(), "num_experts_per_tok") else 0), far


def test_a_step_is_captured_once_and_its_replays_go_on(tiny):
    with open_session(tiny("llama")[1], device="cuda") as session:
        _, ids = session.render("Otto")
        first = session.generate(ids, GREEDY)
        graphs = session._steps._graphs._captured
        assert list(graphs) == [1]  # since the warm-up
        graph = graphs[1].graph
        turn = [*ids, *first.token_ids, 7, 8]
        second = session.generate(turn, GREEDY)
        assert second.reused_tokens == len(ids) + len(first.token_ids) - 1
        assert graphs[1].graph is graph


@pytest.mark.parametrize("kv_bits", [16, 8])
@pytest.mark.parametrize("name", NAMES)
def test_a_batch_answers_as_each_alone(tiny, name, kv_bits):
    prompts = [[5, 9, 17, 30], [7], list(range(3, 40))]
    with open_session(tiny(name)[1], device="cuda", kv_bits=kv_bits) as session:
        together = session.generate_batch(prompts, GREEDY)
        for ids, found in zip(prompts, together, strict=True):
            logits = session.logits(torch.tensor([[*ids, *found.token_ids]]))[0, len(ids) - 1 : -1].cpu()
            for row, token in zip(logits, found.token_ids, strict=True):
                assert row.max() - row[token] < 5e-2 * row.abs().max()


def test_a_context_without_room_is_refused_with_one_that_fits(tmp_path):
    save_llama(tmp_path, max_position_embeddings=1 << 24)
    write_tokenizer(tmp_path)
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + (64 << 20)) / total)
    try:
        with pytest.raises(DeviceError, match="keys and values"):
            open_session(tmp_path, device="cuda", context=1 << 22)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    with open_session(tmp_path, device="cuda", context=512) as session:
        assert session.generate([5, 6], GREEDY).token_ids


def test_evaluation_gives_the_cpus_numbers(tmp_path):
    save_llama(tmp_path / "source")
    write_tokenizer(tmp_path / "source")
    quantize(tmp_path / "source", tmp_path / "packed", tmp_path / "plain", bits=4, group_size=64)

    def on(device):
        return evaluate(
            tmp_path / "packed", tmp_path / "source", TEXT * 4, window=64, device=device, watch=SilentWatch()
        )

    gpu, cpu = on("cuda"), on("cpu")
    assert gpu.tokens == cpu.tokens
    assert gpu.perplexity == pytest.approx(cpu.perplexity, rel=2e-2)
    assert gpu.reference_perplexity == pytest.approx(cpu.reference_perplexity, rel=2e-2)
    assert gpu.kl_divergence == pytest.approx(cpu.kl_divergence, rel=0.1)
