"""What was typed into the filter of the models: words, a hub id, a folder or a config.json."""

from typing import Literal

Kind = Literal["words", "hub", "folder", "config"]


def kind_of(text: str) -> Kind:
    """By its looks alone: nothing is opened."""
    word = text.strip()
    if word.endswith(".json"):
        return "config"
    if word.startswith(("/", "~", "./", "../")):
        return "folder"
    owner, _, name = word.partition("/")
    return "hub" if owner and name and "/" not in name and " " not in word else "words"


def nothing_matches(text: str) -> str:
    """What to press where no model of the list matches."""
    word = text.strip()
    match kind_of(word):
        case "hub":
            return f"{word} is not on this machine. Press Enter to look it up on the Hugging Face hub."
        case "config":
            return f"Press Enter to read {word}: what a model of this config needs, without its weights."
        case "folder":
            return f"Press Enter to look at the model in {word}."
        case _:
            return (
                f"No model matches “{word}”. Esc shows all; a hub id such as Qwen/Qwen3-8B can be looked up."
            )
