"""Render a chat template as transformers 5.16 does, within limits that the kernel enforces.

Started by `its.prompts.chat`:

    python chat_trial.py SECONDS

SECONDS are of processor time. Reads {"source", "chats"} from standard input, writes {"texts"} or {"fault"}; nothing if
a limit ends it.
"""

import json
import resource
import sys

from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

MEMORY_BYTES = 1 << 30
SHOWN = 300


class Generation(Extension):
    """The tag `generation`, which marks the assistant's part; its content is rendered as it is."""

    tags = {"generation"}  # noqa: RUF012 - as jinja2 declares it

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


def refuse(message):
    raise TemplateError(message)


def main():
    seconds = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    given = json.load(sys.stdin)
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False)
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: "1 January 2026"
    try:
        template = environment.from_string(given["source"])
        result = {"texts": [template.render(chat) for chat in given["chats"]]}
    except TemplateSyntaxError as error:
        result = {"fault": f"line {error.lineno}: template syntax: {error.message}"[:SHOWN]}
    except MemoryError:
        return
    except Exception as error:
        result = {"fault": f"the chat template fails: {type(error).__name__.lower()}: {error}"[:SHOWN]}
    print(json.dumps(result))


main()
