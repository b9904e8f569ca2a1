"""The operator console that makes large language models small, shows the cost, and talks to the result."""

__version__ = "0.1.0"
