"""Render a chat template as transformers 5.16 does, within limits that the kernel enforces.

Started by `its.prompts.chat`:

    python chat_trial.py SECONDS

SECONDS are of processor time. Reads {"source", "chats"} from standard input, writes {"results": [{"text"} or {"fault"}
for each chat], "undefined": names that it used and nothing gave}, or {"fault"} for what is no template; nothing if a
limit ends it.

    python chat_trial.py

reads a line of such JSON with {"seconds"} after the other and writes a line for each, until the input ends.
"""

import functools
import json
import math
import resource
import sys

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
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if len(sys.argv) == 1:
        for line in sys.stdin:
            given = json.loads(line)
            used = resource.getrusage(resource.RUSAGE_SELF)
            most = math.ceil(used.ru_utime + used.ru_stime) + given["seconds"]
            resource.setrlimit(resource.RLIMIT_CPU, (most, resource.getrlimit(resource.RLIMIT_CPU)[1]))
            found = tried(given)
            if found is None:
                return
            print(json.dumps(found), flush=True)
        return
    seconds = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    found = tried(json.load(sys.stdin))
    if found is not None:
        print(json.dumps(found))


def tried(given):
    """What a template makes of some chats; None if the memory does not suffice."""
    USED.clear()
    try:
        template = compiled(given["source"])
        return {"results": [result_of(template, chat) for chat in given["chats"]], "undefined": sorted(USED)}
    except TemplateSyntaxError as error:
        return {"fault": f"line {error.lineno}: template syntax: {error.message}"[:SHOWN]}
    except MemoryError:
        return None
    except Exception as error:  # deeper than Python reads
        return {"fault": f"the chat template cannot be read: {type(error).__name__.lower()}: {error}"[:SHOWN]}


@functools.lru_cache(maxsize=8)
def compiled(source):
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols], undefined=Noted
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: "1 January 2026"
    return environment.from_string(source)


if __name__ == "__main__":
    main()
