"""What every fault needs: an operator, a model of several shards, and what an undisturbed run makes of it."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from fqconsole.demo import materialize
from tests.faults.operator import Command, Ended, Operator, digests, leftovers

EVERYTHING = os.environ.get("FQ_ALL_FAULTS") == "1"  # `make faults`; else a few of each kind
SHARDS = 4


only_in_full = pytest.mark.skipif(not EVERYTHING, reason="only in `make faults`")


def some(points, few):
    """All of `points` in `make faults`, else `few` of them, spread evenly."""
    points = list(points)
    return points if EVERYTHING else points[:: max(1, len(points) // few)][:few]


@pytest.fixture
def operator(tmp_path):
    return Operator(tmp_path / "home")


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """The built-in model in four shards, so that a run has something to lose and something to keep."""
    source = materialize("demo")
    folder = tmp_path_factory.mktemp("source") / "demo-in-shards"
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    tensors = load_file(source / "model.safetensors")
    names = sorted(tensors)
    each = -(-len(names) // SHARDS)
    weight_map = {}
    for shard in range(SHARDS):
        file = f"model-{shard + 1:05d}-of-{SHARDS:05d}.safetensors"
        held = names[shard * each : (shard + 1) * each]
        save_file({name: tensors[name] for name in held}, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(held, file)
    index = {"metadata": {}, "weight_map": weight_map}
    Path(folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


@pytest.fixture(scope="session")
def undisturbed(model, tmp_path_factory):
    """The files of a checkpoint that nothing happened to: name → sha256."""
    place = tmp_path_factory.mktemp("undisturbed")
    ended = Operator(place / "home").run(
        "quantize", model, "--mode", "fast", "--out", place / "out", "--quiet"
    )
    assert ended.code == 0, ended.err
    return digests(place / "out")


@pytest.fixture(scope="session")
def checkpoint(model, tmp_path_factory):
    """A quantized checkpoint to evaluate and to talk to."""
    place = tmp_path_factory.mktemp("checkpoint")
    ended = Operator(place / "home").run(
        "quantize", model, "--mode", "fast", "--out", place / "out", "--quiet"
    )
    assert ended.code == 0, ended.err
    return place / "out"


@dataclass(frozen=True)
class Quantizing:
    """A quantize that something will happen to."""

    operator: Operator
    model: Path
    out: Path
    undisturbed: dict[str, str]

    def start(self, *more: str, out: Path | None = None, **fault: Any) -> Command:
        return self.operator.start(
            "quantize", self.model, "--mode", "fast", "--quiet", "--out", out or self.out, *more, **fault
        )

    def run(self, **fault: Any) -> Ended:
        return self.start(**fault).wait()

    def resume(self) -> Ended:
        (run,) = self.operator.runs()
        return self.operator.run("quantize", "--resume", run["run_id"], "--quiet")

    def require_done(self) -> None:
        """The checkpoint has its name and the bytes of an undisturbed run, and nothing lies beside it."""
        assert digests(self.out) == self.undisturbed
        assert leftovers(self.out.parent) == []
        self.operator.require_sound()

    def require_failed(self, ended: Ended, *, code: int = 1) -> None:
        """A sentence and a next step, a failed run, and no folder under the final name."""
        self.operator.require_sound()
        assert ended.code == code, ended.err
        assert "Traceback" not in ended.err
        assert 1 <= len(ended.err.strip().splitlines()) <= 4
        assert [run["status"] for run in self.operator.runs()] == ["failed"]
        assert not self.out.exists()


@pytest.fixture
def quantizing(operator, model, undisturbed, tmp_path):
    return Quantizing(operator, model, tmp_path / "made" / "out", undisturbed)
