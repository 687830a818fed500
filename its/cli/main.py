"""The command line: parse, call, print. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import errno
import json
import signal
import sys
import threading
from typing import Any, NoReturn

import click

import its
from its.cli.data import data
from its.cli.env import doctor, env
from its.cli.grade import regrade
from its.cli.output import JSON_VERSION
from its.cli.recipe import recipe
from its.cli.results import prune, results
from its.cli.stages import STAGES
from its.cli.store import store
from its.cli.strategy import strategy
from its.errors import EXIT_INTERRUPTED, EXIT_RUN_FAILED, ItsError
from its.interrupts import LINE

DISK_HINTS = {
    errno.ENOSPC: "free some space and run again",
    errno.EACCES: "make the path writable, or set ITS_HOME to a folder that is",
    errno.EROFS: "set ITS_HOME to a folder on a disk that can be written",
}
ORDER = ["recipe", "strategy", *STAGES, "regrade", "results", "data", "store", "prune", "env", "doctor"]


class _Ordered(click.Group):
    """Lists commands in the order of the work, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in ORDER if name in self.commands]


@click.group(cls=_Ordered, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(its.__version__, prog_name="its")
@click.option("--traceback", is_flag=True, help="Show where an expected failure was raised.")
def cli(traceback: bool) -> None:
    """Run Input-Time Scaling studies from a declaration.

    Choose a study with `its recipe use NAME`, run it with `dvc repro`, sweep it with `dvc exp run -S`. The commands
    from `prepare` to `report` are the stages that dvc.yaml calls; DVC decides which of them has to run.
    """


class _Signalled(KeyboardInterrupt):
    """SIGTERM ends a command as Ctrl-C does, so that temporary files and processes go.

    A class of its own for both: where KeyboardInterrupt itself has come through an `exec`, as dataclasses use it, Python
    3.11 kills its process in the end, whatever code it was to exit with.
    """

    def __init__(self, number: int) -> None:
        self.number = number


def _raise(number: int, frame: Any) -> None:
    if number == signal.SIGTERM:
        signal.signal(number, signal.SIG_DFL)  # a second one does not wait
    raise _Signalled(number)


def _not_lost(lost: sys.UnraisableHookArgs) -> None:
    """Python drops an exception that a signal raises within a destructor or some imports: send that signal again."""
    if not isinstance(lost.exc_value, _Signalled):
        sys.__unraisablehook__(lost)
        return
    signal.signal(lost.exc_value.number, _raise)
    again = threading.Timer(
        0.01, signal.raise_signal, (lost.exc_value.number,)
    )  # not from here, where it would be dropped again
    again.daemon = True
    again.start()


for command in (recipe, strategy, *STAGES.values(), regrade, results, data, store, prune, env, doctor):
    cli.add_command(command)


def _handlers() -> dict[int, Any]:
    """The handlers of what ends a command; none outside the main thread, where none can be set."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}


def _restore(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 done, 1 failed, 2 usage, 3 invalid, 4 missing, 130 or 143 interrupted."""
    words = sys.argv[1:] if arguments is None else arguments
    former, former_hook = _handlers(), sys.unraisablehook
    try:
        if former:
            sys.unraisablehook = _not_lost
            if former[signal.SIGINT] is not signal.SIG_IGN:  # as a shell's background jobs have it
                signal.signal(signal.SIGINT, _raise)
            signal.signal(signal.SIGTERM, _raise)
        cli.main(args=words, prog_name="its", standalone_mode=False)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        if "--json" in words:
            faults = [{"message": error.format_message(), "hint": None}]
            click.echo(json.dumps({"version": JSON_VERSION, "errors": faults}, indent=2, ensure_ascii=False))
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt) as error:
        _restore(former)  # a second one need not wait for this
        click.echo(LINE, err=True)
        signalled = error if isinstance(error, _Signalled) else error.__cause__  # click wraps it
        sys.exit(128 + signalled.number if isinstance(signalled, _Signalled) else EXIT_INTERRUPTED)
    except ItsError as error:
        if "--traceback" in words:
            raise
        if "--json" in words:
            click.echo(json.dumps({"version": JSON_VERSION, "errors": error.as_json()}, indent=2, ensure_ascii=False))
        for line in error.lines():
            click.echo(line, err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in DISK_HINTS or "--traceback" in words:
            raise
        click.echo(f"error: {error.filename or 'the disk'}: {str(error.strerror).lower()}", err=True)
        click.echo(f"hint: {DISK_HINTS[error.errno]}; what was finished is kept", err=True)
        sys.exit(EXIT_RUN_FAILED)
    finally:
        _restore(former)
        sys.unraisablehook = former_hook
    sys.exit(0)
