"""Checks of the templates that a recipe names: they can be read, they render, and they show what they must.

A template that renders can still be wrong: a frame without the query makes every prompt the same. So each is rendered
with samples that differ in one thing, which has to make a difference.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from its.errors import DataError, FaultsError, ItsError, MissingError
from its.files import read_regular
from its.prompts.chat import checked_chat_template, default_template, opening_fault
from its.prompts.clock import clock_faults, pinned_template, value_faults, with_values
from its.prompts.conversations import ChatUse
from its.prompts.render import read_template, render, template_faults
from its.prompts.trial import TRIALS
from its.recipe.axolotl import SAMPLE_ROWS, plugins_of, rendered_settings
from its.recipe.axolotl_keys import plugin_faults
from its.recipe.presets import PRESETS
from its.recipe.scalars import quoted
from its.recipe.schema import DERIVED, Recipe, Train
from its.recipe.solution_checks import regenerating, teacher_of
from its.recipe.strategy_checks import CONTEXTS, WAYS, members_at
from its.recipe.trainings import Training, trainings
from its.recipe.values import REFUSED, Found, Location, dotted, list_at, table_at
from its.thinking import PlainMarks
from its.types import Problem

SAMPLE_PROBLEM = Problem(
    problem_id="sample",
    text=r"If $\frac{{1}}{2}x < 3$ & {{ braces }} {# stay #}, what is $x$?",
    reference="5",
    solution=r"The final answer is \boxed{5}.",
    source="sample",
)
OTHER_PROBLEM = SAMPLE_PROBLEM.model_copy(update={"text": SAMPLE_PROBLEM.text.replace("braces", "hearts")})
"""Differs only in the middle of its text; its length is the same."""
PERSONAS = ["You are a botanist.", "You are a poet."]
MAX_TOKENIZER_BYTES = 2**24
"""Of a `tokenizer_config.json`; those with a thousand added tokens have 0.2 MB."""
CHECK_SECONDS = 10.0
"""Of processor time, for all templates of a recipe: each is bounded, but there may be a thousand."""
STARTS = 10
"""Started answers that a chat template is tried with."""
OTHER_PERSONAS = ["You are a musician.", "You are a cook."]


class Templates:
    """The templates of a project, and those that are not written yet.

    Args:
        project: the folder that holds `recipes/`.
        unwritten: texts by path, instead of the files.
    """

    def __init__(self, project: Path, unwritten: Mapping[Path, str]) -> None:
        self._project, self._unwritten = project, unwritten

    def read(self, path: str, folder: str) -> str:
        """The text of a template.

        Raises:
            ItsError: if it is not in `recipes/FOLDER/`, links resolved, or cannot be read.
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
            raise DataError(f"{label}: no such template", f"templates are in `recipes/{folder}/`") from error

    def of_folder(self, path: Any) -> tuple[str, str] | None:
        """The chat template of a model's folder and its path; None if there is none that can be read."""
        if not isinstance(path, str) or "\0" in path:
            return None
        try:
            return _template_of_folder(self._project / path)
        except (OSError, ValueError, RecursionError, ItsError):  # what is wrong with a model shows where it is loaded
            return None

    def lacks_chat(self, path: Any) -> bool:
        """Whether a folder is a model without a chat template; False for one that is not here or cannot be read."""
        if not isinstance(path, str) or "\0" in path:
            return False
        folder = self._project / path
        try:
            return (folder / "config.json").is_file() and (
                not (folder / "chat_template.jinja").exists() and _template_of_folder(folder) is None
            )
        except (OSError, ValueError, RecursionError, ItsError):
            return False


def template_notes(recipe: Recipe) -> list[str]:
    """What the check cannot see: chat templates of trained models that are not here."""
    away = [
        f"`{name}`"
        for name in dict.fromkeys(recipe.design.models)
        if recipe.models[name].chat_template is None and recipe.models[name].source.kind != "folder"
    ]
    out = [f"the chat template of {' and '.join(away)} is not here: `query` checks it with rows"] if away else []
    if recipe.engine.kind == "openai":
        out.append(
            "a server renders prompts with its own chat template, which is not known here: is it the trained one?"
        )
    return out


def _template_of_folder(folder: Path) -> tuple[str, str] | None:
    for name in ("chat_template.jinja", "tokenizer_config.json"):
        path = folder / name
        if not path.is_file():
            continue
        text: Any = read_regular(path, MAX_TOKENIZER_BYTES).decode("utf-8")
        if name.endswith(".json"):
            text = json.loads(text)
            text = default_template(text.get("chat_template")) if isinstance(text, dict) else None
        return (text, str(path)) if isinstance(text, str) else None
    return None


def named_template_faults(values: Mapping[str, Any], templates: Templates) -> Iterator[Found]:
    """Every fault of the templates that a recipe names; values have the schema's types, or are None."""
    begin, strategies = _spent(), table_at(values, "strategies")
    for name, strategy in strategies.items():
        if isinstance(strategy, Mapping) and not (yield from _late(("strategies", name), begin)):
            in_prompt = strategy.get("place", "user") == "user" and _gets_personas(strategy, strategies)
            yield from _query(name, strategy, templates, in_prompt)
            yield from _persona(name, strategy, templates)
    yield from _frame(table_at(values, "prompt").get("user"), ("prompt", "user"))
    for name, frame in table_at(table_at(values, "prompt"), "models").items():
        yield from _frame(table_at({"": frame}, "").get("user"), ("prompt", "models", name, "user"))
    for name, model in table_at(values, "models").items():
        if isinstance(model, Mapping) and not (yield from _late(("models", name), begin)):
            yield from _chat(name, model, values, templates)
    named: set[Found] = set()
    for number, training in enumerate(trainings(values)):
        if number and (yield from _late(training.place("template"), begin)):
            break
        for fault in _axolotl(training, templates):
            if fault not in named:
                named.add(fault)
                yield fault
    yield from _judge(table_at(table_at(values, "grading"), "judge").get("template"), templates)


def _late(here: Location, begin: float) -> Generator[Found, None, bool]:
    """Whether the time for all templates is used up, and the fault that says so."""
    late = _spent() - begin > CHECK_SECONDS
    if late:
        wrong = f"the templates before `{dotted(here)}` take more than {CHECK_SECONDS:g} s to render a few times"
        yield here, wrong, "ordinary ones take a fraction of a second"
    return late


def _spent() -> float:
    """Processor time of this process and of its children, in seconds; a busy machine makes no recipe invalid."""
    return sum(os.times()[:4]) + TRIALS.seconds


def _gets_personas(strategy: Mapping[str, Any], strategies: Mapping[str, Any]) -> bool:
    """Whether there is one way to a persona, from a strategy that has some; other cases have other faults."""
    ways = [way for way in WAYS if strategy.get(way) is not None]
    if len(ways) != 1 or ways[0] not in DERIVED:
        return ways in (["persona"], ["fixed"])
    source = table_at(strategies, str(table_at(strategy, ways[0]).get(DERIVED[ways[0]])))
    return source is not strategy and any(source.get(way) is not None for way in CONTEXTS)


def _query(name: str, strategy: Mapping[str, Any], templates: Templates, in_prompt: bool) -> Iterator[Found]:
    """Faults of the query's template: it renders with and without personas, and shows the problem and the personas."""
    here: Location = ("strategies", name, "query")
    full = _query_values(SAMPLE_PROBLEM, PERSONAS)
    text = yield from _read(strategy.get("query"), here, templates, "prompts", full)
    if text is None:
        return
    cases = [PERSONAS, []] if in_prompt else [[]]
    for personas in cases:
        beside = " where there is a persona" if personas else " where there is no persona" if in_prompt else ""
        first, second = (_query_values(problem, personas) for problem in (SAMPLE_PROBLEM, OTHER_PROBLEM))
        yield from _differs(text, here, first, second, f"does not show the problem{beside}", "{{ problem.text }}")
    if in_prompt:
        other = _query_values(SAMPLE_PROBLEM, OTHER_PERSONAS)
        hint = "{{ persona }}`, or set `place: system"
        yield from _differs(text, here, full, other, "does not show the persona", hint)


def _query_values(problem: Problem, personas: list[str]) -> dict[str, Any]:
    return {"problem": problem, "persona": "\n\n".join(personas), "personas": personas}


def _persona(name: str, strategy: Mapping[str, Any], templates: Templates) -> Iterator[Found]:
    given: dict[str, Any] = {"problem": SAMPLE_PROBLEM} | ({"domain": "botany"} if strategy.get("domains") else {})
    path = table_at(strategy, "persona").get("template")
    yield from _read(path, ("strategies", name, "persona", "template"), templates, "prompts", given)


def _frame(user: Any, here: Location) -> Iterator[Found]:
    if not isinstance(user, str):
        return
    label = dotted(here)
    found = template_faults(user, label, {"query": SAMPLE_PROBLEM.text})
    for fault in found:
        yield here, f"`{label}`: {fault.message}", fault.hint or "the frame may use `query`"
    if found:
        return
    for text in (SAMPLE_PROBLEM.text, OTHER_PROBLEM.text):
        try:
            if text in render(user, label, {"query": text}):
                continue
            message = f"`{label}` does not use `query`: every prompt would be the same"
            if "query" in user:
                message = f"`{label}` is {quoted(user)}, which does not show the query as it is"
            yield here, message, "add `{{ query }}`"
        except ItsError as error:
            yield here, f"`{label}`: {error.message}", error.hint
        return


def _chat(name: str, model: Mapping[str, Any], values: Mapping[str, Any], templates: Templates) -> Iterator[Found]:
    """Faults of a model's chat template, with the date and the values that are written into it.

    That of a model on the hub or in a wheel is known only when the model is prepared (`query`); a server's never.
    """
    model_at: Location = ("models", name)
    path, source = model.get("chat_template"), table_at(model, "source")
    here: Location = (*model_at, "chat_template")
    text = yield from _read(path, here, templates, "prompts")
    label = f"recipes/{path}"
    if path is None and source.get("kind") == "folder" and (found := templates.of_folder(source.get("path"))):
        (text, label), here = found, (*model_at, "source", "path")
    if text is None:
        folder = source.get("path") if path is None and source.get("kind") == "folder" else None
        if table_at(values, "engine").get("kind") != "openai" and templates.lacks_chat(folder):
            there: Location = (*model_at, "source", "path")
            message = f"`{dotted(there)}`: the model in `{folder}` has no chat template"
            yield there, message, f"declare one: `models.{name}.chat_template: prompts/chatml.jinja`"
        return
    pinned = model.get("date") if isinstance(model.get("date"), str) else None
    given = {key: value for key, value in table_at(model, "template_kwargs").items() if value is not REFUSED}
    faults = clock_faults(text, label, pinned) + value_faults(text, label, given)
    written = with_values(text, given) if faults else pinned_template(text, label, pinned, given)
    served = table_at(values, "engine").get("kind") == "openai"
    marks = _marks(model)
    check = checked_chat_template(written, label, _use(name, model, values, marks))
    thinking = table_at(model, "thinking")
    opening = None if served or (thinking and marks is None) else opening_fault(check.prompt, label, marks)
    if opening is not None:
        said = thinking.get("opened_by")
        opened: Location = (*model_at, *(["thinking"] if thinking else []), *(["opened_by"] if said else []))
        yield opened, f"`{dotted(opened)}`{f' is `{said}`' if said else ''}: {opening[0]}", opening[1]
    for fault in (*faults, *(() if opening else check.faults)):  # what is trained depends on `thinking`
        yield here, f"`{dotted(here)}`: {fault.where}: {fault.message}", fault.hint


def _marks(model: Mapping[str, Any]) -> PlainMarks | None:
    """The marks of a model's thinking; None if there are none, or they have other faults."""
    thinking = table_at(model, "thinking")
    start, end, said = thinking.get("start"), thinking.get("end"), thinking.get("opened_by")
    if not (isinstance(start, str) and isinstance(end, str) and start.strip() and end.strip()):
        return None
    return PlainMarks(start, end, said) if said in (None, "prompt", "model") else None


def _use(name: str, model: Mapping[str, Any], values: Mapping[str, Any], marks: PlainMarks | None) -> ChatUse:
    """What the recipe sends to a model, and trains."""
    strategies, design = table_at(values, "strategies"), table_at(values, "design")
    of_system: list[str] = []
    trained: set[bool] = set()
    if name in list_at(design, "models"):
        prompt = table_at(values, "prompt")
        own = table_at(table_at(prompt, "models"), name)
        frame, place = (own, f"`prompt.models.{name}.system`") if "system" in own else (prompt, "`prompt.system`")
        framed = bool(frame.get("system"))
        of_system += [place] if framed else []
        for item in _used(values):
            strategy = table_at(strategies, item)
            in_system = strategy.get("place") == "system" and _gets_personas(strategy, strategies)
            of_system += [f"`strategies.{item}`, `place: system`"] if in_system else []
            trained |= {True} if framed else {True, False} if in_system else {False}
    asked: set[bool] = set()
    examples, starts = False, []
    if table_at(values, "writer").get("model") == name:
        for item in _in_design(values):
            persona = table_at(table_at(strategies, item), "persona")
            if persona:
                asked.add(bool(persona.get("system")))
                of_system += [f"`strategies.{item}.persona.system`"] if persona.get("system") else []
                examples |= bool(list_at(persona, "examples"))
                starts += (
                    [persona["start"]] if isinstance(persona.get("start"), str) and persona["start"].strip() else []
                )
    regenerated = regenerating(values)
    if name == teacher_of(values) and name not in list_at(design, "models"):
        prompt = table_at(values, "prompt")
        system = {**prompt, **table_at(table_at(prompt, "models"), name)}.get("system")
        for item in regenerated:
            strategy = table_at(strategies, item)
            in_system = strategy.get("place") == "system" and _gets_personas(strategy, strategies)
            asked |= {True} if system else {True, False} if in_system else {False}
            of_system += [f"`strategies.{item}`, whose solutions it writes"] if system or in_system else []
    if table_at(table_at(values, "grading"), "judge").get("model") == name or not (trained or asked):
        asked.add(False)
    tokens = {
        f"{key}_token": token for key, token in table_at(model, "special_tokens").items() if isinstance(token, str)
    }
    sets = [table_at(table_at(values, "datasets"), str(item)) for item in list_at(design, "datasets")]
    thoughts = [_has_thoughts(entry) for entry in sets]
    if regenerated:  # the teacher's solutions have thoughts if it thinks, and it may not always
        thinks = bool(table_at(table_at(table_at(values, "models"), str(teacher_of(values))), "thinking"))
        thoughts.append(None if thinks else False)
    return ChatUse(
        trained=tuple(sorted(trained)),
        asked=tuple(sorted(asked)),
        examples=examples,
        starts=tuple(sorted(set(starts))[:STARTS]),
        system_of=min(of_system, default=""),
        tokens=tuple(sorted(tokens.items())),
        marks=marks,
        thoughts=any(found is True or (found is None and marks is not None) for found in thoughts),
        plain=not thoughts or not all(found is True for found in thoughts),
    )


def _used(values: Mapping[str, Any]) -> dict[str, None]:
    """The strategies of the design, those of a mix or union in its place."""
    design, strategies = table_at(values, "design"), table_at(values, "strategies")
    names = map(str, [*list_at(design, "train"), *list_at(design, "test")])
    return dict.fromkeys(member for name in names for member in members_at(strategies, name))


def _in_design(values: Mapping[str, Any]) -> list[str]:
    """The strategies of the design, and those that their controls are made from."""
    strategies, names = table_at(values, "strategies"), _used(values)
    waiting = list(names)
    while waiting:
        strategy = table_at(strategies, waiting.pop())
        sources = [str(table_at(strategy, way).get(field)) for way, field in DERIVED.items() if strategy.get(way)]
        waiting += [source for source in sources if source not in names]
        names |= dict.fromkeys(sources)
    return list(names)


def _has_thoughts(entry: Mapping[str, Any]) -> bool | None:
    """Whether the solutions of a set contain thoughts: all, none, or None if their texts say so."""
    preset = entry.get("preset")
    if isinstance(preset, str) and preset in PRESETS:
        return True if PRESETS[preset].fields.thinking is not None else None
    if table_at(entry, "source").get("kind") == "procedural":
        return False
    return True if table_at(entry, "fields").get("thinking") else None


def _axolotl(training: Training, templates: Templates) -> Iterator[Found]:
    """Faults of the template that Axolotl's settings come from; it renders only with valid settings."""
    here = training.place("template")
    text = yield from _read(training.values.get("template"), here, templates, "axolotl")
    if text is None:
        return
    try:
        section = Train.model_validate(training.values)
    except ValidationError:
        return
    try:
        rendered = rendered_settings(text, f"recipes/{section.template}", section, SAMPLE_ROWS, 1)
        for where, message, hint in plugin_faults(section.axolotl, plugins_of(rendered, section), ()):
            yield training.setting(*where), message, hint
    except FaultsError as error:
        for fault in error.faults:
            yield here, f"`{dotted(here)}`: {fault.where}: {fault.message}", fault.hint
    except ItsError as error:
        yield here, f"`{dotted(here)}`: {error.message}", error.hint


def _judge(path: Any, templates: Templates) -> Iterator[Found]:
    """Faults of the judge's template: it shows the answer, and the reference or the problem."""
    here: Location = ("grading", "judge", "template")
    given = {"problem": SAMPLE_PROBLEM, "reference": SAMPLE_PROBLEM.reference, "answer": "\\frac{5}{1}"}
    text = yield from _read(path, here, templates, "prompts", given)
    if text is not None:
        other = given | {"answer": "\\frac{7}{1}"}
        yield from _differs(text, here, given, other, "does not show the answer", "{{ answer }}")
        other = given | {"problem": OTHER_PROBLEM.model_copy(update={"reference": "7"}), "reference": "7"}
        wrong = "shows neither the reference nor the problem"
        yield from _differs(text, here, given, other, wrong, "{{ reference }}")


def _read(
    path: Any, here: Location, templates: Templates, folder: str, given: Mapping[str, Any] | None = None
) -> Generator[Found, None, str | None]:
    """Yield the faults of one template file; return its text if it has none. `given` None skips rendering."""
    if not isinstance(path, str):
        return None
    try:
        text = templates.read(path, folder)
    except ItsError as error:
        yield here, f"`{dotted(here)}`: {error.message}", error.hint
        return None
    found = template_faults(text, f"recipes/{path}", given) if given is not None else []
    for fault in found:
        yield here, f"`{dotted(here)}`: {fault.where}: {fault.message}", fault.hint
    return None if found else text


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
