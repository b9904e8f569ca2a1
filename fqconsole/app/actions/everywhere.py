"""Actions that work on every screen."""

from fqconsole.app.actions.action import Action

ACTIONS = (
    Action("everywhere.models", ("1",), "app.show('models')", "models", "Show the list of models"),
    Action("everywhere.fit", ("2",), "app.show('fit')", "fit", "Show what fits in memory"),
    Action("everywhere.quantize", ("3",), "app.show('quantize')", "quantize", "Show the quantize job"),
    Action("everywhere.session", ("4",), "app.show('session')", "session", "Talk to a model"),
    Action("everywhere.runs", ("5",), "app.show('runs')", "runs", "Show and compare recorded runs"),
    Action("everywhere.gpus", ("6",), "app.show('gpus')", "gpus", "Show the GPUs and who uses them"),
    Action(
        "everywhere.help",
        ("f1", "question_mark"),
        "app.help",
        "help",
        "Explain the panel in focus and list the keys",
        key_word="?",
    ),
    Action(
        "everywhere.palette",
        ("ctrl+p",),
        "app.command_palette",
        "commands",
        "Search all commands",
        palette=False,
        priority=True,
    ),
    Action(
        "everywhere.jump",
        ("ctrl+o",),
        "app.jump",
        "jump",
        "Jump to a panel or a screen from anywhere",
        priority=True,
    ),
    Action("everywhere.log", ("f8",), "app.log_drawer", "log", "Open or close the log of this console"),
    Action("everywhere.screenshot", ("f7",), "app.shoot", "screenshot", "Save this screen as an SVG picture"),
    Action(
        "everywhere.maximize",
        ("m",),
        "app.maximize_panel",
        "maximize",
        "Let the panel in focus fill the screen",
    ),
    Action("everywhere.back", ("escape",), "app.back", "back", "Go back to the screen before"),
    Action(
        "everywhere.quit",
        ("q",),
        "app.quit",
        "quit",
        "Quit; asks first while a job runs",
    ),
    Action(
        "everywhere.quit_now",
        ("ctrl+q",),
        "app.quit",
        "quit",
        "Quit, also while typing; asks first while a job runs",
        palette=False,
        priority=True,
    ),
)
