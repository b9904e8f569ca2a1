"""The operator's settings: a flag wins over the environment, that over config.toml, that over the default.

`screen.theme` is `theme` under `[screen]` in the file, FQCONSOLE_SCREEN_THEME in the environment, and
`fqconsole --set screen.theme=light` on the command line. An unknown name is an error, never ignored.
"""

import difflib
import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
from msgspec import Meta

from fqconsole.errors import MALFORMED, UsageError
from fqconsole.home import FLAGS, config_file

PREFIX = "FQCONSOLE_"
MOST_DOTS = 8  # in a name: more than any setting or any key's id has
Source = Literal["flag", "environment", "config", "default"]
ThemeName = Literal["fqconsole", "light", "amber", "contrast"]


class Screen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the console looks."""

    theme: Annotated[ThemeName, Meta(description="Colours of the console.")] = "fqconsole"
    ascii: Annotated[bool, Meta(description="Draw with ASCII only: no lines, blocks or braille.")] = False
    reduced_motion: Annotated[bool, Meta(description="No animation and no blinking cursor.")] = False
    gpu_interval: Annotated[
        float, Meta(description="Seconds between two readings of the GPUs.", ge=0.1, le=60)
    ] = 0.5


class Models(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where models are looked for."""

    folders: Annotated[
        tuple[str, ...], Meta(description="Folders that hold models, besides checkpoints and hub cache.")
    ] = ()


class Quantize(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What quantizing starts from."""

    bits: Annotated[Literal[8, 4, 3], Meta(description="Bits where none are asked for.")] = 4
    mode: Annotated[str, Meta(description="best, fast or finequant (docs/method.md).")] = "best"


class Session(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How answers are sampled, and where, if nothing else is said; and what waits for the next model."""

    temperature: Annotated[
        float, Meta(description="How freely tokens are drawn; 0 takes the likeliest.", ge=0)
    ] = 0.7
    top_p: Annotated[
        float, Meta(description="Draw from the likeliest tokens of this share; 1 is off.", gt=0, le=1)
    ] = 0.95
    top_k: Annotated[int, Meta(description="Draw from this many likeliest tokens; 0 is off.", ge=0)] = 0
    max_new_tokens: Annotated[int, Meta(description="The longest answer, in tokens.", ge=1)] = 256
    gpus: Annotated[
        int, Meta(description="GPUs that share a model in the console, where Fit chose no number.", ge=1)
    ] = 1
    spare: Annotated[
        bool, Meta(description="Keep a worker ready, so that a model in the console answers sooner.")
    ] = True


class Runs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where runs are kept, and for how long."""

    store: Annotated[str, Meta(description="The SQLite file of all runs; empty: in the data folder.")] = ""
    keep_samples: Annotated[
        str, Meta(description="`runs prune` keeps GPU readings of runs younger than this, or all.")
    ] = "30d"
    keep_texts: Annotated[
        str, Meta(description="`runs prune` keeps prompts and answers of runs younger than this, or all.")
    ] = "all"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All settings; `keys` maps ids of actions to the keys that start them (docs/console.md has the ids)."""

    screen: Screen = Screen()
    models: Models = Models()
    quantize: Quantize = Quantize()
    session: Session = Session()
    runs: Runs = Runs()
    keys: Annotated[
        dict[str, str], Meta(description='Other keys: "runs.mark" = "space,insert", by id of the action.')
    ] = msgspec.field(default_factory=dict)


@dataclass(frozen=True)
class Setting:
    """One value in force, and where it comes from: `place` is a file, a variable or empty."""

    name: str
    value: Any
    source: Source
    place: str
    meaning: str


def load(*, environment: Mapping[str, str] | None = None, file: Path | None = None) -> Settings:
    """The settings in force. Raises UsageError: unknown name, wrong value, a file that is no TOML."""
    settings, _sources = _loaded(environment, file)
    return settings


def explained(*, environment: Mapping[str, str] | None = None, file: Path | None = None) -> list[Setting]:
    """Every setting with its origin, in the order of the file. Raises UsageError as `load` does."""
    settings, sources = _loaded(environment, file)
    rows = []
    for name, meaning in names().items():
        section, _, field = name.partition(".")
        value = getattr(getattr(settings, section), field)
        rows.append(Setting(name, value, *sources.get(name, ("default", "")), meaning))
    for action, keys in settings.keys.items():
        name = f"keys.{action}"
        rows.append(Setting(name, keys, *sources[name], "keys of this action"))
    return rows


def names() -> dict[str, str]:
    """Every name but those under [keys], with what it means."""
    return {
        f"{section.name}.{field.name}": _meaning(field.type)
        for section in _sections()
        for field in msgspec.structs.fields(section.type)
    }


def schema() -> dict[str, Any]:
    """The JSON Schema of config.toml, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | msgspec.json.schema(Settings)


def template() -> str:
    """A config.toml with every setting at its default, each behind a #."""
    lines = [
        "# Settings of fqconsole. Take away the # of a line to change it; `fqconsole config show` tells all."
    ]
    for section in _sections():
        lines += ["", f"[{section.name}]"]
        for field in msgspec.structs.fields(section.type):
            lines += [f"# {_meaning(field.type)}", f"# {field.name} = {toml_value(field.default)}"]
    example = '# "everywhere.quit" = "q,f11"'
    return "\n".join(
        [*lines, "", "[keys]", "# Other keys for an action, by its id (docs/console.md).", example, ""]
    )


def toml_value(value: Any) -> str:
    """A value as TOML writes it: JSON's strings, numbers, lists and booleans are TOML's too."""
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)


def with_flag(text: str | None, name: str, value: str) -> str:
    """The content of FLAGS with one more flag in it."""
    return json.dumps({**json.loads(text or "{}"), name: value})


Found = dict[str, tuple[Any, Source, str]]


def _loaded(
    environment: Mapping[str, str] | None, file: Path | None
) -> tuple[Settings, dict[str, tuple[Source, str]]]:
    environment = os.environ if environment is None else environment
    found: Found = {}
    found |= _from_file(file or config_file())
    for name, text in _variables(environment):
        found[name] = (
            _value(name, text, f"The variable {_variable(name)}", text=True),
            "environment",
            _variable(name),
        )
    for name, text in json.loads(environment.get(FLAGS, "{}")).items():
        found[name] = (_value(name, text, "A flag", text=True), "flag", "")
    sections: dict[str, dict[str, Any]] = {}
    for name, (value, _source, _place) in found.items():
        section, _, field = name.partition(".")
        sections.setdefault(section, {})[field] = value
    settings: Settings = msgspec.convert(sections, Settings)
    return settings, {name: (source, place) for name, (_value_, source, place) in found.items()}


def _from_file(path: Path) -> Found:
    advice = "Mend it, or see what it may hold: fqconsole config init."
    try:
        content = tomllib.loads(path.read_bytes().decode())
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The settings in {path} can't be read: {error}.", advice) from None
    except MALFORMED as error:
        raise UsageError(f"{path} is no valid TOML: {error}.", advice) from None
    found: Found = {}
    for section, fields in content.items():
        if not isinstance(fields, dict):
            raise _unknown(section, f"{path}")
        for name, value in _flat(fields, section):
            found[name] = (_value(name, value, str(path)), "config", str(path))
    return found


def _flat(fields: Mapping[str, Any], before: str) -> Iterator[tuple[str, Any]]:
    """Names with dots: an id under [keys] may be written with quotes or without."""
    for name, value in fields.items():
        if isinstance(value, dict) and before.count(".") < MOST_DOTS:
            yield from _flat(value, f"{before}.{name}")
        else:
            yield f"{before}.{name}", value


def _value(name: str, value: Any, where: str, *, text: bool = False) -> Any:
    """The value as its type; `text`: it was given as a string, a list as folders with a colon between."""
    kind = _kinds().get(name)
    if name.startswith("keys.") and name.removeprefix("keys."):
        value = (
            ",".join(value)
            if isinstance(value, list) and all(isinstance(key, str) for key in value)
            else value
        )
        kind = str
    elif kind is None:
        raise _unknown(name, where)
    elif text and get_origin(_bare(kind)) is tuple:
        value = [part for part in value.split(os.pathsep) if part]
    try:
        return msgspec.convert(value, kind, strict=not text)
    except msgspec.ValidationError as error:
        shown = toml_value(value) if isinstance(value, str | int | float | bool | list) else value
        raise UsageError(f"{where}: {name} can't be {shown}.", f"{_expected(kind, str(error))}.") from None


def _expected(kind: Any, complaint: str) -> str:
    bare = _bare(kind)
    if get_origin(bare) is Literal:
        return f"Choose {', '.join(str(item) for item in get_args(bare))}"
    return complaint.replace("`", "").rstrip(".")


def _unknown(name: str, where: str) -> UsageError:
    known = [*names(), "keys"]
    near = difflib.get_close_matches(name, known, 1, 0.5) or difflib.get_close_matches(
        name.rpartition(".")[2], [item.rpartition(".")[2] for item in known], 1, 0.5
    )
    whole = next((item for item in known if near and item.endswith(near[0])), "")
    advice = f"Did you mean {whole}?" if whole else "fqconsole config show lists all settings."
    return UsageError(f"{where}: there is no setting {name}.", advice)


def _variables(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(name, text) of each variable that begins with the name of a section."""
    for section in _sections():
        start = f"{PREFIX}{section.name.upper()}_"
        for variable, text in environment.items():
            if variable.startswith(start):
                yield f"{section.name}.{variable.removeprefix(start).lower()}", text


def _variable(name: str) -> str:
    return PREFIX + name.replace(".", "_").upper()


def _sections() -> list[msgspec.structs.FieldInfo]:
    return [field for field in msgspec.structs.fields(Settings) if field.name != "keys"]


def _kinds() -> dict[str, Any]:
    return {
        f"{section.name}.{field.name}": field.type
        for section in _sections()
        for field in msgspec.structs.fields(section.type)
    }


def _bare(kind: Any) -> Any:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _meaning(kind: Any) -> str:
    metas = [item for item in get_args(kind)[1:] if isinstance(item, Meta)]
    text = next((item.description for item in metas if item.description), "")
    choices = _bare(kind)
    if get_origin(choices) is Literal:
        text += " One of " + ", ".join(str(item) for item in get_args(choices)) + "."
    return text
