"""One fault for columns that no row of a table has: what is expected, what is there, and the `fields:` to write.

Publishers rename columns, and copies of a set have other names than the original. Twenty rows that lack `question` say
less than one line that names the columns and gives the mapping to paste.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from its.errors import Fault, nearest
from its.recipe.schema import Fields
from its.shown import shown
from its.sources.expressions import is_expression
from its.sources.paths import ABSENT, head_of, reach, steps_of
from its.sources.turns import turn_path

_SYNONYMS = {
    "problem": "problem question query prompt instruction input text problem_text question_text",
    "reference": "answer final_answer reference target expected_answer ground_truth gold gold_answer label output",
    "solution": "solution response output completion generation answer rationale generated_solution worked_solution",
    "thinking": "thinking reasoning thought thoughts reasoning_content thinking_trajectory trace cot chain_of_thought",
    "problem_id": "problem_id id unique_id uuid idx index problem_idx qid question_id",
}
"""Names that published sets have for the fields, the commonest first."""
_OWN = re.compile(r"""\brow\s*(?:\.\s*([A-Za-z_]\w*)|\[\s*(['"])(.+?)\2\s*\])""")
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_]*(?: [A-Za-z0-9_]+)*(?:\.[A-Za-z0-9_]+)*")
_BRACKETS = re.compile(r"""\[['"]?(\w+)['"]?\]""")
"""As other languages reach into lists and objects: `m[0]['content']`."""
_LISTED = 20
_NAME_CHARACTERS = 60
_WORD = 3
"""Letters of a name that is looked for within longer ones."""
_PLACEHOLDER = "COLUMN"


def columns_fault(
    where: str, absent: Mapping[str, str], fields: Fields, preset: str | None, columns: Mapping[str, Any]
) -> Fault:
    """The fault of fields for which no row of a table has anything.

    Args:
        where: the table.
        absent: field -> path or expression.
        fields: all that are mapped.
        preset: whose they are; None: the recipe's own.
        columns: of the rows that were seen, with a value of each.
    """
    mapped = dict(_mapped(fields))
    empty = [name for name in absent if _finds_nothing(absent[name], columns)]
    gone = [name for name in absent if name not in empty]
    said = [f"no row has {_told(gone, absent)}"] if gone else []
    said += [f"{_told(empty, absent)} finds nothing in any row"] if empty else []
    held = ", ".join(map(_code, list(columns)[:_LISTED])) or "nothing"
    held += f" and {len(columns) - _LISTED} more" if len(columns) > _LISTED else ""
    wanted = f"preset `{preset}` requires {', '.join(map(_code, dict.fromkeys(_wanted(mapped))))}; " if preset else ""
    message = f"{wanted}{', and '.join(said)}; the rows have: {held}"
    if not gone:
        return Fault(where, message, "fix the expression, or leave the field out")
    new = _renamed(mapped, {name: absent[name] for name in gone}, columns)
    unsure = any(path is not None and _PLACEHOLDER in path for path in new.values())
    place = f" in place of `preset: {preset}`" if preset else ""
    fill = f", with the right name for `{_PLACEHOLDER}`" if unsure else ""
    return Fault(where, message, f"perhaps `{_block(new)}`{place}{fill}")


def _mapped(fields: Fields) -> Iterator[tuple[str, str]]:
    """(name, path or expression), with the names that faults use."""
    for name in ("problem", "reference", "solution", "thinking", "problem_id"):
        if (path := getattr(fields, name)) is not None:
            yield name, path
    if fields.choices is not None:
        yield "choices.correct", fields.choices.correct
        yield from ((f"choices.wrong.{index}", path) for index, path in enumerate(fields.choices.wrong))
    yield from ((f"meta.{name}", path) for name, path in fields.meta.items())


def _wanted(mapped: Mapping[str, str]) -> Iterator[str]:
    for path in mapped.values():
        if is_expression(path):
            yield from _own_columns(path)
        else:
            yield path


def _own_columns(expression: str) -> Iterator[str]:
    yield from (found[1] or found[3] for found in _OWN.finditer(expression))


def _told(names: Sequence[str], absent: Mapping[str, str]) -> str:
    return ", ".join(f"{_code(absent[name])} ({_asked(name, absent[name])})" for name in names[:_LISTED])


def _asked(name: str, path: str) -> str:
    """What asks for a column: a filter keeps the ones that it names in `meta` under their own names."""
    return f"{name} or a filter" if name == f"meta.{path}" else name


def _finds_nothing(path: str, columns: Mapping[str, Any]) -> bool:
    """Whether an expression has all its columns, and finds nothing in them."""
    return is_expression(path) and all(column in columns for column in _own_columns(path))


def _renamed(mapped: Mapping[str, str], absent: Mapping[str, str], columns: Mapping[str, Any]) -> dict[str, str | None]:
    """The mapping with the nearest columns for those that are absent; None: leave the field out."""
    taken = {
        column
        for name, path in mapped.items()
        if name not in absent
        for column in (_own_columns(path) if is_expression(path) else [path])
    }
    out: dict[str, str | None] = dict(mapped)
    for name, path in absent.items():
        if is_expression(path):
            out[name] = _expression(name, path, columns, taken)
            continue
        head, rest = head_of(path)
        column = re.split(r"[.\[]", path, maxsplit=1)[0].rstrip()
        near: str | None = None
        dotted = _BRACKETS.sub(r".\1", path)
        if dotted != path and reach(columns, dotted, steps_of(dotted)) is not ABSENT:
            near = dotted
        elif found := turn_path(name, column, columns.get(column), path.rpartition(".")[2]):
            near = found
        elif head in columns:  # it reaches into something that has another shape
            near = next(iter(nearest(path, _scalars(head, columns[head]), cutoff=0.3)), None)
        elif found := _nearest(head, name, columns, taken, text=not rest and not name.startswith("meta.")):
            near = found + rest
        if near:
            taken.add(near)
        out[name] = near or (None if name.startswith("meta.") or name == "problem_id" else _PLACEHOLDER)
    return out


def _expression(name: str, source: str, columns: Mapping[str, Any], taken: set[str]) -> str:
    """An expression with the nearest columns for those that are absent."""
    for column in dict.fromkeys(_own_columns(source)):
        if column not in columns:
            near = _nearest(column, name, columns, taken, text=False) or _PLACEHOLDER
            source = _OWN.sub(partial(_step, old=column, new=near), source)
    return source


def _nearest(column: str, name: str, columns: Mapping[str, Any], taken: set[str], text: bool) -> str | None:
    """The column that is most likely meant: the same letters, nearly the same, or another word for the field.

    Args:
        text: whether it has to hold a text or a number.
    """
    short = [item for item in columns if item not in taken and len(item) <= _NAME_CHARACTERS]
    free = [item for item in short if not text or _is_scalar(columns[item])]
    letters = {_letters(item): item for item in reversed(free)}
    if found := letters.get(_letters(column)):
        return found
    if close := nearest(_letters(column), letters, cutoff=0.75):
        return letters[close[0]]
    known = [_letters(word) for word in _SYNONYMS.get(name, "").split()]
    if found := next((letters[word] for word in known if word in letters), None):
        return found
    long = len(_letters(column)) >= _WORD
    inside = [item for item in free if (long and _letters(column) in _letters(item)) or _is_a_word(column, item)]
    return inside[0] if len(inside) == 1 else None


def _is_a_word(name: str, longer: str) -> bool:
    return name.casefold() in re.split(r"[^a-z0-9]+", longer.casefold())


def _letters(name: str) -> str:
    return "".join(c for c in name[:_NAME_CHARACTERS].casefold() if c.isalnum())


def _is_scalar(value: Any) -> bool:
    return not isinstance(value, Mapping | list | tuple | bool)


def _scalars(path: str, value: Any, depth: int = 0) -> Iterator[str]:
    """The paths below a column that lead to texts and numbers; some of them if there are many."""
    if depth == 4:
        return
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for index, (key, item) in enumerate(items):
        if index == _LISTED:
            return
        if _is_scalar(item):
            yield f"{path}.{key}"
        else:
            yield from _scalars(f"{path}.{key}", item, depth + 1)


def _step(found: re.Match[str], old: str, new: str) -> str:
    if (found[1] or found[3]) != old:
        return found[0]
    return f"row.{new}" if new.isidentifier() else f"row[{new!r}]"


def _block(paths: Mapping[str, str | None]) -> str:
    """`fields: {...}` as YAML on one line."""
    top = {name: path for name, path in paths.items() if path is not None and "." not in name}
    parts = [f"{name}: {_yaml(path)}" for name, path in top.items()]
    wrong = [path for name, path in paths.items() if name.startswith("choices.wrong.") and path is not None]
    if wrong:
        correct = paths.get("choices.correct") or _PLACEHOLDER
        parts.append(f"choices: {{correct: {_yaml(correct)}, wrong: [{', '.join(map(_yaml, wrong))}]}}")
    meta = {name.removeprefix("meta."): path for name, path in paths.items() if name.startswith("meta.") and path}
    if meta:
        parts.append(f"meta: {{{', '.join(f'{name}: {_yaml(path)}' for name, path in meta.items())}}}")
    return shown(f"fields: {{{', '.join(parts)}}}")


def _yaml(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def _code(text: str) -> str:
    return f"`{shown(text[:_NAME_CHARACTERS])}{'...' if len(text) > _NAME_CHARACTERS else ''}`"
