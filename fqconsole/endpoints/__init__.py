"""A client of OpenAI-compatible servers; torch-free."""
