"""Every help page: one layout, an example that parses, and its text in tests/golden/help/."""

from __future__ import annotations

import inspect
import pkgutil
import re
import shlex
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest

import its.cli
from its.cli.help_page import wrapped
from its.cli.index import GROUPS, ORDER
from its.cli.main import cli

HELP = Path(__file__).parents[1] / "golden" / "help"
LONGEST = 59
LAYOUT = re.compile(
    r"(?P<first>[^\n]+)\n"  # what the command does, in the imperative
    r"(?:\n[^\x08]+)?"  # what a careful user wants to know
    r"\n\x08\nReads   (?P<reads>\S.*)\nWrites  (?P<writes>\S.*)\nExample (?P<example>\S.*)"
)
VERB = re.compile(
    "Add|Build|Check|Choose|Compare|Count|Explain|Export|Fine-tune|Give|Grade|Import|Inspect|Install|List|Load|Look|Maintain|Manage|Measure|"
    "Print|Read|Regenerate|Remove|Render|Request|Run|Sample|Scaffold|Serve|Show|Trace|Try|Write"
)


def example_words(command: click.Command) -> list[str]:
    """The words of a command's example after `its`, without a redirection."""
    found = LAYOUT.fullmatch(inspect.cleandoc(str(command.help)))
    assert found, f"{command.name}: expected are a first line, `Reads`, `Writes` and `Example`, as in its/cli/data.py"
    words = shlex.split(found["example"].partition(" > ")[0])
    return words[3:] if words[:3] == ["python", "-m", "its"] else words[1:]


def _contexts(command: click.Command, parent: click.Context | None, name: str) -> Iterator[click.Context]:
    context = click.Context(command, parent, name, terminal_width=100, **command.context_settings)
    yield context
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            assert found is not None and found.name == child
            yield from _contexts(found, context, child)


CONTEXTS = {context.command_path: context for context in _contexts(cli, None, "its")}
PAGES = {path: context.get_help() + "\n" for path, context in CONTEXTS.items()}
"""Rendered before any test: click keeps a command's help option from its first use, which may be without `-h`."""
COMMANDS = {path: context for path, context in CONTEXTS.items() if not isinstance(context.command, click.Group)}


def test_every_command_is_listed_in_the_order_of_the_work() -> None:
    assert cli.list_commands(CONTEXTS["its"]) == ORDER
    listed = {name: first for commands in GROUPS.values() for name, (_, first) in commands.items()}
    assert listed == {name: str(CONTEXTS[f"its {name}"].command.help).partition("\n")[0] for name in ORDER}


def test_every_command_of_the_modules_is_in_the_index() -> None:
    """One that is not would exist in the code and be called by nobody."""
    groups = [context.command for context in CONTEXTS.values() if isinstance(context.command, click.Group)]
    within = {child for group in groups if group is not cli for child in group.commands.values()}
    modules = [import_module(f"its.cli.{item.name}") for item in pkgutil.iter_modules(its.cli.__path__)]
    found = {item for module in modules for item in vars(module).values() if isinstance(item, click.Command)}
    assert found - within - {cli} == {CONTEXTS[f"its {name}"].command for name in ORDER}


@pytest.mark.parametrize("path", CONTEXTS)
def test_a_page_is_as_its_golden_file(path: str, golden: Callable[[str, str], None]) -> None:
    golden(f"help/{path.replace(' ', '_')}.txt", PAGES[path])


def test_no_page_is_of_a_former_command() -> None:
    assert {file.stem for file in HELP.iterdir()} == {path.replace(" ", "_") for path in CONTEXTS}


@pytest.mark.parametrize("path", CONTEXTS)
def test_the_first_line_is_short_and_imperative(path: str) -> None:
    first = str(CONTEXTS[path].command.help).partition("\n")[0]
    assert first.endswith(".") and len(first) <= LONGEST, first
    assert VERB.fullmatch(first.split()[0].rstrip(",")), f"add the verb, if it is one: {first}"


@pytest.mark.parametrize("path", COMMANDS)
def test_a_command_says_what_it_reads_and_writes_with_an_example(path: str) -> None:
    command = COMMANDS[path].command
    words = example_words(command)
    context, target = CONTEXTS["its"], CONTEXTS["its"].command
    while isinstance(target, click.Group):
        name, child, words = target.resolve_command(context, words)
        assert child is not None
        target = child
        context = click.Context(target, parent=context, info_name=name)
    assert target is command, "the example is of another command"
    target.make_context(path, words)  # raises for an option or argument that does not exist


@pytest.mark.parametrize("path", CONTEXTS)
def test_every_option_has_a_help_text(path: str) -> None:
    for parameter in CONTEXTS[path].command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help and parameter.help.endswith("."), f"{path} {parameter.name}"


@pytest.mark.parametrize("width", [50, 53, 61, 80, 100, 143])
def test_no_word_and_no_code_is_broken(width: int) -> None:
    """At any width, every word is whole, and so is all code that fits on a line."""
    broken = 0
    for path, known in CONTEXTS.items():
        context = click.Context(known.command, known.parent, known.info_name, terminal_width=width)
        page = known.command.get_help(context)
        texts = [str(known.command.help), *(str(getattr(item, "help", "") or "") for item in known.command.params)]
        assert set(" ".join(texts).replace("\b", " ").split()) <= set(page.split()), path
        for code in re.findall("`[^`]+`", " ".join(" ".join(texts).split())):
            if code not in page:
                broken += 1
                assert len(code) > width - 40, f"{path}: {code}"
        assert not any(line != line.rstrip() for line in page.splitlines()), path
    assert broken < 40


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("a", ["a"]),
        ("one `two three` four", ["one", "`two three`", "four"]),
        ("co-design well-known", ["co-design", "well-known"]),
        ("a `code that is longer than a line` b", ["a `code that", "is longer", "than a line`", "b"]),
        ("a-word-that-is-longer a", ["a-word-that-is-longer", "a"]),
        ("one\ntwo\n\nthree", ["one two", "", "three"]),
        ("one\n\n\b\nReads   x\nWrites  y", ["one", "", "Reads   x", "Writes  y"]),
        ("an open ` one two", ["an open ` one", "two"]),
    ],
)
def test_wrapped(text: str, lines: list[str]) -> None:
    assert wrapped(text, 13) == lines
