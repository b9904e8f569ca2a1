"""The checkpoint's config.json, index and companion files, as transformers and serving engines read them.

The container is compressed-tensors `pack-quantized`: one config group per distinct (bits, group size),
matrices by their exact names, the routed experts of a layer by one pattern. Where the experts' layers differ
(`--experts layer`), a group that fits no matrix comes first: transformers reads all experts by the first
group that speaks of experts, and takes int8 for int4 without a word; by this one it fails.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from fqconsole.errors import MALFORMED, OperatorError
from fqconsole.models.description import ModelDescription
from quantizer.base import set_word
from quantizer.head import HEAD, HEAD_BITS, untied
from quantizer.matrices import is_routed, plan_matrices
from quantizer.parts import Part
from quantizer.plan import MatrixPlan, Plan
from quantizer.scheme import Scheme, group_word

CONFIG = "config.json"
INDEX = "model.safetensors.index.json"
FORMAT = "pack-quantized"
METHOD = "compressed-tensors"
GUARD = Scheme(5, 16)  # nothing of ours has 5 bits
ENGINE_KINDS = {"gate_proj", "up_proj", "down_proj"}
GUARD_TARGET = "re:^the experts of the layers differ: import fqconsole.transformers first$"

# What describes the text side of a model and is no weight and no code.
COMPANIONS = (
    "tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json", "*.model",
    "generation_config.json", "chat_template*", "preprocessor_config.json", "processor_config.json",
    "license*", "licence*", "notice*",
)  # fmt: skip


def quantization_config(plan: Plan) -> dict[str, Any]:
    """The `quantization_config` of a plan."""
    targets: dict[Scheme, list[str]] = defaultdict(list)
    places: dict[tuple[Scheme, str], list[str]] = defaultdict(list)
    for matrix in plan.matrices:
        if len(matrix.shape) == 2:
            targets[matrix.scheme].append(matrix.name)
        else:
            place, _, kind = matrix.name.rpartition(".")
            places[matrix.scheme, place].append(kind)
    whole = Counter(place for _, place in places)
    for (scheme, place), kinds in places.items():
        # SGLang asks for `gate_proj` and its sisters also where a model calls them w1, w2, w3.
        strange = not set(kinds) <= ENGINE_KINDS
        alone = strange and whole[place] == 1
        words = "[^.]+" if alone else f"(?:{'|'.join(re.escape(kind) for kind in kinds)})"
        targets[scheme].append(rf"re:{re.escape(place)}\.\d+\.{words}$")
    groups = [_config_group(scheme, names) for scheme, names in targets.items()]
    if unlike_experts(plan):
        groups.insert(0, _config_group(GUARD, [GUARD_TARGET]))
    return {
        "quant_method": METHOD,
        "format": FORMAT,
        "quantization_status": "compressed",
        "config_groups": {f"group_{index}": group for index, group in enumerate(groups)},
        "ignore": ignored_modules(plan),
        "kv_cache_scheme": None,
    }


def ignored_modules(plan: Plan) -> list[str]:
    """Linear modules that stay in 16 bits, by name: serving engines want each of them named."""
    kept = (
        tensor.name.removesuffix(".weight")
        for tensor in plan.kept
        if len(tensor.shape) == 2 and tensor.name.endswith(".weight") and tensor.reason != "embedding"
    )
    stacks = (
        rf"re:{re.escape(tensor.name.removesuffix('.weight').rpartition('.')[0])}\.\d+\."
        for tensor in plan.kept
        if len(tensor.shape) == 3 and is_routed(tensor.name)
    )
    head = [HEAD] if plan.head == HEAD_BITS[0] else []
    return list(dict.fromkeys([*head, *kept, *stacks]))


def read_config(folder: Path) -> dict[str, Any]:
    """The source's config.json. Raises OperatorError when it is missing or no JSON object."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, *MALFORMED) as failure:
        raise OperatorError(f"{folder / CONFIG} can't be read.", "Download the model again.") from failure
    if not isinstance(config, dict):
        raise OperatorError(f"{folder / CONFIG} is no JSON object.", "Download the model again.")
    return config


def config_bytes(config: Mapping[str, Any], plan: Plan) -> bytes:
    """The checkpoint's config.json: the source's with the quantization_config added."""
    return _json({**untied(config, plan), "quantization_config": quantization_config(plan)})


def index_bytes(parts: Sequence[Part]) -> bytes:
    """`model.safetensors.index.json`: which tensor lies in which file."""
    weight_map = {tensor.name: part.file for part in parts for tensor in part.tensors}
    total = sum(part.payload for part in parts)
    return _json({"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))})


def companion_files(folder: Path) -> list[Path]:
    """Files copied beside the weights: tokenizer, generation settings, chat template, license; never code."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file()
        and path.suffix not in (".py", ".safetensors", ".bin", ".pt", ".pth")
        and any(fnmatch(path.name.lower(), pattern) for pattern in COMPANIONS)
    )


def engine_refusals(description: ModelDescription, plan: Plan) -> list[str]:
    """What engines run as one, of experts those of a layer, and has more than one scheme: they refuse it.

    Only mode `matrix` has such sets.
    """
    candidates = plan_matrices(description).matrices
    sets = {candidate.name: set_word(candidate, "adaptive", "layer") for candidate in candidates}
    members: dict[str, list[MatrixPlan]] = defaultdict(list)
    for matrix in plan.matrices:
        members[sets.get(matrix.name, matrix.name)].append(matrix)
    refused = []
    for word, matrices in members.items():
        groups = dict.fromkeys(group_word(matrix.scheme.group_size) for matrix in matrices)
        if len(groups) > 1:
            refused.append(f"{word} has groups of {' and '.join(groups)}")
    return refused


def transformers_refusals(plan: Plan) -> list[str]:
    """What of a plan transformers can't read; fqconsole's own sessions run it all the same."""
    return [*packing_refusals(plan), *unlike_experts(plan)]


def unlike_experts(plan: Plan) -> list[str]:
    """One sentence where routed experts differ in bits or groups, empty elsewhere.

    transformers reads one scheme for all of them. Engines ask for one in each layer.
    """
    schemes = [
        f"{matrix.scheme.bits}/{matrix.scheme.group_word}"
        for matrix in plan.matrices
        if is_routed(matrix.tensors[0])
    ]
    schemes += ["16 bits" for kept in plan.kept if len(kept.shape) > 1 and is_routed(kept.name)]
    found = list(dict.fromkeys(schemes))
    return [f"the routed experts have {' and '.join(found)}"] if len(found) > 1 else []


def packing_refusals(plan: Plan) -> list[str]:
    """Matrices without a packed form outside fqconsole.

    compressed-tensors packs `nn.Linear` alone, so not GPT-2's Conv1D, and transformers joins packed experts
    only in families whose 16-bit checkpoints name them one by one.
    """
    refused = []
    columns = [matrix for matrix in plan.matrices if matrix.transposed and len(matrix.shape) == 2]
    if columns:
        refused.append(f"{len(columns)} layers, such as {columns[0].name}, store their weights transposed")
    odd = [matrix for matrix in plan.matrices if len(matrix.shape) == 3 and _is_odd_stack(matrix)]
    if odd:
        layers = len({matrix.layer for matrix in odd})
        refused.append(f"the experts of {layers} layers lie fused in the source")
    return refused


def _is_odd_stack(stack: MatrixPlan) -> bool:
    """Fused in the source under a name of its own, or left with gate and up together (gpt-oss)."""
    if len(stack.tensors) > 1:
        return False
    fused = stack.tensors[0].removesuffix(".weight").rpartition(".")[2]
    return stack.kind == "gate_up_proj" or fused not in ("gate_up_proj", "down_proj")


def _config_group(scheme: Scheme, targets: Sequence[str]) -> dict[str, Any]:
    return {
        "targets": list(targets),
        "weights": {
            "num_bits": scheme.bits,
            "type": "int",
            "symmetric": True,
            "strategy": "channel" if scheme.group_size is None else "group",
            "group_size": scheme.group_size,
            "dynamic": False,
        },
        "input_activations": None,
        "output_activations": None,
        "format": FORMAT,
    }


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
