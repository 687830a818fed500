r"""The words of answers: units, words that change a number, names of functions, and words of prose."""

from __future__ import annotations

import re
from itertools import pairwise


def names_of(text: str) -> frozenset[str]:
    """The names in a text, separated by spaces."""
    return frozenset(text.split())


FUNCTIONS = names_of(
    "sin cos tan cot sec csc sinh cosh tanh coth sech csch arcsin arccos arctan arccot arcsec arccsc arsinh arcosh "
    "artanh arcsinh arccosh arctanh asin acos atan asinh acosh atanh ln log lg exp sqrt gcd lcm max min det dim deg "
    "arg Re Im Arg tg ctg arctg sgn sign floor ceil abs"
)
"""Names that take an argument, with or without a backslash."""
_GREEK = (
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho varrho sigma "
    "varsigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega hbar ell"
)
SYMBOLS = {name: name for name in _GREEK.split()} | {
    **{"pi": "pi", "infty": "infinity", "infinity": "infinity", "imath": "i", "jmath": "j", "partial": "partial"},
    **{"varepsilon": "epsilon", "varphi": "phi", "vartheta": "theta", "varrho": "rho", "varpi": "pi"},
    **{"emptyset": "emptyset", "varnothing": "emptyset", "nabla": "nabla", "aleph": "aleph", "Re": "Re", "Im": "Im"},
    **{"square": "square", "star": "star", "top": "top", "bot": "bot", "omicron": "omicron", "degree": "degree"},
}
"""Commands that are a letter, and the letter's name."""
BARE_NAMES = FUNCTIONS | {
    "pi",
    "theta",
    "alpha",
    "beta",
    "gamma",
    "lambda",
    "sigma",
    "omega",
    "phi",
    "infty",
    "infinity",
}
"""Names that also count without a backslash: `2pi`, `arccos(2/3)`."""

LINKS = frozenset({"and", "or", ",", ";", "und", "oder", "et", "ou"})
CLAUSES = frozenset({"for", "where", "with", "if", "when", "such", "as", "provided", "given", "assuming", "since"})
"""Words that open a clause after a formula, which says what its variables are."""

FACTORS = {
    **{"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12},
    **{"dozen": 12, "lakh": 10**5, "crore": 10**7},
}
"""Words after a number that multiply it."""
PARTS = {
    **{"half": 2, "halve": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8, "ninth": 9},
    **{"tenth": 10, "hundredth": 100, "thousandth": 1000, "millionth": 10**6},
}
"""Words after a number that divide it."""
NO_UNIT = names_of(
    "squared cubed factorial times mod plus minus over am pm ad bc below above under than less more fewer choose "
    "divided"
)
"""Words after a number that make it something else."""

VERBS = names_of("is are was were be if iff not does do has have there")
"""Words that occur in no unit and no name."""

_LONG = (
    "percent percentage pct degree radian rad sr meter metre centimeter centimetre millimeter millimetre kilometer "
    "kilometre micrometer nanometer inch inche foot feet yard mile acre hectare liter litre milliliter millilitre gram "
    "gramme kilogram milligram ton tonne pound ounce gallon quart pint cup second sec minute hour day week month year "
    "decade century newton joule watt kilowatt volt ampere amp ohm pascal hertz kelvin celsius fahrenheit mole coulomb "
    "tesla farad henry lumen candela dollar cent euro rupee yen usd eur unit square cubic sq cu per bit byte"
)
_SHORT = (
    "nm um mm cm dm km ft yd mi hr hrs min ms ns us kg mg ug lb lbs oz ml mL dl cl kL gal mph kph km kW MW GW kJ MJ eV "
    "keV MeV GeV Hz kHz MHz GHz Pa kPa MPa bar atm mol kmol kN MN mV kV mA mT kB MB GB TB dB rpm fps kWh cc pc ly AU "
    "arcsec arcmin Nm psi kcal cal deg in KM CM MM KG"
)
SINGLE = frozenset("mgshlLNJWVKATCFHtdy")
"""Letters that are a unit where no variable is expected, or upright: `3 m` of kind `number`, `3 \\text{ m}` of any."""
UNITS = frozenset(_LONG.split()) | frozenset(_SHORT.split())

_COMMON_WORDS = frozenset({"any", "not", "for", "how", "now", "two", "fox", "dry", "cry", "cost", "most", "almost"})
SMALL_WORDS = names_of("is it so in we of to be as at by if on no an or")
"""English words of two letters, which are not a product."""
_SHORT_WORDS = SMALL_WORDS | {"us", "and"}
ORDINALS = frozenset({"st", "nd", "rd", "th"})


def is_unit(word: str, single: bool = False) -> bool:
    """Whether a word after a number is a known unit; with `single` one letter may be."""
    if word in UNITS or (word in ("C", "F", "K") and single):
        return True
    if len(word) == 1:
        return single and word in SINGLE
    low = word.casefold()
    return low in UNITS or (low.endswith("s") and len(low) > 3 and low[:-1] in UNITS)


def is_word(run: str) -> bool:
    """Whether letters in a row are a word and not a product: `even`, `Monday`, but not `ab`, `xyz`, `ABCD`.

    A product has at most four letters in alphabetical order, or no vowel.
    """
    if len(run) == 1:
        return False
    low = run.casefold()
    if len(run) == 2:
        return low in _SHORT_WORDS and run != run.upper()
    if low in _COMMON_WORDS:
        return True
    if not re.search(r"[aeiouy]", low):
        return len(run) > 6
    ascending = all(one < two for one, two in pairwise(low))
    if len(run) == 3 and ascending and (run.islower() or run.isupper()):
        return False
    in_a_row = all(ord(two) - ord(one) == 1 for one, two in pairwise(low))
    return not (len(run) == 4 and in_a_row)


def names_in(run: str) -> list[str] | None:
    """`sinx` as `sin` and `x`; None for letters in a row without a name, or with more than two letters beside it."""
    found, rest, left = [], run, 0
    while rest:
        name = next((rest[:size] for size in range(min(8, len(rest)), 1, -1) if rest[:size] in BARE_NAMES), None)
        if name is None:
            left += 1
            name = rest[0]
        found.append(name)
        rest = rest[len(name) :]
    return found if left <= 2 and left < len(run) else None
