"""Many prompts from one file: each is a run, and each line of the answer says whose it is."""

import json

import pytest

from fqconsole import paths
from fqconsole.cli.prompt_file import PromptLine, prompts_of
from fqconsole.errors import UsageError
from store import Store

ANSWER_KEYS = {"id", "run_id", "replica", "text", "tokens", "ttft_ms", "decode_tok_s", "stop_reason"}


@pytest.mark.slow
def test_two_sessions_answer_one_queue(fq, tmp_path):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "Once", "id": "a"}\n\n{"prompt": "Mara"}\n{"prompt": "Once", "id": 7}\n')
    told = fq(
        "generate", "demo", "--device", "cpu", "--prompts", prompts, "--replicas", "2", "--greedy",
        "--max-new-tokens", "4",
    )  # fmt: skip
    assert told.code == 0, told.err
    answers = {line["id"]: line for line in map(json.loads, told.out.splitlines())}
    assert answers.keys() == {"a", 3, 7}
    assert all(line.keys() == ANSWER_KEYS for line in answers.values())
    assert answers["a"]["text"] == answers[7]["text"] != answers[3]["text"]
    with Store.open(paths.store_file()) as store:
        rows = store.list_runs()
        assert {row.run_id for row in rows} == {line["run_id"] for line in answers.values()}
        assert {row.status for row in rows} == {"done"}


@pytest.mark.slow
def test_a_model_that_does_not_load_leaves_the_prompts_unanswered(fq, tmp_path):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "Once"}\n{"prompt": "Mara"}\n')
    told = fq("generate", "demo", "--device", "cuda:63", "--prompts", prompts, "--force")
    assert told.code != 0
    assert not told.out


def test_lines_are_numbered_where_they_have_no_name(tmp_path):
    file = tmp_path / "prompts.jsonl"
    file.write_text('\n{"prompt": "one"}\n{"prompt": "two", "id": "b"}\n')
    assert prompts_of(file) == [PromptLine("one", 2), PromptLine("two", "b")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"prompt": "one"}\n{"prompt": 2}\n', "Line 2 of"),
        ('{"prompt": ""}\n', "Line 1 of .* has an empty prompt"),
        ('{"text": "one"}\n', "Line 1 of"),
        ("\n", "holds no prompts"),
    ],
)
def test_what_is_no_prompt_is_named(tmp_path, text, said):
    file = tmp_path / "prompts.jsonl"
    file.write_text(text)
    with pytest.raises(UsageError, match=said):
        prompts_of(file)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--replicas", "2"), "--prompts FILE"),
        (("--prompts", "/nowhere.jsonl"), "/nowhere.jsonl can't be read"),
        (("--prompts", "/nowhere.jsonl", "--prompt", "hello"), "one model of this machine"),
    ],
)
def test_replicas_want_a_file_of_prompts(fq, arguments, said):
    told = fq("generate", "demo", *arguments)
    assert told.code == 2
    assert said in told.err
