"""The pages under Reference, made from the code when the site is built (a hook of mkdocs; see mkdocs.yml)."""

import importlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import click
import msgspec

from fqconsole import settings
from fqconsole.jobs import messages, requests

# What docs/python-api.md speaks of.
PYTHON = ("quantizer", "fqconsole.generation", "fqconsole.generation.options", "kernels")


def commands() -> str:
    """Every command's own `--help`."""
    import typer.main

    from fqconsole.cli.application import application

    parts = ["# Commands", "", "What each command says with `--help`."]
    for path, command in _walk("fqconsole", typer.main.get_command(application)):
        with click.Context(command, info_name=path, max_content_width=100) as context:
            parts += ["", f"## {path}", "", "```text", command.get_help(context), "```"]
    return "\n".join(parts) + "\n"


def _walk(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        if not below.hidden:
            yield from _walk(f"{path} {name}", below)


def all_settings() -> str:
    """Every setting with its meaning and default: the file that `fqconsole config init` writes."""
    return f"# Settings file\n\nWhat `fqconsole config init` writes.\n\n```toml\n{settings.template()}```\n"


def protocol() -> str:
    """Every request and event of docs/jobs.md with its fields."""
    parts = [
        "# Requests and events",
        "",
        "The fields of each line of the [job protocol](../jobs.md). A field with a default may be missing.",
    ]
    for kind in (*_subclasses(requests, "Request"), *_subclasses(messages, "Event")):
        about = inspect.getdoc(kind) or ""
        parts += ["", f"## {kind.__name__}", "", about, "", "| field | type | default |", "|---|---|---|"]
        for field in msgspec.structs.fields(kind):
            default = "" if field.default is msgspec.NODEFAULT else f"`{field.default!r}`"
            parts.append(f"| `{field.name}` | `{_type_word(field.type)}` | {default} |")
    return "\n".join(parts) + "\n"


def _subclasses(module: Any, base: str) -> Iterator[type]:
    parent = getattr(module, base)
    for value in vars(module).values():
        if inspect.isclass(value) and issubclass(value, parent) and value is not parent:
            yield value


def _type_word(kind: Any) -> str:
    word = kind.__name__ if inspect.isclass(kind) and not hasattr(kind, "__args__") else str(kind)
    return word.replace("typing.", "").replace("|", "or")


def python() -> str:
    """Signatures and docstrings of what can be imported."""
    parts = ["# Python", "", "What can be imported; [examples](../python-api.md)."]
    for name in PYTHON:
        module = importlib.import_module(name)
        parts += ["", f"## {name}", "", inspect.getdoc(module) or ""]
        for public in getattr(module, "__all__", _own(module)):
            parts += _member(public, getattr(module, public))
    return "\n".join(parts) + "\n"


def _own(module: Any) -> list[str]:
    """The classes and functions that a module without `__all__` defines itself."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
    ]


def _member(name: str, value: Any) -> list[str]:
    if not (inspect.isclass(value) or inspect.isfunction(value)):
        return []
    parts = [
        "",
        f"### {name}",
        "",
        "```python",
        f"{name}{_signature(value)}",
        "```",
        "",
        inspect.getdoc(value) or "",
    ]
    if inspect.isclass(value):
        for method, function in vars(value).items():
            if inspect.isfunction(function) and not method.startswith("_") and function.__doc__:
                parts += ["", f"**`{method}{_signature(function)}`**", "", inspect.getdoc(function) or ""]
    return parts


def _signature(value: Any) -> str:
    try:
        return str(inspect.signature(value))
    except (TypeError, ValueError):
        return "(…)"


PAGES: dict[str, Callable[[], str]] = {
    "reference/commands.md": commands,
    "reference/settings.md": all_settings,
    "reference/messages.md": protocol,
    "reference/python.md": python,
}


def on_files(files: Any, config: Any) -> Any:
    """Called by mkdocs: adds the pages."""
    from mkdocs.structure.files import File

    for place, page in PAGES.items():
        files.append(File.generated(config, place, content=page()))
    return files
