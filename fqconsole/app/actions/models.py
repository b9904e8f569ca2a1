"""Actions of the Models screen."""

from fqconsole.app.actions.action import Action

ACTIONS = (
    Action("models.open", ("enter",), "open", "open", "See what fits of this model; talk to a quantized one"),
    Action(
        "models.filter",
        ("slash",),
        "filter",
        "filter",
        "Filter the list, or type a hub id, a folder or a config.json",
    ),
    Action("models.sort", ("s",), "sort", "sort", "Sort the list: as listed, by name, by size, by fit"),
    Action("models.about", ("v",), "about", "about", "Show the files, the licence and all that was measured"),
    Action(
        "models.download",
        ("d",),
        "download",
        "download",
        "Download this model into the Hugging Face cache; again: stop, and keep what is there",
    ),
    Action("models.reload", ("r",), "reload", "reload", "Look for models again"),
)
