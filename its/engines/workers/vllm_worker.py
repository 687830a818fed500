"""vLLM behind the pipe of `its.engines.pipe`. Runs in the engine environment; imports nothing of `its`.

One engine serves models that differ only in their weights: weights are swapped when the requests in flight have ended,
LoRA adapters are named by each request. On the CPU the engine runs inside this process (no engine core
beside it), so killing the worker leaves nothing behind.
"""

from __future__ import annotations

import os
import queue
import time
from collections import deque

from its_vllm_extension import WeightSwap
from its_vllm_sampling import parameters, refusals
from its_worker import CANCELLED, Begun, Inbox, Message, Say, prompt_sha256, run

GATHER_SECONDS = 0.02
"""After idling, how long requests wait for the next one: a step for one costs as much as for all."""
LONGEST_GATHER_SECONDS = 0.2
"""How long they wait in all, however fast others follow."""


class Worker:
    """The engine and its requests."""

    def __init__(self, models: dict[str, Message], options: Message, say: Say) -> None:
        from vllm import LLM
        from vllm.lora.request import LoRARequest
        from vllm.sampling_params import RequestOutputKind

        self.models, self.lora, self.say = models, LoRARequest, say
        self.begun, self.so_far = Begun(say), RequestOutputKind.CUMULATIVE
        self.name, first = next(iter(models.items()))
        self.path = first["path"]
        if len({model["path"] for model in models.values()}) > 1:
            name = f"{WeightSwap.__module__}.{WeightSwap.__qualname__}"  # vLLM's own processes import it by that
            options = {"worker_extension_cls": name, **options}
        self.llm = LLM(model=self.path, **options)
        self.engine = self.llm.llm_engine
        self.names: dict[str, Message] = {}  # vLLM's name -> request
        self.waiting: deque[Message] = deque()
        scheduler = getattr(self.engine.vllm_config, "scheduler_config", None)
        self.window = max(32, 2 * int(scheduler.max_num_seqs))

    def serve(self, inbox: Inbox) -> None:
        open_input = True
        while open_input or self.names or self.waiting:
            seconds = 0.0 if self.names or self.waiting else None
            until = 0.0
            while open_input:
                try:
                    request = inbox.get(timeout=seconds)
                except queue.Empty:
                    break
                if seconds is None:
                    until = time.monotonic() + LONGEST_GATHER_SECONDS
                seconds = GATHER_SECONDS if time.monotonic() < until else 0.0
                if request is None:
                    open_input = False
                elif "cancel" in request:
                    self.cancel(set(request["cancel"]))
                else:
                    self.waiting.append(request)
            while self.waiting and self.ready_for(self.waiting[0]):
                self.enqueue(self.waiting.popleft())
            if self.names:
                self.step()

    def ready_for(self, request: Message) -> bool:
        """Whether the request's model is loaded; it is loaded as soon as no request is in flight.

        Adapters wait for each other too, though vLLM could serve them in one batch: a response then never shares a
        batch with another checkpoint's. And vLLM 0.32's LoRA on a CPU takes "no adapter" for its last slot when both
        are in a batch (`lora_weights[-1]`): the base answered as the adapter.
        """
        if request["model"] == self.name:
            return True
        if self.names:
            return False
        path = self.models[request["model"]]["path"]
        if path != self.path:
            for reason in self.llm.collective_rpc("its_swap", kwargs={"path": path}):
                if reason:
                    self.say({"unswappable": f"vLLM cannot swap these weights in place ({reason})"})
                    os._exit(0)
            if not self.llm.reset_prefix_cache():
                raise RuntimeError("the prefix cache of the previous weights could not be reset")
        self.path, self.name = path, request["model"]
        return True

    def enqueue(self, request: Message) -> None:
        messages, start = request["messages"], request["start"]
        if start is not None:
            messages = [*messages, {"role": "assistant", "content": start}]
        adapter = self.models[request["model"]]["adapter"]
        lora = None
        if adapter is not None:
            lora = self.lora(request["model"], 1 + list(self.models).index(request["model"]), adapter)
        try:
            sampling = parameters(request["sampling"], request["seed"])
        except (TypeError, *refusals()) as error:
            hint = "`its recipe check --engine` finds what vLLM does not accept of the sampling"
            self.say({"id": request["id"], "error": str(error), "hint": hint})
            return
        try:
            (name,) = self.llm.enqueue_chat(
                [messages],
                sampling,
                use_tqdm=False,
                lora_request=lora,
                chat_template=self.models[request["model"]]["chat_template"],
                add_generation_prompt=start is None,
                continue_final_message=start is not None,
            )
        except refusals() as error:  # for example a prompt longer than the context
            self.say({"id": request["id"], "error": str(error)})
            return
        # vLLM 0.32 returns its internal name, `COUNTER-RANDOM`, but its outputs carry the counter alone.
        self.names[name.partition("-")[0]] = request
        if request["follow"]:
            # `enqueue_chat` asks for the last output alone, whatever the sampling says.
            self.engine.output_processor.request_states[name].output_kind = self.so_far

    def cancel(self, ids: set[str]) -> None:
        """End these requests, as far as they are here, without a response."""
        gone = [name for name, request in self.names.items() if request["id"] in ids]
        if gone:
            self.engine.abort_request(gone)
        left = [request for request in self.waiting if request["id"] in ids]
        self.waiting = deque(request for request in self.waiting if request["id"] not in ids)
        for request in [*map(self.names.pop, gone), *left]:
            self.begun.end(request["id"])
            self.say({"id": request["id"], "error": CANCELLED})

    def step(self) -> None:
        for output in self.engine.step():
            request = self.names[output.request_id]
            best, prompt = output.outputs[0], output.prompt_token_ids or []
            # Unchanged since the request was enqueued: a swap waits until no request is in flight.
            weights = self.models[request["model"]]["fingerprint"]
            if not output.finished:
                if self.begun.due(request):
                    self.begun.report(request, best.text, prompt, weights)
                continue
            del self.names[output.request_id]
            self.begun.end(request["id"])
            self.say(
                {
                    "id": request["id"],
                    "text": best.text,
                    "finish_reason": best.finish_reason or "error",
                    "prompt_tokens": len(prompt),
                    "completion_tokens": len(best.token_ids),
                    "prompt_sha256": prompt_sha256(prompt),
                    "weights": weights,
                }
            )


if __name__ == "__main__":
    run(Worker)
