"""Actions of the Session screen. The prompt field takes letters, so what matters has a function key."""

from fqconsole.app.actions.action import Action

ACTIONS: tuple[Action, ...] = (
    Action(
        "session.send",
        ("enter",),
        "send",
        "send",
        "Send the prompt; with no model, open the latest quantized one",
        priority=True,
    ),
    Action("session.newline", ("ctrl+j",), "newline", "newline", "Begin a new line in the prompt"),
    Action("session.stop", (), "stop", "stop", "Stop the answer and keep its text"),
    Action("session.compare", ("f2",), "compare", "A/B", "Answer on the 16-bit model too, side by side"),
    Action(
        "session.compare_with",
        ("ctrl+r",),
        "compare_with",
        "A/B with …",
        "Choose another model or checkpoint for the second pane",
    ),
    Action(
        "session.rendered", ("f3",), "rendered", "prompt seen", "Show the prompt exactly as the model sees it"
    ),
    Action(
        "session.sampling", ("f4",), "sampling", "sampling", "Change temperature, top-p, seed, max tokens"
    ),
    Action("session.again", ("f5",), "again", "again", "Answer the last prompt once more"),
    Action("session.edit", ("f6",), "edit", "edit", "Edit the last prompt; its answer is replaced"),
    Action(
        "session.measure",
        ("f10",),
        "measure",
        "measure",
        "Measure what was lost against the 16-bit model, or stop measuring",
    ),
    Action("session.copy", ("y",), "copy", "copy", "Copy the last answer"),
    Action("session.start_over", ("ctrl+n",), "start_over", "start over", "Begin a new dialogue"),
    Action("session.unload", (), "unload", "unload", "Unload the model and give its memory back"),
)
