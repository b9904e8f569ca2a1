"""Which architectures can be described: decoders that generate text, by the name of their class."""

import re

from fqconsole.models.config import Config
from fqconsole.models.errors import ModelError, shown

GENERATES_TEXT = re.compile(
    r"(ForCausalLM|LMHeadModel|ForConditionalGeneration|ForImageTextToText|ForVision2Seq)$"
)


def read_architecture(config: Config) -> str:
    """The class name in `architectures`. Raises ModelError when there is none or it is no text generator."""
    found = config.outer.get("architectures")
    if found is None:
        found = config.text.get("architectures")
    if not isinstance(found, list) or not found or not isinstance(found[0], str):
        raise ModelError(
            f"{config.place} names no architecture (the field architectures).",
            "Pick a language model; this folder may hold another kind of model.",
        )
    name = shown(found[0])
    if not GENERATES_TEXT.search(found[0]):
        raise ModelError(
            f"{config.place}: fqconsole does not know the architecture {name}.",
            "Pick a causal language model, one whose architecture ends in ForCausalLM.",
        )
    if config.outer.get("is_encoder_decoder") is True or config.text.get("is_encoder_decoder") is True:
        raise ModelError(
            f"{config.place}: {name} is an encoder-decoder; fqconsole knows decoders only.",
            "Pick a causal language model.",
        )
    return name


def notes(config: Config) -> tuple[str, ...]:
    """Sentences an operator should see about this config."""
    found = []
    if config.outer.get("auto_map") or config.text.get("auto_map"):
        found.append(
            "The model brings code of its own (auto_map in config.json). fqconsole never runs it: "
            "generation uses the class of the same name in transformers, if there is one."
        )
    return tuple(found)
