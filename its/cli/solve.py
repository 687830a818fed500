"""`its solve`: one problem to the pair that the study reports."""

from __future__ import annotations

import click

from its.cli.complete import complete_checkpoint, complete_declared, complete_strategy
from its.cli.output import echo, json_option, print_json


@click.command()
@click.argument("problem")
@click.option("--checkpoint", metavar="NAME", shell_complete=complete_checkpoint, help="The checkpoint that responds.")
@click.option("--strategy", metavar="NAME", shell_complete=complete_strategy, help="The test strategy.")
@click.option("--ensemble", metavar="NAME", help="A vote of the recipe, under `vote.ensembles` or `vote.strategies`.")
@click.option("--n", type=click.IntRange(1, 10_000), help="Responses to each query; default as in the recipe.")
@click.option(
    "--benchmark",
    metavar="NAME",
    shell_complete=complete_declared("benchmarks"),
    help="Take its kind of answer and its sampling; default the first with the role `report`.",
)
@click.option("--show", is_flag=True, help="Show persona, query and responses too.")
@json_option
def solve(
    problem: str,
    checkpoint: str | None,
    strategy: str | None,
    ensemble: str | None,
    n: int | None,
    benchmark: str | None,
    show: bool,
    as_json: bool,
) -> None:
    """Give a problem to the pair that the study reports.

    PROBLEM is a text, a file or `-`. The writer writes its persona, the study's templates make the query, the
    checkpoint samples n responses, and answers that the grader finds equal vote. Options name another checkpoint,
    strategy or vote; without them the pair is that of `its results best`, with its first training seed.

    Responses are kept in the store: the same problem starts no engine again. A problem of a prepared benchmark has the
    persona, prompt and seeds that it has in the study.

    \b
    Reads   params.yaml, recipes/prompts/, models/, data/problems/, results/
    Writes  the store
    Example its solve "What is half of 12?" --checkpoint smollm2_135m-base --strategy random
    """
    if ensemble is not None and strategy is not None:
        raise click.UsageError("--ensemble names its strategies; leave out --strategy")
    from its.commands.solve import solve as solved
    from its.commands.solve_pair import choose_members
    from its.commands.solve_problem import given_problem, read_problem
    from its.commands.solve_text import solved_lines
    from its.study.study import load_study

    text = read_problem(problem)
    study = load_study()
    given = given_problem(study, text, benchmark)
    chosen = choose_members(study, checkpoint, strategy, ensemble, given.benchmark)
    found = solved(study, given, chosen.members, n)
    found["notes"] = [*chosen.notes, *found["notes"]]
    if as_json:
        print_json(**{name: value for name, value in found.items() if show or name != "rows"})
        return
    for line in solved_lines(found, rows=show):
        echo(line)
