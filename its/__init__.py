"""ITS runs Input-Time Scaling studies from a declaration: see README.md and docs/design.md.

From Python: `read_study`, `read_log` and `compare` return data frames (docs/python.md).
"""

TYPE_CHECKING = False  # as `typing` has it, which `import its` need not load
if TYPE_CHECKING:
    from its.frames import compare, read_log, read_study

__version__ = "0.1.0"
__all__ = ["__version__", "compare", "read_log", "read_study"]

if not TYPE_CHECKING:  # a type checker would take any name for a function of ITS

    def __getattr__(name):
        """Import what reads data frames at its first use: `import its` loads neither pandas nor pydantic."""
        if name in __all__:
            from its import frames

            return getattr(frames, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__():
        return sorted({*globals(), *__all__})
