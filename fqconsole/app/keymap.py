"""The keys that the operator gave to actions, held against the registry before the console opens."""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from fqconsole.app.actions import ACTIONS, Action
from fqconsole.errors import UsageError

# A letter, digit or sign, or a name such as f5, ctrl+r, question_mark: what Textual tells of a key press.
KEY = re.compile(r"(?:(?:ctrl|alt|shift)\+)*(?:\S|[a-z][a-z0-9_]+)")


def keymap(chosen: Mapping[str, str]) -> dict[str, str]:
    """Ids of actions with their keys, "space,insert", as Textual takes them.

    Raises UsageError: no such action, no such key, or one key for two actions of a screen.
    """
    for action_id, keys in chosen.items():
        _check_id(action_id)
        for key in _keys(keys):
            if not KEY.fullmatch(key):
                raise UsageError(
                    f"[keys] {action_id}: {key!r} is no key.", "Write keys as f5, ctrl+r, space or x."
                )
    _check_clashes(with_keys(ACTIONS, chosen), chosen)
    return {action_id: ",".join(_keys(keys)) for action_id, keys in chosen.items()}


def with_keys(actions: Iterable[Action], chosen: Mapping[str, str]) -> list[Action]:
    """The actions as they are with these keys: for footer, palette and help."""
    return [
        replace(item, keys=_keys(chosen[item.id]), key_word="") if item.id in chosen else item
        for item in actions
    ]


def _keys(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _check_id(action_id: str) -> None:
    known = [item.id for item in ACTIONS]
    if action_id not in known:
        near = difflib.get_close_matches(action_id, known, 1, 0.4)
        advice = f"Did you mean {near[0]}?" if near else "docs/console.md lists the ids."
        raise UsageError(f"[keys] has no action {action_id}.", advice)


def _check_clashes(actions: Iterable[Action], chosen: Mapping[str, str]) -> None:
    """A key means one thing on a screen; what works everywhere gives way only where it did so by itself."""
    owners: dict[tuple[str, str], Action] = {}
    for item in actions:
        for key in item.keys:
            other = owners.setdefault((item.where, key), item)
            if other is not item:
                raise UsageError(
                    f"[keys] {key} would start both {other.id} and {item.id}.",
                    "Give one of them another key.",
                )
    for (where, key), item in owners.items():
        common = owners.get(("everywhere", key))
        if where != "everywhere" and common is not None and {item.id, common.id} & set(chosen):
            raise UsageError(
                f"[keys] {key} would start both {common.id} and {item.id}.", "Give one of them another key."
            )
