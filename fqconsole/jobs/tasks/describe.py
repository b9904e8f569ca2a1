"""The describe job: the tensors that a model class has for a config, built on meta, without weights."""

import time
from typing import Any

import torch

from fqconsole.generation.skeleton import build_skeleton
from fqconsole.jobs.desk import Desk
from fqconsole.jobs.messages import ConfigDescribed, StartDescribe
from fqconsole.models.bare_config import ClassShapes
from fqconsole.models.description import TensorInfo
from fqconsole.models.errors import ModelError, shown

smallest_change = "Close other programs."
DTYPES = {torch.bfloat16: "BF16", torch.float16: "F16", torch.float32: "F32"}
OTHER_DTYPES = {torch.int64: "I64", torch.int32: "I32", torch.bool: "BOOL"}  # counters among the buffers


def run(request: StartDescribe, desk: Desk) -> None:
    """Describe `request.config`."""
    desk.watch.phase("describe", 0, "tensors")
    config = _config(request.config)
    dtype = config.dtype if config.dtype in DTYPES else torch.bfloat16
    model = build_skeleton(config, dtype)
    described = {**config.to_dict(), "architectures": [type(model).__name__]}
    described.pop("quantization_config", None)
    desk.put(ConfigDescribed(t=time.time(), shapes=ClassShapes(plain(described), tensors_of(model))))


def tensors_of(model: torch.nn.Module) -> tuple[TensorInfo, ...]:
    """Every tensor that a checkpoint of `model` holds, tied ones once, as if in one file."""
    found: list[TensorInfo] = []
    seen: set[int] = set()
    position = 0
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        word = DTYPES.get(tensor.dtype) or OTHER_DTYPES.get(tensor.dtype, "F32")
        end = position + tensor.numel() * tensor.element_size()
        found.append(TensorInfo(name, word, tuple(tensor.shape), "", position, end))
        position = end
    return tuple(found)


def plain(value: Any) -> Any:
    """`value` as JSON knows it; a dtype becomes its word."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _config(fields: dict[str, Any]) -> Any:
    from transformers import CONFIG_MAPPING

    kind = fields.get("model_type")
    if kind not in CONFIG_MAPPING:
        raise ModelError(
            f"The field model_type is {shown(kind, 60)!r}, which the installed transformers does not know.",
            "Choose a model that transformers knows.",
        )
    try:
        config = CONFIG_MAPPING[kind].from_dict(
            {key: value for key, value in fields.items() if key not in ("quantization_config", "auto_map")}
        )
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ModelError(
            f"transformers refuses this config: {shown(' '.join(lines) or type(error).__name__, 200)}",
            "Repair the field.",
        ) from error
    return config
