"""Describe the strategies of a recipe, and preview the chats and personas of one problem: `its strategy`."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

from its.commands.outdated import outdated
from its.errors import DataError, ItsError, MissingError, did_you_mean, nearest
from its.prompts.render import read_template
from its.recipe.document import read_document
from its.recipe.schema import Recipe, Strategy
from its.report.warnings import persona_warnings
from its.strategies.controls import noise_text, shuffled_owners, with_sources
from its.strategies.members import expanded, members_of
from its.strategies.persona import draw_domain, fixed_text, has_persona, persona_indices, persona_messages
from its.strategies.query import query_messages
from its.strategies.rules import persona_flags
from its.strategies.similarity import SimilarityIndex
from its.study.study import Study
from its.types import Problem

if TYPE_CHECKING:
    from its.stages.persona import Written

TEXT_ID = "preview"
"""problem_id, and name of the set, of a problem that was typed."""

PERSONA_STAGES = ("prepare", "prepare_benchmark", "persona")


def describe(recipe: Recipe) -> list[dict[str, Any]]:
    """A row for each declared strategy: the source and place of its persona, its share, its sides of the design.

    A mix or union has no place and query template: `persona` names its members.
    """
    return [
        {
            "name": name,
            "persona": _way(strategy),
            "place": None if strategy.members else strategy.place,
            "share": strategy.share,
            "query": strategy.query,
            "train": name in recipe.design.train,
            "test": name in recipe.design.test,
        }
        for name, strategy in recipe.strategies.items()
    ]


def declared(recipe: Recipe, name: str) -> Strategy:
    """A strategy by its name.

    Raises:
        DataError: if the recipe declares none of that name, with the nearest.
    """
    if name not in recipe.strategies:
        known = ", ".join(f"`{item}`" for item in recipe.strategies)
        hint = did_you_mean(nearest(name, recipe.strategies), f"declared: {known}")
        raise DataError(f"recipe `{recipe.recipe}` declares no strategy `{name}`", hint)
    return recipe.strategies[name]


def declaration(strategy: Strategy) -> dict[str, Any]:
    """The fields of a strategy as the recipe gives them, with the place of the persona, which has a default."""
    out = strategy.model_dump(exclude_none=True)
    if strategy.solutions == "keep":
        del out["solutions"]
    if strategy.members:
        del out["place"]
    return out


def show(study: Study, name: str) -> dict[str, Any]:
    """The declaration of a strategy, of the members of a mix or union too, and their templates by path."""
    strategy = declared(study.recipe, name)
    several = {item: study.recipe.strategies[item] for item in expanded(study.recipe.strategies, [name])}
    paths: dict[str, None] = {}
    for item in several.values():
        paths |= {} if item.persona is None else {item.persona.template: None}
        paths[item.template] = None
    return {
        "strategy": {item: declaration(entry) for item, entry in {name: strategy, **several}.items()},
        "templates": {f"recipes/{path}": read_template(study.template_path(path)) for path in paths},
    }


def last_warnings(study: Study, name: str) -> tuple[list[str], list[str]]:
    """(the report's warnings of the personas that the last run has under a strategy or its members, what is outdated).

    Nothing where the last run is of another recipe or has written no personas.
    """
    from its.stages.report import flagged_words, persona_accounts  # loads the report

    params = study.project / "params.yaml"
    try:
        if read_document(params).values.get("recipe") != study.recipe.recipe:
            return [], []
        accounts = persona_accounts(study)
    except MissingError:
        return [], []
    except ItsError as error:
        return [], [f"the warnings of the last run are not known: {error.message}"]
    members = expanded(study.recipe.strategies, [name])
    own = [row for row in accounts if row.strategy in members]
    warnings = persona_warnings(own, partial(flagged_words, study.recipe))
    return warnings, outdated(study.project, "personas", PERSONA_STAGES) if warnings else []


def as_yaml(value: Any) -> str:
    """A value as the lines of a recipe."""
    yaml = YAML()
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    out = io.StringIO()
    yaml.dump(value, out)
    return out.getvalue()


def typed_problem(text: str) -> Problem:
    """A problem with nothing but a text.

    Raises:
        DataError: if it is blank.
    """
    if not text.strip():
        raise DataError("the problem is blank", "give one: `--problem TEXT`")
    return Problem(problem_id=TEXT_ID, text=text, source=TEXT_ID)


def find_problem(study: Study, set_name: str, problem_id: str | None) -> tuple[Problem, list[Problem]]:
    """A prepared problem, the first without an id, and all problems of its set.

    Raises:
        DataError: if no set or no problem has that name.
        MissingError: if the set is not prepared.
    """
    known = [*study.recipe.datasets, *study.recipe.benchmarks]
    if set_name not in known:
        raise DataError(
            f"no dataset or benchmark `{set_name}`", f"declared: {', '.join(f'`{item}`' for item in known)}"
        )
    problems = study.problems(set_name)
    for problem in problems:
        if problem_id in (None, problem.problem_id):
            return problem, problems
    ids = [problem.problem_id for problem in problems]
    near = nearest(str(problem_id), ids, count=3) or ids[:3]
    raise DataError(
        f"{study.problems_path(set_name)}: no problem `{problem_id}` among {len(ids)}",
        f"for example {', '.join(f'`{item}`' for item in near)}",
    )


def preview(
    study: Study, name: str, problem: Problem, set_name: str, problems: Sequence[Problem], engine: bool
) -> dict[str, Any]:
    """The chats and personas of one problem, as one document.

    Of a mix or union it has `rows` instead: the same for the member that the mix draws for the problem, or for each
    member of the union, in order, with its name as `strategy`.

    `requests` are the writer's chats, `personas` its responses (None without `engine`), `query` the chat of training
    and test, with a placeholder for a persona that was not written. `share` is not applied; `notes` say where it would
    leave the problem without a persona.

    Args:
        problems: all problems of the set; [problem] for one that was typed.
        engine: write the personas with the seeds and the store of stage `persona`; otherwise no model is called.

    Raises:
        DataError: if the persona comes from another problem and there is none.
    """
    recipe = study.recipe
    strategy = declared(recipe, name)
    if strategy.members:
        members = members_of(recipe.strategies, name, problem.problem_id, recipe.seed)
        return {
            "strategy": name,
            "persona": _way(strategy),
            "problem": {"set": set_name, "problem_id": problem.problem_id, "text": problem.text},
            "rows": [preview(study, member, problem, set_name, problems, engine) for member in members],
        }
    chain = with_sources([name], recipe.strategies)
    owners = _owners(recipe, chain, problem, problems)
    root, owner = chain[0], owners[chain[0]]
    requests, personas, texts = _requests(study, root, owner), None, []
    fixed = recipe.strategies[root].fixed
    if fixed is not None:
        texts = [_derived_text(recipe, chain, owners, fixed_text(fixed, root, owner.problem_id, recipe.seed), None)]
    if recipe.strategies[root].persona is not None and not engine:
        texts = [_mark(recipe, request["index"]) for request in requests]
        if root != name:
            texts = [f"[{_way(strategy)}: {text.removeprefix('[')}" for text in texts]
    elif engine and requests:
        from its.stages.persona import write_personas  # loads the engines

        personas = _personas(recipe, chain, owners, write_personas(study, set_name, root, [owner]))
        index = SimilarityIndex({item.problem_id: item.text for item in problems}, recipe.seed)
        for item in personas:
            item["similarity"] = round(index.similarity(item["text"], problem.problem_id), 4)
            measured = index.summary([(problem.problem_id, item["text"])])
            item["auc"] = None if measured is None else round(measured.auc, 4)
        texts = [item["text"] for item in personas if item["text"]]
    messages = query_messages(
        strategy, read_template(study.template_path(strategy.template)), recipe.prompt, problem, texts
    )
    return {
        "strategy": name,
        "persona": _way(strategy),
        "problem": {"set": set_name, "problem_id": problem.problem_id, "text": problem.text},
        "taken_from": None if owner is problem else owner.problem_id,
        "writer": recipe.writer.model if requests else None,
        "requests": requests,
        "personas": personas,
        "query": [turn.model_dump() for turn in messages],
        "notes": _notes(recipe, chain, owners),
    }


def _way(strategy: Strategy) -> str:
    if strategy.noise is not None:
        return f"noise like {strategy.noise.like}"
    if strategy.shuffled is not None:
        return f"shuffled of {strategy.shuffled.of}"
    if strategy.fixed is not None:
        count = len(strategy.fixed.texts)
        return "fixed" if count == 1 else f"fixed, one of {count} texts"
    if strategy.mix is not None:
        return f"mix of {', '.join(f'{member} {share:g}' for member, share in strategy.mix.shares.items())}"
    if strategy.union is not None:
        return f"union of {', '.join(strategy.union.of)}"
    if strategy.persona is None:
        return "none"
    return "written" if strategy.persona.count is None else f"written, {strategy.persona.count} of them"


def _mark(recipe: Recipe, index: int | None) -> str:
    which = "the persona" if index is None else f"persona {index + 1}"
    return f"[{which}, written by `{recipe.writer.model}`]"


def _owners(recipe: Recipe, chain: Sequence[str], problem: Problem, problems: Sequence[Problem]) -> dict[str, Problem]:
    """The problem whose persona is used, at each strategy of the chain from the last to the first."""
    out, current = {}, problem
    for name in reversed(chain):
        out[name] = current
        shuffled = recipe.strategies[name].shuffled
        if shuffled is None:
            continue
        source = recipe.strategies[shuffled.of]
        by_id = {
            item.problem_id: item
            for item in problems
            if item is current or has_persona(source, shuffled.of, item.problem_id, recipe.seed)
        }
        if len(by_id) < 2:
            raise DataError(
                f"`{name}` takes the persona of another problem, and `{problem.problem_id}` is the only one",
                "give a prepared set and one of its problems: `--set SET --problem-id ID`",
            )
        current = by_id[shuffled_owners(by_id, recipe.seed, name)[current.problem_id]]
    return out


def _requests(study: Study, root: str, owner: Problem) -> list[dict[str, Any]]:
    strategy = study.recipe.strategies[root]
    if strategy.persona is None:
        return []
    template = read_template(study.template_path(strategy.persona.template))
    out = []
    for index in persona_indices(strategy.persona):
        domain = draw_domain(strategy, root, owner.problem_id, study.recipe.seed, index)
        messages = persona_messages(strategy.persona, template, owner, domain)
        out.append({"index": index, "domain": domain, "messages": messages, "start": strategy.persona.start})
    return out


def _personas(
    recipe: Recipe, chain: Sequence[str], owners: dict[str, Problem], written: Sequence[Written]
) -> list[dict[str, Any]]:
    out = []
    for item in written:
        text, flags = _derived_text(recipe, chain, owners, item.persona.text, item.persona.index), item.persona.flags
        if len(chain) > 1:
            limits, problem = recipe.strategies[chain[-1]].limits, owners[chain[-1]]
            flags = persona_flags(text, "stop", limits, problem) if limits is not None else []
        tries = [{"text": tried, "flags": broken} for tried, broken in item.tries]
        out.append(
            {
                "index": item.persona.index,
                "domain": item.persona.domain,
                "text": text,
                "flags": flags,
                "attempts": tries,
            }
        )
    return out


def _derived_text(
    recipe: Recipe, chain: Sequence[str], owners: dict[str, Problem], text: str, index: int | None
) -> str:
    """What the last strategy of a chain makes of the text of the first."""
    for name in chain[1:]:
        if recipe.strategies[name].noise is not None:
            place = [] if index is None else [index]
            text = noise_text(text, recipe.seed, name, owners[name].problem_id, *place)
    return text


def _notes(recipe: Recipe, chain: Sequence[str], owners: dict[str, Problem]) -> list[str]:
    out = []
    for name in chain:
        strategy, problem_id = recipe.strategies[name], owners[name].problem_id
        if strategy.share is not None and not has_persona(strategy, name, problem_id, recipe.seed):
            out.append(
                f"not in the share {strategy.share} of `{name}`: the study gives `{problem_id}` no persona there"
            )
    if recipe.strategies[chain[-1]].derived_from is not None and len(chain) > 1:
        out.append(f"based on `{chain[0]}`, whose personas the persona stage writes too")
    return out
