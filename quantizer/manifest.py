"""`fqconsole_manifest.json`: where a checkpoint came from, how each matrix was made, and a checksum per file.

It holds no times and no places of this machine beyond the source's folder, so that a resumed run writes the
same bytes as an undisturbed one.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from fqconsole.errors import MALFORMED, OperatorError
from fqconsole.models.description import ModelDescription
from quantizer.config import transformers_refusals
from quantizer.journal import WrittenShard
from quantizer.plan import Plan, model_bits_per_weight, plan_bits_per_weight, predicted_bytes

MANIFEST = "fqconsole_manifest.json"
MANIFEST_VERSION = 1


class SourceFile(msgspec.Struct, frozen=True):
    file: str
    bytes: int
    sha256: str


class Source(msgspec.Struct, frozen=True):
    """The 16-bit model that was quantized."""

    model: str
    revision: str | None
    path: str | None  # the folder it lay in
    license: str | None
    suggested_prompt: str | None
    bytes: int  # safetensors payload
    files: tuple[SourceFile, ...]


class MatrixRecord(msgspec.Struct, frozen=True):
    """What became of one matrix or one stack of experts; its scheme and statistic stand in the plan."""

    name: str
    bits: int
    group_size: int | None
    relative_error: float  # ‖W−Ŵ‖/‖W‖
    bytes: int


class Manifest(msgspec.Struct, frozen=True):
    """The record of one checkpoint."""

    source: Source
    plan: Plan
    matrices: tuple[MatrixRecord, ...]
    shards: tuple[WrittenShard, ...]
    matrix_bytes: int
    payload_bytes: int  # safetensors payload, kept tensors included
    bits_per_weight: float  # over the quantized matrices
    model_bits_per_weight: float  # over all weights
    refused_by_engines: tuple[
        str, ...
    ]  # fused sets whose matrices differ; empty unless granularity is "matrix"
    made_with: dict[str, str]  # program → version
    refused_by_transformers: tuple[str, ...] = ()  # what of the plan it has no packed form of
    version: int = MANIFEST_VERSION


def build_manifest(
    description: ModelDescription,
    plan: Plan,
    *,
    errors: Mapping[int, float],
    shards: Sequence[WrittenShard],
    source_files: Sequence[SourceFile],
    payload_bytes: int,
    refusals: Sequence[str],
    made_with: Mapping[str, str],
) -> Manifest:
    """The manifest of a finished checkpoint; `errors` is the relative error by index in the plan."""
    matrices = tuple(
        MatrixRecord(m.name, m.scheme.bits, m.scheme.group_size, errors[index], m.bytes)
        for index, m in enumerate(plan.matrices)
    )
    source = Source(
        model=description.id,
        revision=description.revision,
        path=description.path,
        license=description.license,
        suggested_prompt=description.suggested_prompt,
        bytes=description.bytes,
        files=tuple(source_files),
    )
    return Manifest(
        source=source,
        plan=plan,
        matrices=matrices,
        shards=tuple(shards),
        matrix_bytes=predicted_bytes(plan),
        payload_bytes=payload_bytes,
        bits_per_weight=round(plan_bits_per_weight(plan), 6),
        model_bits_per_weight=round(model_bits_per_weight(plan), 6),
        refused_by_engines=tuple(refusals),
        refused_by_transformers=tuple(transformers_refusals(plan)),
        made_with=dict(made_with),
    )


def manifest_bytes(manifest: Manifest) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a checkpoint, None where there is none. Raises OperatorError for a damaged one."""
    path = folder / MANIFEST
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as failure:
        raise OperatorError(f"{path} can't be read: {failure.strerror}.") from failure
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except MALFORMED as failure:
        raise OperatorError(f"{path} is damaged: {failure}.", "Quantize the model again.") from failure
    if manifest.version > MANIFEST_VERSION:
        raise OperatorError(f"{path} was written by a newer fqconsole.", "Update fqconsole.")
    return manifest
