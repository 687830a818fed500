"""Many OpenAI-compatible servers as one engine: pacing, retries, what they say."""
