"""A stand-in for the `vllm` package: what the worker touches of it, steered by a script.

ITS_FAKE_SCRIPT names a JSON file:
    personas  text in the last user turn -> completions by attempt (the last one stays); `cut:` before one marks it cut
    solutions the same of requests that begin no answer, with `cut::` or `failed::` before one
    answers   problem text -> what to put in the box
    right     only a model whose path holds this text gives these answers, and only to prompts that hold `persona`
    persona   see `right`
    varied    each seed gives another text, and a third of them a wrong answer
    template  the chat template that the engine takes whatever the model has
    seconds   how long a step takes, each of which finishes one request
    characters how many a step adds to each text, if that is not the whole one
ITS_FAKE_LOG names a file that gets one JSON line for each request seen.
Words in a prompt make trouble: `please refuse`, `please die`, `please raise`.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tiny_tokenizer import TinyTokenizer, load

from vllm.exceptions import VLLMValidationError
from vllm.sampling_params import RequestOutputKind


def _load(variable: str) -> dict[str, Any]:
    return json.loads(Path(os.environ[variable]).read_text(encoding="utf-8")) if variable in os.environ else {}


class SamplingParams:
    seed: int
    temperature: float
    top_p: float
    max_tokens: int
    stop: list[str]
    top_k: int
    min_p: float
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    thinking_token_budget: int | None
    logit_bias: dict[int, float] | None
    min_tokens: int
    __struct_fields__ = tuple(__annotations__)

    def __init__(self, **given: Any) -> None:
        unknown = given.keys() - set(self.__struct_fields__)
        if unknown:
            raise TypeError(f"Unexpected keyword argument '{sorted(unknown)[0]}'")
        if given.get("min_tokens", 0) > given["max_tokens"]:
            raise VLLMValidationError("min_tokens must be less than or equal to max_tokens")
        vars(self).update(given)


class LLM:
    """Its engine, its worker and its scheduler in one; a path that holds `half` lacks a parameter."""

    def __init__(self, model: str, **options: Any) -> None:
        print("a library prints to stdout while it loads", flush=True)
        if model == "unloadable":
            raise ValueError("no weights in `unloadable`\nsecond line")
        self.model, self.options = model, options
        self.script = _load("ITS_FAKE_SCRIPT")
        self.asked: dict[str, int] = {}
        self.waiting: list[SimpleNamespace] = []
        self.tokenizers: dict[str, TinyTokenizer] = {}
        self.count = 0
        self.llm_engine = self.output_processor = self
        self.request_states: dict[str, SimpleNamespace] = {}
        self.states: dict[str, SimpleNamespace] = {}  # by the names of the outputs
        self.vllm_config = SimpleNamespace(
            scheduler_config=SimpleNamespace(max_num_seqs=options.get("max_num_seqs", 4))
        )

    def collective_rpc(self, method: str, kwargs: dict[str, Any]) -> list[str | None]:
        assert method == "its_swap" and "worker_extension_cls" in self.options
        self._log({"swapped": kwargs["path"], "under_way": len(self.waiting), "prompt": "-", "model": self.model})
        if "half" in kwargs["path"]:
            return [f"1 parameters did not come from {kwargs['path']}: lm_head.weight"]
        self.model = kwargs["path"]
        return [None]

    def reset_prefix_cache(self) -> bool:
        return True

    def enqueue_chat(
        self,
        chats: list[list[dict[str, str]]],
        sampling: SamplingParams,
        *,
        use_tqdm: bool,
        lora_request: Any,
        chat_template: str | None,
        add_generation_prompt: bool,
        continue_final_message: bool,
    ) -> list[str]:
        (messages,) = chats
        assert add_generation_prompt != continue_final_message
        prompt = next(turn["content"] for turn in reversed(messages) if turn["role"] == "user")
        lora = None if lora_request is None else list(lora_request)
        seen = {"model": self.model, "prompt": prompt, "seed": sampling.seed, "options": self.options, "lora": lora}
        seen |= {"messages": messages, "sampling": vars(sampling)}
        if chat_template is not None:
            seen["chat_template"] = chat_template
        self._log(seen)
        if "please refuse" in prompt:
            raise VLLMValidationError("the prompt is longer than the context")
        if "please die" in prompt:
            os.kill(os.getpid(), 9)
        if "please raise" in prompt:
            raise RuntimeError("out of memory")
        text, reason = self._persona(prompt) if continue_final_message else self._ended(prompt, sampling.seed)
        name = str(self.count)
        self.count += 1
        self.waiting.append(
            SimpleNamespace(
                request_id=name,
                finished=True,
                prompt_token_ids=self._ids(messages, chat_template, add_generation_prompt),
                outputs=[SimpleNamespace(text=text, finish_reason=reason, token_ids=text.split())],
            )
        )
        self.request_states[f"{name}-a1b2"] = state = SimpleNamespace(output_kind=RequestOutputKind.FINAL_ONLY)
        self.states[name] = state
        return [f"{name}-a1b2"]

    def _ids(self, messages: list[dict[str, str]], chat_template: str | None, prompted: bool) -> list[int]:
        if self.model not in self.tokenizers:
            self.tokenizers[self.model] = load(Path(self.model))
        tokenizer = self.tokenizers[self.model]
        text = tokenizer.apply_chat_template(
            messages,
            add_generation_prompt=prompted,
            tokenize=False,
            chat_template=self.script.get("template", chat_template),
        )
        ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _log(self, seen: dict[str, Any]) -> None:
        if "ITS_FAKE_LOG" in os.environ:
            with Path(os.environ["ITS_FAKE_LOG"]).open("a", encoding="utf-8") as log:
                log.write(json.dumps(seen) + "\n")

    def abort_request(self, request_ids: list[str]) -> None:
        assert set(request_ids) <= {item.request_id for item in self.waiting}
        self.waiting = [item for item in self.waiting if item.request_id not in request_ids]

    def step(self) -> list[SimpleNamespace]:
        time.sleep(self.script.get("seconds", 0.0))
        grown = [item for item in self.waiting if self._grows(item)]
        parts = [
            SimpleNamespace(
                request_id=item.request_id,
                finished=False,
                prompt_token_ids=item.prompt_token_ids,
                outputs=[SimpleNamespace(text=item.outputs[0].text[: self.states[item.request_id].characters])],
            )
            for item in grown
            if self.states[item.request_id].output_kind is RequestOutputKind.CUMULATIVE
        ]
        if grown and grown[-1] is self.waiting[-1]:
            return parts
        return [*parts, self.waiting.pop()]  # the last one first: order must not matter

    def _grows(self, item: SimpleNamespace) -> bool:
        """Whether a text is not complete after this step; `characters` says by how many of them each step adds."""
        state, more = self.states[item.request_id], self.script.get("characters", 0)
        state.characters = getattr(state, "characters", 0) + more
        return bool(more) and state.characters < len(item.outputs[0].text)

    def _persona(self, prompt: str) -> tuple[str, str]:
        completions = [" potter who likes the rain."]
        for part, scripted in self.script.get("personas", {}).items():
            if part in prompt:
                completions = scripted
        attempt = self.asked.get(prompt, 0)
        self.asked[prompt] = attempt + 1
        text = completions[min(attempt, len(completions) - 1)]
        return (text.removeprefix("cut:"), "length") if text.startswith("cut:") else (text, "stop")

    def _ended(self, prompt: str, seed: int) -> tuple[str, str]:
        for part, scripted in self.script.get("solutions", {}).items():
            if part in prompt:
                attempt = self.asked.get(prompt, 0)
                self.asked[prompt] = attempt + 1
                reason, _, text = scripted[min(attempt, len(scripted) - 1)].rpartition("::")
                return text, {"cut": "length", "failed": "abort"}.get(reason, "stop")
        return self._answer(prompt, seed), "stop"

    def _answer(self, prompt: str, seed: int) -> str:
        if self.script.get("varied"):
            thought = f"Counted {'again and ' * (seed % 5)}again in {seed % 97} ways. "
            return thought + (self._scripted(prompt) if seed % 3 else "The final answer is \\boxed{-2}.")
        return self._scripted(prompt)

    def _scripted(self, prompt: str) -> str:
        if self.script.get("right", "") in self.model and self.script.get("persona", "") in prompt:
            for problem, answer in self.script.get("answers", {}).items():
                if problem in prompt:
                    return f"The final answer is \\boxed{{{answer}}}."
        return "The final answer is \\boxed{-1}." if prompt.count("?") else "I do not know."
