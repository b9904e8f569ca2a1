"""The Textual console: screens, widgets and theme; knows jobs and the store, never torch."""
