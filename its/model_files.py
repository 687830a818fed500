"""Small files of a model, local or on the hub: the tokenizer, its settings, the chat template."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from its.control_tokens import declared_control_tokens, thinking_marks, tokenizer_control_tokens
from its.engines.protocol import EngineModel
from its.errors import DataError, MissingError
from its.files import read_regular
from its.prompts.chat import default_template
from its.recipe.schema import Model, Prompt
from its.rows import read_json

MAX_TEMPLATE_BYTES = 2**20
"""Chat templates of models have less than 20 kB."""


def own_template(model: EngineModel) -> str | None:
    """A model's own chat template, as transformers finds it: its own file, else in the tokenizer's settings.

    Raises:
        MissingError: if it is on the hub and the hub cannot be reached.
    """
    file = model_file(model, "chat_template.jinja")
    if file is not None:
        return read_chat_template(file)
    settings = model_file(model, "tokenizer_config.json")
    return default_template(_mapping(settings).get("chat_template"))


def final_template(found: EngineModel) -> str | None:
    """The one chat template of a model from `ready_model` or `trained_model`; None if it has none.

    Trainer, proof, engine and saved checkpoint read this text, without further arguments: the date and
    `template_kwargs` are written into it.

    Raises:
        MissingError: if it is on the hub and the hub cannot be reached.
    """
    return found.chat_template or own_template(found)


def named_tokens(model: EngineModel) -> dict[str, str]:
    """The named special tokens of a model's tokenizer (`bos_token`, ...), which chat templates receive.

    Raises:
        MissingError: if they are on the hub and the hub cannot be reached.
    """
    out: dict[str, str] = {}
    for file in ("special_tokens_map.json", "tokenizer_config.json"):  # the later one wins
        for name, token in _mapping(model_file(model, file)).items():
            text = token.get("content") if isinstance(token, dict) else token
            if name.endswith("_token") and isinstance(text, str):
                out[name] = text
    return out


def model_control_tokens(
    models: Iterable[tuple[EngineModel, Model]], prompt: Prompt, fetch: bool = True
) -> dict[str, str]:
    """The control tokens of some models' tokenizers, each with its origin; none if the recipe allows them.

    Args:
        models: as engines load them, and as the recipe declares them.
        fetch: whether to fetch files of hub models; otherwise only the recipe's tokens are used for these.

    Raises:
        MissingError: if the hub cannot be reached.
        DataError: if a `tokenizer.json` cannot be read.
    """
    out: dict[str, str] = {}
    if prompt.control_tokens == "allow":
        return out
    for model, declared in models:
        for token, whose in declared_control_tokens({model.name: declared}).items():
            out.setdefault(token, whose)
        tokenizer = model_file(model, "tokenizer.json") if fetch or Path(model.path or "-").is_dir() else None
        if tokenizer is not None:
            found = tokenizer_control_tokens(tokenizer, final_template(model))
            for token in sorted(found - thinking_marks(declared)):
                out.setdefault(token, f"of the tokenizer of `{model.name}`")
    return out


def model_file(model: EngineModel, file: str) -> Path | None:
    """A file of a model, fetched once if it is on the hub; None if the model has no such file.

    Raises:
        MissingError: if the hub cannot be reached.
    """
    if Path(model.path).is_dir():
        path = Path(model.path) / file
        return path if path.is_file() else None
    return hub_file(model.name, model.path, model.revision, file)


def hub_file(name: str, repo: str, revision: str | None, file: str) -> Path | None:
    """A file of a model on the hub, fetched once; None if the model has no such file.

    Without a network, a model in the hub's cache has the files that are there: an engine reads no others.

    Args:
        name: of the model in the recipe, for the error.

    Raises:
        MissingError: if the hub cannot be reached.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repo, file, revision=revision))
    except (OSError, ValueError, EntryNotFoundError) as error:
        if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
            return None
        if isinstance(try_to_load_from_cache(repo, "config.json", revision=revision), str):
            return None
        reason = (str(error) or repr(error)).splitlines()[0]
        raise MissingError(
            f"`{file}` of `{name}` ({repo}) is not available: {reason}",
            "is the network available, and HF_TOKEN set if the model is gated?",
        ) from error


def read_chat_template(path: Path) -> str:
    """The text of a chat template.

    Raises:
        MissingError, DataError: if it cannot be read.
    """
    try:
        return read_regular(path, MAX_TEMPLATE_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 at byte {error.start}", "re-encode the template") from error


def _mapping(path: Path | None) -> dict[str, Any]:
    found = None if path is None else read_json(path)
    return found if isinstance(found, dict) else {}
