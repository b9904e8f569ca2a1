"""The models that come with fqconsole, and the folder in which each of them lies."""

from pathlib import Path
from typing import NamedTuple

from fqconsole.errors import OperatorError, UsageError

WEIGHTS = Path(__file__).parent / "weights"


class BuiltinModel(NamedTuple):
    """A model that needs no download; `suggested_prompt` is what a first session offers to send."""

    id: str
    summary: str
    suggested_prompt: str


_BUILTIN = (
    BuiltinModel(
        "demo", "tells short stories; dense, Llama architecture", "Once there was a brave girl named Mira."
    ),
    BuiltinModel(
        "demo-moe",
        "tells short stories; mixture of experts, Qwen3-MoE architecture",
        "One windy morning, Omar and his sister Lily went to the market.",
    ),
    BuiltinModel(
        "demo-outliers",
        "demo with a block of outlier channels before every norm: what adaptive groups are for",
        "Once there was a brave girl named Mira.",
    ),
    BuiltinModel(
        "demo-outliers-scattered",
        "demo with four scattered outlier channels before every norm: groups cure it only in part",
        "Once there was a brave girl named Mira.",
    ),
)


def builtin_models() -> tuple[BuiltinModel, ...]:
    """All built-in models, in the order in which a list shows them."""
    return _BUILTIN


def materialize(model_id: str) -> Path:
    """The folder of a built-in model: config.json, model.safetensors, tokenizer files, README.md.

    The trained ones lie in the package. The derived ones are made once into the cache folder, with numpy, and
    found there afterwards. Raises UsageError for an unknown id, OperatorError where the weights are missing
    from the installation or the cache folder can't be written.
    """
    known = [model.id for model in _BUILTIN]
    if model_id not in known:
        raise UsageError(
            f"There is no built-in model {model_id!r}.", f"The built-in models are {', '.join(known)}."
        )
    derived = model_id.startswith("demo-outliers")
    source = WEIGHTS / ("demo" if derived else model_id)
    if not (source / "model.safetensors").is_file():
        raise OperatorError(
            f"The weights of the built-in model {source.name} are missing from {source}.",
            "Install fqconsole again, or use a model of your own.",
        )
    if not derived:
        return source
    # Local, so that listing the models imports no numpy, and training needs no platformdirs.
    from fqconsole import paths
    from fqconsole.demo.outliers import derive

    place = paths.cache_dir() / "builtin"
    try:
        return derive(model_id, source, place)
    except OSError as error:
        raise OperatorError(
            f"The built-in model {model_id} could not be made in {place}: {error.strerror or error}.",
            "Free some space there, or set FQCONSOLE_HOME to a folder that can be written.",
        ) from error
