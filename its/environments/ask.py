"""Ask a program in an engine environment about some settings, all at once, before anything is loaded."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from its.environments.find import Environment
from its.errors import RunError

Answer = TypeVar("Answer")


def ask_program(
    environment: Environment,
    program: Path,
    asked: Sequence[Any],
    read: Callable[[Any], Answer],
    *,
    variables: Mapping[str, str],
    seconds: float,
    log: Path,
    what: str,
    of: str = "settings",
) -> list[Answer]:
    """What a program answers to each thing asked, in order; one process for all of them.

    It reads the list as JSON from stdin and writes the list of answers to stdout; what else it prints is in the log.

    Args:
        read: makes an answer of its JSON; ValueError or TypeError if it is none.
        variables: of its process, and no others.
        seconds: it is ended then.
        log: receives its stderr.
        what: how errors begin: what could not be done.
        of: how errors call the things asked.

    Raises:
        RunError: if it fails, is not done in time, or does not answer to each.
    """
    hint = f"its log: {log}"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as sink:
        try:
            done = subprocess.run(
                [str(environment.python), str(program)],
                input=json.dumps(list(asked), default=str).encode(),
                stdout=subprocess.PIPE,
                stderr=sink,
                env=dict(variables),
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise RunError(f"{what}: no answer in {seconds:.0f} s", hint) from error
    if done.returncode:
        how = f"exit code {done.returncode}" if done.returncode > 0 else f"killed by signal {-done.returncode}"
        raise RunError(f"{what} ({how})", hint)
    try:
        told = [read(item) for item in json.loads(done.stdout)]
    except (ValueError, TypeError) as error:
        raise RunError(f"{what}: the answer is {done.stdout[:80]!r}", hint) from error
    if len(told) != len(asked):
        raise RunError(f"{what}: {len(told)} answers for {len(asked)} {of}", hint)
    return told
