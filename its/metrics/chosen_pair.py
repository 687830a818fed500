"""The pair of strategies to report: chosen on the `select` benchmarks, measured once on the `report` ones."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import numpy as np

from its.metrics.cells import Cell, pair_row
from its.metrics.comparisons import SeedOf, pairs_of, table_name, tables_of
from its.metrics.selection import choose, nested_estimate
from its.results import ChosenOn, ChosenPair, HeldOutChoice, Maximum, NotPossible, ReportedOn
from its.types import DEFAULT_VARIANT


def selection_rows(cells: Sequence[Cell]) -> tuple[list[ChosenPair], list[NotPossible]]:
    """For each model, dataset and variant the pair that is best on the select benchmarks, and its score on the others.

    Select benchmarks weigh the same; a pool stands for its benchmarks. A gain is the pair's mean minus that of the
    table's pairs on the same benchmark: benchmarks differ in difficulty, so gains can be compared and rates cannot.
    Only pairs that were measured on all of these benchmarks are compared, the same ones everywhere; a table without
    one is in the second list. [] where no benchmark has the role `select`, or none has `report`.
    """
    alone = _not_pooled(cells)
    roles = {role: _tables([cell for cell in alone if cell.role == role]) for role in ("select", "report")}
    out: list[ChosenPair] = []
    not_possible: list[NotPossible] = []
    for key, tables in roles["select"].items():
        if key not in roles["report"]:
            continue
        several = [list(pairs_of(table)) for table in (*tables, *roles["report"][key])]
        everywhere = [name for name in several[0] if all(name in names for names in several)]
        others = [name for name in dict.fromkeys(name for names in several for name in names) if name not in everywhere]
        if not everywhere:
            reason = "no pair of strategies was measured on every `select` and `report` benchmark of the table"
            not_possible.append(NotPossible(kind="choice", benchmark=None, name=table_name(*key), reason=reason))
            continue
        rates = [_rates(table, everywhere) for table in tables]
        choice = choose({name: fmean(rate[name] for rate in rates) for name in rates[0]})
        gain = choice.value - fmean(fmean(rate.values()) for rate in rates)
        reported = []
        for table in roles["report"][key]:
            there = _rates(table, everywhere)
            here = there[choice.name] - fmean(there.values())
            row = pair_row(pairs_of(table)[choice.name])
            kept = row.model_dump(include=set(ReportedOn.model_fields))
            reported.append(ReportedOn(**kept, gain=here, shrinkage=gain - here))
        train, test = choice.name.split("/")
        out.append(
            ChosenPair(
                model=key[0],
                dataset=str(key[1]),
                variant=key[2],
                train=train,
                test=test,
                pairs=len(rates[0]),
                left_out=others,
                tied=choice.tied[1:],
                select=ChosenOn(
                    benchmarks=[table[0].benchmark for table in tables],
                    problems=sum(len(table[0].problem_ids) for table in tables),
                    avg=choice.value,
                    gain=gain,
                ),
                report=reported,
            )
        )
    return out, not_possible


def nested_rows(cells: Sequence[Cell], seed_of: SeedOf, *, maximum: bool) -> list[HeldOutChoice]:
    """For each table of a report benchmark the held-out score of its best pair, by repeated splits of its problems.

    Args:
        maximum: whether the largest pair and its mean are named, with a warning.
    """
    out = []
    alone = [cell for cell in _not_pooled(cells) if cell.role == "report"]
    for (model, dataset, variant), tables in _tables(alone).items():
        for table in tables:
            own = pairs_of(table)
            if len(own) < 2 or len(table[0].problem_ids) < 2:
                continue
            values = {name: np.mean([cell.means_P for cell in members], axis=0) for name, members in own.items()}
            responses = table[0].n * min(len(members) for members in own.values())
            parts = [] if variant == DEFAULT_VARIANT else [variant]
            seed = seed_of("nested", table[0].benchmark, model, str(dataset), *parts)
            found = nested_estimate(values, responses=responses, seed=seed)
            largest = Maximum(
                pair=choose({name: float(value.mean()) for name, value in values.items()}).name,
                avg=found.maximum,
                warning=f"the largest of {len(own)} cells, chosen on the problems it is measured on: "
                f"about {100 * found.optimism:.1f} points too high",
            )
            out.append(
                HeldOutChoice(
                    benchmark=table[0].benchmark,
                    model=model,
                    dataset=str(dataset),
                    variant=variant,
                    pairs=len(own),
                    problems=len(table[0].problem_ids),
                    n=table[0].n,
                    held_out_score=found.score,
                    low=found.low,
                    high=found.high,
                    optimism=found.optimism,
                    chosen=found.chosen,
                    maximum=largest if maximum else None,
                )
            )
    return out


def _not_pooled(cells: Sequence[Cell]) -> list[Cell]:
    """The cells without those of benchmarks that are in a pool, whose problems would count twice beside it."""
    inside = {benchmark for cell in cells for benchmark in cell.pool or ()}
    return [cell for cell in cells if cell.benchmark not in inside]


def _tables(cells: Sequence[Cell]) -> dict[tuple[str, str | None, str], list[list[Cell]]]:
    """(model, dataset, variant) -> its trained cells of last checkpoints, a list for each benchmark."""
    out: dict[tuple[str, str | None, str], list[list[Cell]]] = {}
    for benchmark in dict.fromkeys(cell.benchmark for cell in cells):
        trained = [cell for cell in cells if cell.benchmark == benchmark and cell.train is not None]
        for table in tables_of(trained):
            if table:
                out.setdefault((table[0].model, table[0].dataset, table[0].variant), []).append(table)
    return out


def _rates(table: Sequence[Cell], names: Sequence[str]) -> dict[str, float]:
    """The mean of each named pair."""
    own = pairs_of(table)
    return {name: float(np.mean([cell.means_P for cell in own[name]])) for name in names}
