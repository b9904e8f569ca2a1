"""docs/console.md says what the console does: its tables of keys are those of the registry."""

from pathlib import Path

import pytest

from fqconsole.app.actions_page import with_tables

PAGE = Path(__file__).parents[2] / "docs" / "console.md"


def test_the_page_holds_the_tables_of_the_registry():
    page = PAGE.read_text()
    assert page == with_tables(page), "run: python -m fqconsole.app.actions_page --write docs/console.md"


def test_a_page_without_marks_is_refused():
    with pytest.raises(ValueError, match="the page has no"):
        with_tables("# The console\n")
