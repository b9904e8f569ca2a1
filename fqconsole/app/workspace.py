"""What the operator has chosen so far: plain data that screens read, and change only by posting a message."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from fqconsole.app.model_parts import ModelParts
from fqconsole.models.description import ModelDescription, ModelEntry
from quantizer.ladder import DEFAULT_THRESHOLD
from quantizer.methods import DEFAULT_MODE
from quantizer.plan import ExpertSets
from quantizer.scheme import WIDTHS

Goal = Literal["rule", "size", "room", "loss"]


@dataclass(frozen=True)
class FitChoice:
    """The ◂ ▸ choices of the Fit screen. `context` None: min(8192, the maximum). `gpu_name` None: here.

    `goal`: FineQuant's rule at `bits`, or a plan by `target_bits` a weight, by what fits, by `max_loss`.
    """

    bits: int = 4
    gpus: int = 1
    context: int | None = None
    batch: int = 1
    kv_bits: int = 16  # of keys and values
    granularity: Literal["adaptive", "fixed", "matrix"] = "adaptive"
    group_size: int | Literal["default"] | None = "default"
    threshold: float = DEFAULT_THRESHOLD  # of adaptive groups; a run that had another brings it
    gpu_name: str | None = None
    goal: Goal = "rule"
    target_bits: float = 4.0
    max_loss: float = 0.01  # 1 % of predicted loss
    mode: str = DEFAULT_MODE  # how scales are found: best, fast, finequant
    head: int = 16  # bits of the output head
    experts: ExpertSets = "model"  # which routed experts share bits and groups: of all layers, or of each
    widths: tuple[int, ...] = WIDTHS  # of a goal: what is shared out


@dataclass(frozen=True)
class SessionChoice:
    """A model that a session should open: a quantized checkpoint, or a 16-bit model."""

    path: str
    model_id: str
    label: str  # what the operator reads: "demo int4"
    bits: int = 16
    suggested_prompt: str = ""
    parent_run: str | None = None  # the quantize run that made the checkpoint
    reference_path: str | None = None  # the 16-bit original, for A/B
    context: int | None = None
    kv_bits: int = 16  # of keys and values
    gpus: int | None = None  # that share it; None: as the settings say


@dataclass
class Workspace:
    """Owned by the console: only its message handlers assign to it."""

    entry: ModelEntry | None = None
    description: ModelDescription | None = None
    choice: FitChoice = field(default_factory=FitChoice)
    preview: Any = None  # the FitPreview of the choice, once it is computed
    planned: Any = None  # what became of its goal: a `planned.Planned`, None with FineQuant's rule
    parts: ModelParts = field(default_factory=ModelParts)  # of the model; known with its first preview
    session: SessionChoice | None = None
    last_run: str | None = None
    choices: dict[str, FitChoice] = field(default_factory=dict)  # of models that were looked at before

    @property
    def gpus_chosen(self) -> int | None:
        """How many GPUs of this machine Fit counts with; None without GPUs and for one looked up."""
        if self.preview is None or self.preview.capacity.kind != "gpu" or self.choice.gpu_name:
            return None
        return self.choice.gpus

    def choose_model(self, entry: ModelEntry, description: ModelDescription) -> bool:
        """Take another model, with the choices it had; those of a new one start from the present ones, but
        for what depends on the model. False when it is the same one.
        """
        if self.description == description:
            return False
        if self.description is not None:
            self.choices[self.description.id] = self.choice
        self.entry = entry
        self.description = description
        fresh = replace(
            self.choice,
            context=None,
            group_size="default",
            granularity="adaptive",
            threshold=DEFAULT_THRESHOLD,
            head=16,
            experts="model",
        )
        self.choice = self.choices.get(description.id, fresh)
        self.preview = self.planned = None
        self.parts = ModelParts()
        return True
