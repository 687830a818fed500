"""Strategies: list, show, scaffold, preview."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from its.cli.complete import complete_recipe, complete_set, complete_strategy
from its.cli.output import echo, json_option, print_json

if TYPE_CHECKING:
    from its.study.study import Study

recipe_option = click.option(
    "--recipe",
    "recipe",
    metavar="NAME",
    shell_complete=complete_recipe,
    help="Recipe to read; default params.yaml.",
)


def _study(recipe: str | None) -> Study:
    from its.recipe.apply import recipe_path
    from its.recipe.document import read_document
    from its.study.study import Study, checked_recipe, find_project, load_study

    if recipe is None:
        return load_study()
    project = find_project()
    return Study(project, checked_recipe(read_document(recipe_path(project, recipe)), project, {}))


@click.group()
def strategy() -> None:
    """List, scaffold and try strategies."""


@strategy.command("list")
@recipe_option
@json_option
def list_(recipe: str | None, as_json: bool) -> None:
    """List the strategies of a recipe.

    Prints where the persona comes from, in which turn it is, the share of the
    problems that get one, and the sides of the design that use it; of a mix or
    union its members.

    \b
    Reads   params.yaml, or recipes/NAME.yaml
    Writes  nothing
    Example its strategy list --recipe strategies
    """
    from its.commands.strategy import describe

    found = describe(_study(recipe).recipe)
    if as_json:
        print_json(strategies=found)
        return
    names, ways = (max(len(item[key]) for item in found) for key in ("name", "persona"))
    for item in found:
        sides = ", ".join(side for side in ("train", "test") if item[side]) or "not in the design"
        share = "" if item["share"] is None else f"  share {item['share']}"
        click.echo(f"{item['name']:{names}}  {item['persona']:{ways}}  {item['place'] or '-':6}  {sides}{share}")


@strategy.command()
@click.argument("name", shell_complete=complete_strategy)
@recipe_option
@json_option
def show(name: str, recipe: str | None, as_json: bool) -> None:
    """Print a strategy with its templates.

    If the last run of this recipe kept many personas that break a rule, the rules, their share and what to change are
    printed too (`warnings` with --json).

    \b
    Reads   params.yaml, or recipes/NAME.yaml; recipes/prompts/, data/personas/summary.json
    Writes  nothing
    Example its strategy show random
    """
    from its.commands import strategy as previews

    study = _study(recipe)
    found = previews.show(study, name)
    warnings, notes = previews.last_warnings(study, name)
    if as_json:
        print_json(**found, warnings=warnings, notes=notes)
        return
    echo(previews.as_yaml(found["strategy"]), nl=False)
    for path, text in found["templates"].items():
        echo(f"\n{path}:\n{_indented(text)}")
    for warning in warnings:
        echo(f"\nwarning of the last run: {warning}")
    for note in notes:
        echo(f"note: {note}", err=True)


@strategy.command()
@click.argument("name")
@click.option(
    "--recipe", metavar="NAME", shell_complete=complete_recipe, help="Add it to this recipe (a name or a file)."
)
@click.option(
    "--kind",
    type=click.Choice(["written", "fixed", "mix", "union"]),
    default="written",
    show_default=True,
    help="Where the persona comes from: the writer, texts of the recipe, other strategies.",
)
@click.option(
    "--of",
    "members",
    metavar="STRATEGY",
    multiple=True,
    shell_complete=complete_strategy,
    help="A member of a mix or union, given at least twice.",
)
def new(name: str, recipe: str | None, kind: Any, members: tuple[str, ...]) -> None:
    """Scaffold a strategy with its templates.

    Prints the lines that a recipe needs; with --recipe it adds them to it. A written strategy has two templates,
    persona_NAME.j2 and query_NAME.j2, a fixed one that of the query, a mix or union none. Overwrites nothing.

    \b
    Reads   with --recipe recipes/NAME.yaml
    Writes  recipes/prompts/; with --recipe that recipe
    Example its strategy new witness
    """
    combines = kind in ("mix", "union")
    if combines and len(members) < 2:
        raise click.UsageError(f"a {kind} has at least 2 members: --of STRATEGY --of STRATEGY")
    if len(set(members)) < len(members):
        raise click.UsageError("--of names a strategy twice")
    if members and not combines:
        raise click.UsageError("--of is for --kind mix and --kind union")
    from its.checks.data import data_checked
    from its.recipe.scaffold import new_strategy
    from its.study.study import find_project

    project = find_project()
    made = new_strategy(project, name, recipe, data_checked, kind, members)
    for path in made.templates:
        click.echo(f"wrote {path.relative_to(project)}")
    if made.recipe is not None:
        click.echo(f"added `strategies.{name}` to {recipe}; name it under `design.train` or `design.test` to use it")
    else:
        click.echo(f"add under `strategies:` of a recipe, and name it under `design`:\n{made.lines}", nl=False)


@strategy.command()
@click.argument("name", shell_complete=complete_strategy)
@click.option("--problem", "text", metavar="TEXT", help="Text of a problem.")
@click.option(
    "--set",
    "set_name",
    metavar="SET",
    shell_complete=complete_set,
    help="A prepared dataset or benchmark; default its first problem.",
)
@click.option("--problem-id", metavar="ID", help="A problem of the set.")
@click.option("--engine", is_flag=True, help="Generate the personas (stored ones are reused).")
@recipe_option
@json_option
def preview(
    name: str,
    text: str | None,
    set_name: str | None,
    problem_id: str | None,
    engine: bool,
    recipe: str | None,
    as_json: bool,
) -> None:
    """Show the requests and the query of a strategy.

    Prints the chat that the writer receives for a problem and the chat that training and test use. Without --engine a
    placeholder stands for the persona and nothing is started. With it the persona is written as in the persona stage,
    with its seeds and its store; it is printed with each attempt, the rules it breaks, and its similarity to the
    problem. Of a mix the member is shown that it draws for the problem, of a union each member.

    \b
    Reads   params.yaml, or recipes/NAME.yaml; recipes/prompts/; with --set data/problems/
    Writes  nothing; with --engine the store
    Example its strategy preview similar --problem "What is half of 12?"
    """
    if (text is None) == (set_name is None) or (problem_id is not None and set_name is None):
        raise click.UsageError("give a problem: --problem TEXT, or --set SET with or without --problem-id ID")
    from its.commands import strategy as previews

    study = _study(recipe)
    previews.declared(study.recipe, name)
    if set_name is not None:
        problem, problems = previews.find_problem(study, set_name, problem_id)
    else:
        problem = previews.typed_problem(str(text))
        problems = [problem]
    found = previews.preview(study, name, problem, set_name or previews.TEXT_ID, problems, engine)
    if as_json:
        print_json(**found)
        return
    _print(found)


def _print(found: dict[str, Any]) -> None:
    if "rows" in found:
        for row in found["rows"]:
            echo(f"\n=== {found['strategy']}, a {found['persona']}: {row['strategy']}")
            _print(row)
        return
    for note in found["notes"]:
        echo(f"note: {note}")
    if found["taken_from"] is not None:
        echo(f"note: the persona is from problem `{found['taken_from']}`")
    shown: list[list[dict[str, str]]] = []
    for request in found["requests"]:
        echo(f"\n--- to the writer, `{found['writer']}`{_number(request)}")
        if request["messages"] in shown:
            echo("[the same chat, with another seed]")
            continue
        shown.append(request["messages"])
        _print_chat(request["messages"])
        if request["start"]:
            echo(f"[assistant, started]\n{_indented(request['start'])}")
    for item in found["personas"] or []:
        echo(f"\n--- from the writer{_number(item)}")
        for attempt, tried in enumerate(item["attempts"], start=1):
            broken = f"breaks {', '.join(tried['flags'])}" if tried["flags"] else "breaks no rule"
            echo(f"[attempt {attempt}: {broken}]\n{_indented(tried['text'])}")
        kept = f"kept, breaks {', '.join(item['flags'])}" if item["flags"] else "kept"
        auc = "" if item["auc"] is None else f", above that to {item['auc']:.0%} of the other problems"
        echo(f"[{kept}; similarity to the problem {item['similarity']:.3f}{auc}]\n{_indented(item['text'])}")
    echo(f"\n--- the query, {found['strategy']}")
    _print_chat(found["query"])


def _print_chat(messages: list[dict[str, str]]) -> None:
    for turn in messages:
        echo(f"[{turn['role']}]\n{_indented(turn['content'])}")


def _number(item: dict[str, Any]) -> str:
    number = "" if item["index"] is None else f", {item['index'] + 1}"
    return number if item["domain"] is None else f"{number}, domain {item['domain']}"


def _indented(text: str) -> str:
    return "\n".join(f"  {line}".rstrip() for line in text.splitlines())
