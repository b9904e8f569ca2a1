"""An OpenAI-compatible server on loopback, in front of one warm session; torch-free."""
