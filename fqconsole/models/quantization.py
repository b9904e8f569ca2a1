"""What a quantized checkpoint says of itself: quantization_config, and our manifest where it lies beside."""

from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from fqconsole.errors import MALFORMED
from fqconsole.models.config import Config
from fqconsole.models.description import QuantizationInfo
from fqconsole.models.errors import shown

MANIFEST = "fqconsole_manifest.json"
MAX_MANIFEST_BYTES = 256 << 20  # one entry a matrix; a model of a million matrices stays under it

# Methods whose name says the width when no field does.
NAMED_BITS = {"fp8": 8, "fbgemm_fp8": 8, "mxfp4": 4, "bitnet": 2}
BITS_FIELDS = ("bits", "num_bits", "w_bit", "nbits", "weight_bits")
GROUP_FIELDS = ("group_size", "q_group_size")


class ManifestHead(msgspec.Struct, frozen=True):
    """What a checkpoint of ours keeps of the model it was made from."""

    model: str
    license: str | None = None
    suggested_prompt: str | None = None


class _Manifest(msgspec.Struct):
    source: ManifestHead


def read_quantization(config: Config, manifest: Path | None) -> QuantizationInfo | None:
    """None for a 16-bit checkpoint. `manifest` is the path where ours would lie (None: not on this machine).

    Raises ModelError when quantization_config is malformed.
    """
    stored = config.get("quantization_config", "compression_config")
    if stored is None:
        return None
    if not isinstance(stored, dict):
        config.refuse("the field quantization_config is no object")
    method = str(stored.get("quant_method") or "unknown")
    ours = manifest is not None and manifest.is_file()
    head = read_manifest(manifest) if manifest is not None else None
    source = None if head is None else head.model
    schemes = _schemes(stored)
    if schemes:
        widths = Counter[int]()
        for bits, _, matrices in schemes:
            widths[bits] += matrices
        groups = tuple(dict.fromkeys(group for _, group, _ in schemes))
        return QuantizationInfo(method, widths.most_common(1)[0][0], groups, ours, source)
    bits = next((stored[name] for name in BITS_FIELDS if _is_size(stored.get(name))), 0)
    if not bits and stored.get("load_in_4bit") is True:
        bits = 4
    if not bits and stored.get("load_in_8bit") is True:
        bits = 8
    if not bits:
        bits = NAMED_BITS.get(method, 0)
    given = next((stored[name] for name in GROUP_FIELDS if isinstance(stored.get(name), int)), None)
    group_sizes: tuple[int | None, ...] = () if given is None else ((given if given > 0 else None),)
    return QuantizationInfo(shown(method, 40), bits, group_sizes, ours, source)


def _schemes(stored: dict[str, Any]) -> list[tuple[int, int | None, int]]:
    """(bits, group size, matrices named) of each compressed-tensors config group."""
    groups = stored.get("config_groups")
    if not isinstance(groups, dict):
        return []
    found = []
    for group in groups.values():
        weights = group.get("weights") if isinstance(group, dict) else None
        if not isinstance(weights, dict) or not _is_size(weights.get("num_bits")):
            continue
        size = weights.get("group_size")
        targets = group.get("targets")
        count = len(targets) if isinstance(targets, list) else 1
        found.append((weights["num_bits"], size if _is_size(size) else None, max(count, 1)))
    return found


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1 << 30


def read_manifest(manifest: Path) -> ManifestHead | None:
    """The source in our manifest; None where it is missing or unreadable: it is a record, not the model."""
    try:
        if manifest.stat().st_size > MAX_MANIFEST_BYTES:
            return None
        return msgspec.json.decode(manifest.read_bytes(), type=_Manifest).source
    except (OSError, *MALFORMED):
        return None
