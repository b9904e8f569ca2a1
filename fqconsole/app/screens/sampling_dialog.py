"""How the next answer is sampled: one field a setting, two presets, and what is wrong as a sentence."""

import math
from collections.abc import Callable
from typing import ClassVar

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Button, Input, Static

from fqconsole.app.screens.dialogs import Dialog
from fqconsole.generation import options
from fqconsole.generation.options import Sampling

FIELDS: tuple[tuple[str, str, str], ...] = (
    ("temperature", "temperature", "0 is greedy: always the likeliest token"),
    ("top_p", "top-p", "keep the likeliest up to this share; 1 off"),
    ("top_k", "top-k", "keep only this many tokens; 0 off"),
    ("min_p", "min-p", "keep what has this part of the best; 0 off"),
    ("repetition_penalty", "repetition", "above 1 makes repeating less likely; 1 off"),
    ("seed", "seed", "empty draws one for each prompt"),
    ("max_new_tokens", "max tokens", "an answer ends here at the latest"),
)
WHOLE = ("top_k", "seed", "max_new_tokens")
SYSTEM = "system"
GREEDY = Sampling(temperature=0.0)


class SamplingDialog(Dialog):
    """`use(sampling, system prompt)` is called when the settings are taken; Esc leaves all as it was."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "close", show=False),
        Binding("ctrl+g", "preset('greedy')", "greedy", show=False),
        Binding("ctrl+r", "preset('default')", "defaults", show=False),
    ]

    def __init__(self, sampling: Sampling, system: str | None, use: Callable[[Sampling, str], None]) -> None:
        """`system` None: the model has no chat template, so that there is no system prompt."""
        super().__init__()
        self._sampling, self._system, self._use = sampling, system, use

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "Sampling"
            box.border_subtitle = "⏎ use · ^g greedy · ^r defaults · esc cancel"
            for name, title, hint in FIELDS:
                with Horizontal(classes="setting"):
                    yield Static(title, classes="name", markup=False)
                    yield Input(written(self._sampling, name), id=f"sampling-{name}", select_on_focus=True)
                    yield Static(hint, classes="hint", markup=False)
            if self._system is not None:
                with Horizontal(classes="setting"):
                    yield Static("system", classes="name")
                    yield Input(self._system, id=f"sampling-{SYSTEM}", placeholder="no system prompt")
            yield Static("", id="sampling-problem", classes="bad", markup=False)
            with Horizontal(classes="buttons"):
                yield Button("Greedy", id="greedy", compact=True)
                yield Button("Defaults", id="default", compact=True)
                yield Button("Cancel", id="cancel", compact=True)
                yield Button("Use", id="use", variant="primary", compact=True)

    def on_mount(self) -> None:
        self.query_one("#sampling-temperature", Input).focus()

    @on(Input.Submitted)
    def _submitted(self) -> None:
        self._take()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        match event.button.id:
            case "use":
                self._take()
            case "cancel":
                self.action_close()
            case name:
                self.action_preset(name or "default")

    def action_preset(self, name: str) -> None:
        preset = GREEDY if name == "greedy" else Sampling()
        for field, _title, _hint in FIELDS:
            self.query_one(f"#sampling-{field}", Input).value = written(preset, field)

    def _take(self) -> None:
        values = {name: self.query_one(f"#sampling-{name}", Input).value for name, _title, _hint in FIELDS}
        problem, sampling = read(values, self._sampling)
        if problem:
            self.query_one("#sampling-problem", Static).update(problem)
            return
        system = "" if self._system is None else self.query_one(f"#sampling-{SYSTEM}", Input).value.strip()
        self._use(sampling, system)
        self.dismiss("use")


def written(sampling: Sampling, name: str) -> str:
    """A setting as it is typed."""
    value = getattr(sampling, name)
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def read(values: dict[str, str], before: Sampling) -> tuple[str, Sampling]:
    """(problem, sampling) of typed settings; the problem is empty where there is none."""
    found: dict[str, float | int | None] = {}
    for name, title, _hint in FIELDS:
        typed = values[name].strip()
        if name == "seed" and not typed:
            found[name] = None
            continue
        value = whole_number(typed) if name in WHOLE else number(typed)
        if value is None:
            kind = "whole number" if name in WHOLE else "number"
            return f"“{typed}” is no {kind} for {title}.", before
        found[name] = value
    sampling = msgspec.structs.replace(before, **found)
    return options.problem(sampling), sampling


def whole_number(typed: str) -> int | None:
    try:
        return int(typed)
    except ValueError:
        return None


def number(typed: str) -> float | None:
    """A finite number, with a point or a comma."""
    try:
        value = float(typed.replace(",", "."))
    except ValueError:
        return None
    return value if math.isfinite(value) else None
