"""What all sections of a recipe share: bounds, names, kinds of values, the base model."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError

RECIPE_VERSION = 1
NAME_PATTERN = r"^[a-z0-9_]+$"
MAX_NAME = 64
"""Four names and their separators form a folder name (`MODEL-DATASET-STRATEGY-SEED`): 255 bytes on most disks."""
MANY = 1_000
"""Declared models, sets and strategies, and the items of a list of the design."""
FEW = 100
"""Items of a list that a person writes: examples (each adds a turn to every request), caveats, servers."""
MAX_TOKENS = 10**8
"""Ten times the longest context of any model."""
MAX_ROWS = 10**9

_READ_OTHERWISE = re.compile(r"[0-9_]+(e[0-9_]+)?|0x[0-9a-f_]+|0o[0-7_]+|0b[01_]+|true|false|null|yes|no|on|off|y|n")
"""Names that some YAML reader takes for a number, a truth value or null when they are unquoted."""


def name_fault(name: str) -> str | None:
    """Why a text cannot name a model, set, strategy or recipe, or None; the text follows `NAME_PATTERN`."""
    if len(name) > MAX_NAME:
        return f"has {len(name)} characters: a name has at most {MAX_NAME}, since folders are named after it"
    if _READ_OTHERWISE.fullmatch(name):
        return "is not a name: unquoted, YAML reads it as a number, a truth value or null"
    return None


def _name(name: str) -> str:
    fault = name_fault(name)
    if fault:
        raise PydanticCustomError("name", "{fault}", {"fault": fault})
    return name


@dataclass(frozen=True)
class Unit:
    """The unit of a number, for the reference and editors."""

    name: str

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(core) | {"x-unit": self.name}


Name = Annotated[str, Field(pattern=NAME_PATTERN, json_schema_extra={"maxLength": MAX_NAME}), AfterValidator(_name)]
Number = Annotated[float, Field(allow_inf_nan=False)]
"""An integer is a number too (YAML writes 1 where 1.0 is meant); text is not."""
Seed = Annotated[int, Field(ge=0, lt=2**63)]
"""Never passed to an engine or a generator: those receive a derived seed of 31 bits (`its.seeds`)."""
Count = Annotated[int, Field(ge=1, le=MAX_ROWS)]
Tokens = Annotated[int, Field(ge=1, le=MAX_TOKENS), Unit("tokens")]
Words = Annotated[int, Field(ge=1, le=MAX_TOKENS), Unit("words")]
Draws = Annotated[int, Field(ge=1, le=100_000)]
"""Responses for a query, and the k of a metric over them; published studies draw 10,000."""
Temperature = Annotated[Number, Field(ge=0, le=100)]
Probability = Annotated[Number, Field(gt=0, le=1)]
StopTexts = Annotated[list[Annotated[str, Field(min_length=1)]], Field(max_length=FEW)]
TopK = Annotated[int, Field(ge=1, le=MAX_TOKENS)]
RepetitionPenalty = Annotated[Number, Field(gt=0, le=100)]
Penalty = Annotated[Number, Field(ge=-2, le=2)]
ThinkingBudget = Annotated[int, Field(ge=0, le=MAX_TOKENS), Unit("tokens")]
_WORD, _WORDS = r"[A-Za-z0-9_][A-Za-z0-9_.-]*", r"[A-Za-z0-9_][A-Za-z0-9_ .+-]*"
PATH = r"^[^\t\r\n]+$"
_LICENCE = r"^[a-z0-9][a-z0-9.+-]*$"
_HUB_ID = f"^{_WORD}/{_WORD}$"
_HUB_REVISION = f"^{_WORD}(/{_WORD})*$"
_HUB_SUBSET = f"^{_WORDS}(/{_WORDS})*$"
_HUB_SPLIT = r"^[A-Za-z0-9_][A-Za-z0-9_.+:%\[\]-]*$"
_PART = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$"
MEMBER = r"^[a-z0-9_-]+(/[a-z0-9_]+){1,2}$"
FRACTION = r"^(last|[1-9][0-9]?/[1-9][0-9]?)$"
TEMPLATE_KEY = r"^[a-zA-Z_][a-zA-Z0-9_]*$"
URL = r"^https?://[^\s@?#]+$"
PATTERN_MESSAGES = {
    URL: "`http(s)://HOST/PATH` is expected, without a user, a query (`?api-version=...`) or a fragment: `/models` and"
    " `/chat/completions` are appended to it",
    _LICENCE: "the hub's id of a licence is expected, in small letters: `mit`, `apache-2.0`, `cc-by-4.0`, `other`",
    PATH: "a path is one line",
    _HUB_ID: "`owner/name` of the hub is expected, not a path",
    _HUB_REVISION: "a commit, branch or tag is expected",
    _HUB_SUBSET: "the name of a subset is expected",
    _HUB_SPLIT: "the name of a split is expected",
    r"\S": "a text that is not empty is expected",
    MEMBER: "`CHECKPOINT/STRATEGY` or `CHECKPOINT/BENCHMARK/STRATEGY` is expected",
    FRACTION: "`last` is expected, or a share of the training's steps such as `1/3`, of numbers from 1 to 99",
    TEMPLATE_KEY: "the name of a variable of a chat template is expected, such as `enable_thinking`",
    _PART: "the name of a part has letters, digits, `_`, `-` and `.`, and begins with a letter, a digit or `_`",
}
"""Pattern -> what it accepts, in words."""

FilePath = Annotated[str, Field(min_length=1, max_length=1024, pattern=PATH)]
HubId = Annotated[str, Field(max_length=200, pattern=_HUB_ID)]
"""`owner/name`: libraries take other texts for folders, and words such as `pandas` for readers of pickles."""
HubRevision = Annotated[str, Field(max_length=200, pattern=_HUB_REVISION)]
HubSubset = Annotated[str, Field(max_length=200, pattern=_HUB_SUBSET)]
HubSplit = Annotated[str, Field(max_length=200, pattern=_HUB_SPLIT)]
PartName = Annotated[str, Field(max_length=MAX_NAME, pattern=_PART)]
ServedName = Annotated[str, Field(min_length=1, max_length=512)]
Licence = Annotated[str, Field(max_length=64, pattern=_LICENCE)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# <!-- typos: off -->
_LANGUAGES = """
af am an ar as az ba be bg bn br bs ca cs cy da de dz el en eo es et eu fa fi fo fr fy ga gd gl gu ha he hi hr ht hu
hy id ig is it ja jv ka kk km kn ko ku ky la lb lg ln lo lt lv mg mk ml mn mr ms mt my ne nl nn no oc om or pa pl ps
pt qu ro ru rw sa se si sk sl sn so sq sr st sv sw ta te tg th tk tl tr tt ug uk ur uz vi vo wa xh yo zh zu
"""
# <!-- typos: on -->
LANGUAGES = frozenset(_LANGUAGES.split())
"""ISO 639-1 codes of the languages that `its.language` can detect."""


def _language(code: str) -> str:
    if code not in LANGUAGES:
        raise PydanticCustomError("language", "not the code of a language that ITS can tell, such as en, de or zh")
    return code


LanguageCode = Annotated[str, Field(pattern=r"^[a-z]{2}$"), AfterValidator(_language)]

PersonaCheck = Literal["empty", "brief", "overlong", "refuses", "solves", "leaks", "digits", "copies", "language"]
AnswerKind = Literal["integer", "number", "math", "choice"]
TemplateName = Literal["collection", "boxes", "purchase", "sharing", "journey"]
"""The tables of `its.sources.procedural.TEMPLATES`."""

ONE, SEVERAL = "<one>", "<several>"
"""Tags that tell, in the place of a schema error, whether a value is one or a list; never keys of a recipe."""


def one_or_several(value: Any) -> str:
    """The tag of a value that may be one or a list."""
    return SEVERAL if isinstance(value, list) else ONE


def ordered(value: Any) -> Any:
    """A table with its keys sorted at every depth: DVC does not tell two orders apart, so no row may depend on one."""
    if isinstance(value, dict):
        return {key: ordered(value[key]) for key in sorted(value)}
    return [ordered(item) for item in value] if isinstance(value, list) else value


def _scalar(value: Any) -> Any:
    if value is not None and not isinstance(value, bool | int | float | str):
        raise PydanticCustomError("scalar", "a text, a number, true, false or null is expected")
    return value


Scalar = Annotated[
    Any,
    AfterValidator(_scalar),
    Field(json_schema_extra={"type": ["string", "number", "boolean", "null"]}),
]
"""A value of JSON without lists and objects."""

Passed = Annotated[dict[str, Any], AfterValidator(ordered)]
"""Settings that are passed on as they are."""


class Section(BaseModel):
    """The base of all sections: frozen, closed, strict; the text below a field is its description."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)
