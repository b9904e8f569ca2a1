"""Put what an environment lacks for fqconsole into a folder of its own, from local wheels only.

    python .ci/install_missing.py --into .site --wheels DIR

The environment itself stays as it is, and needs nothing but pip. What the console needs must be found; the
tools for tests and lint are installed where the wheels hold them, and named where they do not.
"""

import argparse
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pip._vendor.packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def shown(requirement: Requirement) -> str:
    return f"{requirement.name}{requirement.specifier}"


def applies(requirement: Requirement, extras: Iterable[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))


def lacking(requirements: list[str], path: list[str]) -> dict[str, Requirement]:
    """What is absent or of the wrong version, through everything that is present, by plain name."""
    found: dict[str, Requirement] = {}
    seen: set[tuple[str, tuple[str, ...]]] = set()
    queue = [(Requirement(text), ()) for text in requirements]
    while queue:
        requirement, extras = queue.pop()
        if not applies(requirement, extras):
            continue
        name = plain(requirement.name)
        distributions = list(importlib.metadata.distributions(name=requirement.name, path=path))
        if not distributions or not requirement.specifier.contains(
            distributions[0].version, prereleases=True
        ):
            found[name] = requirement
            continue
        key = (name, tuple(sorted(requirement.extras)))
        if key not in seen:
            seen.add(key)
            queue += [(Requirement(text), key[1]) for text in distributions[0].requires or []]
    return found


def fetch(requirement: Requirement, into: Path, wheels: str) -> bool:
    """True when the wheels held it."""
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-cache-dir"]
    command += [
        "--disable-pip-version-check",
        "--upgrade",
        "--target",
        str(into),
        "--find-links",
        wheels,
        shown(requirement),
    ]
    # No pip setting of the machine may add another source of packages.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    environment["PIP_CONFIG_FILE"] = os.devnull
    return subprocess.run(command, capture_output=True, check=False, env=environment).returncode == 0


def settle(requirements: list[str], into: Path, wheels: str) -> list[str]:
    """Install round by round, because what is installed has needs too; return what stays lacking."""
    refused: set[str] = set()
    while True:
        importlib.invalidate_caches()
        missing = lacking(requirements, [str(into), *sys.path])
        wanted = {name: requirement for name, requirement in missing.items() if name not in refused}
        if not wanted:
            return sorted(map(shown, missing.values()))
        for name, requirement in wanted.items():
            if not wheels or not fetch(requirement, into, wheels):
                refused.add(name)


def describe_checkout(project: dict[str, Any], packages: list[str], into: Path) -> None:
    """Metadata for this checkout, so that programs asking for fqconsole's version find one.

    transformers asks too: whose is the folder `kernels`, and in which version.
    """
    folder = into / f"{project['name']}-{project['version']}.dist-info"
    for old in into.glob(f"{project['name']}-*.dist-info"):
        shutil.rmtree(old)
    folder.mkdir()
    head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (folder / "METADATA").write_text(head + "".join(f"Requires-Dist: {n}\n" for n in project["dependencies"]))
    (folder / "top_level.txt").write_text("".join(f"{name}\n" for name in packages))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--into", type=Path, required=True)
    parser.add_argument("--wheels", default="")
    asked = parser.parse_args()
    asked.into.mkdir(parents=True, exist_ok=True)
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = settings["project"]
    packages = [name.rstrip("*") for name in settings["tool"]["setuptools"]["packages"]["find"]["include"]]
    describe_checkout(project, packages, asked.into)
    needed = settle(project["dependencies"], asked.into, asked.wheels)
    if needed:
        where = f"{asked.wheels} holds no wheel for them" if asked.wheels else "no WHEELS=DIR was given"
        sys.stderr.write(
            f"fqconsole: {sys.executable} lacks {', '.join(needed)}, and {where}.\n"
            "Install them there, or download their wheels and give WHEELS=DIR.\n"
        )
        return 1
    tools = settle(project["optional-dependencies"]["dev"], asked.into, asked.wheels)
    if tools:
        sys.stderr.write(f"fqconsole: going on without tools that are not here: {', '.join(tools)}.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
