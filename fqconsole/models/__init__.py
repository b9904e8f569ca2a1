"""Finding checkpoints (built in, folders, cache, hub) and describing them from config and headers."""

from fqconsole.models.describe import describe_folder
from fqconsole.models.description import (
    LayerAttention,
    ModelDescription,
    ModelEntry,
    QuantizationInfo,
    TensorInfo,
)
from fqconsole.models.errors import HubError, ModelError
from fqconsole.models.hub import describe_hub
from fqconsole.models.listing import describe, list_models, resolve_model

__all__ = [
    "HubError",
    "LayerAttention",
    "ModelDescription",
    "ModelEntry",
    "ModelError",
    "QuantizationInfo",
    "TensorInfo",
    "describe",
    "describe_folder",
    "describe_hub",
    "list_models",
    "resolve_model",
]
