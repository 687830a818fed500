"""Whether the templates that a recipe names can be read, render, and show what they are there to show.

A template that renders can still be wrong: a frame without the query makes every prompt the same. So each is rendered
with samples that differ in one thing, which has to make a difference.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from its.errors import DataError, FaultsError, ItsError, MissingError
from its.prompts.chat import chat_template_faults
from its.prompts.render import read_template, render, template_faults
from its.recipe.axolotl import SAMPLE_ROWS, plugins_of, rendered_settings
from its.recipe.axolotl_keys import plugin_faults
from its.recipe.plain import Found, Location, dotted
from its.recipe.scalars import quoted
from its.recipe.schema import Train
from its.types import Problem

SAMPLE_PROBLEM = Problem(
    problem_id="sample",
    text=r"If $\frac{{1}}{2}x < 3$ & {{ braces }} {# stay #}, what is $x$?",
    reference="5",
    solution=r"The final answer is \boxed{5}.",
    source="sample",
)
OTHER_PROBLEM = SAMPLE_PROBLEM.model_copy(update={"text": SAMPLE_PROBLEM.text.replace("braces", "hearts")})
"""Differs in the middle of its text alone; its length is the same."""
PERSONAS = ["You are a botanist.", "You are a poet."]
CHECK_SECONDS = 10.0
"""For all templates of a recipe: each is bounded, but there may be a thousand."""
OTHER_PERSONAS = ["You are a musician.", "You are a cook."]
DERIVED = {"noise": "like", "shuffled": "of"}
"""Way to a persona -> its field that names the strategy whose personas it starts from."""


class Templates:
    """The templates of a project, and such as are not written yet.

    Args:
        project: the folder that holds `recipes/`.
        unwritten: texts by path, in place of what stands there.
    """

    def __init__(self, project: Path, unwritten: Mapping[Path, str]) -> None:
        self._project, self._unwritten = project, unwritten

    def read(self, path: str, folder: str) -> str:
        """The text of a template.

        Raises:
            ItsError: if it is none of `recipes/FOLDER/`, wherever links lead, or cannot be read.
        """
        full, label = self._project / "recipes" / path, f"recipes/{path}"
        if full in self._unwritten:
            return self._unwritten[full]
        if not path.startswith(f"{folder}/") or ".." in Path(path).parts:
            raise DataError(f"{label}: outside `recipes/{folder}/`", "the graph watches that folder only")
        home = Path(os.path.realpath(self._project)) / "recipes" / folder
        if not Path(os.path.realpath(full)).is_relative_to(home):
            hint = "copy the file there: the graph watches that folder only"
            raise DataError(f"{label}: a link leads out of `recipes/{folder}/`", hint)
        try:
            return read_template(full, label)
        except MissingError as error:
            raise DataError(f"{label}: no such template", f"templates lie under `recipes/{folder}/`") from error


def template_reference_faults(values: Mapping[str, Any], templates: Templates) -> Iterator[Found]:
    """Every fault of the templates that a recipe names; of values whose types are the schema's, or None."""
    begin, strategies = time.monotonic(), _table(values, "strategies")
    for name, strategy in strategies.items():
        if isinstance(strategy, Mapping) and not (yield from _late(("strategies", name), begin)):
            in_prompt = strategy.get("place", "user") == "user" and _gets_personas(strategy, strategies)
            yield from _query(name, strategy, templates, in_prompt)
            yield from _persona(name, strategy, templates)
    yield from _frame(_table(values, "prompt").get("user"))
    for name, model in _table(values, "models").items():
        if isinstance(model, Mapping) and not (yield from _late(("models", name), begin)):
            yield from _chat(model.get("chat_template"), ("models", name, "chat_template"), templates)
    yield from _axolotl(_table(values, "train"), templates)
    yield from _judge(_table(_table(values, "grading"), "judge").get("template"), templates)


def _late(here: Location, begin: float) -> Generator[Found, None, bool]:
    """Whether the time for all templates is over, and the fault that says so."""
    late = time.monotonic() - begin > CHECK_SECONDS
    if late:
        wrong = f"the templates before `{dotted(here)}` take more than {CHECK_SECONDS:g} s to render a few times"
        yield here, wrong, "honest ones take milliseconds"
    return late


def _gets_personas(strategy: Mapping[str, Any], strategies: Mapping[str, Any]) -> bool:
    """Whether there is one way to a persona, which leads to a strategy that has some; other ways have other faults."""
    ways = [way for way in ("persona", *DERIVED) if strategy.get(way) is not None]
    if ways in ([], ["persona"]) or len(ways) > 1:
        return ways == ["persona"]
    source = _table(strategies, str(_table(strategy, ways[0]).get(DERIVED[ways[0]])))
    return source is not strategy and any(source.get(way) is not None for way in ("persona", *DERIVED))


def _query(name: str, strategy: Mapping[str, Any], templates: Templates, in_prompt: bool) -> Iterator[Found]:
    """Faults of the query's template: it renders with and without personas, and shows the problem and the personas."""
    here: Location = ("strategies", name, "query")
    texts: list[str] = []
    full = _query_values(SAMPLE_PROBLEM, PERSONAS)
    yield from _read(strategy.get("query"), here, templates, "prompts", texts, full)
    if not texts:
        return
    cases = [PERSONAS, []] if in_prompt else [[]]
    for personas in cases:
        beside = " where there is a persona" if personas else " where there is no persona" if in_prompt else ""
        first, second = (_query_values(problem, personas) for problem in (SAMPLE_PROBLEM, OTHER_PROBLEM))
        yield from _differs(texts[0], here, first, second, f"does not show the problem{beside}", "{{ problem.text }}")
    if in_prompt:
        other = _query_values(SAMPLE_PROBLEM, OTHER_PERSONAS)
        hint = "{{ persona }}`, or set `place: system"
        yield from _differs(texts[0], here, full, other, "does not show the persona", hint)


def _query_values(problem: Problem, personas: list[str]) -> dict[str, Any]:
    return {"problem": problem, "persona": "\n\n".join(personas), "personas": personas}


def _persona(name: str, strategy: Mapping[str, Any], templates: Templates) -> Iterator[Found]:
    given: dict[str, Any] = {"problem": SAMPLE_PROBLEM} | ({"domain": "botany"} if strategy.get("domains") else {})
    path = _table(strategy, "persona").get("template")
    yield from _read(path, ("strategies", name, "persona", "template"), templates, "prompts", [], given)


def _frame(user: Any) -> Iterator[Found]:
    if not isinstance(user, str):
        return
    here: Location = ("prompt", "user")
    found = template_faults(user, "prompt.user", {"query": SAMPLE_PROBLEM.text})
    for fault in found:
        yield here, f"`prompt.user`: {fault.message}", fault.hint or "the frame may use `query`"
    if found:
        return
    for text in (SAMPLE_PROBLEM.text, OTHER_PROBLEM.text):
        try:
            if text in render(user, "prompt.user", {"query": text}):
                continue
            message = "`prompt.user` does not use `query`: every prompt would be the same"
            if "query" in user:
                message = f"`prompt.user` is {quoted(user)}, which does not show the query as it is"
            yield here, message, "add `{{ query }}`"
        except ItsError as error:
            yield here, f"`prompt.user`: {error.message}", error.hint
        return


def _chat(path: Any, here: Location, templates: Templates) -> Iterator[Found]:
    """Faults of a model's chat template, which an engine renders in an environment of its own."""
    texts: list[str] = []
    yield from _read(path, here, templates, "prompts", texts)
    for text in texts:
        for fault in chat_template_faults(text, f"recipes/{path}"):
            yield here, f"`{dotted(here)}`: {fault.where}: {fault.message}", fault.hint


def _axolotl(train: Mapping[str, Any], templates: Templates) -> Iterator[Found]:
    """Faults of the template that Axolotl's settings come from; it renders only with a sound `train`."""
    here: Location = ("train", "template")
    texts: list[str] = []
    yield from _read(train.get("template"), here, templates, "axolotl", texts)
    try:
        section = Train.model_validate(train)
    except ValidationError:
        return
    for text in texts:
        try:
            rendered = rendered_settings(text, f"recipes/{section.template}", section, SAMPLE_ROWS, 1)
            yield from plugin_faults(section.axolotl, plugins_of(rendered, section), ("train", "axolotl"))
        except FaultsError as error:
            for fault in error.faults:
                yield here, f"`{dotted(here)}`: {fault.where}: {fault.message}", fault.hint
        except ItsError as error:
            yield here, f"`{dotted(here)}`: {error.message}", error.hint


def _judge(path: Any, templates: Templates) -> Iterator[Found]:
    """Faults of the judge's template: it shows the answer, and what that is to be compared with."""
    here: Location = ("grading", "judge", "template")
    texts: list[str] = []
    given = {"problem": SAMPLE_PROBLEM, "reference": SAMPLE_PROBLEM.reference, "answer": "\\frac{5}{1}"}
    yield from _read(path, here, templates, "prompts", texts, given)
    if texts:
        other = given | {"answer": "\\frac{7}{1}"}
        yield from _differs(texts[0], here, given, other, "does not show the answer", "{{ answer }}")
        other = given | {"problem": OTHER_PROBLEM.model_copy(update={"reference": "7"}), "reference": "7"}
        wrong = "shows neither the reference nor the problem"
        yield from _differs(texts[0], here, given, other, wrong, "{{ reference }}")


def _read(
    path: Any,
    here: Location,
    templates: Templates,
    folder: str,
    texts: list[str],
    given: Mapping[str, Any] | None = None,
) -> Iterator[Found]:
    """Faults of one template file; its text goes to `texts` if it has none. `given` None skips rendering."""
    if not isinstance(path, str):
        return
    try:
        text = templates.read(path, folder)
    except ItsError as error:
        yield here, f"`{dotted(here)}`: {error.message}", error.hint
        return
    found = template_faults(text, f"recipes/{path}", given) if given is not None else []
    for fault in found:
        yield here, f"`{dotted(here)}`: {fault.where}: {fault.message}", fault.hint
    if not found:
        texts.append(text)


def _differs(
    text: str, here: Location, first: Mapping[str, Any], second: Mapping[str, Any], wrong: str, hint: str
) -> Iterator[Found]:
    """A fault if a template gives the same for both samples, or fails with one of them."""
    name = dotted(here)
    try:
        if render(text, name, first) == render(text, name, second):
            yield here, f"`{name}`: the template {wrong}: every prompt would be the same", f"add `{hint}`"
    except ItsError as error:
        yield here, f"`{name}`: {error.message}", error.hint


def _table(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = values.get(name)
    return table if isinstance(table, Mapping) else {}
