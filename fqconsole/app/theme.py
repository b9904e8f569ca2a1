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
