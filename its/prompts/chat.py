"""Whether a chat template of a recipe can be used: it renders, shows its turns, and trains what an engine is sent.

Chat templates are written for the environment of transformers, which has more than the sandbox of ITS: string methods,
`namespace`, `macro`. So they are rendered as transformers does, in a separate process whose processor time and memory
the kernel limits. The engines render them in transformers' sandbox, per conversation.

A model is trained on `prompt + solution + end of turn`, where the prompt is what an engine is sent. Conversations like
those of a study are rendered both ways, with contents that no template can know beforehand. A template that passes may
still fail for a row: `query` and the training look at rows.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from its.errors import DataError, Fault
from its.prompts.clock import PROVIDED, own_names, reads_parts
from its.prompts.conversations import ANY_USE, Case, ChatUse, Turns, chats_of, conversations, secret_of
from its.prompts.sandbox import MAX_CHARACTERS
from its.shown import shown, unshowable
from its.thinking import SOLUTION_MARKS, Marks, PlainMarks, cut_thinking

TRIAL = Path(__file__).parent / "workers" / "chat_trial.py"
TRIAL_SECONDS = 2  # of processor time, plus
CHATS_A_SECOND = 50  # at least: ordinary templates take a hundredth of that
WAIT_SECONDS = 30.0  # wall time beyond it: a busy machine may be slow to start the trial
SHOWN = 60
"""Characters of a template's text in a fault."""
NAMED = 10
"""Names that nothing gives, in faults."""
_TOKENS = {name: f"<{name}>" for name in ("bos_token", "eos_token", "pad_token", "unk_token")}
_BESIDE: dict[str, Any] = {"tools": None, "documents": None}  # as transformers passes them
_ADDRESS = re.compile(r"<[^<>]* at 0x[0-9a-f]{6,}>")
_AS_TRANSFORMERS = "it is rendered as transformers renders chat templates"
_READERS = "training and engine must read the same: see docs/templates.md"

_Kind = tuple[str, str, str]
"""(kind of fault, message, hint)"""


class ChatCheck(NamedTuple):
    """The faults of a chat template, and what it writes after a question, before the model continues.

    `prompt` is None if the template fails for one question.
    """

    faults: tuple[Fault, ...]
    prompt: str | None


def chat_template_faults(source: str, name: str, use: ChatUse = ANY_USE) -> tuple[Fault, ...]:
    """The faults that `checked_chat_template` finds."""
    return checked_chat_template(source, name, use).faults


@lru_cache(maxsize=64)
def checked_chat_template(source: str, name: str, use: ChatUse) -> ChatCheck:
    """Every kind of fault of a chat template that conversations of a study reveal, each once.

    Refused are: a failure; a turn that is not shown; a prompt that differs between training and test; a solution that
    is changed, or has text between it and the prompt; another end of turn than `eos_token`, or two; names that nothing
    gives. White space at the ends of a turn may be trimmed: solutions, problems and personas have none.

    Args:
        source: the template, with its date and values written into it.
        name: its name in faults, e.g. its path.
        use: what the study does with it.
    """
    if len(source) > MAX_CHARACTERS:
        message = f"the template has {len(source)} characters; the limit is {MAX_CHARACTERS}"
        return ChatCheck((Fault(f"{name}:1", message),), None)
    cases, parts = list(conversations(source, use)), reads_parts(source)
    chats = [_question(source), *(chat for case in cases for chat in chats_of(case, parts))]
    tried = _tried(source, [chat | _BESIDE | _TOKENS | dict(use.tokens) for chat in chats])
    if isinstance(tried, str):
        at = re.match(r"line ([0-9]+): ", tried)
        where, message = (f"{name}:{at[1]}", tried[at.end() :]) if at else (f"{name}:1", tried)
        return ChatCheck((Fault(where, message, _AS_TRANSFORMERS),), None)
    results = iter(tried.results)
    prompt = _after_question(source, next(results))
    found: dict[str, Fault] = {}
    for case in cases:
        texts = [next(results) for _ in chats_of(case, parts)]
        fault = _case_fault(case, texts, parts, use)
        if fault is not None:
            found.setdefault(fault[0], Fault(f"{name}:1", fault[1], fault[2]))
    unread = sorted(set(tried.undefined) - PROVIDED - own_names(source))
    for read in unread[:NAMED]:
        hint = f"`template_kwargs: {{{read}: VALUE}}` of the model, or a default in the template: `{read} is defined`"
        more = f"; nor {len(unread) - NAMED} more names" if len(unread) > NAMED and read == unread[NAMED - 1] else ""
        found[f"reads {read}"] = Fault(
            f"{name}:1", f"the chat template reads `{read}`, which nothing gives{more}", hint
        )
    return ChatCheck(tuple(found.values()), prompt)


def default_template(found: Any) -> str | None:
    """The chat template in a `tokenizer_config.json`: a text, or the one named `default` of several."""
    if isinstance(found, list):
        found = next(
            (item.get("template") for item in found if isinstance(item, dict) and item.get("name") == "default"), None
        )
    return found if isinstance(found, str) else None


@lru_cache(maxsize=64)
def generation_prompt(source: str) -> str | None:
    """What a chat template writes after a question, before the model continues; None if it fails."""
    if len(source) > MAX_CHARACTERS:
        return None
    tried = _tried(source, [_question(source) | _BESIDE | _TOKENS])
    return None if isinstance(tried, str) else _after_question(source, tried.results[0])


def _question(source: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": secret_of(source)}], "add_generation_prompt": True}


def _after_question(source: str, text: str | Fault) -> str | None:
    return None if isinstance(text, Fault) else text.rpartition(secret_of(source))[2]


def opening_fault(prompt: str | None, name: str, marks: Marks | None) -> tuple[str, str] | None:
    """The fault if `thinking` contradicts a chat template, and the remedy; None if it agrees.

    Args:
        prompt: what the template writes before the model continues; None if it fails.
        name: its name in the fault.
        marks: as the recipe declares them; None: the model does not think.
    """
    if prompt is None:
        return None
    opened_by, known = (None, SOLUTION_MARKS) if marks is None else (marks.opened_by, marks)
    opens = not cut_thinking(prompt, PlainMarks(known.start.strip(), known.end.strip(), "model"), False).finished
    start = shown(known.start)
    if marks is None:
        wrong = f"`{name}` ends the prompt within `{start}`, and the model has no `thinking`: thoughts would be answers"
        return (wrong, 'thinking: {start: "<think>", end: "</think>", opened_by: prompt}') if opens else None
    if opens and opened_by != "prompt":
        return (
            f"`{name}` ends the prompt within `{start}`: every response begins within a thought",
            "`opened_by: prompt`",
        )
    if opened_by == "prompt" and not opens:
        wrong = f"`{name}` does not end the prompt within `{start}`: an answer without marks would be a thought"
        return wrong, "`opened_by: model`"
    return None


def closes_thought(source: str, marks: Marks) -> bool:
    """Whether a chat template ends the prompt after a thought, as Qwen3's does with `enable_thinking: false`.

    Args:
        source: the chat template, with its values written into it.
        marks: as the recipe declares them.
    """
    return (generation_prompt(source) or "").rstrip().endswith(marks.end.strip())


def rendered_chats(source: str, chats: Sequence[Mapping[str, Any]], renderer: Renderer | None = None) -> list[str]:
    """The text of each conversation, rendered as in transformers, in a separate process.

    Args:
        source: the chat template.
        chats: {messages, add_generation_prompt} and the named tokens of each.
        renderer: whose process is used. None: one is started, which takes as long as some hundred chats.

    Raises:
        DataError: if the template fails on one, or takes too long.
    """
    tried = _tried(source, [_BESIDE | dict(chat) for chat in chats], renderer)
    if isinstance(tried, str):
        raise DataError(
            tried, "fix the template, or name another (`models.NAME.chat_template`): an engine could not render it"
        )
    texts = [result for result in tried.results if isinstance(result, str)]
    for result in tried.results:
        if isinstance(result, Fault):
            raise DataError(
                result.message,
                "fix the template, or name another (`models.NAME.chat_template`): an engine could not render it",
            )
    return texts


def _case_fault(case: Case, texts: list[str | Fault], parts: bool, use: ChatUse) -> _Kind | None:
    """The first fault of one conversation.

    Args:
        texts: of `chats_of`, in its order.
    """
    system = case.turns[0][0] == "system"
    in_parts = texts.pop() if parts and case.start is None else None
    written = []
    for text in texts:
        if isinstance(text, Fault):
            beside = " with a system turn" if system else ""
            hint = _without_system(use) if system else _AS_TRANSFORMERS
            message = text.message.replace("the chat template fails:", f"the chat template fails{beside}:")
            return f"fails{beside}", message, hint
        if found := unshowable(text):
            return "unshowable", f"the chat template writes {found}", _READERS
        if text.startswith("\ufeff"):
            return "mark", "the chat template begins every prompt with a byte order mark", "save it without one"
        if address := _ADDRESS.search(text):
            wrong = f"the chat template writes {shown(address[0])!r}, which differs from run to run"
            return "address", wrong, "a function or object is named where its value is meant: call it with `()`"
        written.append(text)
    first = written[0]
    fault = _hidden_turn(
        [*case.turns, ("assistant", (case.start or "").strip())] if case.start else case.turns, first, use
    )
    if fault is None and case.start is not None:
        fault = _start_fault(case.start, case.turns[-1][1], first, use.marks or SOLUTION_MARKS)
    if fault is None and use.marks is not None:
        fault = _earlier_fault(case.turns, first, use.marks)
    if fault is None and case.answer is not None:
        fault = _training_fault(case, first, written[1], use)
    if fault is None and in_parts is not None and in_parts != first:
        fault = _parts_fault(first, in_parts)
    return fault


def _parts_fault(text: str, in_parts: str | Fault) -> _Kind:
    if isinstance(in_parts, Fault):
        wrong = f"it fails: {in_parts.message.partition('fails: ')[2]}"
    else:
        at = _parting(text, in_parts)
        wrong = f"it writes {_near(in_parts, at)} instead of {_near(text, at)}"
    message = f"vLLM passes a content as a list of parts to a template that loops over `content`, and for that {wrong}"
    return "parts", message, "write `message['content']` as it is, without a loop over it"


def _hidden_turn(turns: Turns, text: str, use: ChatUse) -> _Kind | None:
    """The first turn that a text does not contain, in their order; a system turn may be anywhere."""
    at = 0
    for role, content in turns:
        found = text.find(content, 0 if role == "system" else at)
        if found < 0:
            rough = "" if len(content) < SHOWN else f" of {len(content)} characters"
            message = f"the chat template does not show the turn of the {role} as it is"
            hint = "the text must contain the `content` of every turn"
            return f"hides {role}", message + rough, _without_system(use) if role == "system" else hint
        at = at if role == "system" else found + len(content)
    return None


def _without_system(use: ChatUse) -> str:
    hint = "write the system turn in the template, for example before the first turn of the user, or do without it"
    return f"{hint}: it comes from {use.system_of}" if use.system_of else hint


def _opens(text: str, marks: Marks) -> bool:
    return not cut_thinking(text, PlainMarks(marks.start.strip(), marks.end.strip(), "model"), False).finished


def _earlier_fault(turns: Turns, text: str, marks: Marks) -> _Kind | None:
    """A fault if a thought is opened before an earlier turn of the assistant, which has none."""
    at = 0
    for role, content in turns:
        if role == "system":
            continue
        found = text.find(content, at)
        if role == "assistant" and _opens(text[at:found], marks):
            message = f"the chat template opens a thought before an earlier turn without one: {_near(text, found)}"
            hint = f"write `{marks.start.strip()}` only before a turn that contains `{marks.end.strip()}`"
            return "opens earlier", message, hint
        at = found + len(content)
    return None


def _start_fault(start: str, question: str, text: str, marks: Marks) -> _Kind | None:
    """A fault if a started answer is put within a thought that it does not end, or gets its mark twice."""
    start, mark, end = start.strip(), marks.start.strip(), marks.end.strip()
    lead = text[: text.rfind(start)].rpartition(question)[2]
    if not _opens(lead, marks):
        return None
    if start.startswith(mark):
        message = f"the chat template writes `{mark}` before a `start` that begins with it"
        return "mark twice", message, "write it only before a turn that does not begin with it"
    if end in start:
        return None
    message = f"the chat template opens a thought before a `start` without one: {_near(lead, len(lead))}"
    return "opens earlier", message, f"write `{mark}` only before a turn that contains `{end}`"


def _training_fault(case: Case, asked: str, whole: str, use: ChatUse) -> _Kind | None:
    """Why what is trained is not the prompt, the answer and the end of turn."""
    assert case.answer is not None
    marks = use.marks or SOLUTION_MARKS
    of = " with a thought" if case.thought else " without a thought" if use.thoughts else ""
    eos = dict(use.tokens).get("eos_token")
    if case.thought and asked.rstrip().endswith(marks.end.strip()):
        return None  # such a row is refused
    if not whole.startswith(asked):
        at = _parting(asked, whole)
        message = (
            f"the prompt differs between training and test{f', before a solution{of}' if of else ''}: "
            f"an engine is sent {_near(asked, at)}, trained is {_near(whole, at)}"
        )
        return f"differs{of}", message, "write before an answer what `add_generation_prompt` writes"
    rest = whole[len(asked) :]
    before, found, after = rest.partition(case.answer)
    if not found:
        at = _parting(rest.lstrip(), case.answer)
        message = (
            f"the chat template changes a solution{of}: {_near(case.answer, at)} becomes {_near(rest.lstrip(), at)}"
        )
        return f"changes{of}", message, "write `message['content']` of the assistant as it is, thoughts too"
    if before.strip():
        message = (
            f"the chat template writes {_near(before, 0)} between prompt and solution{of}, which no engine is sent"
        )
        return f"between{of}", message, "write it with `add_generation_prompt` too, or not at all"
    if eos is None:
        return None
    if not after.startswith(eos):
        wrote = f"writes {_near(after, 0)}" if after.strip() else "ends"
        message = (
            f"the chat template never writes `special_tokens.eos`, `{shown(eos)}`, right after a solution: it {wrote}"
        )
        if eos in after:
            message = (
                f"the chat template writes {_near(after.partition(eos)[0], 0)} between a solution and its end of turn"
            )
        return (
            "end",
            message,
            "write `{{ message['content'] + eos_token }}`, or give the model the `eos` that it writes",
        )
    if eos in before or eos in after[len(eos) :]:
        message = f"the chat template writes `special_tokens.eos`, `{shown(eos)}`, twice after a solution"
        return "end twice", message, "the model stops at the first"
    if after[len(eos) :].strip():
        message = f"the chat template writes {_near(after[len(eos) :], 0)} after the end of the last turn"
        return "after", message, "end with the turn, or write it with the next one: nothing reads it there"
    return None


def _parting(one: str, other: str) -> int:
    """The first place where two texts differ."""
    least = min(len(one), len(other))
    return next((at for at in range(least) if one[at] != other[at]), least)


def _near(text: str, at: int) -> str:
    """A text around a place, as a literal."""
    begin = max(0, at - SHOWN // 3)
    return shown(f"{'...' if begin else ''}{text[begin : begin + SHOWN]!r}{'...' if begin + SHOWN < len(text) else ''}")


class Renderer:
    """A process that renders chats until `close`; after one that reached a limit the next chat starts another."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, given: Mapping[str, Any], seconds: float) -> bytes:
        """What the process writes; nothing if it ends.

        Args:
            given: as `chat_trial.py` reads it.

        Raises:
            subprocess.TimeoutExpired: after so many seconds; the process is ended.
        """
        process = self._started()
        assert process.stdin is not None and process.stdout is not None
        timer = threading.Timer(seconds, process.kill)
        timer.start()
        try:
            process.stdin.write(json.dumps(given).encode() + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = b""
        late = timer.finished.is_set()
        timer.cancel()
        timer.join()
        if not line.endswith(b"\n"):
            self.close()
            if late:
                raise subprocess.TimeoutExpired(process.args, seconds)
        return line

    def close(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            with process:  # closes its pipes and waits
                pass

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(TRIAL)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={},
            )
        return self._process


class _Tried(NamedTuple):
    """The text of each chat, or why there is none, and names that were used and nothing gave."""

    results: list[str | Fault]
    undefined: list[str]


def _tried(source: str, chats: list[dict[str, Any]], renderer: Renderer | None = None) -> _Tried | str:
    """What a template writes, or what is wrong with it, from a separate process."""
    seconds = TRIAL_SECONDS + len(chats) // CHATS_A_SECOND
    given = {"source": source, "chats": chats}
    try:
        if renderer is not None:
            written = renderer.ask(given | {"seconds": seconds}, WAIT_SECONDS + seconds)
        else:
            written = subprocess.run(
                [sys.executable, "-I", str(TRIAL), str(seconds)],
                input=json.dumps(given).encode(),
                capture_output=True,
                env={},
                timeout=WAIT_SECONDS + seconds,
                check=False,
            ).stdout
    except subprocess.TimeoutExpired:
        return f"the chat template does not finish within {WAIT_SECONDS + seconds:.0f} s"
    try:
        found = json.loads(written)
    except ValueError:
        return f"the chat template takes more than {seconds} s of processor time or 1 GiB of memory"
    if "fault" in found:
        return str(found["fault"])
    results = [item["text"] if "text" in item else Fault("", item["fault"]) for item in found["results"]]
    return _Tried(results, found["undefined"])
