"""What a worker can load before it knows its request: imports are most of the seconds of a session's start.

Nothing here touches a GPU: a worker that waits takes none of its memory.
"""

import contextlib
from collections.abc import Callable, Mapping
from importlib import import_module

from fqconsole.collector import uncollected

# By the kind of job, in the order in which the job itself would load them. Transformers loads most of itself
# when a name is first asked for, and our kernels load Triton with their first use: hence the single modules.
READY: Mapping[str, tuple[str, ...]] = {
    "session": (
        "torch",
        "quantizer.device",
        "fqconsole.jobs.tasks.session",
        "transformers",
        "transformers.models.auto.tokenization_auto",
        "transformers.tokenization_utils_tokenizers",
        "transformers.modeling_utils",
        "transformers.models.auto.modeling_auto",
        "transformers.models.llama.modeling_llama",
        "triton.runtime",
        "kernels.attention_launch",
        "kernels.choice_kernel",
        "kernels.decode",
        "kernels.norms_kernel",
        "kernels.prefill",
        "kernels.prompt_kernel",
        "kernels.repack",
        "kernels.ring_plan",
        "kernels.rotary_kernel",
    )
}


def make_ready(kind: str, is_asked: Callable[[], bool]) -> None:
    """Import what a job of this kind needs, or as much of it as there is time for until `is_asked`.

    An import that fails is left to the job, which tells why.
    """
    with uncollected():
        for name in READY[kind]:
            if is_asked():
                return
            with contextlib.suppress(Exception):
                import_module(name)
