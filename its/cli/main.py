"""The command line: parse, call, print. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from typing import NoReturn

import click

import its
from its.cli.complete import completion
from its.cli.data import data
from its.cli.env import doctor, env
from its.cli.grade import regrade
from its.cli.output import print_json
from its.cli.prune import prune
from its.cli.recipe import recipe
from its.cli.results import results
from its.cli.run import run
from its.cli.stages import STAGES
from its.cli.store import store
from its.cli.strategy import strategy
from its.cli.sweep import sweep
from its.errors import EXIT_INTERRUPTED, EXIT_RUN_FAILED, ItsError, MissingError, did_you_mean, nearest
from its.interrupts import LINE, Signalled, Signals
from its.shown import shown

DISK_HINTS = {
    errno.ENOSPC: "free some space and run again",
    errno.EACCES: "make the path writable, or set `ITS_HOME` to a writable folder",
    errno.EROFS: "set `ITS_HOME` to a folder on a writable disk",
}
GROUPS: dict[str, list[click.Command]] = {
    "Study": [run, recipe, strategy, sweep, results],
    "Stages, which dvc.yaml calls": [*STAGES.values()],
    "Data and store": [regrade, data, store, prune],
    "Machine": [env, doctor, completion],
}
"""Commands by what they are for, in the order of the work."""
ORDER = [str(command.name) for commands in GROUPS.values() for command in commands]
DESTRUCTIVE = {"prune"}
"""Never suggested for a mistyped command."""


class _Ordered(click.Group):
    """Lists commands in the order of the work, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in ORDER if name in self.commands]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, ORDER))
        limit = formatter.width - 6 - width
        for title, commands in GROUPS.items():
            rows = [(str(command.name).ljust(width), command.get_short_help_str(limit)) for command in commands]
            with formatter.section(title):
                formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does; an unknown command gets no suggestion that deletes."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            likely = nearest(args[0], [name for name in ORDER if name not in DESTRUCTIVE], count=3)
            ctx.fail(" ".join([f"No such command {shown(args[0])!r}.", did_you_mean(likely).capitalize()]).rstrip())
        return super().resolve_command(ctx, args)


@click.group(cls=_Ordered, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(its.__version__, prog_name="its")
@click.option("--traceback", is_flag=True, help="Show where an expected error was raised.")
def cli(traceback: bool) -> None:
    """Run Input-Time Scaling studies from a declaration.

    Run a study with `its run NAME`: `its recipe use NAME`, `dvc repro` and `its results table`. Vary it with
    `its sweep FILE` or `dvc exp run -S`. DVC decides which stages must run.
    """


for commands in GROUPS.values():
    for command in commands:
        cli.add_command(command)


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
        if "--json" in words:
            print_json(errors=error.as_json())
        for line in error.lines():
            click.echo(line, err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in DISK_HINTS or "--traceback" in words:
            raise
        click.echo(f"error: {error.filename or 'the disk'}: {str(error.strerror).lower()}", err=True)
        click.echo(f"hint: {DISK_HINTS[error.errno]}; completed work is kept", err=True)
        sys.exit(EXIT_RUN_FAILED)
    sys.exit(0)
