"""Check that engines receive the prompts that training saw: the token ids of every prompt, compared by hash.

Training proves on its rows that a prompt is what the tokenizer and chat template of the trained model make of its
messages, and stores some prompts with the hash of their ids (`its_parity.json`, `probes`). Here the tokenizer and chat
template that a model is served with do the same: first for those probes, which must have the hashes of training, then
for every prompt whose hash an engine reports.
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
from its.model_files import final_template, model_file, named_tokens
from its.prompts.chat import Renderer
from its.prompts.token_ids import Chat, PromptReader
from its.shown import counted

SHOWN = 3
COMPARED = "compared"
NO_PROOF = "compared with the model's own tokenizer and chat template; no proof of its training is here"


@dataclass
class _Prompts:
    """The prompts of one tokenizer and template: hash of the messages -> hash of the ids."""

    reader: PromptReader
    known: dict[bytes, str] = field(default_factory=dict)


class PromptCheck:
    """Compares the prompts that engines received with those of the models' tokenizers and chat templates.

    Args:
        models: those that requests may name.
        probes: by model name, prompts as {messages, prompt_sha256} from the proof of its training.
        fetch: whether to fetch files of hub models. A server's tokenizer and template are not known.

    Raises:
        RunError: if a probe has other ids than in training.
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

    def learn(self, chats: Sequence[Chat], names: Iterable[str] | None = None) -> None:
        """Compute the ids of conversations that will be requested.

        Args:
            names: of the models that they are for; None for all. Models may have their own frames.

        Raises:
            DataError: if a chat template does not render one.
        """
        wanted = self._prompts if names is None else names
        own = [self._prompts[name] for name in wanted if name in self._prompts]
        for prompts in {id(item): item for item in own}.values():
            new = {digest: chat for chat in chats if (digest := _digest(chat)) not in prompts.known}
            prompts.known |= dict(zip(new, prompts.reader.prompt_hashes(list(new.values())), strict=True))

    def render_by(self, renderer: Renderer) -> None:
        """Use a process that is running already, for prompts that come one at a time."""
        for prompts in self._prompts.values():
            prompts.reader.renderer = renderer

    def forget(self, most: int) -> None:
        """Keep the memory of a long run bounded: drop what `learn` computed if that is more than `most` prompts."""
        for prompts in self._prompts.values():
            if len(prompts.known) > most:
                prompts.known.clear()

    def check(self, answers: Iterable[tuple[Request, Completion]]) -> None:
        """Check the prompts of some responses; those that an engine does not report are skipped.

        Raises:
            RunError: naming the queries whose prompts differ.
        """
        faults = [fault for request, completion in answers if (fault := self._fault(request, completion)) is not None]
        if faults:
            raise _refusal(faults)

    def count(self, request: Request, completion: Completion) -> None:
        """Count a response whose prompt differs, or is not reported, for `refuse` and `account`."""
        if (fault := self._fault(request, completion)) is not None:
            self._faults.append(fault)
        elif completion.prompt_sha256 is None:
            self._untold[request.model] = self._untold.get(request.model, 0) + 1

    def refuse(self) -> None:
        """Report all differing prompts that `count` found.

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
            f"the {completion.prompt_tokens} prompt ids of `{request.request_id}` are not those of the chat template "
            f"and tokenizer of `{request.model}`"
        )

    def account(self) -> dict[str, str]:
        """By model, whether its prompts were compared, or why not. The texts are stored with the responses."""
        out = {name: f"not compared: {why}" for name, why in self._why_not.items()}
        for name in self._prompts:
            untold = self._untold.get(name, 0)
            out[name] = NO_PROOF if name in self._unproven else COMPARED
            if untold:
                out[name] = f"not compared: the engine reported no ids for {counted(untold, 'prompt')}"
        return out

    def _prove(self, name: str, prompts: _Prompts, probes: Sequence[Mapping[str, Any]]) -> None:
        if not probes:
            self._unproven.add(name)
            return
        found = prompts.reader.prompt_hashes([probe["messages"] for probe in probes])
        differing = [probe for probe, sha256 in zip(probes, found, strict=True) if sha256 != probe["prompt_sha256"]]
        if differing:
            text = differing[0]["messages"][-1]["content"]
            raise RunError(
                f"the tokenizer and chat template that `{name}` is served with make other ids than training for "
                f"{len(differing)} of {len(probes)} prompts, the first: {text[:80]!r}",
                "set `chat_template` of the model in the recipe, so that training and engine use the same one; "
                "`train.axolotl` must not change it or the special tokens",
            )


def _refusal(faults: Sequence[str]) -> RunError:
    more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
    return RunError(
        f"{counted(len(faults), 'response is', 'responses are')} refused, since training and test would see "
        "different prompts: "
        f"{'; '.join(faults[:SHOWN])}{more}",
        "do `engine.options` change the tokenizer or the chat template, or was the server started with others?",
    )


def _digest(chat: Chat) -> bytes:
    turns = [[turn["role"], turn["content"]] for turn in chat]
    return hashlib.sha256(json.dumps(turns).encode()).digest()


def _read(model: EngineModel, fetch: bool, shared: dict[Any, _Prompts]) -> _Prompts | str:
    """The tokenizer and template of a model's prompts, shared between models, or why they are not known."""
    if not model.path:
        return "the model is not here"
    if not Path(model.path).is_dir() and not fetch:
        return "a model of the hub that was served elsewhere"
    tokenizer = model_file(model, "tokenizer.json")
    if tokenizer is None:
        return "the model has no `tokenizer.json`"
    template = final_template(model)
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
