"""ITS runs Input-Time Scaling studies from a declaration: see README.md and docs/design.md."""

__version__ = "0.1.0"
