"""lm-evaluation-harness on a session: small tasks of our own, no network. Skipped where it is absent."""

import json
import math
import sys

import pytest
import torch

from fqconsole.errors import OperatorError, UsageError
from fqconsole.evaluation.harness import run_tasks
from fqconsole.evaluation.task_names import PAPER, harness_names
from fqconsole.generation import open_session
from quantizer.watch import SilentWatch
from tests.generation.tiny_models import quantize, save_llama, write_tokenizer

CHOICE = """
task: fq_test_choice
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: question
doc_to_target: answer
doc_to_choice: choices
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
metadata: {{version: 1.0}}
"""
ANSWER = """
task: fq_test_answer
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: generate_until
doc_to_text: question
doc_to_target: right
generation_kwargs: {{until: ["."], do_sample: false, max_gen_toks: 6}}
metric_list: [{{metric: bleu}}]
metadata: {{version: 1.0}}
"""
TEXT = """
task: fq_test_text
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: question
metric_list: [{{metric: word_perplexity}}]
metadata: {{version: 1.0}}
"""


@pytest.fixture
def folders(tmp_path):
    save_llama(tmp_path / "source")
    write_tokenizer(tmp_path / "source")
    quantize(tmp_path / "source", tmp_path / "packed", tmp_path / "plain", bits=8, group_size=32)
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    data = tasks / "data.jsonl"
    questions = [
        {
            "question": "Mara gave the lamp to",
            "choices": [" Otto", " the tower"],
            "answer": 0,
            "right": "Otto",
        },
        {"question": "Otto climbed the", "choices": [" lamp", " stairs"], "answer": 1, "right": "stairs"},
        {"question": "Where is the", "choices": [" key", " dark"], "answer": 0, "right": "key"},
    ]
    data.write_text("\n".join(map(json.dumps, questions)))
    for name, text in (("choice", CHOICE), ("answer", ANSWER), ("text", TEXT)):
        (tasks / f"{name}.yaml").write_text(text.format(data=data))
    return tmp_path


def test_the_papers_tasks_go_by_their_names():
    assert harness_names(["LAMBADA", "piqa", "piqa", "mmlu"]) == ("lambada_openai", "piqa", "mmlu")
    assert harness_names(["paper"]) == tuple(PAPER.values())
    assert len(PAPER) == 8
    with pytest.raises(UsageError, match="No task"):
        harness_names([])


def test_a_missing_harness_is_told_with_what_to_type(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(OperatorError, match=r"pip install .*\"lm-eval>="):
        run_tasks(tmp_path, ["piqa"], watch=SilentWatch())


def word_perplexity(folder):
    """exp of the mean loss a word, text by text, each after the end token, which begins a text too."""
    words = loss = 0
    with open_session(folder, device="cpu") as session:
        for text in ("Mara gave the lamp to", "Otto climbed the", "Where is the"):
            ids = torch.tensor([[session.tokenizer.eos_token_id, *session.tokenizer(text)["input_ids"]]])
            logp = torch.log_softmax(session.logits(ids)[0], -1)
            loss -= float(logp[:-1].gather(-1, ids[0, 1:, None]).sum())
            words += len(text.split())
    return math.exp(loss / words)


@pytest.mark.slow
def test_tasks_of_a_folder_run_without_a_network(folders, monkeypatch):
    pytest.importorskip("lm_eval", reason="lm-evaluation-harness (fqconsole[eval]) is not installed")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    found = run_tasks(
        folders / "packed",
        ["fq_test_choice", "fq_test_answer", "fq_test_text"],
        task_path=folders / "tasks",
        device="cpu",
        watch=SilentWatch(),
    )
    accuracy, bleu, perplexity = found.scores
    assert (accuracy.task, accuracy.metric, accuracy.questions) == ("fq_test_choice", "acc", 3)
    assert accuracy.value * 3 == pytest.approx(round(accuracy.value * 3))
    assert accuracy.standard_error == pytest.approx((accuracy.value * (1 - accuracy.value) / 2) ** 0.5)
    assert (bleu.metric, bleu.standard_error) == ("bleu", None)
    assert bleu.signature.startswith("nrefs:1|case:mixed")
    assert (perplexity.metric, perplexity.higher_is_better) == ("word_perplexity", False)
    assert perplexity.value == pytest.approx(word_perplexity(folders / "packed"), rel=1e-3)
    with pytest.raises(UsageError, match="fq_test_choice"):
        run_tasks(folders / "packed", ["fq_test_choise"], task_path=folders / "tasks", watch=SilentWatch())
