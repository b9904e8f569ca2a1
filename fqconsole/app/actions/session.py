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
        "session.endpoint",
        (),
        "endpoint",
        "a server's",
        "Talk to a model that a server has (http://…), beside the loaded one",
    ),
    Action(
        "session.blind",
        ("f12",),
        "blind",
        "blind A/B",
        "Compare blindly: answers come without names until you vote; or show the names",
    ),
    Action("session.vote_x", ("x",), "vote('first')", "X better", "Blind A/B: X is better"),
    Action("session.vote_y", ("y",), "vote('second')", "Y better", "Blind A/B: Y is better"),
    Action("session.vote_tie", ("t",), "vote('tie')", "tie", "Blind A/B: both are equally good"),
    Action("session.vote_neither", ("n",), "vote('neither')", "neither", "Blind A/B: neither is good"),
    Action(
        "session.rendered", ("f3",), "rendered", "prompt seen", "Show the prompt exactly as the model sees it"
    ),
    Action(
        "session.sampling", ("f4",), "sampling", "sampling", "Change sampling, presets and the system prompt"
    ),
    Action("session.system", ("s",), "system", "system", "Write the system prompt"),
    Action("session.again", ("f5",), "again", "again", "Answer the last prompt once more"),
    Action("session.edit", ("f6",), "edit", "edit", "Edit the last prompt; its answer is replaced"),
    Action(
        "session.measure",
        ("f10",),
        "measure",
        "measure",
        "Measure what was lost against the 16-bit model, or stop measuring",
    ),
    Action("session.from_file", ("ctrl+l",), "from_file", "from file", "Read a prompt from a file"),
    Action("session.copy", ("c",), "copy", "copy", "Copy the last answer"),
    Action("session.save", ("w",), "save", "save", "Save the dialogue as a Markdown file"),
    Action("session.raw", ("r",), "raw", "as written", "Show answers as they are written, or as Markdown"),
    Action("session.start_over", ("ctrl+n",), "start_over", "start over", "Begin a new dialogue"),
    Action(
        "session.serve_elsewhere",
        (),
        "serve_elsewhere",
        "elsewhere",
        "How vLLM and SGLang serve this checkpoint: sizes, kernels, the exact command",
    ),
    Action("session.unload", (), "unload", "unload", "Unload the model and give its memory back"),
)
