"""Actions of the Runs screen."""

from fqconsole.app.actions.action import Action

ACTIONS: tuple[Action, ...] = (
    Action(
        "runs.again", ("enter",), "again", "again", "Go on from this run: talk to its model, or plan it anew"
    ),
    Action(
        "runs.filter", ("slash",), "filter", "filter", "Filter the list: bits<=4 model:qwen, or any words"
    ),
    Action("runs.sort", ("s",), "sort", "sort", "Sort by time, perplexity, speed, memory, size or model"),
    Action("runs.mark", ("space",), "mark", "mark", "Mark this run for comparing, export and deleting"),
    Action("runs.unmark", ("u",), "unmark", "unmark", "Take all marks away"),
    Action("runs.baseline", ("b",), "baseline", "baseline", "Compare with this run from now on, or no more"),
    Action(
        "runs.everything",
        ("d",),
        "everything",
        "all lines",
        "Show also what is the same, or only what differs",
    ),
    Action("runs.details", ("i",), "details", "details", "Show the details of this run, or the comparison"),
    Action("runs.outputs", ("o",), "outputs", "outputs", "Read the answers of the marked runs side by side"),
    Action("runs.plot", ("p",), "plot", "plot", "Plot the marked runs: size against quality against speed"),
    Action("runs.export", ("e",), "export", "export", "Write the marked runs, or all listed ones, to a file"),
    Action("runs.note", ("n",), "note", "note", "Write a note and tags on this run"),
    Action("runs.delete", ("x",), "delete", "delete", "Forget this run or the marked ones; asks first"),
)
