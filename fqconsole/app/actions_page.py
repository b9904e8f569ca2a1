"""The tables of keys in docs/console.md, made from the registry of actions.

`python -m fqconsole.app.actions_page` prints them; `--write docs/console.md` puts them between its marks.
"""

import argparse
import sys
from pathlib import Path

from fqconsole.app.actions import actions_of
from fqconsole.app.modes import MODES

START = "<!-- keys: made by python -m fqconsole.app.actions_page -->"
END = "<!-- end of keys -->"


def tables() -> str:
    """One table of (key, what it does, id) for every screen, then for all of them."""
    parts = []
    for name, title in [*((mode.name, mode.title) for mode in MODES), ("everywhere", "On every screen")]:
        rows = [
            f"| {item.all_keys.replace('|', chr(92) + '|') or '—'} | {item.description} | `{item.id}` |"
            for item in actions_of(name)
        ]
        if rows:
            parts.append(
                "\n".join([f"### {title}", "", "| key | what it does | id |", "|---|---|---|", *rows])
            )
    return "\n\n".join(parts)


def with_tables(page: str) -> str:
    """The page with what stands between its marks replaced. Raises ValueError for a page without marks."""
    before, start, rest = page.partition(START)
    _old, end, after = rest.partition(END)
    if not start or not end:
        raise ValueError(f"the page has no {START} … {END}")
    return f"{before}{START}\n\n{tables()}\n\n{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the tables of keys for docs/console.md.")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put them into this page")
    page: Path | None = parser.parse_args().write
    if page is None:
        sys.stdout.write(tables() + "\n")
    else:
        page.write_text(with_tables(page.read_text()))


if __name__ == "__main__":
    main()
