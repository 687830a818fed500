"""The days on which the responses of a study were generated, as recorded beside the cost."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from unit.store_samples import fill

from its.results import CostRow
from its.store import Store
from its.study.days import days_generated, days_recorded, span


def test_the_days_are_those_of_the_store(tmp_path: Path) -> None:
    with Store(tmp_path / "store.sqlite") as store:
        keys = [item.key for item in fill(store, 3)]
        for key, second in zip(keys, (86_399, 86_400, 3 * 86_400), strict=True):
            store.db.execute("UPDATE responses SET created = ? WHERE key = ?", (second, bytes.fromhex(key)))
        assert days_generated(store, [*keys, keys[0]]) == ("1970-01-01", "1970-01-04")
        assert days_generated(store, keys[1:2]) == ("1970-01-02", "1970-01-02")
        assert days_generated(store, []) is None and days_generated(store, ["00" * 32, *keys]) is None
        for impossible in (2**62, -(2**62), 10**12):
            store.db.execute("UPDATE responses SET created = ? WHERE key = ?", (impossible, bytes.fromhex(keys[1])))
            assert days_generated(store, keys) is None


def test_days_of_parts_are_the_days_of_all() -> None:
    draw = random.Random(5)
    for _ in range(200):
        days = [f"2026-{draw.randint(1, 12):02}-{draw.randint(1, 28):02}" for _ in range(draw.randint(1, 6))]
        parts = [(day, day) for day in days]
        cut = draw.randint(1, len(parts))
        assert span([span(parts[:cut]), *parts[cut:]]) == span(parts) == (min(days), max(days))
        assert span([*parts, None]) is None
    assert span([]) is None


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([("2026-11-24", "2026-11-24"), ("2026-11-24", "2026-11-24")], "2026-11-24"),
        ([("2026-11-26", "2026-11-26"), ("2026-11-24", "2026-11-25")], "2026-11-24 to 2026-11-26"),
        ([("2026-11-24", "2026-11-24"), (None, None)], None),  # of a run before the days were recorded
        ([], None),
    ],
)
def test_the_report_tells_the_days_that_generate_recorded(rows: list[tuple[str | None, ...]], told: str | None) -> None:
    costs = [CostRow(what=f"generate c{i}", first_day=a, last_day=b) for i, (a, b) in enumerate(rows)]
    assert days_recorded([*costs, CostRow(what="servers", counts={"retries": 3})]) == told
