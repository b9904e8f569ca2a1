"""`fqconsole export` with a real worker, and what it and `evaluate --tasks` refuse before one is started."""

import json

import pytest

from quantizer.engine import analyse, quantize
from tests.generation import tiny_models
from tests.quantizer.synthetic_models import describe

KEYS = {"path", "to", "bytes", "exact", "notes", "seconds"}


@pytest.fixture
def checkpoint(tmp_path):
    tiny_models.save_llama(tmp_path / "source")
    tiny_models.write_tokenizer(tmp_path / "source")
    description = describe(tmp_path / "source")
    plan = analyse(description, bits=4, granularity="fixed", group_size=32, device="cpu")
    quantize(description, plan, tmp_path / "small", device="cpu")
    return tmp_path / "small"


@pytest.mark.slow
def test_an_export_lies_beside_the_checkpoint_and_leaves_no_run(fq, checkpoint):
    made = fq("export", checkpoint, "--to", "gptq", "--json")
    assert made.code == 0, made.err
    assert made.json.keys() == KEYS
    assert made.json["path"] == str(checkpoint) + "-gptq"
    assert made.json["exact"] is True
    config = json.loads((checkpoint.parent / "small-gptq" / "config.json").read_text())
    assert config["quantization_config"]["quant_method"] == "gptq"
    assert fq("runs", "list", "--json").json == {"runs": []}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("export", "demo", "--to", "onnx"), "There is no format onnx. Choose 16bit, gptq, gguf."),
        (("evaluate", "demo", "--limit", "3"), "belong to --tasks"),
        (("evaluate", "demo", "--tasks", "piqa", "--reference", "demo"), "--tasks measures one model"),
        (("evaluate", "demo", "--tasks", ","), "No task was named"),
        (("evaluate", "demo", "--tasks", "piqa", "--task-path", "/nowhere"), "There is no folder /nowhere"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(fq, line, said):
    refused = fq(*line)
    assert refused.code == 2
    assert said in refused.err
