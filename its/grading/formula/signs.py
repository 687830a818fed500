"""The signs and commands between and around formulas."""

from __future__ import annotations

from its.grading.formula.vocabulary import names_of

RELATIONS = {
    **{"=": "=", "<": "<", ">": ">", "le": "<=", "ge": ">=", "ne": "!=", "in": "in", "notin": "notin", "approx": "~"},
    **{"equiv": "==", "sim": "sim", "simeq": "sim", "to": "to", "Rightarrow": "=>", "Longrightarrow": "=>"},
    **{"Longleftrightarrow": "iff", "iff": "iff"},
    **{
        name: name
        for name in names_of("cong subset subseteq supset supseteq mapsto mid nmid perp parallel ll gg propto")
    },
    **{"owns": "owns", "rightleftharpoons": "rightleftharpoons"},
}
"""Signs between two sides, and their names in the tree."""
SETS = {"cup": "union", "cap": "intersection", "setminus": "difference"}
WRAPPED = {"lfloor": ("rfloor", "floor"), "lceil": ("rceil", "ceil"), "Vert": ("Vert", "norm")}
ACCENTS = names_of(
    "overline bar tilde widetilde hat widehat dot ddot overrightarrow overleftarrow overset stackrel underbrace "
    "overbrace mathring check breve arc wideparen overarc not"
)
BIG = {"sum": "sum", "prod": "product"}
WORK = names_of("int iint iiint oint lim limsup liminf sup inf bigcup bigcap bigoplus coprod")
"""What has a value that is not evaluated."""
NO_FACTOR = names_of("pm mp times cdot div end rfloor rceil rangle mod pmod pod choose over land lor forall bullet")
INVERSE = {name: f"arc{name}" for name in ("sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh")}
