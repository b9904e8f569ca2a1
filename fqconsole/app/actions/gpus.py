"""Actions of the GPUs screen; it only looks: nothing here changes a GPU or ends a process."""

from fqconsole.app.actions.action import Action

ACTIONS = (
    Action("gpus.pause", ("p",), "pause", "pause", "Hold the picture still, or let it go on"),
    Action("gpus.sort", ("s",), "sort", "sort", "Sort the processes by memory, by GPU or by user"),
    Action("gpus.interval", ("i",), "interval", "interval", "Read every 0.5, 1, 2, 5 or 10 seconds"),
    Action("gpus.copy", ("y",), "copy", "copy", "Copy the readings and the processes as text"),
)
