"""Whether engines were sent the prompts that training saw: the ids of every prompt, compared by their hash.

Training proves on its rows that a prompt is what the tokenizer and chat template of the trained model make of its
messages, and keeps some prompts with the hash of their ids (`its_parity.json`, `probes`). Here the same is done with
what a model is served with: first for those probes, which must give the hashes of training, then for every prompt that
an engine was sent, whose hash it tells.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from its.engines.protocol import Completion, EngineModel, Request
from its.errors import DataError, RunError
from its.model_files import model_file, named_tokens, own_template
from its.prompts.token_ids import Chat, PromptReader

SHOWN = 3
COMPARED = "compared"
NO_PROOF = "compared with the model's own tokenizer and chat template; no proof of its training is here"


@dataclass
class _Prompts:
    """What one tokenizer and template make of the conversations: by the hash of the messages that of the ids."""

    reader: PromptReader
    known: dict[bytes, str] = field(default_factory=dict)


class PromptCheck:
    """Holds the prompts of some models against what their tokenizers and chat templates make of the messages.

    Args:
        models: those that requests may name.
        probes: by the name of a model, prompts as {messages, prompt_sha256} from the proofs of its training.
        fetch: whether files of models on the hub may be fetched. A server's tokenizer and template are not known.

    Raises:
        RunError: if what a model is served with makes other ids of a probe than training did.
    """

    def __init__(
        self, models: Iterable[EngineModel], probes: Mapping[str, Sequence[Mapping[str, Any]]], fetch: bool
    ) -> None:
        self._prompts: dict[str, _Prompts] = {}
        self._why_not: dict[str, str] = {}
        self._untold: dict[str, int] = {}
        self._faults: list[str] = []
        self._unproven: set[str] = set()
        shared: dict[Any, _Prompts] = {}
        for model in models:
            found = _read(model, fetch, shared)
            if isinstance(found, str):
                self._why_not[model.name] = found
            else:
                self._prompts[model.name] = found
                self._prove(model.name, found, probes.get(model.name, []))

    def learn(self, chats: Sequence[Chat]) -> None:
        """Work out the ids of conversations that will be asked.

        Raises:
            DataError: if a chat template does not render one.
        """
        for prompts in {id(item): item for item in self._prompts.values()}.values():
            new = {digest: chat for chat in chats if (digest := _digest(chat)) not in prompts.known}
            prompts.known |= dict(zip(new, prompts.reader.prompt_hashes(list(new.values())), strict=True))

    def check(self, answers: Iterable[tuple[Request, Completion]]) -> None:
        """Hold the prompts of some answers against what they should be; what an engine does not tell is passed over.

        Raises:
            RunError: naming the queries whose prompts are other ones.
        """
        faults = [fault for request, completion in answers if (fault := self._fault(request, completion)) is not None]
        if faults:
            raise _refusal(faults)

    def count(self, request: Request, completion: Completion) -> None:
        """Note an answer whose prompt is another one, or is not told, for `refuse` and `account`."""
        if (fault := self._fault(request, completion)) is not None:
            self._faults.append(fault)
        elif completion.prompt_sha256 is None:
            self._untold[request.model] = self._untold.get(request.model, 0) + 1

    def refuse(self) -> None:
        """Say all that `count` found.

        Raises:
            RunError: naming the queries.
        """
        if self._faults:
            raise _refusal(self._faults)

    def _fault(self, request: Request, completion: Completion) -> str | None:
        prompts = self._prompts.get(request.model)
        if prompts is None or completion.prompt_sha256 in (None, prompts.known[_digest(request.messages)]):
            return None
        return (
            f"`{request.request_id}` was asked with {completion.prompt_tokens} ids that are not those which the chat "
            f"template and tokenizer of `{request.model}` make"
        )

    def account(self) -> dict[str, str]:
        """By model, whether its prompts were compared, and else why not."""
        out = {name: f"not compared: {why}" for name, why in self._why_not.items()}
        for name in self._prompts:
            untold = self._untold.get(name, 0)
            out[name] = NO_PROOF if name in self._unproven else COMPARED
            if untold:
                out[name] = f"not compared: the engine told no ids of {untold} prompts"
        return out

    def _prove(self, name: str, prompts: _Prompts, probes: Sequence[Mapping[str, Any]]) -> None:
        if not probes:
            self._unproven.add(name)
            return
        found = prompts.reader.prompt_hashes([probe["messages"] for probe in probes])
        unlike = [probe for probe, sha256 in zip(probes, found, strict=True) if sha256 != probe["prompt_sha256"]]
        if unlike:
            text = unlike[0]["messages"][-1]["content"]
            raise RunError(
                f"the tokenizer and chat template that `{name}` is served with make other ids of {len(unlike)} of "
                f"{len(probes)} prompts than training did, the first: {text[:80]!r}",
                "say `chat_template` of the model in the recipe: training and engine are then given the same one; "
                "`train.axolotl` must not change it or the special tokens",
            )


def _refusal(faults: Sequence[str]) -> RunError:
    more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
    return RunError(
        f"{len(faults)} responses are refused, since training and test would see unlike prompts: "
        f"{'; '.join(faults[:SHOWN])}{more}",
        "do `engine.options` change the tokenizer or the chat template, or was the server started with others?",
    )


def _digest(chat: Chat) -> bytes:
    turns = [[turn["role"], turn["content"]] for turn in chat]
    return hashlib.sha256(json.dumps(turns).encode()).digest()


def _read(model: EngineModel, fetch: bool, shared: dict[Any, _Prompts]) -> _Prompts | str:
    """What makes the ids of a model's prompts, once for all models that share it, or why it is not known."""
    if not model.path:
        return "the model is not here"
    if not Path(model.path).is_dir() and not fetch:
        return "a model of the hub that was served elsewhere"
    tokenizer = model_file(model, "tokenizer.json")
    if tokenizer is None:
        return "the model has no `tokenizer.json`"
    template = model.chat_template or own_template(model)
    if template is None:
        return "the model has no chat template"
    tokens = named_tokens(model)
    key = (hashlib.sha256(tokenizer.read_bytes()).digest(), template, tuple(sorted(tokens.items())))
    if key not in shared:
        try:
            shared[key] = _Prompts(PromptReader(tokenizer, template, tokens))
        except DataError as error:
            return error.message
    return shared[key]
