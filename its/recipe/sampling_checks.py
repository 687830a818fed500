"""Checks of how responses are sampled: the settings of every model on every benchmark, and what an engine can do.

As `its.recipe.cross_checks`, on plain values: of the type that the schema demands, None, or REFUSED.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice, product
from typing import Any

from its.errors import did_you_mean, nearest
from its.recipe.schema import Sampling
from its.recipe.solution_checks import teacher_of
from its.recipe.values import REFUSED, Found, Location, dotted, list_at, table_at
from its.secrets import secrets_in

SETTINGS = frozenset(Sampling.model_fields) - {"extra"}
"""What a recipe names itself."""
ALWAYS = frozenset({"temperature", "top_p", "max_tokens", "stop"})
"""Settings that every recipe gives; `engine.options` may leave them out with null, for servers that refuse them."""
EMPTY = {"stop": "[]", "extra": "{}"}
"""Settings that an empty value removes -> that value."""
MOST = 10_000
"""Combinations of overlays that are checked; a study has a handful."""
_GENERATED = (*SETTINGS, "extra", "n")
REASONING = ("reasoning_config", "reasoning_parser")
"""Arguments of vLLM that say where thinking starts and ends, in place of `models.X.thinking`."""
OWN = {
    "n": "`generation.n` is the number of responses, each with its own request",
    "best_of": "`generation.n` is the number of responses, each with its own request",
    "seed": "each response has its own, from the `seed` of the recipe",
    "model": "the recipe's `models` name it",
    "messages": "the queries are the messages",
    "prompt": "the queries are the messages",
    "stream": "responses are read whole",
    "stream_options": "responses are read whole",
    "thinking_token_budget": "write `thinking_budget`, beside `extra`",
    "thinking_marks": "`models.NAME.thinking` states them",
    "max_completion_tokens": "write `max_tokens`, beside `extra`; for a server that knows this name alone, "
    "`engine.options: {max_tokens: null, max_completion_tokens: 1000}`",
    "max_new_tokens": "write `max_tokens`, beside `extra`",
    "chat_template": "write `models.NAME.chat_template`",
    "chat_template_kwargs": "write `models.NAME.template_kwargs`",
    "add_generation_prompt": "`persona.start` begins an answer",
    "continue_final_message": "`persona.start` begins an answer",
}
"""What ITS writes into a request, or leaves out on purpose -> what the recipe has for it."""
UNREAD = dict.fromkeys(
    (
        *("logprobs", "prompt_logprobs", "prompt_logprob_token_ids", "prompt_logprob_start", "logprob_token_ids"),
        *("flat_logprobs", "routed_experts_prompt_start"),
    ),
    "makes vLLM return what ITS does not keep",
) | dict.fromkeys(
    (
        *("output_kind", "detokenize", "stream_interval", "skip_clone", "output_text_buffer_length"),
        "trace_decode_token_ids",
    ),
    "changes what vLLM hands over: the response would not be the model's text",
)
"""Arguments of vLLM's `SamplingParams` that no recipe may set -> why."""


@dataclass(frozen=True)
class Sampled:
    """How the responses of one kind of request are sampled.

    Args:
        models: that answer them.
        values: setting -> its value, `n` and `extra` among them.
        places: setting -> where the recipe gives it.
    """

    models: tuple[str, ...]
    values: dict[str, Any] = field(default_factory=dict)
    places: dict[str, Location] = field(default_factory=dict)

    def number(self, name: str) -> int | float | None:
        """A number; None where it is missing or refused."""
        value = self.values.get(name)
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def generations(values: Mapping[str, Any]) -> list[Sampled]:
    """The settings of `generation` for every model on every benchmark of the design, each different one once.

    Those of a benchmark win over those of a model, and both over the others. At most `MOST` are made.
    """
    generation = table_at(values, "generation")
    overlays = {section: table_at(generation, section) for section in ("models", "benchmarks")}
    models = {name: (name,) for name in _names(values, "models") if name in overlays["models"]}
    rest = tuple(name for name in _names(values, "models") if name not in models)
    benchmarks = dict.fromkeys(_names(values, "benchmarks"))
    plain = [""] if not benchmarks or benchmarks.keys() - overlays["benchmarks"].keys() else []
    pairs = product([*models.items(), *([("", rest)] if rest or not models else [])], [*plain, *benchmarks])
    out = []
    for (model, own), benchmark in islice(pairs, MOST):
        if benchmark and benchmark not in overlays["benchmarks"]:
            continue
        made = Sampled(own)
        _give(made, generation, ("generation",), _GENERATED)
        for section, name in (("models", model), ("benchmarks", benchmark)):
            _give(made, table_at(overlays[section], name), ("generation", section, name), _GENERATED)
        out.append(made)
    return out


def all_sampled(values: Mapping[str, Any]) -> list[Sampled]:
    """Those of `generation`, of the writer, of the teacher if there is one, and of the judge."""
    out = []
    writer, judge = table_at(values, "writer"), table_at(table_at(values, "grading"), "judge")
    asked: list[tuple[Mapping[str, Any], Location]] = [(writer, ("writer",)), (judge, ("grading", "judge"))]
    if teacher := table_at(writer, "solutions"):
        asked.insert(1, ({"model": writer.get("model"), **teacher}, ("writer", "solutions")))
    for section, here in asked:
        name = section.get("model")
        made = Sampled((name,) if isinstance(name, str) else ())
        _give(made, table_at(section, "sampling"), (*here, "sampling"), Sampling.model_fields)
        out.append(made)
    return [*out, *generations(values)]


def _give(made: Sampled, table: Mapping[str, Any], here: Location, names: Iterable[str]) -> None:
    for name in names:
        if table.get(name) is not None:
            made.values[name], made.places[name] = table[name], (*here, name)


def _names(values: Mapping[str, Any], key: str) -> list[str]:
    """The models or benchmarks of the design."""
    return list(dict.fromkeys(name for name in list_at(table_at(values, "design"), key) if isinstance(name, str)))


def sampling_faults(values: Mapping[str, Any]) -> Iterator[Found]:
    """Every fault of the settings of sampling and of their overlays, each once."""
    found: dict[tuple[Location, str], Found] = {}
    for fault in _faults(values):
        found.setdefault(fault[:2], fault)
    yield from found.values()


def _faults(values: Mapping[str, Any]) -> Iterator[Found]:
    yield from _overlays(values)
    yield from _nulls(values)
    for sampled in generations(values):
        yield from _counts(values, sampled)
    kind = table_at(values, "engine").get("kind")
    for sampled in all_sampled(values):
        yield from _of_engine(values, sampled, kind)
    for extra, here in extras(values):
        yield from _extra(extra, here, kind)


def _overlays(values: Mapping[str, Any]) -> Iterator[Found]:
    """Overlays of what is not declared, or of a model that only writes personas or judges."""
    models, benchmarks = table_at(values, "models"), table_at(values, "benchmarks")
    generation, prompt = table_at(values, "generation"), table_at(values, "prompt")
    judge = table_at(table_at(values, "grading"), "judge").get("model")
    teacher = table_at(table_at(values, "writer"), "solutions").get("model")
    others = {judge: "grading.judge.sampling", teacher: "writer.solutions.sampling"}
    others[table_at(values, "writer").get("model")] = "writer.sampling"
    framed = teacher_of(values)  # solutions are written in the frame of who writes them
    design = list_at(table_at(values, "design"), "models")
    for section, table, registry, word in (
        ("generation", "models", models, "model"),
        ("generation", "benchmarks", benchmarks, "benchmark"),
        ("prompt", "models", models, "model"),
    ):
        own = table_at(generation if section == "generation" else prompt, table)
        for name in own:
            here = (section, table, name)
            if name not in registry:
                if values.get(table) is not REFUSED:
                    known = list(registry)[:100]
                    hint = did_you_mean(nearest(name, known), f"declared: {', '.join(f'`{k}`' for k in known)}")
                    yield here, f"`{dotted(here)}`: {word} `{name}` is not declared", hint
            elif word == "model" and name not in design and name in others and REFUSED not in design:
                if section == "prompt" and name == framed:
                    continue
                wrong = f"`{dotted(here)}`: `{name}` is not a model of the design, so it answers no test query"
                hint = (
                    f"`{others[name]}` is how it is sampled"
                    if section == "generation"
                    else ("requests for personas and opinions have no frame: their templates are the whole user turn")
                )
                yield here, wrong, hint


def _nulls(values: Mapping[str, Any]) -> Iterator[Found]:
    """Nulls of an overlay that look as if they removed a setting: what an overlay does not give stays."""
    removable = {*SETTINGS - ALWAYS, *EMPTY}
    generation = table_at(values, "generation")
    below: dict[str, Location] = {
        name: ("generation", name) for name in removable if generation.get(name) not in (None, {}, [])
    }
    for section in ("models", "benchmarks"):
        given: dict[str, Location] = {}
        for owner in table_at(generation, section):
            for name, value in table_at(table_at(generation, section), owner).items():
                here = ("generation", section, owner, name)
                if value is None and name in below:
                    hint = (
                        f"`{name}: {EMPTY[name]}` does"
                        if name in EMPTY
                        else f"give `{name}` in the overlays that are to have it, not in `{dotted(below[name][:-1])}`"
                    )
                    yield here, f"`{dotted(here)}` is `null`, which does not remove `{dotted(below[name])}`", hint
                elif name in removable and value not in (None, {}, []):
                    given.setdefault(name, here)
        below = {**given, **below}


def _counts(values: Mapping[str, Any], sampled: Sampled) -> Iterator[Found]:
    """Numbers that do not fit each other: n, the k of the measures, temperature."""
    n = sampled.number("n")
    if isinstance(n, int):
        place = dotted(sampled.places["n"])
        for metric in ("maj", "pass", "all"):
            for index, k in enumerate(list_at(table_at(values, "measure"), f"{metric}_k")):
                if type(k) is int and k > n:
                    yield (
                        ("measure", f"{metric}_k", index),
                        f"{metric}@{k} needs at least {k} responses per problem; `{place}` is {n}",
                        f"set `{place}: {k}`, or use k <= {n}",
                    )
        if n > 1 and sampled.number("temperature") == 0:
            # The one that wins says where `n: 1` is to be written.
            many, cold = sampled.places["n"], sampled.places["temperature"]
            where = max(many, cold, key=_rank)
            apart = many[:-1] != cold[:-1]
            beside, one = (f" (`{dotted(cold)}`)", dotted((*where[:-1], "n"))) if apart else ("", "n")
            yield (
                where,
                f"`{place}` is {n} at temperature 0{beside}: the same response {n} times",
                f"set `{one}: 1`, or a temperature above 0",
            )


def _rank(place: Location) -> int:
    """0 for a setting of all cells, 1 for that of a model, 2 for that of a benchmark, which wins."""
    return ("models", "benchmarks").index(str(place[1])) + 1 if len(place) > 2 else 0


def _of_engine(values: Mapping[str, Any], sampled: Sampled, kind: Any) -> Iterator[Found]:
    """Settings that the engine does not have, or that it receives twice."""
    options = table_at(table_at(values, "engine"), "options")
    budget = sampled.places.get("thinking_budget")
    limit, tokens = sampled.number("thinking_budget"), sampled.number("max_tokens")
    sent = kind != "openai" or options.get("max_tokens", True) is not None
    if budget is not None and limit is not None and tokens is not None and limit >= tokens and sent:
        whole = dotted(sampled.places["max_tokens"])
        wrong = f"`{dotted(budget)}` is {limit}: with `{whole}` of {tokens} no token is left to answer"
        yield budget, wrong, f"use at most {tokens - 1}, less what an answer needs"
    if kind == "transformers":
        if budget is not None:
            hint = "`engine.kind: vllm` has a limit of thinking; `max_tokens` limits thinking and answer together"
            yield budget, f"`{dotted(budget)}`: the engine `transformers` cannot end a thought", hint
        if table_at(sampled.values, "extra"):
            here = sampled.places["extra"]
            hint = "it has what `its recipe fields generation` lists, other than `thinking_budget`"
            yield here, f"`{dotted(here)}`: the engine `transformers` has no further settings of a request", hint
    if kind == "vllm" and budget is not None and not any(options.get(name) for name in REASONING):
        for name in sampled.models:
            model = table_at(table_at(values, "models"), name)
            if model and model.get("thinking") is None:
                hint = (
                    f"`models.{name}.thinking: {{start: <think>, end: </think>}}`, or an overlay for the other models"
                )
                wrong = f"`{dotted(budget)}` limits the thinking of `{name}`, which declares no marks of thinking"
                yield budget, wrong, hint
    if kind == "openai":
        given = {name: place for name, place in sampled.places.items() if name in SETTINGS - ALWAYS}
        given |= {name: (*sampled.places["extra"], name) for name in table_at(sampled.values, "extra")}
        if "thinking_budget" in given:
            given["thinking_token_budget"] = given["thinking_budget"]
        for name, place in given.items():
            if name in options:
                wrong = f"`{dotted(place)}` and `engine.options.{name}` set the same field of a request"
                hint = f"remove `engine.options.{name}`: responses are stored by what each request carries"
                yield place, wrong, hint


def extras(values: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Location]]:
    """Every table `extra` of a recipe, used or not, with its place."""
    generation = table_at(values, "generation")
    judge = table_at(table_at(values, "grading"), "judge")
    found: list[tuple[Mapping[str, Any], Location]] = [
        (table_at(table_at(values, "writer"), "sampling"), ("writer", "sampling")),
        (table_at(table_at(table_at(values, "writer"), "solutions"), "sampling"), ("writer", "solutions", "sampling")),
        (table_at(judge, "sampling"), ("grading", "judge", "sampling")),
        (generation, ("generation",)),
    ]
    for section in ("models", "benchmarks"):
        overlays = table_at(generation, section)
        found += [(table_at(overlays, name), ("generation", section, name)) for name in overlays]
    for table, here in found:
        if table_at(table, "extra"):
            yield table_at(table, "extra"), (*here, "extra")


def _extra(extra: Mapping[str, Any], here: Location, kind: Any) -> Iterator[Found]:
    """Names in `extra` that are ITS's own, whatever the engine, and those that this engine must not receive."""
    for name, value in extra.items():
        where = (*here, name)
        if name in SETTINGS:
            hint = f"write `{dotted((*here[:-1], name))}`"
            yield where, f"`{dotted(where)}`: the recipe has this setting itself", hint
        elif name in OWN:
            yield where, f"`{dotted(where)}`: a request gets this from ITS", OWN[name]
        elif name == "extra_body":
            wrong = f"`{dotted(where)}`: Python's client puts its fields into the body; a server ignores the name"
            yield where, wrong, f"write its fields into `{dotted(here)}` itself"
        elif value is None:
            yield where, f"`{dotted(where)}` is `null`: what is not set is not sent", "remove it"
        elif kind == "vllm" and (name in UNREAD or name.startswith("_")):
            why = UNREAD.get(name, "is not a setting of a request")
            yield where, f"`{dotted(where)}` {why}", "remove it"


def extra_secrets(values: Mapping[str, Any]) -> Iterator[tuple[Location, str]]:
    """(location, reason) for every secret in a table `extra`, by name or by value."""
    for extra, here in extras(values):
        yield from secrets_in(extra, here)
