"""Two real GPUs: NCCL inside captured steps gives what one GPU gives."""

import pytest
import torch

from fqconsole.generation.options import Sampling
from fqconsole.generation.session import open_session

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs"),
]


@pytest.mark.parametrize("split", ["tensor", "layer"])
@pytest.mark.parametrize("kind", ["16-bit", "packed"])
@pytest.mark.parametrize("name", ["llama", "qwen3_moe", "opt"])
def test_two_gpus_give_what_one_gives(tiny, name, kind, split):
    """Each token is one that a single GPU finds likely after the same text, up to a rounding of bf16."""
    folder = tiny(name)[0 if kind == "16-bit" else 1]
    with open_session(folder, device="cuda:0", gpus=2, split=split) as session:
        _, ids = session.render("Mara gave the red lamp")
        answer = session.generate(ids, Sampling(temperature=0, max_new_tokens=24))
        together = session.logits(torch.tensor([ids]))[0].cpu()
    with open_session(folder, device="cuda:0") as session:
        alone = session.logits(torch.tensor([ids + list(answer.token_ids)]))[0].cpu()
    for position, token in enumerate(answer.token_ids, start=len(ids) - 1):
        assert alone[position].max() - alone[position, token] < 0.05 * alone[position].abs().max()
    off = (together - alone[: len(ids)]).abs().amax(1) / alone.abs().max()
    assert off.sort().values[len(off) // 2] < 0.03


def test_memory_that_runs_out_on_one_gpu_ends_the_answer_and_not_the_session(tiny, monkeypatch):
    """NCCL is left and joined anew, and steps are captured again."""
    sampling = Sampling(temperature=0, max_new_tokens=12)
    with open_session(tiny("llama")[1], device="cuda:0", gpus=2, split="tensor") as session:
        _, ids = session.render("Mara gave the red lamp")
        expected = session.generate(ids, sampling).token_ids

        def fail(partial):
            monkeypatch.undo()
            raise torch.OutOfMemoryError("CUDA out of memory.")

        monkeypatch.setattr(session.ranks.link, "sum", fail)
        with pytest.raises(torch.OutOfMemoryError):
            session.generate(ids[1:], sampling)
        assert session.generate(ids, sampling).token_ids == expected
