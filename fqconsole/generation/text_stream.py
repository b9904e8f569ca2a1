"""From tokens to text as they come: whole characters, and nothing that may become a stop string."""

from collections.abc import Callable, Sequence

BROKEN = "\N{REPLACEMENT CHARACTER}"
# Real text is whole again after a few tokens, even where one token ends a character and begins the next;
# noise never is.
HELD_AT_MOST = 16


class Detokenizer:
    """Decodes a growing list of tokens piece by piece; the pieces joined are the decoded whole.

    Tokenizers decode a token differently after another one (a leading space, half a character), so each step
    decodes a short window twice, without and with the new tokens, and the difference is the new text.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self._window = 0  # the window starts here
        self._told = 0  # tokens before this have been told

    def add(self, token: int) -> str:
        """The text that `token` completes; empty while a character is incomplete."""
        self._ids.append(token)
        text = self._fresh()
        if text.endswith(BROKEN) and len(self._ids) - self._told < HELD_AT_MOST:
            return ""
        if text:
            self._window, self._told = self._told, len(self._ids)
        return text

    def finish(self) -> str:
        """What is still held back, broken or not."""
        text = self._fresh()
        self._window = self._told = len(self._ids)
        return text

    def _fresh(self) -> str:
        before = self._decode(self._ids[self._window : self._told])
        return self._decode(self._ids[self._window :])[len(before) :]


class StopFilter:
    """Lets text through up to the first stop string; holds back an end that may be the start of one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.stopped = False

    def add(self, text: str) -> str:
        """The part of `text`, and of what was held back before, that is certain to belong to the answer."""
        if self.stopped:
            return ""
        pending = self._held + text
        found = [at for at in (pending.find(stop) for stop in self._stops) if at >= 0]
        if found:
            self.stopped, self._held = True, ""
            return pending[: min(found)]
        keep = max((_overlap(pending, stop) for stop in self._stops), default=0)
        self._held = pending[len(pending) - keep :]
        return pending[: len(pending) - keep]

    def finish(self) -> str:
        """What was held back for a stop string that never came."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a proper start of `stop`."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if stop.startswith(text[-length:]):
            return length
    return 0
