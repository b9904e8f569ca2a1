"""A job: one worker process and a stream of typed events; the only door to torch from the console."""
