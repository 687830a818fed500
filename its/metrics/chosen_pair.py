"""The pair of strategies to report: chosen on the `select` benchmarks, measured once on the `report` ones."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import numpy as np

from its.metrics.cells import Cell, pair_row
from its.metrics.comparisons import SeedOf, pairs_of, tables_of
from its.metrics.selection import choose, nested_estimate
from its.results import ChosenOn, ChosenPair, HeldOutChoice, Maximum, ReportedOn


def selection_rows(cells: Sequence[Cell]) -> list[ChosenPair]:
    """For each model and dataset the pair that is best on the select benchmarks, and its score on the others.

    Select benchmarks weigh the same. A gain is the pair's mean minus that of the table's pairs on the same benchmark:
    benchmarks differ in difficulty, so gains can be compared and rates cannot. [] where no benchmark has the role
    `select`, or none has `report`.
    """
    roles = {role: _tables([cell for cell in cells if cell.role == role]) for role in ("select", "report")}
    out = []
    for key, tables in roles["select"].items():
        if key not in roles["report"]:
            continue
        rates = [_rates(table) for table in tables]
        choice = choose({name: fmean(rate[name] for rate in rates) for name in rates[0]})
        gain = choice.value - fmean(fmean(rate.values()) for rate in rates)
        reported = []
        for table in roles["report"][key]:
            others = _rates(table)
            here = others[choice.name] - fmean(others.values())
            row = pair_row(pairs_of(table)[choice.name])
            kept = row.model_dump(include=set(ReportedOn.model_fields))
            reported.append(ReportedOn(**kept, gain=here, shrinkage=gain - here))
        train, test = choice.name.split("/")
        out.append(
            ChosenPair(
                model=key[0],
                dataset=str(key[1]),
                train=train,
                test=test,
                pairs=len(rates[0]),
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
    return out


def nested_rows(cells: Sequence[Cell], seed_of: SeedOf, *, maximum: bool) -> list[HeldOutChoice]:
    """For each table of a report benchmark the held-out score of its best pair, by repeated splits of its problems.

    Args:
        maximum: whether the largest pair and its mean are named, with a warning.
    """
    out = []
    for (model, dataset), tables in _tables([cell for cell in cells if cell.role == "report"]).items():
        for table in tables:
            own = pairs_of(table)
            if len(own) < 2 or len(table[0].problem_ids) < 2:
                continue
            values = {name: np.mean([cell.means_P for cell in members], axis=0) for name, members in own.items()}
            responses = table[0].n * min(len(members) for members in own.values())
            seed = seed_of("nested", table[0].benchmark, model, str(dataset))
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


def _tables(cells: Sequence[Cell]) -> dict[tuple[str, str | None], list[list[Cell]]]:
    """(model, dataset) -> its trained cells, a list for each benchmark."""
    out: dict[tuple[str, str | None], list[list[Cell]]] = {}
    for benchmark in dict.fromkeys(cell.benchmark for cell in cells):
        trained = [cell for cell in cells if cell.benchmark == benchmark and cell.train is not None]
        for table in tables_of(trained):
            if table:
                out.setdefault((table[0].model, table[0].dataset), []).append(table)
    return out


def _rates(table: Sequence[Cell]) -> dict[str, float]:
    return {name: float(np.mean([cell.means_P for cell in own])) for name, own in pairs_of(table).items()}
