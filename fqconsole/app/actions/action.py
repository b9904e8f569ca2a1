"""One action of the console: what it is called, which keys start it, and what it does, in words."""

from dataclasses import dataclass

from textual.binding import Binding

KEY_WORDS = {
    "enter": "⏎",
    "escape": "esc",
    "slash": "/",
    "question_mark": "?",
    "left": "←",
    "right": "→",
    "up": "↑",
    "down": "↓",
    "space": "space",
    "less_than_sign": "<",
    "greater_than_sign": ">",
}


@dataclass(frozen=True)
class Action:
    """`call` is a Textual action string: "app.…" runs on the console, anything else on its screen.

    `id` is "<where>.<name>" and stays the same for ever: operators may bind keys to it. `label` is the
    word in the footer (short), `description` the sentence in the palette, the help and docs/console.md.
    """

    id: str
    keys: tuple[str, ...]
    call: str
    label: str
    description: str
    key_word: str = ""  # how the key is written; empty: made from the first key
    palette: bool = True
    priority: bool = False

    @property
    def where(self) -> str:
        return self.id.partition(".")[0]

    @property
    def key(self) -> str:
        """The first key as people write it: `⏎`, `^p`, `F8`."""
        return self.key_word or key_word(self.keys[0] if self.keys else "")

    @property
    def all_keys(self) -> str:
        """Every key, for the help and the docs."""
        return " or ".join(key_word(key) for key in self.keys)

    def binding(self) -> Binding:
        return Binding(
            ",".join(self.keys),
            self.call,
            self.label,
            show=False,
            priority=self.priority,
            tooltip=self.description,
            id=self.id,
        )


def key_word(key: str) -> str:
    """A Textual key name as people write it."""
    if key in KEY_WORDS:
        return KEY_WORDS[key]
    if key.startswith("ctrl+"):
        return "^" + key.removeprefix("ctrl+")
    if len(key) > 1 and key[0] == "f" and key[1:].isdigit():
        return key.upper()
    return key
