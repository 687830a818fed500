"""transformers behind the pipe of `its.engines.pipe`, where vLLM has no build. Runs in the training environment.

Requests of one model and sampling are answered in batches of similar length through the library's own `generate`: its
cache, its padding, its stopping. A response must not depend on its batch, so nothing is drawn from torch's global
state: each request has its own generator (up to floating point: a matrix product of another shape may differ in its
last bits). Imports nothing of `its`.
"""

from __future__ import annotations

import json
import os
import queue
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from its_worker import CANCELLED, Begun, Inbox, Message, Say, prompt_sha256, run

BATCH_SIZE = 16
REFUSED = ("thinking_budget", "extra")
PENALTIES = ("repetition_penalty", "frequency_penalty", "presence_penalty")
WINDOW_BATCHES = 8  # requests to choose from, so that those of a batch have similar lengths
BROKEN = "\ufffd"  # stands for bytes that are not a character yet
GATHER_SECONDS = 0.05  # how long an incomplete batch waits for the pipe


@dataclass
class Item:
    """A request in progress: `tokens` are the prompt's, `limit` how many more the request and the context allow."""

    request: Message
    tokens: list[int]
    limit: int
    generated: list[int] = field(default_factory=list)
    text: str = ""
    reason: str | None = None

    @property
    def batch_key(self) -> str:
        """What the requests of a batch share."""
        return json.dumps([self.request["model"], self.request["sampling"]], sort_keys=True)


class Refusal(Exception):
    """This request cannot be answered; others can."""


class Reader:
    """A model's tokenizer: from a request to tokens, from tokens to text."""

    def __init__(self, model: Message, options: Message, context: int | None) -> None:
        from transformers import AutoConfig, AutoTokenizer

        about = {key: options[key] for key in ("revision", "trust_remote_code", "token") if key in options}
        self.tokenizer = AutoTokenizer.from_pretrained(model["path"], **about)
        if model["chat_template"] is not None:
            self.tokenizer.chat_template = model["chat_template"]
        config = AutoConfig.from_pretrained(model["path"], **about)
        self.context = context or config.get_text_config().max_position_embeddings

    def item(self, request: Message) -> Item:
        """The request with its prompt tokens, as vLLM makes them: the chat template adds the special tokens."""
        import jinja2

        refused = [name for name in REFUSED if name in request["sampling"]]
        if refused:  # the recipe's check refuses it earlier
            raise Refusal(f"the `transformers` engine has no {' and no '.join(f'`{name}`' for name in refused)}")
        messages, start = request["messages"], request["start"]
        if start is not None:
            messages = [*messages, {"role": "assistant", "content": start}]
        try:
            prompt = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=start is None, continue_final_message=start is not None
            )
        except (ValueError, jinja2.TemplateError) as error:  # for example roles that the template does not take
            raise Refusal(f"the chat template rejects its messages: {error}") from error
        tokens = self.tokenizer(prompt, add_special_tokens=False).input_ids
        left = self.context - len(tokens)
        if left < 1:
            raise Refusal(f"its prompt of {len(tokens)} tokens leaves no room in the context of {self.context}")
        return Item(request, tokens, min(request["sampling"]["max_tokens"], left))

    def text(self, item: Item, last: int = 0) -> str:
        """The generated text, or that of its last tokens, decoded behind some of the prompt to keep a leading space."""
        before = item.tokens[-4:]
        whole = self._decoded(before + item.generated[-last:])
        return whole[len(self._decoded(before)) :]

    def _decoded(self, tokens: list[int]) -> str:
        decoded: str = self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return decoded


class Worker:
    """The model in memory and the requests that wait."""

    def __init__(self, models: dict[str, Message], options: Message, say: Say) -> None:
        self.models, self.say, self.begun = models, say, Begun(say)
        self.batch_size = int(options.pop("batch_size", BATCH_SIZE))
        self.context: int | None = options.pop("max_model_len", None)
        self.options = options
        self.window = WINDOW_BATCHES * self.batch_size
        self.readers: dict[str, Reader] = {}
        self.waiting: list[Item] = []
        self.name, self.ends = "", set[int]()
        self.network: Any = None
        self.load(next(iter(models)))

    def reader(self, name: str) -> Reader:
        if name not in self.readers:
            self.readers[name] = Reader(self.models[name], dict(self.options), self.context)
        return self.readers[name]

    def load(self, name: str) -> None:
        """Load this model, and release the one before."""
        from transformers import AutoModelForCausalLM, GenerationConfig

        if name == self.name:
            return
        model, self.network = self.models[name], None  # release the former one first
        network = AutoModelForCausalLM.from_pretrained(model["path"], **self.options)
        eos = [self.reader(name).tokenizer.eos_token_id, network.generation_config.eos_token_id]
        self.ends = {token for one in eos for token in (one if isinstance(one, list) else [one]) if token is not None}
        # A model's own sampling defaults (Qwen's top_k and repetition_penalty) would fill in what a request omits.
        network.generation_config = GenerationConfig()
        if model["adapter"] is not None:
            from peft import PeftModel

            network = PeftModel.from_pretrained(network, model["adapter"])
        self.network, self.name = network.eval(), name

    def serve(self, inbox: Inbox) -> None:
        open_input = True
        while open_input or self.waiting:
            while open_input and len(self.waiting) < self.window:
                try:
                    request = inbox.get(timeout=GATHER_SECONDS if self.waiting else None)
                except queue.Empty:
                    break
                if request is None:
                    open_input = False
                else:
                    self.take(request)
            if self.waiting:
                self.answer(self.next_batch())

    def take(self, request: Message) -> None:
        if "cancel" in request:  # a batch that has begun ends as it is
            for item in [item for item in self.waiting if item.request["id"] in request["cancel"]]:
                self.waiting.remove(item)
                self.say({"id": item.request["id"], "error": CANCELLED})
            return
        try:
            self.waiting.append(self.reader(request["model"]).item(request))
        except Refusal as refusal:
            self.say({"id": request["id"], "error": str(refusal)})

    def next_batch(self) -> list[Item]:
        """The next batch: of the model in memory if it has requests (loading takes seconds), longest prompts first.

        The longest first, so that a batch that is too large for the memory fails early.
        """
        of_model = [item for item in self.waiting if item.request["model"] == self.name]
        first = (of_model or self.waiting)[0]
        fitting = [item for item in self.waiting if item.batch_key == first.batch_key]
        batch = sorted(fitting, key=lambda item: -len(item.tokens))[: self.batch_size]
        chosen = {id(item) for item in batch}
        self.waiting = [item for item in self.waiting if id(item) not in chosen]
        return batch

    def answer(self, batch: list[Item]) -> None:
        self.load(batch[0].request["model"])
        self.generate(batch)
        for item in batch:
            self.begun.end(item.request["id"])
            self.say(
                {
                    "id": item.request["id"],
                    "text": item.text,
                    "finish_reason": item.reason,
                    "prompt_tokens": len(item.tokens),
                    "completion_tokens": len(item.generated),  # with the end of turn, as vLLM counts
                    "prompt_sha256": prompt_sha256(item.tokens),
                    "weights": self.models[self.name]["fingerprint"],
                }
            )

    def report(self, item: Item) -> None:
        """Report the text so far, but for a stop string or a character that has only begun."""
        if item.reason is None and self.begun.due(item.request):
            text = self.reader(self.name).text(item)
            open_end = max((len(stop) - 1 for stop in item.request["sampling"]["stop"]), default=0)
            settled = text[: len(text) - open_end].rstrip(BROKEN)
            self.begun.report(item.request, settled, item.tokens, self.models[self.name]["fingerprint"])

    def generate(self, batch: list[Item]) -> None:
        """Fill in the model's answer to each."""
        import torch
        from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

        reader, network = self.reader(self.name), self.network
        width = max(len(item.tokens) for item in batch)
        pad = reader.tokenizer.pad_token_id
        if pad is None:
            pad = min(self.ends, default=0)
        padded = torch.tensor([[pad] * (width - len(item.tokens)) + item.tokens for item in batch])
        mask = torch.tensor([[0] * (width - len(item.tokens)) + [1] * len(item.tokens) for item in batch])
        sampling = batch[0].request["sampling"]
        processors = []
        if any(sampling.get(name) is not None for name in PENALTIES):
            processors.append(penalties(batch, sampling))
        if sampling["temperature"]:
            processors.append(draw_by_seed([item.request["seed"] for item in batch], sampling))
        with torch.inference_mode():
            network.generate(
                input_ids=padded.to(network.device),
                attention_mask=mask.to(network.device),
                generation_config=GenerationConfig(
                    do_sample=False,  # the scores contain the draw already: the largest wins
                    max_new_tokens=max(item.limit for item in batch),
                    eos_token_id=sorted(self.ends) or None,
                    pad_token_id=pad,
                ),
                logits_processor=LogitsProcessorList(processors),
                stopping_criteria=StoppingCriteriaList([record(batch, reader, self.ends, self.report)]),
            )
        for item in batch:
            item.text = cut_at_stop(reader.text(item), sampling["stop"])


def penalties(batch: list[Item], sampling: Message) -> Any:
    """A logits processor for the penalties, in vLLM's order: repetition, frequency, presence.

    Repetition counts the tokens of prompt and response, the others those of the response alone. Each row is processed
    by itself, without the padding: whose token is one of the vocabulary, and would be penalized as well.
    """
    import torch
    from transformers import LogitsProcessor, RepetitionPenaltyLogitsProcessor

    repetition, frequency, presence = (sampling.get(name) for name in PENALTIES)
    repeated = None if repetition is None else RepetitionPenaltyLogitsProcessor(float(repetition))

    class Penalize(LogitsProcessor):  # type: ignore[misc]
        def __call__(self, input_ids: Any, scores: Any) -> Any:
            rows = []
            for item, row in zip(batch, scores, strict=True):
                if repeated is not None:
                    seen = torch.tensor([item.tokens + item.generated], device=scores.device)
                    row = repeated(seen, row[None])[0]
                generated = torch.tensor(item.generated, dtype=torch.int64, device=scores.device)
                counts = torch.bincount(generated, minlength=len(row))
                rows.append(row - (frequency or 0) * counts - (presence or 0) * (counts > 0))
            return torch.stack(rows)

    return Penalize()


def warpers(sampling: Message) -> list[Any]:
    """The library's own warpers, in vLLM's order: temperature, min_p, top_k, top_p."""
    from transformers import MinPLogitsWarper, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    out = [TemperatureLogitsWarper(float(sampling["temperature"]))]
    if sampling.get("min_p") is not None:
        out.append(MinPLogitsWarper(float(sampling["min_p"])))
    if sampling.get("top_k") is not None:
        out.append(TopKLogitsWarper(int(sampling["top_k"])))
    return [*out, *([TopPLogitsWarper(sampling["top_p"])] if sampling["top_p"] < 1 else [])]


def draw_by_seed(seeds: Sequence[int], sampling: Message) -> Any:
    """A logits processor after which the largest score of a row is a draw from its distribution (Gumbel-max).

    transformers' own sampling draws a whole batch from one global generator, so a response would depend on its
    neighbours. Noise is drawn on the CPU, in float32, whatever the model's device.
    """
    import torch
    from transformers import LogitsProcessor

    warped = warpers(sampling)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    class Draw(LogitsProcessor):  # type: ignore[misc]
        def __call__(self, input_ids: Any, scores: Any) -> Any:
            for warper in warped:
                scores = warper(input_ids, scores)
            noise = torch.empty(scores.shape, dtype=torch.float32)
            for row, generator in zip(noise, generators, strict=True):
                row.exponential_(generator=generator)
            return scores - noise.log_().to(scores.device)

    return Draw()


def record(batch: list[Item], reader: Reader, ends: set[int], report: Callable[[Item], None]) -> Any:
    """A stopping criterion that records each row's tokens up to where it stops, and reports each after each token.

    transformers' `stop_strings` searches the whole row: a stop string that begins in the prompt would end the answer.
    vLLM searches the answer alone, and so does this.
    """
    import torch
    from transformers import StoppingCriteria

    stop: list[str] = batch[0].request["sampling"]["stop"]
    # A token that is not special has at least one byte, a character at most four; the 8 are for broken ones.
    tail = max((len(text.encode()) for text in stop), default=0) + 8

    class Record(StoppingCriteria):  # type: ignore[misc]
        def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
            for item, token in zip(batch, input_ids[:, -1].tolist(), strict=True):
                if item.reason is not None:
                    continue  # padding
                item.generated.append(token)
                if token in ends or (stop and any(text in reader.text(item, tail) for text in stop)):
                    item.reason = "stop"
                elif len(item.generated) >= item.limit:
                    item.reason = "length"
                report(item)
            return torch.tensor([item.reason is not None for item in batch], device=input_ids.device)

    return Record()


def cut_at_stop(text: str, stop: Sequence[str]) -> str:
    """The text before the first of the stop strings in it."""
    return text[: min((at for word in stop if (at := text.find(word)) >= 0), default=len(text))]


if __name__ == "__main__":
    # torch's threads spin while they wait for each other. Measured on 2 cores that others used as well: 51 s for what
    # takes 5 to 8 s with threads that sleep.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    run(Worker)
