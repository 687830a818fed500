"""Benchmark problems as they might stand in training data: unchanged, reformatted, cut in two, lightly rewritten.

Everything is drawn from the generator that is passed in, so a seed gives the same plants.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Sequence

INSTRUCTIONS = (
    "Return your final response within \\boxed{}. ",
    "Solve the following problem step by step and put your final answer in \\boxed{}.\n\n",
    "Please reason carefully.\n",
    "Question: ",
    "### Problem 7\n",
    "You are a careful mathematician. Answer the question below.\n\n",
)
FILLERS = (
    "Before going on, note that the figure is not drawn to scale and that all the quantities are exact.",
    "(Source: a regional contest, 2011. Calculators were not allowed, and there were 25 questions in 75 minutes.)",
    "Recall from the last chapter how such a question is best approached: write down what is known and asked.",
    "Here is a remark that has nothing to do with it. The teacher of the class was on a journey when it was first set.",
)
_NAMES = (
    "Aisha Bruno Carmen Dmitri Elena Farid Greta Hiro Ines Jamal Katya Lorenzo Mei Nadia Omar Priya Quentin Rosa "
    "Stefan Tamara Umberto Vera Wanda Xavier Yusuf Zelda Anders Bianca Cyrus Dalia"
)
NAMES = tuple(_NAMES.split())
# Capitalised words that are not names, and nouns that belong to the mathematics or are units.
_CAPITALISED = (
    "I If In It Its The A An And At As Each Every For From Find How What When Which Who Let Given Suppose There This "
    "That They These Those Then On Of Or Compute Determine Evaluate Express Note Monday Tuesday Wednesday Thursday "
    "Friday Saturday Sunday January February March April May June July August September October November December "
    "AM PM He She His Her Your You We Our Their One Two Three Four Five Six After Before But By During With"
)
_NO_NAME = set(_CAPITALISED.split())
_UNCOUNTED = (
    "times time hours hour days day minutes minute weeks week years year months month dollars dollar cents cent "
    "percent seconds degrees units unit digits digit integers integer numbers number sides side solutions points "
    "point more less of and or in is are to the a an than for at on by each total different positive negative real "
    "values terms roots factors divisors ways vertices inches feet meters miles pounds ounces cups square cubic "
    "centimeters as many much per every other people that with from was were has have had if he she it they does "
    "did do will would how what which who when where there this these those his her their its be been not no so but "
    "then"
)
_NO_OBJECT = set(_UNCOUNTED.split())
_TAKES = re.compile(r"\b(?:\d[\d,]*|how many|[Tt]wo|[Tt]hree|[Ff]our|[Ff]ive|[Ss]ix|[Tt]en)\s+([a-z]{3,}s)\b")
_MATHS = re.compile(
    r"\$\$.+?\$\$|(?<!\\)\$(?:\\.|[^$\\])+\$|\\\[.+?\\\]|\\\(.+?\\\)|\[asy\].*?\[/asy\]|\\begin\{(?:align|equation|gather|eqn).+?\\end\{[a-z]+\*?\}",
    re.DOTALL,
)
_BELOW_TWENTY = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_UNITS = _BELOW_TWENTY.split()
_TEN_BY_TEN = "twenty thirty forty fifty sixty seventy eighty ninety"
_TENS = _TEN_BY_TEN.split()


def reformatted(text: str, draw: random.Random) -> str:
    r"""Other white space and LaTeX spelling, `\(` for `$`, an instruction before it."""
    text = re.sub(r"\\frac(?![a-z])", lambda m: draw.choice(["\\dfrac", "\\tfrac"]), text)
    text = re.sub(r"\\leq?(?![a-z])", lambda m: "\\leq", text).replace("\\cdot", "\\times")
    text = re.sub(r"\\(?:dots|cdots|ldots)(?![a-z])", lambda m: "\\dots", text)
    if "\\left" not in text and "[asy]" not in text:
        text = _outside(text, lambda maths: maths.replace("(", "\\left(").replace(")", "\\right)"), maths=True)
    text = re.sub(r"(?<![\\$])\$(?!\$)((?:\\.|[^$\\])+)\$(?!\$)", lambda m: f"\\( {m.group(1)} \\)", text)
    text = re.sub(r"(?<!\\) ", lambda m: draw.choice([" ", "  ", "\n", " \t"]), text)
    return draw.choice(INSTRUCTIONS) + text


def cut(text: str, draw: random.Random, others: Sequence[str]) -> str:
    """Cut at a space somewhere in the middle, with one or two sentences or another problem between."""
    spaces = [m.start() for m in re.finditer(r"\s", text)]
    inner = [at for at in spaces if 0.3 * len(text) <= at <= 0.7 * len(text)] or spaces or [len(text) // 2]
    at = draw.choice(inner)
    between = draw.choice([draw.choice(FILLERS), " ".join(draw.sample(FILLERS, 2)), draw.choice(others)])
    return f"{text[:at]}\n\n{between}\n\n{text[at:].lstrip()}"


class Rewriter:
    """Rewrites lightly: names, objects and variables renamed, numbers in words; half of the time the other pronouns.

    Args:
        texts: what counts as an object or a name is learnt from these. Objects are the plural nouns counted at least
            twice, mathematics and units left out; names the capitalised words that never stand in lower case.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        counted = Counter(noun for text in texts for noun in _TAKES.findall(text) if noun not in _NO_OBJECT)
        self._objects = sorted(noun for noun, count in counted.items() if count >= 2)
        self._lower = {word for text in texts for word in re.findall(r"\b[a-z]+\b", text)}

    def rewritten(self, text: str, draw: random.Random) -> str:
        """A rewriting of one text; what has neither name, object, variable nor number stays as it is."""
        changes = self._changes(_outside(text, lambda maths: " ", maths=True), draw)
        text = _outside(
            text,
            lambda prose: re.sub(r"\b[A-Za-z]+\b", lambda m: changes.get(m.group(), m.group()), prose),
            maths=False,
        )
        text = _variables(text, draw)
        text = re.sub(r"(?<![\\$])\$(\d{1,6})\$(?!\$)", lambda m: spoken(int(m.group(1))), text)
        return _outside(text, _in_words, maths=False)

    def _changes(self, prose: str, draw: random.Random) -> dict[str, str]:
        changes: dict[str, str] = {}
        for word in re.findall(r"\b[A-Z][a-z]{2,}\b", prose):
            if word not in _NO_NAME and word.lower() not in self._lower:
                changes.setdefault(word, draw.choice(NAMES))
        known = set(self._objects)
        for word in sorted(set(re.findall(r"\b[a-z]{3,}\b", prose))):
            for plural in (word, word + "s"):
                if plural in known and plural not in changes:
                    changes[plural] = draw.choice(self._objects)
                    changes[plural[:-1]] = changes[plural][:-1]
        if draw.random() < 0.5:
            changes |= {"he": "she", "she": "he", "He": "She", "She": "He", "his": "her", "His": "Her", "him": "her"}
        return changes


def spoken(number: int) -> str:
    """An integer in [0, 10**9) in words."""
    for scale, name in ((10**6, "million"), (1000, "thousand"), (100, "hundred")):
        if number >= scale:
            rest = number % scale
            joint = " and " if scale == 100 else " "
            return f"{spoken(number // scale)} {name}" + (joint + spoken(rest) if rest else "")
    if number < 20:
        return _UNITS[number]
    return _TENS[number // 10 - 2] + (f"-{_UNITS[number % 10]}" if number % 10 else "")


def _outside(text: str, change: Callable[[str], str], maths: bool) -> str:
    """Change the prose of a text, or its maths."""
    out, at = [], 0
    for span in _MATHS.finditer(text):
        prose = text[at : span.start()]
        out += [prose, change(span.group())] if maths else [change(prose), span.group()]
        at = span.end()
    return "".join([*out, text[at:] if maths else change(text[at:])])


def _variables(text: str, draw: random.Random) -> str:
    lower, upper = "abcdfghjklmnopqrstuvwxyz", "ABCDFGHJKLMNOPQRSTUVWXYZ"
    table = {}
    for letters in (lower, upper):
        shuffled = draw.sample(letters, len(letters))
        table.update(dict(zip(letters, shuffled, strict=True)))
    swap = str.maketrans(table)
    short = re.compile(r"\\[a-zA-Z]+(?:\{[a-z*]{3,}\})?|[A-Za-z]+")

    def in_maths(span: str) -> str:
        if span.startswith("[asy]"):
            return span
        return short.sub(lambda m: m.group() if m.group()[0] == "\\" or len(m.group()) > 4 else _swap(m.group()), span)

    def _swap(word: str) -> str:
        return word.translate(swap) if len(word) <= 2 or word.isupper() else word

    text = _outside(text, in_maths, maths=True)
    return _outside(text, lambda prose: re.sub(r"\b[A-Z]{2,4}\b", lambda m: _swap(m.group()), prose), maths=False)


def _in_words(prose: str) -> str:
    prose = re.sub(
        r"\\?\$(\d{1,3}(?:,\d{3})+|\d{1,6})(?![a-z\d]|[.,]\d)",
        lambda m: f"{spoken(int(m.group(1).replace(',', '')))} dollars",
        prose,
    )
    return re.sub(
        r"(?<![\d.,/\\$])(\d{1,3}(?:,\d{3})+|\d{1,6})(?![a-z\d/]|[.,]\d)",
        lambda m: spoken(int(m.group(1).replace(",", ""))),
        prose,
    )
