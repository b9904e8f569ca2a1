"""The table of records: widths, cutting, cursor, scrolling, messages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.app import App

from fqconsole.app.widgets.record_table import Cell, ColumnSpec, RecordTable, fitted

COLUMNS = (
    ColumnSpec("name", "Name", 8, flexible=True),
    ColumnSpec("size", "Size", 6, right=True),
    ColumnSpec("state", " State", 8),
)


class Shown(App):
    """One table in 40×8: a header and seven records are seen."""

    def __init__(self):
        super().__init__()
        self.heard = []

    def compose(self):
        yield RecordTable(COLUMNS)

    def on_record_table_highlighted(self, message):
        self.heard.append(message.key)

    def on_record_table_opened(self, message):
        self.heard.append(("open", message.key))

    @property
    def table(self):
        return self.query_one(RecordTable)

    def lines(self):
        return [self.table.render_line(y).text for y in range(8)]


def records(count):
    return [(f"k{row}", [f"row {row}", str(row), Cell(" ok", "ok")]) for row in range(count)]


@given(st.text(max_size=30), st.integers(min_value=1, max_value=40), st.booleans())
def test_a_fitted_text_has_exactly_its_width(text, width, right):
    text = "".join(char for char in text if char.isprintable())
    assert cell_len(fitted(text, width, right=right)) == width


def test_what_is_cut_says_so_and_what_fits_is_whole():
    assert fitted("Llama-3.1-70B", 8) == "Llama-3…"
    assert fitted("12.5", 6, right=True) == "  12.5"
    assert fitted("千问-小说", 6) == "千问-…"


async def test_every_line_is_as_wide_as_the_table_and_columns_stand_under_their_heads():
    app = Shown()
    async with app.run_test(size=(40, 8)):
        app.table.show_records([("a", ["千问🙂", "1.0", " ok"]), ("b", ["é" * 40, "20.0", " bad"])])
        lines = app.lines()
        assert {cell_len(line) for line in lines} == {40}
        assert lines[0].endswith("  Size State  ")
        assert lines[1].endswith("   1.0 ok     ")
        assert lines[2].endswith("…  20.0 bad    ")
        assert lines[1].startswith("▌ ")


async def test_the_cursor_stays_in_view():
    app = Shown()
    async with app.run_test(size=(40, 8)) as pilot:
        app.table.show_records(records(50))
        app.table.focus()
        await pilot.press("G")
        assert "row 49" in app.lines()[7]
        await pilot.press("pageup", "pageup")
        assert "▌ row 35" in "\n".join(app.lines())
        await pilot.press("g")
        assert app.lines()[1].startswith("▌ row 0")
        for _ in range(9):
            await pilot.press("j")
        assert app.lines()[7].startswith("▌ row 9")
        await pilot.resize_terminal(40, 4)
        while app.table.size.height != 4:
            await pilot.pause()
        assert "▌ row 9" in "\n".join(app.table.render_line(y).text for y in range(4))


async def test_the_cursor_keeps_its_record_but_stays_at_the_top_of_a_live_list():
    app = Shown()
    async with app.run_test(size=(40, 8)):
        app.table.show_records(records(5))
        app.table.move_to_key("k3")
        app.table.show_records(records(5)[::-1])
        assert (app.table.current, app.table.cursor_row) == ("k3", 1)
        app.table.move_to(0)
        app.table.show_records(records(5))
        assert app.table.current == "k0"
        app.table.move_to_key("k4")
        app.table.show_records(records(2))
        assert app.table.current == "k1"
        app.table.show_records([])
        assert app.table.current is None


async def test_messages_tell_the_record_once_each_time_it_changes():
    app = Shown()
    async with app.run_test(size=(40, 8)) as pilot:
        app.table.show_records(records(3))
        app.table.show_records(records(3))
        await pilot.press("down", "down", "down")
        await pilot.click(RecordTable, offset=(4, 1))
        await pilot.click(RecordTable, offset=(4, 1))
        await pilot.click(RecordTable, offset=(4, 0))
        await pilot.click(RecordTable, offset=(4, 7))
        await pilot.pause()
        assert app.heard == ["k0", "k1", "k2", "k0", ("open", "k0")]


async def test_one_value_changes_in_place():
    app = Shown()
    async with app.run_test(size=(40, 8)):
        app.table.show_records(records(3))
        app.table.change("k1", "size", "99")
        app.table.change("gone", "size", "99")
        assert app.table.text_of("k1", "size") == "99"
        assert "99" in app.lines()[2]
        with pytest.raises(KeyError):
            app.table.text_of("k1", "colour")


async def test_brackets_are_text():
    app = Shown()
    async with app.run_test(size=(40, 8)):
        app.table.show_records([("a", ["[red]x[/]", "1", ""])])
        assert "[red]x[/]" in app.lines()[1]
