"""The stories: the same everywhere, right in sums and pronouns, and training never sees held-out ones."""

import re
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fqconsole.demo import grammar, heldout_text, vocabulary
from fqconsole.demo.corpus import HELDOUT_START, documents, heldout_seeds, story, training_seeds
from fqconsole.demo.plots import PLOTS

NUMBER = {word: value for value, word in enumerate(vocabulary.NUMBERS)}
WORDS = "|".join(vocabulary.NUMBERS)


@pytest.fixture(scope="module")
def stories():
    return [story(seed) for seed in range(5000)]


def test_the_same_seed_tells_the_same_story_on_every_machine():
    assert story(0) == (
        "Nina and Noah lived in a green valley. One cold morning, they walked to the river. "
        'When it was dark, they heard a deep hoot. "What if it is a monster?" asked Nina. '
        "Nina hid under a blanket. Slowly, Nina lifted a candle. There was no monster. "
        "It was only an owl on the roof. They both laughed, and Noah waved at it. "
        "Noah told everyone how brave Nina had been."
    )


def test_five_thousand_stories_are_all_different_and_between_four_and_twenty_sentences(stories):
    assert len(set(stories)) == len(stories)
    for text in stories:
        sentences = re.findall(r'[.!?]"?(?= |$)', text)
        assert 4 <= len(sentences) <= 20, text


def test_every_way_of_telling_every_beat_has_its_words():
    for plot in PLOTS:
        for seed in range(20):
            rng = Random(seed)
            slots = grammar.cast(rng, outdoors=plot.outdoors)
            plot.fill(rng, slots)
            assert not [value for value in slots.values() if "{" in value]
            ways = [way for beat in plot.beats for way in beat.ways]
            for way in [*ways, *grammar.ENDINGS[plot.theme], *grammar.TRAIT_ENDINGS]:
                told = way.format_map(slots)
                assert told[0] == '"' or told[0].isupper(), told


def test_pronouns_agree_with_who_is_in_the_story(stories):
    female, male = set(vocabulary.FEMALE_NAMES), set(vocabulary.MALE_NAMES)
    assert not female & male
    for text in stories:
        spoken = set(re.findall(r"[A-Za-z]+", text))
        if spoken & {"she", "She", "her", "Her", "herself"}:
            assert spoken & female, text
        if spoken & {"he", "He", "him", "his", "His", "himself"}:
            assert spoken & male, text


def test_articles_agree_with_the_next_word(stories):
    for text in stories:
        assert not re.search(r"\b[Aa] (?:[aeio]|umbrella|old|honest)", text), text
        assert not re.search(r"\b[Aa]n [b-df-gj-np-tv-z]", text), text


def tell_many(name):
    plot = next(plot for plot in PLOTS if plot.name == name)
    return [grammar.tell(plot, Random(seed)) for seed in range(800)]


def holdings(text, thing):
    """Every "seven apples" in the story, in order, as numbers."""
    return [NUMBER[word] for word in re.findall(rf"\b({WORDS}) {thing}", text)]


def test_what_is_left_after_giving_is_the_difference():
    for text in tell_many("give"):
        start = re.search(rf"\b({WORDS}) (\w+)(?: in |\.)", text.replace(" of them", ""))
        given = re.search(rf"(?:gave \w+ |gave |So \w+ gave \w+ )({WORDS})\b", text)
        left = re.search(rf"(?:Now|with|still had|that,) (?:\w+ had )?({WORDS})\b", text[given.end() :])
        assert NUMBER[start[1]] - NUMBER[given[1]] == NUMBER[left[1]], text


def test_what_is_collected_is_the_sum():
    for text in tell_many("collect"):
        first, second, total = (NUMBER[word] for word in re.findall(rf"\b({WORDS})\b", text)[-3:])
        assert first + second == total, text


def test_what_is_lost_is_the_difference():
    for text in tell_many("lose some"):
        told = text.replace("only one left", "one left")
        start, lost, left = (NUMBER[word] for word in re.findall(rf"\b({WORDS})\b", told)[:3])
        assert start - lost == left, text


def test_equal_shares_are_equal():
    for text in tell_many("share equally"):
        whole, *shares = (
            NUMBER[word.lower()] for word in re.findall(rf"\b({WORDS})\b", text.split("had ")[1], re.I)
        )
        assert all(2 * share == whole for share in shares[:2]), text
        assert shares, text


def test_money_paid_and_money_left_make_what_there_was():
    for text in tell_many("buy"):
        coins = holdings(text, "coins?")
        assert coins[0] == coins[1] + coins[-1], text


def test_money_earned_is_what_was_missing():
    for text in tell_many("earn and buy"):
        had, price, gap, *_ = (NUMBER[word] for word in re.findall(rf"\b({WORDS})\b", text))
        assert had + gap == price, text


def test_what_was_lost_is_what_is_found():
    for text in tell_many("lost"):
        colors, things = "|".join(vocabulary.COLORS), "|".join(vocabulary.KEEPSAKES)
        assert len(set(re.findall(rf"\b({colors}) ({things})\b", text))) == 1, text
        assert len(set(re.findall(rf"\bthe (?:(?:{colors}) )?({things})\b", text))) <= 1, text


@given(st.integers(0, 10**6), st.integers(0, 1000))
def test_training_seeds_are_never_held_out(count, seed):
    seeds = training_seeds(count, seed)
    assert len(seeds) == count
    assert not count or seeds[-1] < HELDOUT_START
    assert not set(heldout_seeds(50)) & {*seeds[:100], *seeds[-100:]}


def test_training_seeds_that_would_reach_the_held_out_ones_are_refused():
    with pytest.raises(ValueError, match="held-out"):
        training_seeds(10, HELDOUT_START)


def test_held_out_text_is_stories_with_blank_lines_between_them():
    text = heldout_text(3)
    assert text.split("\n\n") == [story(seed) for seed in heldout_seeds(3)]
    assert len(heldout_text().split("\n\n")) == 200


def test_documents_hold_every_story_once():
    seeds = training_seeds(500)
    found = documents(seeds)
    assert 250 < len(found) < 450
    assert "\n\n".join(found).split("\n\n") == [story(seed) for seed in seeds]
