"""The console's own colours: calm dark greys, one accent; meaning is never in a colour alone."""

from textual.theme import Theme

THEME = Theme(
    name="fqconsole",
    primary="#5fafd7",
    secondary="#8787af",
    accent="#87d7af",
    foreground="#d8dee4",
    background="#14181d",
    surface="#1a1f26",
    panel="#2a323c",
    success="#87d787",
    warning="#d7af5f",
    error="#e06c75",
    dark=True,
)

LIGHT = Theme(
    name="light",
    primary="#1a658f",
    secondary="#5f5f87",
    accent="#16693f",
    foreground="#050608",
    background="#f6f5f1",
    surface="#efede7",
    panel="#9d9a8e",
    success="#176c33",
    warning="#8a5a00",
    error="#b02a37",
    dark=False,
)

AMBER = Theme(
    name="amber",
    primary="#ffb000",
    secondary="#b37b00",
    accent="#ffd75f",
    foreground="#f0c674",
    background="#120e06",
    surface="#1b1509",
    panel="#3a2d12",
    success="#d7d75f",
    warning="#ff8700",
    error="#ff5f5f",
    dark=True,
)

CONTRAST = Theme(
    name="contrast",
    primary="#ffff00",
    secondary="#00ffff",
    accent="#00ffff",
    foreground="#ffffff",
    background="#000000",
    surface="#000000",
    panel="#808080",
    success="#00ff00",
    warning="#ffff00",
    error="#ff8080",
    dark=True,
)

THEMES = (THEME, LIGHT, AMBER, CONTRAST)
