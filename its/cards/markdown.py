"""A card as Markdown: what a reader wants to know first comes first; texts are in fences, unchanged.

Text that came with a source is shown, never interpreted as Markdown, as HTML or by a terminal: outside fences it is on
one line with its marks escaped, inside them control characters are shown as escapes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from its.cards.denominator import denominator, told_denominator
from its.shown import shown

MAX_FILES = 100
"""Of one part that a card lists; card.json has all."""
MAX_NAMES = 20
"""Of problems that a card lists in a sentence; the JSON has all."""
MAX_INLINE = 500
"""Characters of a foreign text outside of a fence."""
_MARKS = re.compile(r"[\\`*\[\]|~]|(?<![^\W_])_|_(?![^\W_])")
_BARE_LINK = re.compile(r"(?i)(:|\bwww)([/.])")
"""Where GitHub would make a link of plain text: `http://`, `www.`."""


def card_markdown(card: Mapping[str, Any]) -> str:
    """The Markdown of a card, of problems alone or under a strategy."""
    lines = _strategy(card) if "strategy" in card else _problems(card, "#")
    return ("\n".join(lines).rstrip("\n") + "\n").encode("utf-8", "backslashreplace").decode("utf-8")


def _problems(card: Mapping[str, Any], level: str) -> Iterator[str]:
    origin = card["origin"]
    yield from (f"{level} {_inline(card['name'])}", "")
    yield f"A {_inline(card['kind'])} of {card['rows']} problems; {card['with_reference']} have a reference answer, "
    yield from (f"{card['with_solution']} a worked solution. Seed of the study: {card['seed']}.", "")
    yield from (f"{level}# Source", "")
    yield from _table(("what", "value"), [item for item in origin.items() if item[0] not in ("files", "parts")])
    yield from _parts(origin.get("parts", []))
    for part in (origin, *origin.get("parts", [])):
        yield from _files(part.get("files", []))
    if "licence" not in origin:
        yield "Licence: unknown to ITS; see the source (`licence` of the set in the recipe states it)."
        yield ""
    yield from _table(("rows from", "problems"), card["sources"].items())
    yield from (f"{level}# Steps", "")
    steps = [(step["step"], step["before"], step["after"], _details(step)) for step in card["steps"]]
    yield from _table(("step", "rows before", "rows after", "details"), steps)
    if card["kind"] == "benchmark" and card["steps"]:
        yield from (f"Measured: {_inline(told_denominator(denominator(card['steps'])))}.", "")
    yield from (f"{level}# Rejected rows and overlaps", "")
    yield from _counts(
        card["quarantine"]["rows"], "row was rejected", "rows were rejected", "reason", card["quarantine"]["reasons"]
    )
    if any(str(step["step"]).startswith("decontamination") for step in card["steps"]):
        yield from _counts(
            card["overlaps"]["rows"],
            "overlap with a problem of a benchmark was found",
            "overlaps with problems of benchmarks were found",
            "benchmark",
            card["overlaps"]["benchmarks"],
        )
    elif card["kind"] != "benchmark":
        yield from ("Not compared with the benchmarks: no `decontamination` is declared.", "")
    if near := card.get("near_repeats"):
        repeats = (
            "1 problem is a near repeat"
            if near["problems"] == 1
            else f"{near['problems'] or 'No'} problems are near repeats"
        )
        yield f"{repeats} of another one: the same numbers and most of the words"
        yield from ((f"(of {near['of']} different ones)." if near["problems"] else "(and no text occurs twice)."), "")
    if as_text := card.get("references_as_text"):
        yield from (f"References that are compared as text, since they cannot be read to their end: {as_text}.", "")
    if trimmed := card.get("solutions_trimmed"):
        solutions = "1 solution" if trimmed == 1 else f"{trimmed} solutions"
        yield from (f"White space at the ends of {solutions} was removed: chat templates trim it.", "")
    yield from _too_long(card.get("too_long"))
    yield from (f"{level}# Declared", "")
    yield from _fence(json.dumps(card["declared"], indent=2, ensure_ascii=False), "json")
    yield from (f"{level}# Created by", "")
    yield from _table(("what", "value"), card["made_by"].items())
    yield from _table(("file", "SHA-256"), card["files"].items())
    yield from (f"{level}# Samples", "")
    for example in card["examples"]:
        yield from _example(example, _code(example["problem_id"]), ("text", "reference", "solution"))


def _too_long(found: Mapping[str, Any] | None) -> Iterator[str]:
    """What is not trained on, since a row is longer than the limit."""
    if found is None:
        return
    count, names = found["problems"], found["problem_ids"]
    problems = "1 problem is" if count == 1 else f"{count} problems are"
    yield f"{problems} left out of training under every strategy: a row is longer than `train.sequence_length`,"
    more = f" and {count - MAX_NAMES} more" if count > MAX_NAMES else ""
    yield from (f"{found['sequence_length']} tokens ({', '.join(map(_code, names[:MAX_NAMES]))}{more}).", "")


def _parts(parts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Each part with what it reads, what pins it, and its rows."""
    if parts:
        heads = ("part", "reads", "pinned by", "rows")
        rows = []
        for part in parts:
            known = [part.get(key) for key in ("path", "id", "subset", "split")]
            pin = part.get("revision") or part.get("sha256")
            rows.append((part["name"], " ".join(str(word) for word in known if word), pin, part["rows"]))
        yield from _table(heads, rows)


def _files(files: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if files:
        yield from (f"{len(files)} files, read in this order:", "")
        yield from _table(("file", "SHA-256", "rows"), [(f["path"], f["sha256"], f["rows"]) for f in files[:MAX_FILES]])
        if len(files) > MAX_FILES:
            yield from (f"and {len(files) - MAX_FILES} more, which `card.json` lists.", "")


def _strategy(card: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"# {_inline(card['name'])} with strategy {_inline(card['strategy'])}", "")
    name, strategy = _code(card["name"]), _code(card["strategy"])
    members = card.get("members") or []
    if members:
        yield f"{card['rows']} queries: problems of the {_inline(card['problems']['kind'])} {name} under the strategy"
        yield from (f"{strategy}, which combines others. The problems' own card is below.", "")
    else:
        yield f"{card['rows']} queries: each problem of the {_inline(card['problems']['kind'])} {name} with its persona"
        yield from (f"under the strategy {strategy}. The problems' own card is below.", "")
    yield from _standing(card["standing"])
    if members:
        yield from ("## Members", "")
        heads = ("strategy", "share", "rows", "share_of_rows")
        yield from _table(heads, [[member[head] for head in heads] for member in members])
    for member in members:
        if member["personas"] is not None:
            yield from (f"## Personas of {_inline(member['strategy'])}", "")
            yield from _counted(member["personas"])
    if not members:
        yield from _personas(card)
    if card["writer"] is not None:
        yield from ("## Writer", "")
        yield from _table(("what", "value"), card["writer"].items())
        if card["sessions"] is None:
            yield "The store of responses is not available: the weights and engine behind these personas are unknown."
            yield ""
        elif card["sessions"]:
            heads = tuple(card["sessions"][0])
            yield from _table(heads, [[session.get(head) for head in heads] for session in card["sessions"]])
        else:
            yield from ("The store holds none of the responses behind these personas.", "")
    for item in card.get("solutions") or []:
        yield from (f"## Regenerated solutions under {_inline(item['strategy'])}", "")
        yield "A model wrote these solutions; those of the dataset are not in the rows. Kept are the ones that ITS"
        yield from ("graded as correct, which is not a check of their reasoning.", "")
        yield from _table(("what", "value"), [(key, value) for key, value in item.items() if key != "strategy"])
    yield from ("## Templates", "")
    yield from _table(
        ("role", "file", "SHA-256"), [(item["role"], item["path"], item["sha256"]) for item in card["templates"]]
    )
    yield from _fence(json.dumps({"prompt": card["prompt"], **card["declared"]}, indent=2, ensure_ascii=False), "json")
    yield from ("## Files", "")
    yield from _table(("file", "SHA-256"), card["files"].items())
    yield from ("## Samples", "")
    for example in card["examples"]:
        yield from _example(example, _code(example["problem_id"]), ("member", "domain", "personas", "query"))
    yield from _problems(card["problems"], "##")


def _personas(card: Mapping[str, Any]) -> Iterator[str]:
    yield from ("## Personas", "")
    if card["personas"] is None:
        yield from ("These rows have no personas.", "")
        return
    yield from _counted(card["personas"])
    if card["writer"] is None:
        fixed = card["declared"].get(card["strategy"], {}).get("fixed") is not None
        what = "texts of the recipe" if fixed else "a control"
        yield from (f"No model wrote them: they are {what}, as declared below.", "")


def _counted(personas: Mapping[str, Any]) -> Iterator[str]:
    counts = {key: value for key, value in personas.items() if key not in ("set", "strategy", "examples")}
    yield from _table(("what", "value"), counts.items())


def _standing(standing: Mapping[str, Any]) -> Iterator[str]:
    commit = standing["commit"]
    yield f"Commit: {_code(commit)}." if commit else "Not in a git repository."
    if standing["changed_files"]:
        yield f"**Not as committed:** {', '.join(map(_code, standing['changed_files']))}."
    if standing["changed_stages"] is None:
        yield f"Whether dvc.lock describes these files is unknown: {_inline(standing['unknown'])}."
    elif standing["changed_stages"]:
        yield "**Not as dvc.lock says**, so templates and parameters here may not be those of the rows:"
        yield ""
        for stage, reasons in standing["changed_stages"].items():
            yield f"- {_code(stage)}: {_inline('; '.join(reasons))}"
    else:
        yield "The files are what dvc.lock says."
    yield ""


def _counts(count: int, one: str, many: str, head: str, parts: Mapping[str, int]) -> Iterator[str]:
    yield from (f"{count or 'No'} {one if count in (0, 1) else many}{':' if parts else '.'}", "")
    if parts:
        yield from _table((head, "rows"), parts.items())


def _example(example: Mapping[str, Any], title: str, fields: Sequence[str]) -> Iterator[str]:
    yield from (title, "")
    for name in fields:
        if example.get(name):
            yield from (f"{name}:", "")
            texts = example[name] if isinstance(example[name], list) else [example[name]]
            yield from _fence("\n\n".join(map(str, texts)), "text")


def _details(step: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in step.items() if key not in ("step", "before", "after") and value is not None}
    return ", ".join(_plain(value) if key == "note" else f"{key}: {_plain(value)}" for key, value in rest.items())


def _table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    yield f"| {' | '.join(map(_inline, heads))} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(_inline(_plain(value)) for value in row)} |"
    yield ""


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "-" if value is None else json.dumps(value, ensure_ascii=False)


def _fence(text: str, language: str) -> Iterator[str]:
    """A code block with a fence longer than any in the text."""
    fence = "`" * max(3, _longest(text) + 1)
    yield from (f"{fence}{language}", shown(text, lines=True), fence, "")


def _inline(value: Any) -> str:
    """Foreign text between our own: one line, with every mark of Markdown and HTML escaped."""
    text = shown(_shortened(value)).replace("&", "&amp;").replace("<", "&lt;")
    return _BARE_LINK.sub(r"\1\\\2", _MARKS.sub(r"\\\g<0>", text))


def _code(value: Any) -> str:
    """Foreign text as a code span; not for tables, where a `|` would end the cell."""
    text = shown(_shortened(value))
    ticks = "`" * (_longest(text) + 1)
    return f"{ticks} {text} {ticks}" if "`" in text else f"{ticks}{text or ' '}{ticks}"


def _shortened(value: Any) -> str:
    """On one line, and cut: a name with 100,000 letters would widen a table beyond reading."""
    text = " ".join(str(value).split())
    return text if len(text) <= MAX_INLINE else f"{text[:MAX_INLINE]}..."


def _longest(text: str) -> int:
    """The longest run of backticks."""
    return max((len(run) for run in re.findall(r"`+", text)), default=0)
