"""The OpenAI-compatible server over a finished study."""
