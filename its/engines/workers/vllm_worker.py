"""vLLM behind a pipe: JSON lines in, JSON lines out. Runs in the engine environment; imports nothing of `its`.

First line in: {"model", "options"}; then one request a line: {"id", "messages", "sampling", "seed", "start"}.
Out: {"ready": ...} once, {"id", "text", ...} for each request as it finishes, {"fatal": ...} if it cannot go on.
The engine runs inside this process (no engine core beside it), so killing the worker leaves nothing behind.
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
from typing import Any

if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: never outlive the stage
    if os.environ.get("ITS_PARENT") not in (None, str(os.getppid())):
        sys.exit(1)  # the parent died before the line above

signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides

# Everything that libraries print goes to stderr (the log); stdout carries the protocol alone.
OUT = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
os.dup2(2, 1)

WAITING = 512  # requests handed to the scheduler at once; the rest wait in the pipe


def say(message: dict[str, Any]) -> None:
    OUT.write(json.dumps(message, ensure_ascii=False) + "\n")
    OUT.flush()


def read_requests(inbox: queue.Queue[dict[str, Any] | None]) -> None:
    for line in sys.stdin:
        inbox.put(json.loads(line))
    inbox.put(None)


def main() -> None:
    first = json.loads(sys.stdin.readline())
    started = time.monotonic()
    from vllm import LLM, SamplingParams

    llm = LLM(model=first["model"], **first["options"])
    engine = llm.llm_engine
    say({"ready": True, "seconds": round(time.monotonic() - started, 2)})

    inbox: queue.Queue[dict[str, Any] | None] = queue.Queue(maxsize=4 * WAITING)
    threading.Thread(target=read_requests, args=(inbox,), daemon=True).start()
    names: dict[str, str] = {}
    open_input = True
    while open_input or names:
        while open_input and len(names) < WAITING:
            try:
                request = inbox.get(block=not names)
            except queue.Empty:
                break
            if request is None:
                open_input = False
                break
            messages, start = request["messages"], request["start"]
            if start is not None:
                messages = [*messages, {"role": "assistant", "content": start}]
            sampling = SamplingParams(seed=request["seed"], **request["sampling"])
            try:
                (name,) = llm.enqueue_chat(
                    [messages],
                    sampling,
                    use_tqdm=False,
                    add_generation_prompt=start is None,
                    continue_final_message=start is not None,
                )
            except ValueError as error:  # for example a prompt longer than the context
                say({"id": request["id"], "error": str(error)})
                continue
            # vLLM 0.32 returns its internal name, `COUNTER-RANDOM`, but its outputs carry the counter alone.
            names[name.partition("-")[0]] = request["id"]
        if not names:
            continue
        for output in engine.step():
            if not output.finished:
                continue
            best = output.outputs[0]
            ids = ",".join(map(str, output.prompt_token_ids or []))
            say(
                {
                    "id": names.pop(output.request_id),
                    "text": best.text,
                    "finish_reason": best.finish_reason or "error",
                    "prompt_tokens": len(output.prompt_token_ids or []),
                    "completion_tokens": len(best.token_ids),
                    "prompt_sha256": hashlib.sha256(ids.encode()).hexdigest(),
                }
            )


if __name__ == "__main__":
    try:
        main()
    except BaseException as error:
        traceback.print_exc()
        say({"fatal": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"})
        os._exit(1)
    os._exit(0)  # skip the libraries' slow teardown
