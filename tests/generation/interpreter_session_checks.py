"""A GPU's whole way from prompt to answer on a CPU: every Triton kernel of a session through the interpreter.

Matrices lie in lane order, layers fuse what they fuse on a GPU, and the kernels between the products are
Triton's. Run by `test_interpreted_session.py`: the interpreter is chosen when Triton is imported. What Triton
can't interpret is left to the kernels' own tests: ring and wide kernel, graphs, dependent launch.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pytest
import torch

import kernels
from fqconsole.generation import assembly, loading
from fqconsole.generation.options import Sampling
from fqconsole.generation.session import Session, open_session
from fqconsole.models import describe_folder
from kernels import attention, choice, gpu, norms, rotary, routing
from kernels.gpu import FUSED_DTYPES, TritonMatrix
from kernels.lane_layout import to_lanes
from kernels.tiles import Gpu
from quantizer.engine import analyse, quantize
from tests.generation.architectures import save_architecture
from tests.generation.tiny_models import write_tokenizer

AMPERE = Gpu(80, 4)
# Of every kind of norm, positions, attention, experts.
FAMILIES = ("llama", "gemma2", "opt", "deepseek_v3", "gpt_oss")
IDS = [5, 77, 130, 9, 41, 300, 8]


def prepare(w, device=None, dtype=torch.bfloat16):
    """As on a GPU without the ring and the wide kernel."""
    kept = w.scales.dtype if w.scales.dtype in FUSED_DTYPES else dtype
    return TritonMatrix(to_lanes(w, kept), AMPERE)


@contextmanager
def as_on_a_gpu() -> Iterator[None]:
    """Everything that a GPU switches on, for tensors on the CPU."""
    build = assembly._Builder.__init__

    def fused(self, *arguments):
        build(self, *arguments)
        self.fused = True

    with pytest.MonkeyPatch.context() as patch:
        for module in (attention, choice, norms, rotary, routing):
            patch.setattr(module, "runs_triton", lambda device: True)
        patch.setattr(kernels, "prepare", prepare)
        patch.setattr(loading, "compute_dtype", lambda stored, device: stored)
        patch.setattr(gpu, "on_device", lambda device: nullcontext())
        patch.setattr(gpu, "tuned_tile", lambda w, chosen, *_, **__: chosen)
        patch.setattr(Session, "warm_up", lambda self, stages: None)  # minutes in the interpreter
        patch.setattr(assembly._Builder, "__init__", fused)
        yield


@pytest.mark.parametrize("model_type", os.environ.get("FQCONSOLE_FAMILIES", "").split() or FAMILIES)
def test_the_same_logits_and_tokens(model_type, tmp_path):
    """As in plain torch, up to a rounding of bf16. FQCONSOLE_FAMILIES names other families."""
    source = save_architecture(model_type, tmp_path / "source", torch.bfloat16)
    write_tokenizer(source)
    description = describe_folder(source, id=model_type, source="folder")
    packed = tmp_path / "packed"
    quantize(description, analyse(description, bits=4, device="cpu"), packed, device="cpu")
    with as_on_a_gpu(), open_session(packed, device="cpu", context=64) as session:
        assert session.forward == "fqconsole"
        tokens = list(session.generate(IDS, Sampling(temperature=0, max_new_tokens=2)).token_ids)
        logits = session.logits(torch.tensor([IDS]))[0]
    with open_session(packed, device="cpu", context=64) as session:
        expected = session.logits(torch.tensor([IDS + tokens]))[0]
    most = 0.03 * expected.abs().max()
    assert (logits - expected[: len(IDS)]).abs().max() < most
    for likely, token in zip(expected[len(IDS) - 1 :], tokens, strict=False):
        assert likely.max() - likely[token] < most  # near ties may go either way
