"""What to type to install a package into the environment that runs now, and what the extras are for."""

import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Extra:
    """One optional part of fqconsole: what it is for, and the packages that it needs."""

    name: str
    purpose: str
    needs: dict[str, str]  # distribution → requirement


EXTRAS = (
    Extra("api", "`fqconsole api`", {"starlette": "starlette>=0.50", "uvicorn": "uvicorn>=0.38"}),
    Extra("serve", "`fqconsole serve`", {"textual-serve": "textual-serve>=1.1.3"}),
    Extra("eval", "`fqconsole evaluate --tasks`", {"lm-eval": "lm-eval>=0.4.13"}),
    Extra("gguf", "`fqconsole export --to gguf`", {"gguf": "gguf>=0.17"}),
    Extra("docs", "`make docs`", {"mkdocs-material": "mkdocs-material>=9.6,<10"}),
)


def to_install(requirements: Sequence[str], *, again: bool = False) -> str:
    """The command that installs these into this environment; `again`: over what is there.

    The interpreter is named, because the shell's `pip` may be another environment's. `uv` makes environments
    without pip, for its tools too.
    """
    words = " ".join(f'"{name}"' if set(name) & set("<>=[]") else name for name in requirements)
    if importlib.util.find_spec("pip") is not None:
        return f"{sys.executable} -m pip install {'--force-reinstall ' if again else ''}{words}"
    return f"uv pip install --python {sys.executable} {'--reinstall ' if again else ''}{words}"


def to_have(extra: str) -> str:
    """What an operator is told to type for a command whose extra is missing: "api", say."""
    needs = next(known.needs for known in EXTRAS if known.name == extra)
    return f"Type: {to_install(list(needs.values()))}"


def to_remove(name: str) -> str:
    """The command that takes a package out of this environment."""
    if importlib.util.find_spec("pip") is not None:
        return f"{sys.executable} -m pip uninstall {name}"
    return f"uv pip uninstall --python {sys.executable} {name}"
