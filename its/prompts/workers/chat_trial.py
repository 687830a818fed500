"""Render chat templates as transformers 5.16 does, each within limits that the kernel enforces.

Started by `its.prompts.trial`, and ended by the end of its standard input:

    python chat_trial.py

Reads requests: a line `SECONDS WAIT LENGTH`, then LENGTH bytes: {"source", "chats"}. Each is read and rendered by a
fork, which gets SECONDS of processor time and WAIT seconds of wall time. Writes a line, `done LENGTH TIME` or
`late 0 TIME`, with the processor time of the fork in seconds, then LENGTH bytes: {"results": [{"text"} or {"fault"} for
each chat], "undefined": names that it used and nothing gave}, or {"fault"} for what is no template; nothing, or a part
of it, if a limit ends the fork.
"""

import json
import os
import resource
import select
import signal
import sys
import time

from jinja2 import TemplateError, TemplateSyntaxError, Undefined, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing

MEMORY_BYTES = 1 << 30
SHOWN = 300
MOST, TIMES = 1_000_000, 100  # characters of a text, and further ones for each character of its turns


class Generation(Extension):
    """The tag `generation`, which marks the assistant's part; its content is rendered in a separate scope."""

    tags = {"generation"}  # noqa: RUF012 - as jinja2 declares it

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("within"), [], [], body).set_lineno(line)

    def within(self, caller):
        return caller()


USED = set()


class Noted(Undefined):
    """What is undefined, which notes its name when its value matters; `is defined` and `default` do not ask for it."""

    __slots__ = ()

    def _note(self):
        if self._undefined_obj is missing and self._undefined_name is not None:
            USED.add(self._undefined_name)

    def __str__(self):
        self._note()
        return super().__str__()

    def __bool__(self):
        self._note()
        return super().__bool__()

    def __iter__(self):
        self._note()
        return super().__iter__()

    def __len__(self):
        self._note()
        return super().__len__()

    def __eq__(self, other):
        self._note()
        return super().__eq__(other)

    def __ne__(self, other):
        self._note()
        return super().__ne__(other)

    def __hash__(self):
        return super().__hash__()


def refuse(message):
    raise TemplateError(message)


def to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def result_of(template, chat):
    try:
        text = template.render(chat)
    except MemoryError:
        raise
    except Exception as error:
        return {"fault": f"the chat template fails: {type(error).__name__.lower()}: {error}"[:SHOWN]}
    given = sum(len(json.dumps(turn)) for turn in chat["messages"])
    if len(text) > MOST + TIMES * given:
        return {"fault": f"the chat template writes {len(text)} characters for turns of {given}"}
    return {"text": text}


def main():
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller decides
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # not before the fork is ended
    while head := sys.stdin.buffer.readline():
        seconds, wait, length = head.split()
        request = sys.stdin.buffer.read(int(length))
        if len(request) < int(length):
            return
        answer, spent = answered(request, int(seconds), float(wait))
        head = f"{'late' if answer is None else 'done'} {len(answer or b'')} {spent}\n"
        sys.stdout.buffer.write(head.encode() + (answer or b""))
        sys.stdout.buffer.flush()


def answered(request, seconds, wait):
    """What a fork writes, None if it is not done in time, and its processor time in seconds."""
    end = time.monotonic() + wait
    source, target = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(source)
            limit(seconds)
            found = tried(json.loads(request))
            if found is not None:
                with open(target, "wb") as out:
                    out.write(json.dumps(found).encode())
        finally:
            os._exit(0)
    os.close(target)
    parts, answer = [], None
    try:
        while select.select([source], [], [], max(0, end - time.monotonic()))[0]:
            part = os.read(source, 1 << 20)
            if not part:
                answer = b"".join(parts)
                break
            parts.append(part)
    finally:
        os.close(source)
        os.kill(child, signal.SIGKILL)
        used = os.wait4(child, 0)[2]
    return answer, used.ru_utime + used.ru_stime


def limit(seconds):
    """Limit this process, and close the pipes of the requests."""
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1):
        os.dup2(nothing, number)


def tried(given):
    """What a template makes of some chats; None if the memory does not suffice."""
    USED.clear()
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols], undefined=Noted
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: "1 January 2026"
    try:
        template = environment.from_string(given["source"])
        return {"results": [result_of(template, chat) for chat in given["chats"]], "undefined": sorted(USED)}
    except TemplateSyntaxError as error:
        return {"fault": f"line {error.lineno}: template syntax: {error.message}"[:SHOWN]}
    except MemoryError:
        return None
    except Exception as error:  # deeper than Python reads
        return {"fault": f"the chat template cannot be read: {type(error).__name__.lower()}: {error}"[:SHOWN]}


if __name__ == "__main__":
    main()
