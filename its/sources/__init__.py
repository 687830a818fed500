"""Where problems come from, and how rows become problems."""
