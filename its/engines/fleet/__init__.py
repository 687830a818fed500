"""Many OpenAI-compatible servers as one engine: pacing, retries, parsing of their answers."""
