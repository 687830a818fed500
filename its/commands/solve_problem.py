"""The problem that `its solve` receives: a text, a file or the standard input; of a benchmark, or a new one."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from pathlib import Path
from typing import NamedTuple

from its.errors import DataError, MissingError, did_you_mean, nearest
from its.files import read_regular
from its.shown import shown, unshowable
from its.study.study import Study
from its.types import Problem

MAX_BYTES = 256 * 1024
"""Of a problem: more than the context of any model holds."""
OWN_SET = "solve"
"""In place of the set's name, for a problem of no benchmark."""
_FILE = re.compile(r"[^\s]+\.(?:txt|md|tex|text|json|jsonl)|\.{0,2}/[^\s]*")


class Given(NamedTuple):
    """A problem, the benchmark it is from (None: of none), and the benchmark whose settings it gets."""

    problem: Problem
    known_in: str | None
    benchmark: str

    @property
    def set_name(self) -> str:
        return self.known_in or OWN_SET


def normalised(text: str) -> str:
    """The text of a problem as it is looked up, keyed and sent, wherever it comes from."""
    return text.replace("\r\n", "\n").strip()


def read_problem(word: str) -> str:
    """The text of a problem without white space at its ends: WORD itself, the file of that name, or stdin for `-`.

    Raises:
        MissingError: if WORD is the name of a file that does not exist.
        DataError: if the text is blank, too long, not UTF-8, or contains control characters.
    """
    where = "the problem"
    if word == "-":
        where, content = "standard input", sys.stdin.buffer.read(MAX_BYTES + 1)
    elif os.path.lexists(word):
        where = shown(word)
        content = read_regular(Path(word), MAX_BYTES)
    elif _FILE.fullmatch(word):
        raise MissingError(f"{shown(word)}: no such file", "give the text of a problem, a file, or `-`")
    else:
        content = word.encode("utf-8", "surrogateescape")
    if len(content) > MAX_BYTES:
        raise DataError(f"{where}: a problem has at most {MAX_BYTES} bytes", "give one problem")
    try:
        text = normalised(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8 (byte {error.start + 1})", "save the text as UTF-8") from error
    if not text:
        raise DataError(f"{where}: the problem is blank", 'give one: `its solve "What is half of 12?"`')
    character = unshowable(text)
    if character is not None:
        raise DataError(f"{where}: contains {character}", "remove it: prompts contain no control characters")
    return text


def given_problem(study: Study, text: str, benchmark: str | None) -> Given:
    """The problem of a prepared benchmark with this text, else a new one with an id computed from the text.

    Args:
        benchmark: whose settings it gets. None: of the benchmark it is from, else of the first that reports.

    Raises:
        DataError: if the design has no such benchmark.
    """
    return Problems(study, benchmark).given(text)


class Problems:
    """The prepared benchmarks, for many problems: a text is looked up, not searched.

    Args:
        benchmark: as in `given_problem`.

    Raises:
        DataError: if the design has no such benchmark.
    """

    def __init__(self, study: Study, benchmark: str | None) -> None:
        recipe, names = study.recipe, study.recipe.design.benchmarks
        if benchmark is not None and benchmark not in names:
            hint = did_you_mean(nearest(benchmark, names), f"of the design: {', '.join(f'`{name}`' for name in names)}")
            raise DataError(f"no benchmark `{shown(benchmark)}` in the design", hint)
        reporting = [name for name in names if recipe.benchmarks[name].role == "report"]
        self.default = benchmark or [*reporting, *names][0]
        """The benchmark of a problem of none."""
        self._known: dict[str, Given] = {}
        for name in names if benchmark is None else [benchmark]:
            if study.problems_path(name).is_file():
                for problem in study.problems(name):
                    self._known.setdefault(normalised(problem.text), Given(problem, name, name))

    def given(self, text: str) -> Given:
        """The problem with this text, without white space at its ends."""
        if text in self._known:
            return self._known[text]
        problem_id = f"{OWN_SET}_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
        return Given(Problem(problem_id=problem_id, text=text, source=OWN_SET), None, self.default)
