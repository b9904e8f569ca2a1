"""A dialogue as passages: what was said is made once, and made anew where it changed."""

from types import SimpleNamespace

import pytest

from fqconsole.app.answer import Answer
from fqconsole.app.dialogue_passages import DialoguePassages
from fqconsole.app.turn import Turn
from fqconsole.generation.options import Sampling
from fqconsole.jobs.messages import TokensGenerated

SESSION = SimpleNamespace(precision="int4", has_template=True, state="ready", problem="")


def turn(prompt, *pieces, status="stopped"):
    answer = Answer(prompt, Sampling(seed=1), status=status, run_id="r1", pieces=list(pieces))
    return Turn(prompt, {"a": answer})


@pytest.fixture
def talk():
    return SimpleNamespace(turns=[turn("one", "first"), turn("two", "second"), turn("three")], system="")


def texts(passages):
    return [passage.text for passage in passages]


def test_passages_of_turns_that_are_over_are_the_same_objects(talk):
    made = DialoguePassages()
    before = made.of(talk, SESSION, markdown=True)
    last = talk.turns[-1].answers["a"]
    last.take(TokensGenerated(t=0.0, run_id="r1", text="third", count=1, tok_s=None))
    after = made.of(talk, SESSION, markdown=True)
    assert texts(after)[-2:] == ["three", "third"]
    earlier = texts(before).index("three")
    assert earlier and all(a is b for a, b in zip(before[:earlier], after[:earlier], strict=True))


def test_another_answer_another_look_and_an_answer_that_goes_on_are_made_anew(talk):
    made = DialoguePassages()
    made.of(talk, SESSION, markdown=True)
    talk.turns[1] = turn("two", "again", status="writing")
    assert "again" in texts(made.of(talk, SESSION, markdown=True))
    talk.turns[1].answers["a"].pieces.append(" and on")
    assert "again and on" in texts(made.of(talk, SESSION, markdown=True))
    assert not any(passage.markdown for passage in made.of(talk, SESSION, markdown=False))
    del talk.turns[1:]
    assert texts(made.of(talk, SESSION, markdown=True)) == ["one", "first"]
