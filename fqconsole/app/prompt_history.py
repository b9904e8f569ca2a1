"""Prompts that were sent before, to be gone through with up and down; what is being written is not lost."""

from typing import Any

MOST = 200
LONGEST = 20_000  # letters of a prompt that is remembered


class PromptHistory:
    """Oldest first; the place after the last is what is being written."""

    def __init__(self) -> None:
        self._prompts: list[str] = []
        self._at = 0
        self._draft = ""

    def remember(self, earlier: list[str]) -> None:
        """Prompts of consoles before this one go in front."""
        self._prompts = [*(prompt for prompt in earlier if prompt not in self._prompts), *self._prompts]
        self._at = len(self._prompts)

    def add(self, prompt: str) -> None:
        """A prompt was sent; the same one is kept once, as the latest."""
        self._prompts = [*(other for other in self._prompts if other != prompt), prompt][-MOST:]
        self._at = len(self._prompts)

    def older(self, written: str) -> str | None:
        """The prompt before; None at the first."""
        if self._at == 0:
            return None
        if self._at == len(self._prompts):
            self._draft = written
        self._at -= 1
        return self._prompts[self._at]

    def newer(self) -> str | None:
        """The prompt after, at last what was being written; None where that stands already."""
        if self._at == len(self._prompts):
            return None
        self._at += 1
        return self._draft if self._at == len(self._prompts) else self._prompts[self._at]


def stored_prompts(store: Any) -> list[str]:
    """The latest prompts of the runs, oldest first. Raises StoreError; runs in the store's thread."""
    prompts: dict[str, None] = {}
    for said, template in store.recent_prompts(MOST):
        question = said.rpartition("\n\nuser: ")[2] if template else said
        if len(question) <= LONGEST:
            prompts.setdefault(question, None)
    return list(reversed(prompts))
