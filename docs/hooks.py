"""What mkdocs cannot do by settings: the page of all commands, and links to files of the project outside docs/."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from its.cli.main import cli

ROOT = Path(__file__).parents[1]
COMMANDS = "<!-- every command -->"
OUTSIDE = "project"
"""Folder of the site with copies of the linked files."""
LINK = re.compile(r"\]\((?P<target>(?:\.\./)+[^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add every file outside docs/ that a page links to.

    Raises:
        PluginError: if there is no such file, or if it is Markdown, whose own links would lead nowhere.
    """
    for page in list(files.documentation_pages()):
        for found in LINK.finditer(page.content_string):
            name = _outside(page.src_uri, found["target"])
            if name is None or f"{OUTSIDE}/{name}" in files.src_uris:
                continue
            if not (ROOT / name).is_file():
                raise PluginError(f"docs/{page.src_uri} links to `{name}`, which does not exist")
            if name.endswith(".md"):
                raise PluginError(f"docs/{page.src_uri} links to `{name}`: write its name without a link")
            files.append(File.generated(config, f"{OUTSIDE}/{name}", abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page with links to copies, and with the help pages where the mark is."""

    def link(found: re.Match[str]) -> str:
        name = _outside(page.file.src_uri, found["target"])
        if name is None:
            return found[0]
        return "](" + posixpath.relpath(f"{OUTSIDE}/{name}", posixpath.dirname(page.file.src_uri) or ".")

    return LINK.sub(link, markdown).replace(COMMANDS, "\n".join(_help_pages()))


def _outside(page: str, target: str) -> str | None:
    """The path in the project of what a page links to; None if it is in docs/."""
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), target))
    return None if path.startswith("docs/") else path


def _help_pages() -> Iterator[str]:
    """Every command as a heading and its help page, in the order of `its --help`."""
    for context in _contexts(cli, None, "its"):
        yield f"## `{context.command_path}`\n\n```text\n{context.get_help()}\n```\n"


def _contexts(command: click.Command, parent: click.Context | None, name: str) -> Iterator[click.Context]:
    context = click.Context(command, parent, name, terminal_width=100, **command.context_settings)
    yield context
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            if found is not None and not found.hidden:
                yield from _contexts(found, context, child)
