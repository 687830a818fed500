"""transformers behind a pipe, as `its.engines.pipe` says, where vLLM has no build. Runs in the training environment.

Requests of one model and sampling are answered in batches of like length through the library's own `generate`: its
cache, its padding, its stopping. A response must not depend on the batch that it came in, so nothing is drawn from
torch's global state: each request has a generator of its own (up to floating point: a matrix product of another shape
may differ in its last bits). Imports nothing of `its`.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

BATCH_SIZE = 16
WINDOW_BATCHES = 8  # requests to choose from, so that those of a batch are of like length
GATHER_SECONDS = 0.05  # how long a batch that is not full waits for the pipe

say_lock = threading.Lock()


def set_up_process() -> Any:
    """Die with the keeper; give stdout to the protocol alone: what libraries print goes to stderr, the log."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.environ.get("ITS_PARENT") not in (None, str(os.getppid())):
        sys.exit(1)  # the parent died before the line above
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    return out


@dataclass
class Item:
    """A request on its way through: `tokens` are the prompt's, `limit` how many more the context or the request allow."""

    request: dict[str, Any]
    prompt: str
    tokens: list[int]
    limit: int
    generated: list[int] = field(default_factory=list)
    text: str = ""
    reason: str | None = None

    @property
    def like(self) -> tuple[str, str]:
        """What the requests of a batch share."""
        return self.request["model"], json.dumps(self.request["sampling"], sort_keys=True)


def loaded_model(model: dict[str, Any], options: dict[str, Any]) -> tuple[Any, Any]:
    """(the model, its tokenizer)."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    about = {key: options[key] for key in ("revision", "trust_remote_code", "token") if key in options}
    tokenizer = AutoTokenizer.from_pretrained(model["path"], **about)
    network = AutoModelForCausalLM.from_pretrained(model["path"], **options)
    if model["adapter"] is not None:
        from peft import PeftModel

        network = PeftModel.from_pretrained(network, model["adapter"])
    ends = {tokenizer.eos_token_id}
    for config in (network.generation_config, network.config):
        eos = getattr(config, "eos_token_id", None)
        ends |= set(eos) if isinstance(eos, list) else {eos}
    # A model's own sampling defaults (Qwen's repetition_penalty, top_k) would fill what a request leaves open.
    network.generation_config = GenerationConfig(eos_token_id=sorted(ends - {None}))
    return network.eval(), tokenizer


class Worker:
    """The model in use and the requests that wait."""

    def __init__(self, models: dict[str, dict[str, Any]], options: dict[str, Any], out: Any) -> None:
        self.models, self.out = models, out
        self.batch_size = int(options.pop("batch_size", BATCH_SIZE))
        self.context: int | None = options.pop("max_model_len", None)
        self.options = options
        self.window = WINDOW_BATCHES * self.batch_size
        self.waiting: list[Item] = []
        self.name: str | None = None
        self.load(next(iter(models)))

    def say(self, message: dict[str, Any]) -> None:
        self.out.write(json.dumps(message, ensure_ascii=False) + "\n")
        self.out.flush()

    def load(self, name: str) -> None:
        """Have this model in memory, and no other."""
        if name == self.name:
            return
        self.name = self.network = self.tokenizer = None
        self.network, self.tokenizer = loaded_model(self.models[name], self.options)
        self.name = name
        self.bound = self.context or self.network.config.get_text_config().max_position_embeddings

    def serve(self, inbox: queue.Queue[dict[str, Any] | None]) -> None:
        pending: list[dict[str, Any]] = []
        open_input = True
        while open_input or pending or self.waiting:
            while open_input and len(pending) + len(self.waiting) < self.window:
                nothing = not pending and not self.waiting
                try:
                    request = inbox.get(timeout=None if nothing else GATHER_SECONDS)
                except queue.Empty:
                    break
                if request is None:
                    open_input = False
                else:
                    pending.append(request)
            # The model in memory first: loading one takes seconds.
            wanted = [*self.waiting, *pending]
            if not wanted:
                continue
            names = [self.model_of(item) for item in wanted]
            self.load(self.name if self.name in names else names[0])
            self.waiting += [item for request in pending if request["model"] == self.name if (item := self.taken(request))]
            pending = [request for request in pending if request["model"] != self.name]
            if self.waiting:
                self.answer(self.next_batch())
