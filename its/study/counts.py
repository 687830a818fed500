"""What a study takes: its trainings, checkpoints and cells, and the requests to models, as far as they are known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from its.recipe.schema import Recipe, Strategy
from its.strategies.members import expanded
from its.strategies.persona import persona_indices
from its.study.study import Cell, Checkpoint, Study


@dataclass(frozen=True)
class Size:
    """How many problems a set has; `at_most` where steps that are not done yet may take some out."""

    problems: int
    at_most: bool = False


@dataclass(frozen=True)
class Amount:
    """A number that is known only in parts.

    Args:
        known: what sets of known size contribute.
        per_problem: of each set of unknown size, how many for each of its problems.
        at_most: whether it may turn out less.
    """

    known: int = 0
    per_problem: Mapping[str, int] = field(default_factory=dict)
    at_most: bool = False

    def __bool__(self) -> bool:
        return bool(self.known or self.per_problem)

    def text(self) -> str:
        """`1200`, `at most 600`, `1200 + 64 per problem of aime24, aime25`."""
        alike: dict[int, list[str]] = {}
        for name, count in self.per_problem.items():
            alike.setdefault(count, []).append(name)
        parts = [f"{count} per problem of {', '.join(names)}" for count, names in alike.items()]
        if self.known or not parts:
            parts.insert(0, str(self.known))
        return f"{'at most ' if self.at_most else ''}{' + '.join(parts)}"


@dataclass(frozen=True)
class Counts:
    """What a study takes.

    Args:
        trainings: each once, whatever it is called; one that is finished in the ITS home is reused all the same.
        named_trainings: as the design names them; more than `trainings` if some are equal by the recipe alone.
        checkpoints: evaluated ones, base and earlier ones among them.
        responses: rows of `data/responses/`.
        requests: those behind the responses. Equal trainings share theirs, and a mix has those of its members where the
            same cell has them too; a store that has some already needs fewer.
        personas: personas to write, in at most `attempts` requests each.
        solutions: solutions to regenerate, in at most `solution_attempts` requests each.
        judged: whether a judge is asked, about each distinct answer once, so at most once for each response.
    """

    trainings: int
    named_trainings: int
    checkpoints: int
    cells: int
    responses: Amount
    requests: Amount
    personas: Amount
    attempts: int
    solutions: Amount
    solution_attempts: int
    judged: bool

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> list[str]:
        """The counts in words: what is trained and evaluated, then a line for each kind of request."""
        equal = self.named_trainings - self.trainings
        same = f" ({self.named_trainings} named, {equal} equal to another)" if equal else ""
        parts = [_evaluated(f"{_several(self.trainings, 'training')}{same}", self.checkpoints, self.cells)]
        fewer = "" if self.requests == self.responses else f" from {self.requests.text()} requests"
        parts.append(f"responses: {self.responses.text()}{fewer}")
        for name, amount, attempts in (
            ("personas", self.personas, self.attempts),
            ("solutions", self.solutions, self.solution_attempts),
        ):
            if amount:
                each = "1 request" if attempts == 1 else f"at most {attempts} requests"
                parts.append(f"{name}: {amount.text()}, each in {each}")
        if self.judged:
            parts.append("judge: at most one request for each response")
        return parts


def study_counts(study: Study, sizes: Mapping[str, Size]) -> Counts:
    """What a study takes.

    Args:
        sizes: of its sets, as far as they are known.
    """
    recipe, cells = study.recipe, study.cells()
    checkpoints = study.checkpoints()
    named = list(dict.fromkeys(item.last for item in checkpoints if item.train is not None))
    identity = {item: _identity(recipe, item) for item in checkpoints}
    attempts = recipe.writer.attempts
    teacher = recipe.writer.solutions
    sets = list(study.sets())
    return Counts(
        trainings=len({_identity(recipe, item) for item in named}),
        named_trainings=len(named),
        checkpoints=len(checkpoints),
        cells=len(cells),
        responses=_responses(recipe, cells, sizes),
        requests=_requests(recipe, cells, identity, sizes),
        personas=_amount(
            ((name, _personas(recipe.strategies, strategies), True) for _, name, strategies in sets), sizes
        ),
        attempts=attempts,
        solutions=_amount(
            (
                (name, _regenerated(recipe.strategies, strategies), True)
                for side, name, strategies in sets
                if side == "train"
            ),
            sizes,
        ),
        solution_attempts=0 if teacher is None else teacher.attempts,
        judged=recipe.grading.judge is not None,
    )


def evaluation_counts(study: Study, sizes: Mapping[str, Size]) -> str:
    """What is still to come when the queries are written, in one line; `sizes` as in `study_counts`."""
    cells, checkpoints = study.cells(), study.checkpoints()
    named = {item.last for item in checkpoints if item.train is not None}
    responses = _responses(study.recipe, cells, sizes).text()
    return f"{_evaluated(_several(len(named), 'training'), len(checkpoints), len(cells))}, responses: {responses}"


def _evaluated(trained: str, checkpoints: int, cells: int) -> str:
    return f"{trained}, {_several(checkpoints, 'checkpoint')}, {_several(cells, 'cell')}"


def _several(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _amount(parts: Iterable[tuple[str, int, bool]], sizes: Mapping[str, Size]) -> Amount:
    """The sum of (set, how many for each of its problems, whether it may be fewer)."""
    known, per_problem, at_most = 0, dict[str, int](), False
    for name, count, fewer in parts:
        if not count:
            continue
        size = sizes.get(name)
        if size is None:
            per_problem[name] = per_problem.get(name, 0) + count
        else:
            known += count * size.problems
        at_most |= fewer or (size is not None and size.at_most)
    return Amount(known, per_problem, at_most)


def _responses(recipe: Recipe, cells: Sequence[Cell], sizes: Mapping[str, Size]) -> Amount:
    of = recipe.generation.of
    n_of = {pair: of(*pair).n for pair in {(checkpoint.model, benchmark) for checkpoint, benchmark, _ in cells}}
    return _amount(((benchmark, n_of[item.model, benchmark], False) for item, benchmark, _ in cells), sizes)


def _requests(
    recipe: Recipe, cells: Sequence[Cell], identity: Mapping[Checkpoint, Any], sizes: Mapping[str, Size]
) -> Amount:
    """Those of each cell once; of equal checkpoints that are sampled alike those of the one with the largest n.

    A server names its models, so there all are apart.
    """
    shared, parts = recipe.engine.kind != "openai", []
    sampled = {pair: recipe.generation.of(*pair) for pair in {(item.model, benchmark) for item, benchmark, _ in cells}}
    settings = {pair: sampling.model_dump_json(exclude={"n"}) for pair, sampling in sampled.items()}
    by_place: dict[tuple[Any, str, str], int] = {}
    for item, benchmark, test in cells:
        pair = (item.model, benchmark)
        place = ((identity[item], settings[pair]) if shared else item, benchmark, test)
        by_place[place] = max(by_place.get(place, 0), sampled[pair].n)
    for (own, benchmark, test), n in by_place.items():
        members = recipe.strategies[test].members
        asked = sum((own, benchmark, member) in by_place for member in members)
        others = [name for name in recipe.design.test if name != test and (own, benchmark, name) in by_place]
        shared_with = any(set(members) & set(recipe.strategies[name].members) for name in others)
        if not members or asked < len(members):
            parts.append((benchmark, n, bool(asked) or shared_with))
    return _amount(parts, sizes)


def _identity(recipe: Recipe, item: Checkpoint) -> tuple[Any, ...]:
    """What a checkpoint is by the recipe alone; equal ones have the same weights."""
    model = (
        recipe.models[item.model].model_dump_json(exclude={"licence"}) + recipe.prompt.of(item.model).model_dump_json()
    )
    if item.dataset is None or item.train is None:
        return (model,)
    settings = recipe.train.of(item.model, item.dataset, item.variant).model_dump_json(exclude={"long_rows"})
    return model, item.dataset, _rows(recipe.strategies, item.train), settings, item.seed, item.saved_at


def _rows(strategies: Mapping[str, Strategy], name: str) -> tuple[Any, ...]:
    """What the rows of a strategy are by the recipe alone: what is drawn or written depends on the strategy's name."""
    strategy = strategies[name]
    if strategy.union is not None:
        return "union", *(_rows(strategies, member) for member in strategy.members)
    if strategy.has_context or strategy.members or strategy.solutions != "keep":
        return "drawn", name
    return "plain", strategy.query, strategy.place


def _personas(strategies: Mapping[str, Strategy], names: Sequence[str]) -> int:
    """How many personas a problem of a set gets at most under the strategies of the design.

    A persona is written once, whatever strategies use it. Of the members of a mix a problem needs one.
    """
    whole: dict[str, None] = {}
    drawn: list[set[str]] = []
    for name in names:
        if strategies[name].mix is None:
            whole |= dict.fromkeys(_written(strategies, member) for member in expanded(strategies, [name]))
            continue
        roots = set()
        for member in strategies[name].members:
            root = _written(strategies, member)
            if strategies[member].shuffled is None:
                roots.add(root)
            else:  # which problem gives its persona depends on all that have one
                whole[root] = None
        drawn.append(roots)
    some = {root for roots in drawn for root in roots if root not in whole}
    each = sum(max((_count(strategies[root]) for root in roots & some), default=0) for roots in drawn)
    return sum(_count(strategies[root]) for root in whole) + min(each, sum(_count(strategies[root]) for root in some))


def _written(strategies: Mapping[str, Strategy], name: str) -> str:
    """The strategy whose personas a strategy has: its own, or those that a control starts from."""
    while (source := strategies[name].derived_from) is not None:
        name = source
    return name


def _count(strategy: Strategy) -> int:
    return 0 if strategy.persona is None else len(persona_indices(strategy.persona))


def _regenerated(strategies: Mapping[str, Strategy], names: Sequence[str]) -> int:
    """How many solutions are regenerated for a problem at most; one under each strategy, of a mix under one."""
    whole: set[str] = set()
    drawn: list[set[str]] = []
    for name in names:
        own = {member for member in expanded(strategies, [name]) if strategies[member].solutions == "regenerate"}
        if strategies[name].mix is None:
            whole |= own
        elif own:
            drawn.append(own)
    drawn = [left for own in drawn if (left := own - whole)]
    return len(whole) + min(len(drawn), len({name for own in drawn for name in own}))
