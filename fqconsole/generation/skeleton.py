"""The transformers model without weights: built on meta from the config, with what is computed rather than
stored.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fqconsole.errors import OperatorError


def read_config(path: Path) -> Any:
    """The transformers config of the model in `path`, as if it had never been quantized; no code from there
    runs.

    Raises OperatorError for an architecture that the installed transformers doesn't know.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise OperatorError(
            f"The model in {path} can't be loaded: {_first_line(error)}",
            "Choose a model that transformers knows.",
        ) from error
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    return config


def stored_dtype(config: Any) -> torch.dtype:
    """What the checkpoint's config says that its 16-bit tensors are stored in; bfloat16 where it does not."""
    dtype = getattr(config, "dtype", None)
    if dtype is None:
        dtype = getattr(config.get_text_config(), "dtype", None)
    return dtype if isinstance(dtype, torch.dtype) else torch.bfloat16


def build_skeleton(config: Any, dtype: torch.dtype) -> nn.Module:
    """The causal language model of `config` on meta, in `dtype`; no weight is initialised.

    A model that sees images too is built whole where transformers has no text part of it on its own. Raises
    OperatorError when transformers has neither.
    """
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, initialization

    problem: Exception | None = None
    for kind in (AutoModelForCausalLM, AutoModelForImageTextToText):
        try:
            with torch.device("meta"), initialization.no_init_weights():
                model: nn.Module = kind.from_config(config, dtype=dtype, trust_remote_code=False)
        except (ValueError, ImportError) as error:
            problem = problem or error
        else:
            return model.eval()
    raise OperatorError(
        f"transformers can't build a {config.model_type} model for text: "
        f"{_first_line(problem) if problem else 'unknown'}",
        "Choose a causal language model.",
    ) from problem


def compute_buffers(model: Any, device: torch.device) -> None:
    """Give the buffers that no checkpoint stores (rotary frequencies, embedding scales) their values on
    `device`.

    transformers computes them in `_init_weights`, which leaves parameters on meta as they are. Raises
    OperatorError naming a buffer that stays without a value.
    """
    marked: dict[str, torch.Tensor] = {}
    for name, buffer in list(model.named_non_persistent_buffers()):
        owner, leaf = _owner(model, name)
        marker = torch.empty_like(buffer, device=device)
        if marker.dtype != torch.bool:
            marker.fill_(_unset(marker.dtype))
        owner._buffers[leaf] = marker
        marked[name] = marker
    with torch.no_grad():
        for name in sorted({_parent_name(buffer) for buffer in marked}):
            _closest_pretrained(model, name)._init_weights(model.get_submodule(name))
    for name in marked:
        if not _lacks_value(model, name):
            continue
        # Some are the business of a module further out (the model for all its layers).
        for outer in _outwards(_parent_name(name)):
            with torch.no_grad():
                _closest_pretrained(model, outer)._init_weights(model.get_submodule(outer))
            if not _lacks_value(model, name):
                break
        else:
            raise OperatorError(
                f"The buffer {name} is computed by the model itself, but transformers gave it no value.",
                "Try another version of transformers.",
            )


def fp32_names(model: Any, dtype: torch.dtype) -> list[str]:
    """Patterns of parameter names that the model wants in float32 whatever it computes in."""
    return list(model._get_dtype_plan(dtype))


def _unset(dtype: torch.dtype) -> float | int:
    return float("nan") if dtype.is_floating_point or dtype.is_complex else torch.iinfo(dtype).min


def _is_unset(value: torch.Tensor) -> bool:
    if value.dtype.is_floating_point or value.dtype.is_complex:
        return bool(value.isnan().any())
    return bool((value == torch.iinfo(value.dtype).min).any())


def _lacks_value(model: nn.Module, name: str) -> bool:
    owner, leaf = _owner(model, name)
    value = owner._buffers[leaf]
    return value is not None and value.dtype != torch.bool and _is_unset(value)


def _outwards(name: str) -> Iterator[str]:
    """The modules around module `name`, from the innermost to the model itself."""
    while name:
        name = _parent_name(name)
        yield name


def _parent_name(name: str) -> str:
    return name.rpartition(".")[0]


def _owner(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    parent, _, leaf = name.rpartition(".")
    return model.get_submodule(parent), leaf


def _closest_pretrained(model: Any, name: str) -> Any:
    """The innermost sub-model around module `name`: its class knows how its modules are initialised."""
    found = model
    module = model
    for part in name.split("."):
        module = getattr(module, part) if part else module
        if hasattr(module, "_init_weights"):
            found = module
    return found


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
