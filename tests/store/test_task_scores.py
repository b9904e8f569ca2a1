"""Scores of benchmark tasks beside each other, with the error that each has."""

import pytest

from store import task_metrics


def scored(add, value, error, **more):
    return add("evaluate", metrics=task_metrics("piqa", "acc", value, error, questions=400), **more)


def line(comparison, name):
    return next(row for row in comparison.rows if row.name == name)


@pytest.mark.parametrize(
    ("value", "verdict"), [(0.79, "within noise"), (0.60, "worse"), (0.99, "better"), (0.80, "same")]
)
def test_a_score_is_compared_with_its_standard_error(store, add, value, verdict):
    runs = [scored(add, 0.80, 0.02), scored(add, value, 0.02)]
    cells = line(store.compare(runs, everything=True), "task piqa acc").cells
    assert cells[0].text.startswith("80.0 %")
    assert "n=400" in cells[0].text
    assert cells[1].verdict == verdict


def test_the_error_and_the_count_are_no_lines_of_their_own_where_they_are_alike(store, add):
    names = {row.name for row in store.compare([scored(add, 0.8, 0.02), scored(add, 0.7, 0.02)]).rows}
    assert {name for name in names if name.startswith("task")} == {"task piqa acc"}


def test_a_perplexity_is_better_when_it_is_lower_and_bleu_is_no_share(store, add):
    runs = []
    for perplexity, bleu in ((8.0, 30.0), (9.0, 31.0)):
        metrics = task_metrics("wikitext", "word_perplexity", perplexity, None, questions=10)
        metrics |= task_metrics("wmt16-de-en", "bleu", bleu, None, questions=10)
        runs.append(add("evaluate", metrics=metrics))
    comparison = store.compare(runs)
    assert line(comparison, "task wikitext word_perplexity").cells[1].verdict == "worse"
    assert line(comparison, "task wmt16-de-en bleu").label == "wmt16-de-en bleu"
    assert [cell.text for cell in line(comparison, "task wmt16-de-en bleu").cells] == ["30.0", "31.0"]


def test_scores_of_a_checkpoint_stand_under_the_run_that_made_it(store, add):
    made = add("quantize", bits=4, metrics={"bytes": 100.0})
    scored(add, 0.75, 0.02, parent=made)
    plain = scored(add, 0.80, 0.02)
    cells = line(store.compare([plain, made]), "task piqa acc").cells
    assert [round(cell.value, 2) for cell in cells] == [0.80, 0.75]
