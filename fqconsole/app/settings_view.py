"""The settings in force as lines to read, with where each comes from and how to change it."""

from fqconsole.home import config_file
from fqconsole.settings import Setting, explained, toml_value


def settings_lines() -> list[str]:
    """A line a setting: name, value, origin; then where to change them. Raises UsageError as `load` does."""
    rows = explained()
    width = max(len(row.name) for row in rows)
    lines = [f"{row.name:<{width}}  {_cut(toml_value(row.value))}  ({_origin(row)})" for row in rows]
    place = config_file()
    how = "Edit" if place.is_file() else "`fqconsole config init` writes"
    return [
        *lines,
        "",
        f"{how} {place}; the next console heeds what changed.",
        "ctrl+p, theme: try another theme now.",
    ]


def _cut(text: str, most: int = 30) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _origin(row: Setting) -> str:
    return row.place if row.source == "environment" else row.source
