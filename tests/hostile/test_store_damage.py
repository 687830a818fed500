"""A damaged store causes no traceback, returns everything that is undamaged, and returns nothing wrong."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hostile.store_truth import ON_DISK, Content, Sample, content, essence, make, undamaged

from its.errors import ItsError
from its.store import Store
from its.store.exporting import export_store
from its.store.garbage import collect_garbage
from its.store.importing import import_store
from its.store.recovery import readable_store
from its.store.stats import store_stats
from its.store.verify import Damage, verify_store

CASES = int(os.environ.get("ITS_FUZZ", "60"))
"""How many random damages; `ITS_FUZZ=500 pytest tests/hostile/test_store_damage.py` takes some minutes."""

Tally = Callable[..., ItsError | None]


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return make(tmp_path_factory.mktemp("sample"), prompts=30)


def _exported(path: Path, folder: Path) -> Content:
    """What comes out of a store, and into another one."""
    file = folder / "saved.zst"
    with readable_store(path) as store:
        result = export_store(store, file)
    with Store(folder / "other.sqlite") as other:
        arrived = import_store(other, file)
        assert (arrived.new, arrived.known) == (result.responses, 0)
        assert list(verify_store(other)) == []
        return content(other)


def _used(path: Path, known: Content) -> None:
    with Store(path) as store:
        store_stats(store)
        store.sessions(checkpoint="m0-base")
        store.contains(list(known)[::2])
        for key, body in store.find(list(known)):
            assert body == json.loads(known[key][-2]), "what was found is not what was stored"


def _verified(path: Path, repair: bool) -> list[Damage]:
    with Store(path) as store:
        return list(verify_store(store, repair))


def _collected(path: Path) -> None:
    with Store(path) as store:
        collect_garbage(store)


@pytest.mark.parametrize("number", range(CASES))
def test_whatever_a_disk_does(sample: Sample, tmp_path: Path, tally: Tally, number: int) -> None:
    kind = list(ON_DISK)[number % len(ON_DISK)]
    file = bytearray(sample.file)
    ON_DISK[kind](file, random.Random(f"{kind} {number}"))
    _try_all(sample, tmp_path, tally, bytes(file), kind)


def _try_all(sample: Sample, folder: Path, tally: Tally, file: bytes, kind: str) -> None:
    path = folder / "home" / "store.sqlite"
    path.parent.mkdir()

    def restored() -> None:
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        path.write_bytes(file)

    restored()
    left = undamaged(sample, path)
    restored()
    saved: list[Content] = []
    error = tally("damaged store", lambda: saved.append(_exported(path, folder)))
    assert error is None or not left, f"{len(left)} undamaged responses, and no export: {error}"
    for exported in saved:
        assert essence(exported).items() <= essence(sample.content).items(), "what was exported is not what was stored"
        assert left <= exported.keys(), f"{len(left - exported.keys())} undamaged responses are not in the export"
        if kind in ("the head of the file", "the schema"):  # SQLite reads nothing of it, and no row is damaged
            assert exported == sample.content
    tally("damaged store", lambda: _verified(path, repair=False))
    tally("damaged store", lambda: _used(path, sample.content))
    restored()
    before: list[list[Damage]] = []
    after: list[list[Damage]] = []
    tally("damaged store", lambda: before.append(_verified(path, repair=True)))
    tally("damaged store", lambda: after.append(_verified(path, repair=False)))
    if before and not any("damaged pages" in damage.what or "the file" in damage.what for damage in before[0]):
        kept = [damage for damage in after[0] if "the next run with it restores them" not in damage.what]
        assert kept == [], "repaired, and still damaged"
    tally("damaged store", lambda: _collected(path))
