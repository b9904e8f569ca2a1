"""Benchmarks by lm-evaluation-harness on a session of ours; the package is loaded when it is first needed."""

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import metadata
from pathlib import Path
from typing import Any

from fqconsole.errors import OperatorError, UsageError
from fqconsole.evaluation.continuations import go_on, longest_input, score_continuations
from fqconsole.evaluation.task_names import TaskScore, harness_names
from fqconsole.generation.session import Session, open_session
from fqconsole.installing import to_have
from quantizer.watch import Watch

MOST_TOKENS = 256  # of an answer, where the task does not say
SIGNED = {"bleu": "BLEU", "chrf": "CHRF", "ter": "TER"}  # metric → sacrebleu's class


@dataclass(frozen=True)
class TaskResults:
    """What the tasks gave, in their order."""

    scores: tuple[TaskScore, ...]
    seconds: float
    versions: dict[str, str]


def run_tasks(
    model: Path,
    tasks: Sequence[str],
    *,
    task_path: Path | None = None,
    limit: int | None = None,
    fewshot: int | None = None,
    batch: int | None = None,
    device: str = "auto",
    watch: Watch,
) -> TaskResults:
    """Run `tasks` (the harness's names or the paper's) on the model in `model`, quantized or in 16 bits.

    `task_path`: a folder with more task files. `limit`: so many questions of each. `fewshot`: examples in
    each prompt, the task's own number where None. Raises OperatorError where the harness or a task's data is
    missing, UsageError for a task that it doesn't know.
    """
    started = time.perf_counter()
    harness = _harness()
    manager = harness.tasks.TaskManager(include_path=None if task_path is None else str(task_path))
    names = harness_names(tasks)
    for name in names:
        if name not in manager.all_tasks:
            near = get_close_matches(name, manager.all_tasks, n=3)
            hint = f"Did you mean {' or '.join(near)}?" if near else "`lm_eval ls tasks` lists them."
            raise UsageError(f"lm-evaluation-harness has no task {name}.", hint)
    watch.checkpoint()
    with _opened(model, device, watch) as session:
        found = _evaluate(harness, manager, session, names, watch, limit=limit, fewshot=fewshot, batch=batch)
    versions = {"lm_eval": metadata.version("lm_eval"), "datasets": metadata.version("datasets")}
    return TaskResults(_scores(found), time.perf_counter() - started, versions)


def _harness() -> Any:
    try:
        import lm_eval
        import lm_eval.tasks
    except ImportError as error:
        raise OperatorError(f"lm-evaluation-harness is not installed ({error}).", to_have("eval")) from error
    return lm_eval


def _opened(model: Path, device: str, watch: Watch) -> Session:
    told = False

    def tell(done: float, total: float) -> None:
        nonlocal told
        if not told:
            watch.phase("load", total, "B")
            told = True
        watch.progress(done, note=model.name)

    return open_session(model, device=device, on_progress=tell)


def _evaluate(
    harness: Any,
    manager: Any,
    session: Session,
    names: Sequence[str],
    watch: Watch,
    *,
    limit: int | None,
    fewshot: int | None,
    batch: int | None,
) -> dict[str, Any]:
    from datasets.exceptions import DatasetsError

    try:
        found: dict[str, Any] = harness.simple_evaluate(
            model=_subject(session, watch, batch),
            tasks=list(names),
            num_fewshot=fewshot,
            limit=limit,
            # Bootstrapping starts processes of its own, for errors that a closed form gives at once.
            bootstrap_iters=0,
            log_samples=True,
            task_manager=manager,
        )
    except (DatasetsError, ConnectionError, FileNotFoundError) as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise OperatorError(
            f"The data of a task can't be had: {said[0].rstrip('.')}.",
            "Go online once, so that it comes into the Hugging Face cache, or give files of your own "
            "(--task-path).",
        ) from error
    return found


def _subject(session: Session, watch: Watch, batch: int | None) -> Any:
    """The session as the harness's model."""
    from lm_eval.api.model import TemplateLM
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

    tokenizer = session.tokenizer

    class SessionModel(TemplateLM):
        """Answers the harness's three kinds of request."""

        @property
        def eot_token_id(self) -> int:
            return int(tokenizer.eos_token_id if tokenizer.eos_token_id is not None else 0)

        @property
        def prefix_token_id(self) -> int:
            first = tokenizer.bos_token_id
            return int(first) if first is not None else self.eot_token_id

        def tok_encode(
            self, string: str, add_special_tokens: bool | None = None, **_options: Any
        ) -> list[int]:
            """As the harness's own models do it: what the tokenizer puts before a text, but not twice."""
            if add_special_tokens is None:
                add_special_tokens = not string.startswith(tokenizer.decode([self.prefix_token_id]))
            return list(tokenizer(string, add_special_tokens=add_special_tokens)["input_ids"])

        def _loglikelihood_tokens(self, requests: Any, **_options: Any) -> list[tuple[float, bool]]:
            watch.phase("score", len(requests), "continuations")
            scored = score_continuations(
                session, [(context, rest) for _, context, rest in requests], batch=batch, told=self.tell
            )
            return [(one.log_likelihood, one.greedy) for one in scored]

        def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
            texts = [request.args[0] for request in requests]
            windows = [
                [
                    make_disjoint_window(window)
                    for window in get_rolling_token_windows(
                        self.tok_encode(text),
                        prefix_token=self.prefix_token_id,
                        max_seq_len=longest_input(session),
                        context_len=1,
                    )
                ]
                for text in texts
            ]
            watch.phase("score", sum(map(len, windows)), "windows")
            flat = score_continuations(
                session, [pair for of_text in windows for pair in of_text], batch=batch, told=self.tell
            )
            scored = iter(flat)
            return [math.fsum(next(scored).log_likelihood for _ in of_text) for of_text in windows]

        def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
            watch.phase("answer", len(requests), "questions")
            alike: dict[tuple[tuple[str, ...], int], list[int]] = {}
            for place, request in enumerate(requests):
                options = request.args[1]
                until = options.get("until") or ()
                most = options.get("max_gen_toks") or options.get("max_new_tokens") or MOST_TOKENS
                stops = (until,) if isinstance(until, str) else tuple(until)
                alike.setdefault((stops, int(most)), []).append(place)
            answers: dict[int, str] = {}
            for (stops, most), places in alike.items():
                before = len(answers)
                made = go_on(
                    session,
                    [requests[place].args[0] for place in places],
                    until=stops,
                    most_tokens=most,
                    batch=batch,
                    told=lambda count, before=before: self.tell(before + count),  # type: ignore[misc]
                )
                answers |= dict(zip(places, made, strict=True))
            return [answers[place] for place in range(len(requests))]

        def tell(self, done: int) -> None:
            watch.checkpoint()
            watch.progress(done)

    return SessionModel()


def _scores(found: Mapping[str, Any]) -> tuple[TaskScore, ...]:
    scores = []
    for task, numbers in found["results"].items():
        questions = int((found["n-samples"].get(task) or {}).get("effective", 0))
        for key, value in numbers.items():
            metric, _, kept_by = key.partition(",")
            if (
                metric == "sample_len"
                or metric.endswith("_stderr")
                or isinstance(value, bool)
                or not isinstance(value, int | float)
            ):
                continue
            label = metric if kept_by in ("", "none") else f"{metric} ({kept_by})"
            scores.append(
                TaskScore(
                    task=task,
                    metric=label,
                    value=float(value),
                    standard_error=_standard_error(found["samples"].get(task, ()), metric, kept_by, value),
                    higher_is_better=(found["higher_is_better"].get(task) or {}).get(metric) is not False,
                    questions=questions,
                    signature=_signature(metric),
                )
            )
    return tuple(scores)


def _standard_error(
    samples: Sequence[Mapping[str, Any]], metric: str, kept_by: str, mean: float
) -> float | None:
    """s / √n over the questions, where the metric is a mean over them; else None."""
    values = [one[metric] for one in samples if metric in one and one.get("filter", kept_by) == kept_by]
    plain = [float(value) for value in values if isinstance(value, int | float)]
    if len(plain) < 2 or len(plain) != len(values) or abs(statistics.fmean(plain) - mean) > 1e-6:
        return None
    return statistics.stdev(plain) / math.sqrt(len(plain))


def _signature(metric: str) -> str:
    """How sacrebleu computes `metric`; empty for other metrics."""
    if metric not in SIGNED:
        return ""
    import sacrebleu

    measure = getattr(sacrebleu, SIGNED[metric])()
    measure.corpus_score(["word"], [["word"]])  # the number of references becomes known
    return str(measure.get_signature())
