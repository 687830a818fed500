"""The command line: parse, call, print. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from typing import NoReturn

import click

import its
from its.cli.help_page import HelpPage
from its.cli.index import Index
from its.cli.output import print_json
from its.errors import EXIT_INTERRUPTED, EXIT_RUN_FAILED, ItsError, MissingError
from its.interrupts import LINE, Signalled, Signals

DISK_HINTS = {
    errno.ENOSPC: "free some space and run again",
    errno.EDQUOT: "free some space of your quota and run again",
    errno.EACCES: "make the path writable, or set `ITS_HOME` to a writable folder",
    errno.EPERM: "make the path writable, or set `ITS_HOME` to a writable folder",
    errno.EROFS: "set `ITS_HOME` to a folder on a writable disk",
}


click.Context.formatter_class = HelpPage  # of all commands; a command has no setting for it, and a group hands none on


@click.group(cls=Index, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(its.__version__, prog_name="its")
@click.option("--traceback", is_flag=True, help="Show where an expected error was raised.")
def cli(traceback: bool) -> None:
    """Run Input-Time Scaling studies from a declaration.

    Run a study with `its run NAME`: `its recipe use NAME`, `dvc repro` and `its results table`. Vary it with
    `its sweep FILE` or `dvc exp run -S`. DVC decides which stages must run.
    """


def _run(words: list[str]) -> None:
    """Run a command. After a signal, any exception that ends it is reported as the signal.

    Raises:
        Signalled: if a signal arrived and the command failed.
    """
    with Signals() as signals:
        try:
            cli.main(args=words, prog_name="its", standalone_mode=False)
        except BaseException as error:
            if signals.received is None:
                raise
            raise Signalled(signals.received) from error


def _require_folder() -> None:
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise MissingError("the current folder no longer exists", "`cd` into a folder that exists") from error


def _report(error: ItsError, words: list[str]) -> NoReturn:
    if "--json" in words:
        print_json(errors=error.as_json())
    for line in error.lines():
        click.echo(line, err=True)
    sys.exit(error.exit_code)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 done, 1 failed, 2 usage, 3 invalid, 4 missing, 129, 130 or 143 interrupted."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        _require_folder()
        _run(words)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        if "--json" in words:
            print_json(errors=[{"message": error.format_message(), "hint": None}])
        error.show()
        sys.exit(error.exit_code)
    except Signalled as error:
        with contextlib.suppress(OSError):  # the terminal may be gone
            click.echo(LINE, err=True)
        sys.exit(128 + int(error.args[0]))
    except (click.Abort, KeyboardInterrupt):
        click.echo(LINE, err=True)
        sys.exit(EXIT_INTERRUPTED)
    except ItsError as error:
        if "--traceback" in words:
            raise
        _report(error, words)
    except OSError as error:
        if "--traceback" in words:
            raise
        from its.home import home_fault

        if fault := home_fault(error):
            _report(fault, words)
        if error.errno not in DISK_HINTS:
            raise
        click.echo(f"error: {error.filename or 'the disk'}: {str(error.strerror).lower()}", err=True)
        click.echo(f"hint: {DISK_HINTS[error.errno]}; completed work is kept", err=True)
        sys.exit(EXIT_RUN_FAILED)
    sys.exit(0)
