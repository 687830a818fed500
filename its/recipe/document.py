"""Read a YAML file as plain values with their places, within bounds: a small file can expand to a huge one.

Built on ruamel's events, which arrive one by one, so that depth, number and size are bounded before any object exists.
Scalars mean what they mean in YAML 1.2 and to DVC, which reads params.yaml too; what other readers read differently
(`010`, `1_000`, dates) is a fault.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
)

from its.errors import Fault, FaultsError
from its.files import read_regular
from its.recipe.scalars import CORE, KINDS, SHOWN, ScalarError, quoted, scalar_kind, scalar_value, tag_error
from its.recipe.values import MAX_DEPTH, MAX_KEY, MAX_TEXT, text_fault
from its.rows import raise_faults
from its.shown import shown

MAX_BYTES = 256 * 1024
"""Size of a recipe file: the largest shipped one has 12 KiB, and ruamel reads 256 KiB in a third of a second."""
NODE_SIZE = 32
"""Characters that a key or a value counts beside its own text: 16,000 nodes are read in half a second, and the largest
shipped recipe has 700."""

_KEPT: dict[str, tuple[Event, ...]] = {}
_MOST_KEPT = 50_000
"""Events of files that a process keeps, some 600 bytes each, so that one read again (dvc.yaml, the recipes) is scanned
once: ruamel takes 0.1 s for 30 KiB, which are 4,000 events. Events, since nobody changes them, unlike the values."""

_BEYOND = re.compile(r"\\U(?!00(0[0-9a-fA-F]|10)[0-9a-fA-F]{4})[0-9a-fA-F]{8}")
"""An escape of a character that Unicode does not have."""


@dataclass(slots=True)
class Node:
    """A value and its place (line and column from 1), with the nodes in it."""

    value: Any
    line: int
    column: int
    keys: dict[str, tuple[int, int]] = field(default_factory=dict)
    items: dict[str | int, Node] = field(default_factory=dict)
    flow: bool = False


@dataclass(frozen=True)
class Document:
    """A YAML file: its text, its plain values and the place of each."""

    path: Path
    values: dict[str, Any]
    node: Node
    text: str = ""

    def where(self, location: Sequence[str | int]) -> str:
        """`path:line:column` of a key or item, or of its nearest existing parent."""
        node, line, column = self.node, 1, 1
        for part in location:
            if part not in node.items:
                break
            key = node.keys.get(part) if isinstance(part, str) else None
            node = node.items[part]
            line, column = key or (node.line, node.column)
        return f"{self.path}:{line}:{column}"


def read_document(path: Path, limit: int = MAX_BYTES) -> Document:
    """Read a YAML mapping (YAML 1.2: `5e-6` is a number, `no` is a word).

    Args:
        limit: bytes of the file; with its aliases expanded it may have twice as many characters, a node counting
            `NODE_SIZE` beside its text.

    Raises:
        MissingError: if there is no such file.
        DataError: if it is not a regular file, or too large.
        FaultsError: on broken YAML, what is not plain YAML (tags, dates, keys that are not text), a duplicate key,
            texts, aliases or nesting beyond the bounds, or a file that is not a mapping.
    """
    content = read_regular(path, limit, hint="`its recipe list` names the recipes")
    try:
        text = content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise FaultsError([Fault(f"{path}:1:1", f"not UTF-8 at byte {error.start}", "re-encode the file")]) from error
    return parse_document(path, text, limit)


def parse_document(path: Path, text: str, limit: int = MAX_BYTES) -> Document:
    """The document of a text; `path` is the one its places name. See `read_document`."""
    reader = _Reader(path, 2 * limit)
    try:
        root = reader.root(_events(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else f"{path}:1:1"
        problem = str(error.problem or "broken YAML").splitlines()[0]
        raise FaultsError([Fault(where, f"broken YAML: {shown(problem)}")]) from error
    except YAMLError as error:  # a character that YAML does not allow
        words = shown(" ".join(str(error).split()))
        raise FaultsError([Fault(f"{path}:1:1", f"broken YAML: {words}")]) from error
    except (
        ValueError,
        OverflowError,
    ) as error:  # ruamel 0.19: an escape beyond Unicode, a `%YAML` of thousands of digits
        found = _BEYOND.search(text)
        line = text.count("\n", 0, found.start()) + 1 if found else 1
        raise FaultsError([Fault(f"{path}:{line}:1", "broken YAML: a number or an escape is too large")]) from error
    raise_faults(reader.faults)
    if root is None or not isinstance(root.value, dict):
        raise FaultsError([Fault(f"{path}:1:1", "not a mapping", "a recipe begins with `recipe_version: 1`")])
    return Document(path, root.value, root, text)


def _events(text: str) -> Iterator[Event]:
    """The events of a text, one by one; kept once the reader has taken them all."""
    if kept := _KEPT.get(text):
        yield from kept
        return
    seen: list[Event] = []
    for event in YAML(typ="safe", pure=True).parse(text):
        seen.append(event)
        yield event
    _keep(text, seen)


def _keep(text: str, events: list[Event]) -> None:
    if len(events) + sum(map(len, list(_KEPT.values()))) > _MOST_KEPT:
        _KEPT.clear()
    if len(events) <= _MOST_KEPT:
        _KEPT[text] = tuple(events)


@dataclass(slots=True)
class _Open:
    """A mapping or list that has not ended; `key` belongs to the next value."""

    node: Node
    anchor: str | None
    before: int
    key: str | None = None
    awaits_value: bool = False
    merged: list[tuple[Node, tuple[int, int]]] = field(default_factory=list)


class _Reader:
    """Turns events into nodes."""

    def __init__(self, path: Path, most: int) -> None:
        self.faults: list[Fault] = []
        self._path, self._most = path, most
        self._size = 0
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._stack: list[_Open] = []
        self._root: Node | None = None

    def root(self, events: Iterator[Event]) -> Node | None:
        """The node of the only document; None if the file is empty.

        Raises:
            FaultsError: immediately, if continuing would cost time or memory, or make no sense.
        """
        documents = 0
        for event in events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._stop(event, "a second document begins", "keep one, without `---`")
                if event.version not in (None, (1, 2)) or event.tags:
                    self._stop(event, "a directive that changes the meaning of YAML", "remove the lines with `%`")
            elif isinstance(event, CollectionEndEvent):
                self._close()
            elif isinstance(event, NodeEvent):
                self._take(event)
        return self._root

    def _take(self, event: NodeEvent) -> None:
        if isinstance(event, AliasEvent):
            self._place(event, self._aliased(event))
            return
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        before = self._size
        if isinstance(event, ScalarEvent):
            self._grow(event, NODE_SIZE + len(event.value))
            node = Node(None, line, column)
            kind, node.value = self._scalar(event)
            self._remember(event.anchor, node, before)
            if kind == "str" and (wrong := text_fault(event.value, MAX_KEY if self._is_key() else MAX_TEXT)):
                self._fault(event, f"{'the key' if self._is_key() else 'the text'} {quoted(event.value)} {wrong}")
            if self._is_key() and kind in KINDS:
                hint = f'quote it: `"{shown(event.value[:SHOWN])}"`'
                self._fault(event, f"the key {quoted(event.value)} is read as {KINDS[kind]}", hint)
            if kind == "merge" and not self._is_key():
                self._fault(event, "`<<` is a key, not a value", 'quote it: `"<<"`')
            self._place(event, node, self._is_key() and kind == "merge")
            return
        assert isinstance(event, CollectionStartEvent)
        self._grow(event, NODE_SIZE)
        mapping = isinstance(event, MappingStartEvent)
        if event.tag not in (None, "!", f"{CORE}{'map' if mapping else 'seq'}"):
            error = tag_error(str(event.tag))
            self._fault(event, error.message, error.hint)
        if len(self._stack) >= MAX_DEPTH:
            self._stop(event, f"more than {MAX_DEPTH} nested mappings and lists", "a recipe has 6")
        node = Node({} if mapping else [], line, column, flow=bool(event.flow_style))
        self._place(event, node)
        self._stack.append(_Open(node, event.anchor, before))

    def _is_key(self) -> bool:
        return bool(self._stack) and isinstance(self._stack[-1].node.value, dict) and not self._stack[-1].awaits_value

    def _place(self, event: NodeEvent, node: Node, merges: bool = False) -> None:
        """Add a node to its parent: as root, list item, key or value."""
        if not self._stack:
            self._root = node
            return
        top = self._stack[-1]
        if isinstance(top.node.value, list):
            top.node.items[len(top.node.value)] = node
            top.node.value.append(node.value)
        elif not top.awaits_value:
            self._key(event, top, node, merges)
        else:
            top.awaits_value = False
            if top.key is None:
                top.merged.append((node, (event.start_mark.line + 1, event.start_mark.column + 1)))
            else:
                top.node.items[top.key] = node
                top.node.value[top.key] = node.value

    def _key(self, event: NodeEvent, top: _Open, node: Node, merges: bool) -> None:
        if not isinstance(event, ScalarEvent):
            self._stop(event, "a key that is a mapping, a list or an alias", "keys are text")
        top.awaits_value, top.key = True, None if merges else str(node.value)
        if merges:
            if top.merged:
                self._fault(event, "broken YAML: found duplicate key `<<`", "give it a list of mappings")
        elif top.key in top.node.keys:
            self._fault(event, f"broken YAML: found duplicate key {quoted(str(top.key))}")
        else:
            top.node.keys[str(top.key)] = (node.line, node.column)

    def _close(self) -> None:
        top = self._stack.pop()
        for node, (line, column) in top.merged:
            several = isinstance(node.value, list)
            for item in node.items.values() if several else (node,):
                if not isinstance(item.value, dict):
                    self.faults.append(Fault(f"{self._path}:{line}:{column}", "`<<` takes mappings only"))
                    continue
                for key in item.value:
                    if key not in top.node.keys:
                        top.node.keys[key] = (line, column)
                        top.node.items[key] = item.items[key]
                        top.node.value[key] = item.value[key]
        self._remember(top.anchor, top.node, top.before)

    def _remember(self, anchor: str | None, node: Node, before: int) -> None:
        if anchor is not None:
            self._anchors[anchor] = node, self._size - before

    def _aliased(self, event: AliasEvent) -> Node:
        if event.anchor not in self._anchors:
            inside = any(item.anchor == event.anchor for item in self._stack)
            why = "is inside what it refers to" if inside else "refers to nothing before it"
            self._stop(event, f"the alias {quoted(f'*{event.anchor}')} {why}", "write the value out")
        node, size = self._anchors[event.anchor]
        self._grow(event, NODE_SIZE + size)
        return node

    def _scalar(self, event: ScalarEvent) -> tuple[str, Any]:
        """(kind, value); a faulty scalar stays text."""
        try:
            kind = scalar_kind(event.value, event.tag, event.implicit[0])
            return kind, scalar_value(event.value, kind)
        except ScalarError as error:
            self._fault(event, error.message, error.hint)
            return "str", event.value

    def _grow(self, event: NodeEvent, size: int) -> None:
        self._size += size
        if self._size > self._most:
            self._stop(
                event,
                f"with its aliases expanded the file is too large: more than {self._most} characters, a key or a "
                f"value counting {NODE_SIZE} beside its text",
                "is it the right file?",
            )

    def _fault(self, event: Event, message: str, hint: str | None = None) -> None:
        mark = event.start_mark
        self.faults.append(Fault(f"{self._path}:{mark.line + 1}:{mark.column + 1}", message, hint))

    def _stop(self, event: Event, message: str, hint: str | None = None) -> None:
        self._fault(event, message, hint)
        raise_faults(self.faults)
