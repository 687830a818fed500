"""Arithmetic word problems made on the spot, with worked solutions.

The embedded default: a study needs no download. Each item is drawn from a generator seeded by (seed, split, index),
so growing `size` keeps the rows, and a text belongs to exactly one split (by the parity of its hash), so train and
test never share a problem whatever the seeds.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from its.errors import DataError
from its.seeds import derive_random
from its.types import Problem

NAMES = ("Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gia", "Hugo", "Iris", "Jon", "Kim", "Leo", "Mia", "Noah", "Olga")
ITEMS = ("apples", "books", "cards", "coins", "eggs", "marbles", "pens", "shells", "stamps", "tickets")
PLACES = ("shop", "school", "library", "farm", "museum", "bakery")


@dataclass(frozen=True)
class Draft:
    """A problem before it has an id: `steps` are the equations of its solution, in order."""

    text: str
    steps: tuple[str, ...]
    answer: int


Template = Callable[[random.Random, int], Draft | None]
"""(generator, number of steps wanted) -> draft, or None if this template has no form with that many steps."""


class _Chain:
    """A running value; each operation appends its equation."""

    def __init__(self, value: int) -> None:
        self.value = value
        self.steps: list[str] = []

    def apply(self, sign: str, operand: int) -> None:
        result = {
            "+": self.value + operand,
            "-": self.value - operand,
            "*": self.value * operand,
            "/": self.value // operand,
        }[sign]
        self.steps.append(f"{self.value} {sign} {operand} = {result}")
        self.value = result

    def draft(self, text: str) -> Draft:
        return Draft(text, tuple(self.steps), self.value)


def _collection(rng: random.Random, steps: int) -> Draft:
    """Someone has some things, then gains, loses, doubles or triples them."""
    name, item = rng.choice(NAMES), rng.choice(ITEMS)
    chain = _Chain(rng.randint(3, 20))
    sentences = [f"{name} has {chain.value} {item}."]
    for _ in range(steps):
        kinds = ["gain", "gain", "lose", "lose"] + (["times"] if chain.value <= 30 else [])
        kind = rng.choice(kinds)
        if kind == "lose" and chain.value < 3:
            kind = "gain"
        if kind == "gain":
            n = rng.randint(2, 20)
            sentences.append(rng.choice((f"{name} finds {n} more.", f"A friend brings {n} more.")))
            chain.apply("+", n)
        elif kind == "lose":
            n = rng.randint(1, min(20, chain.value - 1))
            sentences.append(rng.choice((f"{name} gives away {n}.", f"Then {n} get lost.")))
            chain.apply("-", n)
        else:
            n = rng.choice((2, 3))
            sentences.append(f"Then the number of {item} {'doubles' if n == 2 else 'triples'}.")
            chain.apply("*", n)
    return chain.draft(" ".join([*sentences, f"How many {item} are there now?"]))


def _boxes(rng: random.Random, steps: int) -> Draft:
    """Equal groups, then things are added or taken."""
    item, place = rng.choice(ITEMS), rng.choice(PLACES)
    boxes, each = rng.randint(2, 9), rng.randint(2, 12)
    chain = _Chain(boxes)
    chain.apply("*", each)
    sentences = [f"A {place} has {boxes} boxes with {each} {item} in each."]
    for step in range(1, steps):
        if step % 2 == 1:
            n = rng.randint(1, chain.value - 1)
            sentences.append(f"It sells {n} of them.")
            chain.apply("-", n)
        else:
            n = rng.randint(2, 20)
            sentences.append(f"Then {n} more {item} come in.")
            chain.apply("+", n)
    return chain.draft(" ".join([*sentences, f"How many {item} does it have?"]))


def _purchase(rng: random.Random, steps: int) -> Draft | None:
    """Two kinds of goods, their total, and with four steps the change."""
    if steps < 3:
        return None
    name = rng.choice(NAMES)
    first, second = rng.sample(ITEMS, 2)
    m, a, n, b = (rng.randint(2, 9) for _ in range(4))
    lines = [f"{m} * {a} = {m * a}", f"{n} * {b} = {n * b}", f"{m * a} + {n * b} = {m * a + n * b}"]
    total = m * a + n * b
    text = f"{name} buys {m} {first} at {a} dollars each and {n} {second} at {b} dollars each."
    if steps == 3:
        return Draft(f"{text} How many dollars does {name} pay?", tuple(lines), total)
    paid = (total // 10 + rng.randint(1, 3)) * 10
    lines.append(f"{paid} - {total} = {paid - total}")
    return Draft(f"{text} {name} pays with {paid} dollars. How much change is given?", tuple(lines), paid - total)


def _sharing(rng: random.Random, steps: int) -> Draft | None:
    """Bags are pooled, maybe topped up, and shared equally (every division is exact)."""
    if steps > 3:
        return None
    name, item = rng.choice(NAMES), rng.choice(ITEMS)
    children, share = rng.randint(2, 6), rng.randint(2, 12)
    pool = children * share
    extra = rng.randint(1, min(12, pool - 1)) if steps == 3 else 0
    divisors = [d for d in range(2, 10) if (pool - extra) % d == 0]
    if not divisors:
        return None
    bags = rng.choice(divisors)
    chain = _Chain(bags)
    chain.apply("*", (pool - extra) // bags)
    text = f"{name} has {bags} bags with {(pool - extra) // bags} {item} in each"
    if extra:
        text += f" and {extra} single {item}"
        chain.apply("+", extra)
    chain.apply("/", children)
    return chain.draft(f"{text}. {children} children share all {item} equally. How many does each child get?")


def _journey(rng: random.Random, steps: int) -> Draft | None:
    """Two legs at two speeds; with four steps the way that is left."""
    if steps < 3:
        return None
    name = rng.choice(NAMES)
    a, h, b, g = rng.randint(3, 9), rng.randint(2, 6), rng.randint(3, 9), rng.randint(2, 6)
    total = a * h + b * g
    lines = [f"{a} * {h} = {a * h}", f"{b} * {g} = {b * g}", f"{a * h} + {b * g} = {total}"]
    text = f"{name} walks {h} hours at {a} km per hour and {g} hours at {b} km per hour."
    if steps == 3:
        return Draft(f"{text} How many km is that?", tuple(lines), total)
    way = total + rng.randint(1, 30)
    lines.append(f"{way} - {total} = {way - total}")
    return Draft(f"{text} The whole way is {way} km. How many km are left?", tuple(lines), way - total)


TEMPLATES: dict[str, Template] = {
    "collection": _collection,
    "boxes": _boxes,
    "purchase": _purchase,
    "sharing": _sharing,
    "journey": _journey,
}

_TRIES = 10_000


def arithmetic_problems(
    *, size: int, seed: int, split: str, steps: tuple[int, int] = (2, 4), templates: Sequence[str] = tuple(TEMPLATES)
) -> Iterator[Problem]:
    """Yield `size` distinct word problems; a longer run starts with the rows of a shorter one.

    Args:
        size: how many, at least 1.
        seed: of the set; item i depends on (seed, split, i) and on no text having been given before.
        split: `train` or `test`; no text is ever in both.
        steps: fewest and most equations of a solution, within 2 to 4.
        templates: names out of `TEMPLATES`.

    Raises:
        DataError: if the templates hold fewer than `size` distinct problems.
    """
    seen: set[str] = set()
    parity = 0 if split == "train" else 1
    for index in range(size):
        rng = derive_random(seed, split, index)
        for _ in range(_TRIES):
            kind = rng.choice(list(templates))
            draft = TEMPLATES[kind](rng, rng.randint(*steps))
            if draft is None or draft.text in seen:
                continue
            if hashlib.sha256(draft.text.encode()).digest()[0] % 2 == parity:
                break
        else:
            raise DataError(
                f"the procedural source ran out of distinct problems at {index} of {size}",
                "ask for fewer, or allow more templates or steps",
            )
        seen.add(draft.text)
        worked = ". ".join(draft.steps)
        yield Problem(
            problem_id=f"{split}_{index:05d}",
            text=draft.text,
            reference=str(draft.answer),
            solution=f"{worked}. The final answer is \\boxed{{{draft.answer}}}.",
            source=f"procedural/arithmetic/{kind}",
            meta={"steps": len(draft.steps), "template": kind},
        )
