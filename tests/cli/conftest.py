"""A command line run in this process, and a model that takes long without taking disk space."""

import json
import signal
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fqconsole.cli import main
from fqconsole.cli.ending import ENDING

DEMO = Path(__file__).resolve().parents[2] / "fqconsole" / "demo" / "weights" / "demo"


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def fq(capsys):
    """`fq("fit", "demo")` runs a command line in this process."""
    before = {number: signal.getsignal(number) for number in ENDING}

    def run(*arguments: str) -> Said:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return Said(code, printed.out, printed.err)

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)


def sparse_model(folder: Path, *, layers: int, hidden: int, inner: int) -> Path:
    """A dense model whose weights are a hole in its file: zeros that take no disk space."""
    folder.mkdir(parents=True)
    config = json.loads((DEMO / "config.json").read_text())
    heads = hidden // 64
    config |= {
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "head_dim": 64,
    }
    config.pop("layer_types", None)
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((DEMO / name).read_bytes())
    shapes = {"model.embed_tokens.weight": [config["vocab_size"], hidden], "model.norm.weight": [hidden]}
    for layer in range(layers):
        at = f"model.layers.{layer}"
        shapes |= {f"{at}.self_attn.{part}_proj.weight": [hidden, hidden] for part in "qkvo"}
        shapes |= {f"{at}.mlp.{part}_proj.weight": [inner, hidden] for part in ("gate", "up")}
        shapes[f"{at}.mlp.down_proj.weight"] = [hidden, inner]
        shapes |= {f"{at}.{part}_layernorm.weight": [hidden] for part in ("input", "post_attention")}
    header, end = {}, 0
    for name, shape in shapes.items():
        start, size = end, 2
        for width in shape:
            size *= width
        end = start + size
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    return folder
