"""Ways to sample that have a name: four that come with the console, and the operator's own."""

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from fqconsole import paths
from fqconsole.errors import OperatorError
from fqconsole.generation import options
from fqconsole.generation.options import Sampling

BUILT_IN: Mapping[str, Sampling] = {
    "greedy": Sampling(temperature=0.0, top_p=1.0),
    "precise": Sampling(temperature=0.3, top_p=0.9),
    "balanced": Sampling(),
    "creative": Sampling(temperature=1.0, top_p=1.0, min_p=0.05),
}
SETTINGS = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
NAME = re.compile(r"[\w][\w .+-]{0,30}")
HEAD = "# Sampling presets of fqconsole: F4 on the Session screen reads and writes them.\n"


def presets_file() -> Path:
    """Beside the operator's settings."""
    return paths.config_file().with_name("sampling.toml")


def load_presets() -> dict[str, Sampling]:
    """The built-in presets, then the operator's. Raises OperatorError where the file can't be read."""
    return {**BUILT_IN, **own_presets()}


def own_presets() -> dict[str, Sampling]:
    """The operator's presets by name. Raises OperatorError naming file and setting."""
    file = presets_file()
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise OperatorError(f"The presets in {file} can't be read: {error}.", "Mend or remove it.") from error
    found = {}
    for name, table in tables.items():
        try:
            sampling = msgspec.convert(table, Sampling)
        except msgspec.ValidationError as error:
            raise OperatorError(
                f"The preset “{name}” in {file} is no sampling: {error}.", "Mend or remove it."
            ) from error
        wrong = options.problem(sampling)
        if wrong:
            raise OperatorError(f"The preset “{name}” in {file}: {wrong}", "Mend or remove it.")
        found[name] = sampling
    return found


def save_preset(name: str, sampling: Sampling) -> None:
    """Keep how a preset samples; length, seed and stop texts are no part of it.

    Raises OperatorError for a name that is taken by a built-in one or can't be a name, and where the file
    can't be written.
    """
    name = name.strip()
    if name in BUILT_IN:
        raise OperatorError(f"{name} comes with fqconsole.", "Choose another name.")
    if not NAME.fullmatch(name):
        raise OperatorError(
            f"“{name}” is no name for a preset.", "Use letters, digits and blanks, at most 31 of them."
        )
    own = {**own_presets(), name: sampling}
    file = presets_file()
    text = HEAD + "".join(_table(key, value) for key, value in own.items())
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh = file.with_suffix(".new")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(file)
    except OSError as error:
        raise OperatorError(f"{file} can't be written: {error.strerror}.", "Check the folder.") from error


def preset_name(sampling: Sampling, presets: Mapping[str, Sampling]) -> str:
    """Which preset this is; empty where it is none of them."""
    return next((name for name, preset in presets.items() if _same(preset, sampling)), "")


def with_preset(sampling: Sampling, preset: Sampling) -> Sampling:
    """`sampling` with what a preset sets; length, seed and stop texts stay."""
    return msgspec.structs.replace(sampling, **{name: getattr(preset, name) for name in SETTINGS})


def _same(preset: Sampling, sampling: Sampling) -> bool:
    if preset.greedy and sampling.greedy:  # the others play no part
        return preset.repetition_penalty == sampling.repetition_penalty
    return all(getattr(preset, name) == getattr(sampling, name) for name in SETTINGS)


def _table(name: str, sampling: Sampling) -> str:
    lines = [f"{setting} = {getattr(sampling, setting)}" for setting in SETTINGS]
    # A name holds no control characters, so that JSON's quoting is TOML's.
    return f"\n[{json.dumps(name, ensure_ascii=False)}]\n" + "\n".join(lines) + "\n"
