"""What workers do: one module a kind of job, each with `run(request, desk)` and advice for full memory."""
