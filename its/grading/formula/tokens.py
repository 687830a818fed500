r"""Text to tokens: numbers, letters, words, commands and marks; what carries no meaning is dropped.

Spaces, `\left`, `\displaystyle` and the like, `$` and colours are dropped; `\text{...}` becomes its words, a letter of
a mathematical alphabet (`\mathbf{i}`) one token.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from its.grading.formula.characters import plain
from its.grading.formula.vocabulary import is_unit, names_of
from its.latex import COMMANDS

TokenKind = Literal["number", "letters", "word", "upright", "bold", "alphabet", "command", "mark"]


Thousands = Literal["never", "outside", "always"]


class ReadError(Exception):
    """A text cannot be parsed to its end; the message says why."""


@dataclass(frozen=True, slots=True)
class Token:
    """One token.

    Kinds: `number`; `letters` in a row, as they stand; `word`, letters in a row within `\\text{...}`; `upright`, within
    `\\mathrm{...}`; `bold`; `alphabet` (`\\mathbb{R}`); `command`, without its backslash; `mark`, one character, or an
    escaped one (`\\{`).
    """

    kind: TokenKind
    text: str
    spaced: bool = False


_TEXT = frozenset({"text", "textbf", "textit", "textrm", "textnormal", "textsf", "texttt", "textup", "textsc", "mbox"})
_TEXT |= {"hbox", "intertext", "emph"}
_UPRIGHT = frozenset({"mathrm", "operatorname", "mathsf", "mathtt", "mathit", "mathnormal", "textstyle", "underline"})
_UPRIGHT |= {
    "boxed",
    "fbox",
    "displaylines",
    "smash",
    "ensuremath",
    "mathop",
    "mathbin",
    "cancel",
    "operatornamewithlimits",
}
_BOLD = frozenset({"mathbf", "boldsymbol", "bm", "pmb", "vec", "overrightarrow"})
_ALPHABETS = frozenset({"mathbb", "mathcal", "mathfrak", "mathscr", "Bbb", "cal"})
_ACCENTS = frozenset({"hat", "widehat"})
_DROPPED = names_of(
    "left right bigl bigr Bigl Bigr big Big bigg Bigg biggl biggr Biggl Biggr displaystyle textstyle scriptstyle rm it "
    "bf limits nolimits mathstrut middle quad qquad thinspace enspace hfill checkmark nonumber bfseries hline noindent "
    "large Large small normalsize itshape sf tt strut boldmath"
)
_WITH_ARGUMENT = frozenset({"tag", "label", "phantom", "hphantom", "vphantom", "color", "hspace", "vspace", "kern"})
_COMMAND_SAME = {
    **{alias[1:]: name.removeprefix("\\") for alias, name in COMMANDS.items()},
    **dict.fromkeys(("cdots", "ldots", "vdots", "ddots", "dotsb", "dotsc", "dotsm", "dotso"), "dots"),
    **{"leqq": "le", "geqq": "ge", "ast": "*", "textless": "<", "textgreater": ">", "slash": "/", "percent": "%"},
    **{"lVert": "Vert", "rVert": "Vert", "|": "Vert", "lbrace": "\\{", "rbrace": "\\}", "lbrack": "[", "rbrack": "]"},
    **{"longrightarrow": "to", "implies": "Rightarrow", "Leftrightarrow": "iff", "longmapsto": "mapsto", "ni": "owns"},
    **{"backslash": "setminus", "smallsetminus": "setminus", "wedge": "land", "vee": "lor", "textbackslash": " "},
    **{"colon": ":", "lparen": "(", "rparen": ")", "bmod": "mod", "textdegree": "circ", "euro": "$", "pounds": "$"},
    **{"thickapprox": "approx", "approxeq": "approx"},
    **{"bigcup": "cup", "bigcap": "cap", "prime": "'", "sp": "^", "sb": "_", "cosec": "csc", "arctg": "arctan"},
}
_MARKS_IN_COMMANDS = frozenset({"<", ">", "*", "|", "[", "]", "(", ")", ":", "/", "'", "^", "_", "\\{", "\\}"})

_NUMBER = (
    r"(?:(?<![0-9],)[1-9][0-9]{0,2}(?:,[0-9]{3})+(?![0-9,])|[0-9]+)(?:\.[0-9]+|\.(?=\s*\\(?:overline|bar|dot)(?![A-Za-z])))?"
    r"(?:[eE][-+]?[0-9]{1,9}(?![A-Za-z0-9.]))?|\.[0-9]+(?:[eE][-+]?[0-9]{1,9}(?![A-Za-z0-9.]))?"
)
_APART = re.compile(_NUMBER.replace("(?<![0-9],)[1-9][0-9]{0,2}(?:,[0-9]{3})+(?![0-9,])|", ""))
_TOKEN = re.compile(
    r"(?P<space>(?:\s|~|\\[,;:>! /()]|(?<!\\)\\[\[\]])+)"
    r"|(?P<hex>[0-9][0-9A-Z]*(?=_\{?(?:1[1-9]|[23][0-9])(?![0-9])))"
    rf"|(?P<number>{_NUMBER})"
    r"|(?P<letters>(?<=[0-9)}])(?:or|and)(?=[A-Z]|[a-z]=)|[A-Za-z]+)"
    r"|(?P<foreign>[^\W\d_A-Za-z]+)"
    r"|\\(?P<command>[A-Za-z]+|\|)\*?"
    r"|(?P<mark>\\[{}%$&\#_\\]|\.\.\.+|\*\*|(?<=\s)!=|[<>]=|.)",
    re.DOTALL,
)
_GROUPED = re.compile(r"(?<![0-9.,])([1-9][0-9]{0,2})((?:(?: ?\{ ?, ?\}|,?\\[!,] ?| )[0-9]{3})+)(?![0-9]|\s?/)")
_SIGNS = {"!=": "ne", "<=": "le", ">=": "ge"}
_OPENING, _CLOSING = frozenset({"(", "[", "\\{"}), frozenset({")", "]", "\\}"})
_HALF_OF_DAY = re.compile(r"(?<![A-Za-z])([ap])\.\s?m\b\.?")
_COMMA = re.compile(r"\{\s*,\s*\}")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_QUAD = re.compile(r"\\q?quad(?=[A-Za-z])|\\q?quad")
_ROW_SPACE = re.compile(r"\\\\\[[0-9.]+[a-z]+\]")
_DOUBLED = re.compile(r"\\\\(?=[A-Za-z]{2,})")
"""`\\\\frac`: a backslash escaped once too often."""
_THIN = re.compile(r"[^0-9]+")


def tokenise(text: str, thousands: Thousands = "outside") -> list[Token]:
    """Split a text into tokens.

    Args:
        thousands: where `1,234` is one number and not two: nowhere, only outside brackets, or everywhere.

    Raises:
        ReadError: a group is not closed.
    """
    text = _GROUPED.sub(lambda match: match.group(1) + _THIN.sub("", match.group(2)), plain(text))
    text = _ROW_SPACE.sub(r"\\\\", _QUAD.sub(" ", _COMMA.sub(",", _HALF_OF_DAY.sub(r"\1m", text)).replace("\\_", "_")))
    if "\\begin" not in text:
        text = _DOUBLED.sub("\\\\", text)
    return _tokens(text, thousands, "letters")


def _tokens(text: str, thousands: Thousands, letters: TokenKind) -> list[Token]:
    found: list[Token] = []
    at, spaced, depth = 0, False, 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ReadError(f"`{text[at : at + 20]}` is unexpected")
        kind, piece = match.lastgroup, match.group()
        if kind == "mark":
            depth += (piece in _OPENING) - (piece in _CLOSING)
        if kind == "number" and "," in piece and (thousands == "never" or (thousands == "outside" and depth > 0)):
            match = _APART.match(text, at)
            piece = match.group() if match else piece
            at += len(piece)
            found.append(Token("number", piece, spaced))
        elif kind == "command":
            at = _command(match.group("command"), text, match.end(), thousands, letters, spaced, found)
        else:
            at = match.end()
            if kind == "space":
                spaced = True
                continue
            if kind in ("number", "hex"):
                found.append(Token("number", piece.replace(",", ""), spaced))
            elif kind == "foreign":
                found.append(Token("word", piece, spaced))
            elif kind == "letters":
                found.append(Token(letters, piece, spaced))
            elif piece == "...":
                found.append(Token("command", "dots", spaced))
            elif piece.startswith("..."):
                raise ReadError("too many dots")
            elif piece in _SIGNS:
                found.append(Token("command", _SIGNS[piece], spaced))
            elif piece not in ("$", "\\$"):
                found.append(Token("mark", "%" if piece == "\\%" else piece, spaced))
        spaced = False
    return found


def _command(
    name: str, text: str, at: int, thousands: Thousands, letters: TokenKind, spaced: bool, found: list[Token]
) -> int:
    """Append the tokens of a command; return where the text continues."""
    if name in _DROPPED and name not in _UPRIGHT:
        if name in ("left", "right") and text[at : at + 1] == ".":
            at += 1
        return at
    if name in _WITH_ARGUMENT:
        return _group(text, at)[1]
    if name == "textcolor":
        at = _group(text, at)[1]
        name = "text"
    if name in _TEXT or name in _UPRIGHT or name in _BOLD or name in _ALPHABETS or name in _ACCENTS:
        content, end = _argument(text, at)
        bare = content.strip(" ~$")
        if bare.startswith("\\") and len(bare) > 1 and name in _BOLD | _ACCENTS:
            inner = [
                token for token in _tokens(bare, thousands, letters) if token.kind in ("bold", "alphabet", "command")
            ]
            if len(inner) == 1 and inner[0].text in ("imath", "jmath", "i", "j", "k"):
                found.append(Token("bold", inner[0].text[0], spaced))
                return end
        if name in _ACCENTS:
            if bare in ("i", "j", "k"):
                found.append(Token("bold", bare, spaced))
                return end
            found.append(Token("command", name, spaced))
            return at
        if name in _ALPHABETS and bare.isalpha():
            found.append(Token("alphabet", bare, spaced))
        elif name in _BOLD and len(bare) == 1 and bare.isalpha():
            found.append(Token("bold", bare, spaced))
        elif name == "overrightarrow":
            found.append(Token("command", name, spaced))
            return at
        elif name in _TEXT:
            found.extend(_tokens(content, thousands, "word"))
        elif name in _UPRIGHT and bare.isascii() and bare.isalpha():
            found.append(Token("upright", bare, spaced))
        else:
            inner = _tokens(content, thousands, "word" if letters == "word" else "letters")
            if name == "mathrm" and all(is_unit(one.text, single=True) for one in inner if one.kind == "letters"):
                inner = [Token("upright", one.text, one.spaced) if one.kind == "letters" else one for one in inner]
            whole = len(inner) > 1 and found and found[-1].text in ("^", "_")
            found.extend([Token("mark", "{"), *inner, Token("mark", "}")] if whole else inner)
        return end
    name = _COMMAND_SAME.get(name, name)
    if name in _MARKS_IN_COMMANDS:
        found.append(Token("mark", name, spaced))
    elif name == "%":
        found.append(Token("mark", "%", spaced))
    elif name not in ("$", " "):
        found.append(Token("command", name, spaced))
    return at


def _argument(text: str, at: int) -> tuple[str, int]:
    """The argument of a command, and where the text continues: a group, a command or one character."""
    while at < len(text) and text[at].isspace():
        at += 1
    if text[at : at + 1] == "{":
        return _group(text, at)
    command = re.compile(r"\\[A-Za-z]+").match(text, at)
    if command:
        return command.group(), command.end()
    return text[at : at + 1], at + 1


def _group(text: str, at: int) -> tuple[str, int]:
    """The content of the group at `at`, and where the text continues."""
    while at < len(text) and text[at].isspace():
        at += 1
    if text[at : at + 1] != "{":
        raise ReadError(f"a group in braces is missing before `{text[at : at + 20]}`")
    end = group_end(text, at)
    if end is None:
        raise ReadError("a group is not closed")
    return text[at + 1 : end - 1], end


def group_end(text: str, at: int = 0) -> int | None:
    """Where the group that opens at `at` ends; None if it is not closed."""
    depth = 0
    for brace in _BRACE.finditer(text, at):
        depth += {"{": 1, "}": -1}.get(brace.group(), 0)
        if not depth:
            return brace.end()
    return None


def written(tokens: list[Token]) -> str:
    r"""Tokens in one spelling of LaTeX: without `\left`, `\text` and needless spaces."""
    text = ""
    before: Token | None = None
    for token in tokens:
        piece = f"\\{token.text}" if token.kind == "command" else token.text
        if before is not None:
            letters = piece[0].isalpha() and (before.kind == "command" or before.text[-1:].isalpha())
            letters = letters or (token.kind == "word" and len(piece) > 1 and before.kind != "mark")
            digits = piece[0].isdigit() and (before.kind == "number" or (text.endswith(",") and len(piece) >= 3))
            text += " " if letters or digits else ""
        text += piece
        before = token
    return text


def spelled(tokens: list[Token]) -> str:
    """Tokens as words: lower case, with spaces where spaces or letters separate them."""
    text, letters = "", False
    for token in tokens:
        is_letters = token.kind not in ("mark", "number")
        text += (" " if text and (token.spaced or (letters and is_letters)) else "") + token.text
        letters = is_letters
    return " ".join(text.casefold().split()).strip(" .")
