"""How the next answer is sampled: presets, one field a setting, and what is wrong as a sentence."""

import math
from collections.abc import Callable
from typing import ClassVar

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Button, Input, Static

from fqconsole.app.sampling_presets import BUILT_IN, SETTINGS, load_presets, preset_name, save_preset
from fqconsole.app.screens.dialogs import Dialog
from fqconsole.app.widgets.choice_list import ChoiceList, ChoiceRow
from fqconsole.app.widgets.prompt_field import PromptField
from fqconsole.errors import OperatorError
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
LABEL = 13  # cells of the names, less the sign before a choice
OWN = "own"  # what settings are called that are no preset


class SamplingDialog(Dialog):
    """`use(sampling, system prompt, preset)` is called when they are taken; Esc leaves all as it was."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "close", show=False),
        Binding("f4", "step(1)", "next preset", show=False),
        Binding("ctrl+g", "preset('greedy')", "greedy", show=False),
        Binding("enter", "use", "use", show=False),
        Binding("ctrl+j", "newline", "new line", show=False),
    ]

    def __init__(
        self,
        sampling: Sampling,
        system: str | None,
        use: Callable[[Sampling, str, str], None],
        *,
        at_system: bool = False,
    ) -> None:
        """`system` None: the model has no chat template, so that there is no system prompt; `at_system`: the
        dialog begins there.
        """
        super().__init__()
        self._sampling, self._system, self._use = sampling, system, use
        self._at_system = at_system and system is not None
        self._presets: dict[str, Sampling] = dict(BUILT_IN)

    def compose(self) -> ComposeResult:
        with Vertical(id="sampling") as box:
            box.border_title = "Sampling"
            box.border_subtitle = "⏎ use · F4 next preset · ^g greedy · esc cancel"
            yield ChoiceList(id="sampling-preset")
            for name, title, hint in FIELDS:
                with Horizontal(classes="setting"):
                    yield Static(title, classes="name", markup=False)
                    yield Input(written(self._sampling, name), id=f"sampling-{name}", select_on_focus=True)
                    yield Static(hint, classes="hint", markup=False)
            with Horizontal(classes="setting"):
                yield Static("keep as", classes="name")
                yield Input(id="sampling-name", placeholder="a name makes these settings a preset of yours")
            if self._system is not None:
                with Horizontal(classes="system"):
                    yield Static("system", classes="name")
                    yield PromptField(id=f"sampling-{SYSTEM}")
            else:
                yield Static("This model has no chat template, so no system prompt.", classes="quiet")
            yield Static("", id="sampling-problem", classes="bad", markup=False)
            with Horizontal(classes="buttons"):
                yield Button("Cancel", id="cancel", compact=True)
                yield Button("Use", id="use", variant="primary", compact=True)

    def on_mount(self) -> None:
        try:
            self._presets = load_presets()
        except OperatorError as error:
            self._complain(str(error))
        if self._system is not None:
            field = self.query_one(f"#sampling-{SYSTEM}", PromptField)
            field.placeholder = "no system prompt"
            field.write(self._system)
        self._show_preset()
        self.query_one(f"#sampling-{SYSTEM if self._at_system else 'temperature'}").focus()

    def _complain(self, problem: str) -> None:
        self.query_one("#sampling-problem", Static).update(problem)

    @on(Input.Submitted)
    def action_use(self) -> None:
        self._take()

    def action_newline(self) -> None:
        if self._system is not None:
            field = self.query_one(f"#sampling-{SYSTEM}", PromptField)
            if field.has_focus:
                field.insert("\n")

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "use":
            self._take()
        else:
            self.action_close()

    # presets

    @property
    def _preset(self) -> str:
        """What the settings that stand there are called."""
        problem, sampling = read(self._values(), self._sampling)
        return "" if problem else preset_name(sampling, self._presets)

    @on(Input.Changed)
    def _show_preset(self) -> None:
        name = self._preset
        own = "" if name in BUILT_IN else "from your presets" if name else "like none of the presets"
        self.query_one(ChoiceList).show([ChoiceRow("preset", "preset".ljust(LABEL), name or OWN, own)])

    @on(ChoiceList.Stepped)
    def _stepped(self, message: ChoiceList.Stepped) -> None:
        self.action_step(message.step)

    def action_step(self, step: int) -> None:
        names = list(self._presets)
        now = self._preset
        at = names.index(now) + step if now in names else 0 if step > 0 else -1
        self.action_preset(names[at % len(names)])

    def action_preset(self, name: str) -> None:
        for field in SETTINGS:
            self.query_one(f"#sampling-{field}", Input).value = written(self._presets[name], field)
        self._show_preset()

    # what was typed

    def _values(self) -> dict[str, str]:
        return {name: self.query_one(f"#sampling-{name}", Input).value for name, _title, _hint in FIELDS}

    def _take(self) -> None:
        problem, sampling = read(self._values(), self._sampling)
        if problem:
            self._complain(problem)
            return
        name = self.query_one("#sampling-name", Input).value.strip()
        if name:
            try:
                save_preset(name, sampling)
            except OperatorError as error:
                self._complain(str(error))
                return
        system = ""
        if self._system is not None:
            system = self.query_one(f"#sampling-{SYSTEM}", PromptField).text.strip()
        self._use(sampling, system, name or self._preset)
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
