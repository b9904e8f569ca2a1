"""Screens of the console: each arranges widgets and handles messages; numbers come from the rooms below."""
