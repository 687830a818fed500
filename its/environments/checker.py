"""Check settings with a program in an engine environment, all at once, before anything is loaded."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from its.child_process import die_with_parent
from its.environments.find import Environment
from its.errors import RunError

Answer = TypeVar("Answer")


def run_checker(
    environment: Environment,
    program: Path,
    items: Sequence[Any],
    read: Callable[[Any], Answer],
    *,
    variables: Mapping[str, str],
    seconds: float,
    log: Path,
    what: str,
    of: str = "settings",
) -> list[Answer]:
    """The program's answer to each item, in order; one process handles all of them.

    It reads the items as a JSON list from stdin and writes a JSON list of answers to stdout; anything else it prints
    goes to the log.

    Args:
        read: parses an answer; ValueError or TypeError if it is invalid.
        variables: the whole environment of its process.
        seconds: limit after which it is killed.
        log: receives its stderr.
        what: what could not be done; errors begin with it.
        of: what errors call the items.

    Raises:
        RunError: if it fails, exceeds the limit, or does not answer every item.
    """
    hint = f"its log: {log}"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as sink:
        try:
            done = subprocess.run(
                [str(environment.python), str(program)],
                input=json.dumps(list(items), default=str).encode(),
                stdout=subprocess.PIPE,
                stderr=sink,
                env=dict(variables),
                timeout=seconds,
                check=False,
                preexec_fn=die_with_parent,
            )
        except subprocess.TimeoutExpired as error:
            raise RunError(f"{what}: no answer in {seconds:.0f} s", hint) from error
    if done.returncode:
        how = f"exit code {done.returncode}" if done.returncode > 0 else f"killed by signal {-done.returncode}"
        raise RunError(f"{what} ({how})", hint)
    try:
        answers = [read(item) for item in json.loads(done.stdout)]
    except (ValueError, TypeError) as error:
        raise RunError(f"{what}: the answer is {done.stdout[:80]!r}", hint) from error
    if len(answers) != len(items):
        raise RunError(f"{what}: {len(answers)} answers for {len(items)} {of}", hint)
    return answers
