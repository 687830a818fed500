"""How fast queries are rendered, on one core: the function alone, and the query stage with its rows read and written.

    python benchmarks/render.py

No engine, no study: problems of the usual length (300 characters) and personas of 20 words are made on the spot, in a
folder of their own. Rates are rows a second of processor time (what the machine does beside it is not counted), the
medians of the turns.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from common import median, note

from its.prompts.render import read_template
from its.recipe.load import load_recipe
from its.rows import write_rows
from its.stages import query
from its.strategies.query import query_messages
from its.study.study import load_study
from its.types import Persona, Problem

ROOT = Path(__file__).parents[1]
SET, STRATEGY = "arithmetic_test", "similar"
TEXT = "A shop has {index} boxes with $\\frac{{1}}{{2}}$ of its cards in each. " + "It sells some of them. " * 11
PERSONA = "You are a shop owner, number {index} of the street, who keeps careful track of every box that is sold today."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    problems = [
        Problem(problem_id=f"p{index}", text=TEXT.format(index=index), reference="1", source=SET)
        for index in range(given.rows)
    ]
    personas = [
        Persona(problem_id=f"p{index}", strategy=STRATEGY, text=PERSONA.format(index=index), attempts=1)
        for index in range(given.rows)
    ]
    with tempfile.TemporaryDirectory(prefix="its-benchmark-") as folder:
        project = _study(Path(folder), problems, personas)
        recipe = load_recipe(project / "params.yaml", project)
        strategy = recipe.strategies[STRATEGY]
        template = read_template(project / "recipes" / strategy.template)

        def render() -> None:
            for problem, persona in zip(problems, personas, strict=True):
                query_messages(strategy, template, recipe.prompt, problem, [persona.text])

        rendering = [_rate("rendering", given.rows, render) for _ in range(given.turns)]
        os.chdir(project)
        stage = [_rate("stage", given.rows, partial(query.run, load_study(project))) for _ in range(given.turns)]
    print(
        json.dumps(
            {
                "rows": given.rows,
                "characters": len(problems[0].text),
                "rendered_rows_a_second": round(median(rendering)),
                "stage_rows_a_second": round(median(stage)),
            },
            indent=2,
        )
    )


def _rate(what: str, rows: int, work: Callable[[], object]) -> float:
    """Rows a second of processor time."""
    began = time.process_time()
    work()
    rate = rows / (time.process_time() - began)
    note(f"{what}: {rate:,.0f} rows a second")
    return rate


def _study(project: Path, problems: list[Problem], personas: list[Persona]) -> Path:
    """A study of one strategy on one benchmark, prepared up to its personas."""
    shutil.copy(ROOT / "dvc.yaml", project)
    shutil.copytree(ROOT / "recipes", project / "recipes")
    text = (ROOT / "recipes" / "quickstart.yaml").read_text(encoding="utf-8")
    lines = []
    for line in text.splitlines():
        if line.startswith(("  train: [", "  test: [")):
            line = f"{line.partition('[')[0]}[{STRATEGY}]"
        lines.append(line)
    (project / "params.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_rows(project / "data" / "problems" / f"{SET}.jsonl", problems)
    write_rows(project / "data" / "personas" / SET / f"{STRATEGY}.jsonl", personas)
    write_rows(project / "data" / "problems" / "arithmetic.jsonl", [])
    write_rows(project / "data" / "personas" / "arithmetic" / f"{STRATEGY}.jsonl", [])
    return project


if __name__ == "__main__":
    main()
