"""Raw `vllm.LLM.chat`, to compare with: runs in vLLM's environment, imports nothing of ITS.

Reads one JSON line {"model", "options"}, answers {"seconds"} when the engine is up; then for each line {"messages",
"sampling", "seeds"} generates all of it in one call and answers {"seconds", "tokens", "texts"}.
"""

from __future__ import annotations

import json
import os
import sys
import time

OUT = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)


def main() -> None:
    began = time.monotonic()
    from vllm import LLM, SamplingParams

    first = json.loads(sys.stdin.readline())
    llm = LLM(model=first["model"], **first["options"])
    print(json.dumps({"seconds": time.monotonic() - began}), file=OUT)
    for line in sys.stdin:
        work = json.loads(line)
        llm.reset_prefix_cache()
        began = time.monotonic()
        params = [SamplingParams(seed=seed, **work["sampling"]) for seed in work["seeds"]]
        outputs = llm.chat(work["messages"], params, use_tqdm=False)
        seconds = time.monotonic() - began
        texts = [output.outputs[0].text for output in outputs]
        tokens = sum(len(output.outputs[0].token_ids) for output in outputs)
        print(json.dumps({"seconds": seconds, "tokens": tokens, "texts": texts}), file=OUT)


if __name__ == "__main__":
    main()
    os._exit(0)
