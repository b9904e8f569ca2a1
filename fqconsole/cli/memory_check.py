"""The memory preview as a gate: a job that is predicted not to fit does not start, unless forced."""

from typing import TYPE_CHECKING

from fqconsole.cli.output import Output
from fqconsole.cli.quantities import precision, size
from fqconsole.errors import DoesNotFitError

if TYPE_CHECKING:
    from fqconsole.fit import Capacity, Option
    from fqconsole.models.description import ModelDescription
    from store import MemoryPair


def capacity(gpu: str | None = None, device: str = "auto") -> "Capacity":
    """What to measure against: the named GPU, the GPUs here, or this machine's memory (always for the CPU).

    Raises UsageError for a GPU that is not in the catalogue.
    """
    from fqconsole.fit.capacity import capacity_here, host_capacity, named_gpu

    if gpu is not None:
        return named_gpu(gpu)
    from fqconsole.fit.history import learned
    from fqconsole.fit.probe import probed

    if device == "cpu":
        return learned(probed(host_capacity()), memory_history())
    from fqconsole.gpus import open_gpus

    return learned(probed(capacity_here(open_gpus().sample())), memory_history())


def memory_history() -> "list[MemoryPair]":
    """What earlier runs were predicted to take, and took; nothing where there is no record yet."""
    from fqconsole import paths
    from store import Store, StoreError

    if not paths.store_file().is_file():
        return []
    try:
        with Store.open(paths.store_file()) as store:
            return store.memory_history()
    except StoreError:  # a preview needs no record
        return []


def predicted_gpu(device: str) -> int | None:
    """The GPU that a prediction for `device` is about; None for the host."""
    if device == "cpu" or capacity(device=device).kind == "host":
        return None
    _, _, index = device.partition(":")
    return int(index) if index.isdecimal() else 0


def room_to_quantize(
    model: "ModelDescription", bits: int, device: str, output: Output, *, force: bool
) -> int:
    """The predicted peak of the quantize job, bytes; warns when its result would not fit here.

    Raises DoesNotFitError when the job itself does not fit, unless `force`.
    """
    from fqconsole.fit import preview

    here = capacity(device=device)
    found = preview(model, here, bits=(bits,), gpu_counts=(1,))
    if found.quantize_peak > here.free_bytes and not force:
        raise DoesNotFitError(
            f"Quantizing {model.id} needs {size(found.quantize_peak)} and {here.name} has "
            f"{size(here.free_bytes)} free.",
            "Free some memory, choose --device cpu, or give --force.",
        )
    option = found.options[0]
    if option.verdict == "does not fit":
        output.say(f"warning: the {precision(bits)} model will not fit here: {_shortage(option)}")
    return found.quantize_peak


def room_to_generate(
    model: "ModelDescription",
    context: int | None,
    device: str,
    *,
    force: bool,
    kv_bits: int = 16,
    gpus: int = 1,
    split: str = "auto",
) -> dict[str, int]:
    """The predicted memory by term, bytes; of several GPUs the fullest one's.

    Raises DoesNotFitError when it does not fit, unless `force`; UsageError for a context beyond the model's.
    """
    from fqconsole.fit import preview

    here = capacity(device=device)
    found = preview(
        model,
        here,
        bits=(16,),
        gpu_counts=(gpus,),
        context=context,
        kv_bits=kv_bits,
        split="tensor" if split == "tensor" else "layer" if split == "layer" else None,
    )
    option = found.options[0]
    if option.verdict == "does not fit" and not force:
        raise DoesNotFitError(
            f"{model.id} does not fit: {_shortage(option)}.",
            f"It would with {option.smallest_change}; or give --force.",
        )
    return {
        "weights": option.weights_bytes,
        "kv": option.kv_bytes,
        "activations": option.activation_bytes,
        "runtime": option.runtime_bytes,
        "total": option.total_bytes_per_gpu,
    }


def _shortage(option: "Option") -> str:
    return f"it needs {size(option.total_bytes_per_gpu)} and {size(option.capacity_bytes)} are free"
