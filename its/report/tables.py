"""The train x test tables for papers and programs: text, CSV, Markdown, LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence

from its.report.data import ReportData, ReportedCell
from its.report.matrix import Entry, Matrix, fallback_note, matrices, terms
from its.report.numbers import percent

_NESTED = {"pool", "maj_at_k", "pass_at_k", "all_at_k", "g_pass_at_k", "intervals"}
"""Keys of a cell that are tables and do not fit a line of CSV."""
_CSV = [name for name in ReportedCell.model_fields if name not in _NESTED]
Style = Callable[[str, float], str]
_LATEX = str.maketrans(
    {
        **{letter: f"\\{letter}" for letter in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
    }
)


def text_table(study: ReportData, width: int | None = None, style: Style | None = None) -> str:
    """The train x test tables for a terminal, one per benchmark, model, dataset and variant; `-` is not measured.

    Args:
        width: characters of a line; a wider table is printed in blocks of columns. None: as wide as it is.
        style: colours the text of a cell, which it must not change otherwise, by its mean in [0, 1].
    """
    tables = []
    for matrix in matrices(study):
        grid = [["train \\ test", *matrix.columns]]
        for name, entries in zip(matrix.rows, matrix.entries, strict=True):
            shown = [
                f"{percent(e.avg)} [{100 * e.low:.0f}, {100 * e.high:.0f}]{_spread(e)}" if e else "-" for e in entries
            ]
            grid.append([name or "base", *shown])
        widths = [max(len(row[i]) for row in grid) for i in range(len(grid[0]))]
        means: list[list[float | None]] = [
            [None] * len(matrix.columns),
            *([e.avg if e else None for e in entries] for entries in matrix.entries),
        ]
        lines = [f"{matrix.benchmark} ({matrix.role}), {matrix.title}: {terms(matrix.cells)}"]
        blocks = _blocks(widths, width)
        for place, block in enumerate(blocks):
            if len(blocks) > 1:
                lines += [""] if place else []
                these = f"y {block[0]}" if len(block) == 1 else f"ies {block[0]} to {block[-1]}"
                lines.append(f"test strateg{these} of {len(matrix.columns)}:")
            for row, row_means in zip(grid, means, strict=True):
                cells = [row[0].ljust(widths[0])]
                for i in block:
                    mean, text = row_means[i - 1], row[i].ljust(widths[i])
                    cells.append(text if mean is None or style is None else style(text, mean))
                lines.append("  ".join(cells).rstrip())
        lines += [note for note in (_seeds_note(matrix), _spread_note(matrix), fallback_note(matrix)) if note]
        tables.append("\n".join(lines))
    return "\n\n".join(tables) + "\n" if tables else "nothing was measured\n"


def _blocks(widths: Sequence[int], width: int | None) -> list[list[int]]:
    """The columns, from 1, of each block whose lines fit; a block has at least one, and column 0 is in all of them."""
    blocks: list[list[int]] = []
    taken = 0
    for i, own in enumerate(widths[1:], 1):
        if not blocks or (width is not None and taken + 2 + own > width):
            blocks.append([])
            taken = widths[0]
        blocks[-1].append(i)
        taken += 2 + own
    return blocks


def csv_table(study: ReportData) -> str:
    """One line a cell, shares in [0, 1], with the terms of each number; empty where there is none."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    columns = [name for name in _CSV if name != "sampling" or any(cell.sampling for cell in study.cells)]
    writer.writerow(columns)
    for cell in study.cells:
        values = {**cell.model_dump(), "train": cell.train or "base"}
        writer.writerow([values[name] for name in columns])
    return out.getvalue()


def markdown_table(study: ReportData) -> str:
    """The tables for a README: percent, then the bounds; each with its terms above."""
    tables = []
    for matrix in matrices(study):
        lines = [
            f"**{matrix.benchmark}** ({matrix.role}), {matrix.title}: {terms(matrix.cells)}, {_interval(study)}",
            "",
        ]
        lines.append("| " + " | ".join(["train \\ test", *map(_markdown, matrix.columns)]) + " |")
        lines.append("|" + "---|" + "---:|" * len(matrix.columns))
        for name, entries in zip(matrix.rows, matrix.entries, strict=True):
            shown = [
                f"{100 * e.avg:.1f} [{100 * e.low:.1f}, {100 * e.high:.1f}]{_spread(e)}" if e else "" for e in entries
            ]
            lines.append("| " + " | ".join([_markdown(name or "base"), *shown]) + " |")
        for note in (_seeds_note(matrix), _spread_note(matrix), fallback_note(matrix)):
            lines += ["", note] if note else []
        tables.append("\n".join(lines))
    return "\n\n".join(tables) + "\n" if tables else "nothing was measured\n"


def latex_table(study: ReportData) -> str:
    """A `table` for each benchmark, model and dataset; it needs the package `booktabs`.

    The bounds are small below each mean, the terms in the caption. No cell is set bold: a bold maximum is a claim.
    """
    tables = []
    for matrix in matrices(study):
        caption = (
            f"{matrix.title}, {matrix.benchmark} ({matrix.role}): mean correctness in percent, {_interval(study)}; "
        )
        caption += "; ".join(filter(None, [terms(matrix.cells), _seeds_note(matrix), _spread_note(matrix)])) + "."
        rule = "l" + "c" * len(matrix.columns)
        lines = [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{caption.translate(_LATEX)}}}",
            rf"\begin{{tabular}}{{{rule}}}",
        ]
        lines += [
            r"\toprule",
            " & ".join([r"train $\backslash$ test", *map(_latex, matrix.columns)]) + r" \\",
            r"\midrule",
        ]
        for name, entries in zip(matrix.rows, matrix.entries, strict=True):
            lines.append(" & ".join([_latex(name or "base"), *map(_latex_mean, entries)]) + r" \\")
            lines.append(" & ".join(["", *map(_latex_bounds, entries)]) + r" \\")
        lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
        tables.append("\n".join(lines))
    return "\n\n".join(tables) + "\n" if tables else "% nothing was measured\n"


TABLES: dict[str, Callable[[ReportData], str]] = {
    "text": lambda study: text_table(study),
    "csv": csv_table,
    "latex": latex_table,
    "markdown": markdown_table,
}
"""Format -> the function that writes it."""


def _seeds_note(matrix: Matrix) -> str:
    if len(matrix.seeds) < 2:
        return ""
    seeds: Sequence[str] = [str(seed) for seed in matrix.seeds]
    what = "brackets span the intervals of all seeds" if matrix.spans else "intervals for other seeds and problems"
    some = " that a cell has" if any(_fewer(matrix, entry) for row in matrix.entries for entry in row) else ""
    return f"mean over training seeds {', '.join(seeds)}{some}; {what}"


def _fewer(matrix: Matrix, entry: Entry | None) -> bool:
    """Whether a trained entry lacks a seed of the table."""
    return entry is not None and entry.cells[0].train is not None and len(entry.cells) < len(matrix.seeds)


def _spread(entry: Entry) -> str:
    return f"; {entry.over_checkpoints}" if entry.spread else ""


def _spread_note(matrix: Matrix) -> str:
    names = matrix.checkpoints
    return f"after the interval: range over the checkpoints {', '.join(names)}" if names else ""


def _interval(study: ReportData) -> str:
    return f"{100 * study.confidence:g} % intervals" if study.confidence else "intervals"


def _markdown(name: str) -> str:
    return name.replace("_", r"\_").replace("|", r"\|")


def _latex(name: str) -> str:
    return name.translate(_LATEX)


def _latex_mean(entry: Entry | None) -> str:
    return f"{100 * entry.avg:.1f}" if entry else "--"


def _latex_bounds(entry: Entry | None) -> str:
    if entry is None:
        return ""
    return rf"{{\scriptsize [{100 * entry.low:.1f}, {100 * entry.high:.1f}]{_spread(entry)}}}"
