"""Templates: the sandbox, the renderer, chat templates."""
