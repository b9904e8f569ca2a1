"""The memory of one answer, term by term: measured, and what the preview says of just as many tokens."""

import os
import time

import psutil

from fqconsole.fit import preview
from fqconsole.fit.capacity import Capacity, capacity_here, host_capacity
from fqconsole.fit.probe import probed
from fqconsole.fit.runtime import exchange, runtime
from fqconsole.generation import Session
from fqconsole.generation.answer import Generation
from fqconsole.gpus import GpuSnapshot, open_gpus
from fqconsole.jobs.memory_peak import device_index
from fqconsole.jobs.messages import MemoryMeasured
from fqconsole.models import ModelDescription


class AnswerMemory:
    """Made when a session is loaded, with nothing asked yet: what the process holds then beside the weights
    is its runtime.
    """

    def __init__(self, session: Session, model: ModelDescription) -> None:
        self._session = session
        self._model = model
        self._gpu = device_index(str(session.device))
        self._runtime: int | None = None
        if self._gpu is None:
            self._runtime = max(0, psutil.Process().memory_info().rss - session.weights_bytes)

    def terms(self, result: Generation) -> dict[str, tuple[int, int | None]]:
        """Term → measured and predicted bytes; a term that can't be read here is left out."""
        weights, cache = self._session.weights_bytes, result.cache_bytes
        runtime = self._runtime if self._gpu is None else held_beside_torch(self._gpu)
        inside = result.peak_bytes - (runtime or 0 if self._gpu is None else 0)
        total = inside + (runtime or 0)
        expected = self._expected(result)
        if runtime is None and "total" in expected:  # like with like
            expected["total"] -= expected.pop("runtime")
        found: dict[str, int] = {"weights": weights, "total": total}
        if runtime is not None:
            found["runtime"] = runtime
        if cache:
            found["kv"] = cache
            found["activations"] = max(0, inside - weights - cache)
        return {term: (count, expected.get(term)) for term, count in found.items()}

    def events(self, run_id: str, result: Generation) -> list[MemoryMeasured]:
        """The same as events."""
        return [
            MemoryMeasured(
                t=time.time(), run_id=run_id, gpu=self._gpu, term=term, bytes=count, predicted=predicted
            )
            for term, (count, predicted) in self.terms(result).items()
        ]

    def exchange(self, run_id: str) -> list[MemoryMeasured]:
        """Of a session on several GPUs: what the first one's process holds beside torch and its runtime. The
        rest of what was measured there is one GPU's share of the model.
        """
        held = None if self._gpu is None else held_beside_torch(self._gpu)
        here = self._capacity()
        if held is None or here.runtime is None:  # without a probe the two can't be told apart
            return []
        count = max(0, held - runtime(here).bytes)
        return [
            MemoryMeasured(
                t=time.time(),
                run_id=run_id,
                gpu=self._gpu,
                term="exchange",
                bytes=count,
                predicted=exchange(here).bytes,
            )
        ]

    def _expected(self, result: Generation) -> dict[str, int]:
        """The preview's terms for the tokens that have a cache, with the activations of the prompt."""
        grown = result.prompt_tokens + max(0, len(result.token_ids) - 1)
        kept = result.cache_tokens or grown
        try:
            here = self._capacity()
            whole, prompt = (
                preview(
                    self._model,
                    here,
                    bits=(16,),
                    gpu_counts=(1,),
                    context=tokens,
                    kv_bits=self._session.kv_bits,
                ).options[0]
                for tokens in (kept, result.prompt_tokens)
            )
        except Exception:  # noqa: BLE001 - the answer is there: it must not fail for want of a forecast
            return {}
        terms = {
            "weights": whole.weights_bytes,
            "kv": whole.kv_bytes,
            "activations": prompt.activation_bytes + whole.graph_bytes,
            "runtime": whole.runtime_bytes,
        }
        return {**terms, "total": sum(terms.values())}

    def _capacity(self) -> Capacity:
        if self._gpu is None:
            return probed(host_capacity())
        return probed(capacity_here([s for s in open_gpus().sample() if s.index == self._gpu]))


def held_beside_torch(gpu: int) -> int | None:
    """Bytes of a GPU that this process holds outside torch's allocator; None where NVML does not tell."""
    import torch

    card = next((snapshot for snapshot in open_gpus().sample() if snapshot.index == gpu), None)
    held = _own_bytes(card)
    return None if held is None else max(0, held - int(torch.cuda.memory_reserved(gpu)))


def _own_bytes(card: GpuSnapshot | None) -> int | None:
    """What NVML says this process holds. In a container its number is hidden: the only process is ours."""
    if card is None:
        return None
    ours = [process for process in card.processes if process.pid == os.getpid()]
    if not ours and len(card.processes) == 1 and card.processes[0].pid is None:
        ours = list(card.processes)
    return ours[0].memory_bytes if ours else None
