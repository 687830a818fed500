"""The language of a text: formulas do not count, and too little prose says nothing."""

from __future__ import annotations

import pytest
from py3langid import classify, langid
from pydantic import ValidationError

from its.language import language_of
from its.recipe.schema import LanguageFilter
from its.recipe.schema.base import LANGUAGES


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("How many positive integers divide the number that Anna wrote down?", "en"),
        (r"Bestimme alle reellen Zahlen mit $x^2 = 4$ und gib ihre Summe an.", "de"),
        ("Trouver toutes les fonctions telles que, pour tout nombre positif, la somme soit nulle.", "fr"),
        ("\u6c42\u6240\u6709\u6ee1\u8db3 $x^2+y^2=1$ \u7684\u6574\u6570\u89e3\u7684\u4e2a\u6570\u3002", "zh"),
        ("\u041d\u0430\u0439\u0434\u0438\u0442\u0435 \u0432\u0441\u0435 \u0446\u0435\u043b\u044b\u0435 "
         "\u0447\u0438\u0441\u043b\u0430, \u0434\u043b\u044f \u043a\u043e\u0442\u043e\u0440\u044b\u0445", "ru"),
    ],
)  # fmt: skip
def test_language(text: str, code: str) -> None:
    assert language_of(text) == code


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Compute $1+1$.",
        r"$\text{Trouver toutes les fonctions telles que la somme soit nulle}$",
        "[asy]label(rotate(90)*scale(2)*unitsize, currentpicture, arrowheads, linewidth);[/asy]",
        r"\begin{align*} \text{somme} &= \text{nulle pour toutes les fonctions reelles} \end{align*}",
    ],
)
def test_too_little_prose(text: str) -> None:
    assert language_of(text) is None


def test_formulas_do_not_sway_it() -> None:
    prose = "How many positive integers divide the number that Anna wrote down?"
    assert language_of(prose + r" $\lambda \mu \nu = \kappa \iota \rho \tau \omega$" * 40) == "en"


def test_the_languages_of_a_recipe_are_those_of_the_detector() -> None:
    classify("any text")  # loads the model
    assert {code for code in langid.IDENTIFIER.labels if len(code) == 2} == LANGUAGES
    with pytest.raises(ValidationError, match="not the code of a language that ITS can tell"):
        LanguageFilter.model_validate({"name": "language", "keep": ["en", "nb"]})  # `no` is what the detector says
