"""`its store`: what it prints, what it exits with, and that nothing is lost by a slip."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from unit.store_samples import bodies, damage_body, fill, found

from its.commands.cited_keys import cited_keys
from its.errors import FaultsError
from its.store import PutItem, Store

Its = Callable[..., tuple[int, str, str]]


@pytest.fixture
def path(project: Path) -> Path:
    return Path(os.environ["ITS_HOME"]) / "store.sqlite"


@pytest.fixture
def items(project: Path, path: Path) -> list[PutItem]:
    """Six stored responses, of which rows of the study cite the first two."""
    with Store(path) as store:
        stored = fill(store, 3, samples=2)
    _write_rows(project / "data" / "responses" / "c" / "b" / "none.jsonl", [{"request_key": stored[0].key, "text": ""}])
    _write_rows(
        project / "data" / "personas" / "d" / "similar.jsonl",
        [{"request_key": stored[1].key}, {"problem_id": "without"}, {"request_key": None}],
    )
    return stored


def _write_rows(path: Path, rows: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _stored(path: Path, items: list[PutItem]) -> dict[str, Any]:
    with Store(path) as store:
        return found(store, items)


@pytest.mark.parametrize("command", [["stats"], ["verify"], ["export", "file"], ["gc"]])
def test_no_store_is_named(its: Its, command: list[str]) -> None:
    code, out, err = its("store", *command)
    assert (code, out) == (4, "")
    assert "store.sqlite: no store yet" in err
    code, out, _ = its("store", *command, "--json")
    assert code == 4
    assert json.loads(out)["errors"][0]["hint"] == "the first `dvc repro` or `its store import FILE` creates it"


def test_stats(its: Its, items: list[PutItem], path: Path) -> None:
    code, out, err = its("store", "stats")
    assert (code, err) == (0, "")
    assert "responses    6\n" in out
    assert out.splitlines()[-1].split() == ["6", "vllm", "checkpoint", "of", "sha256:aa"]
    document = json.loads(its("store", "stats", "--json")[1])
    assert document["version"] == 1
    assert document["store"]["path"] == str(path)
    assert (document["store"]["responses"], document["store"]["by_session"][0]["responses"]) == (6, 6)


def test_verify(its: Its, items: list[PutItem], path: Path) -> None:
    assert its("store", "verify") == (0, "6 responses, none damaged\n", "")
    assert json.loads(its("store", "verify", "--json")[1]) == {"version": 1, "responses": 6, "damaged": []}
    with Store(path) as store:
        damage_body(store, items[2].key)
    code, out, err = its("store", "verify")
    assert code == 1
    assert out == (f"damaged: its body does not match its checksum (checkpoint of sha256:aa, {items[2].key})\n")
    assert "hint: `its store verify --repair`" in err
    code, out, _ = its("store", "verify", "--json")
    assert code == 1
    assert json.loads(out)["damaged"][0]["key"] == items[2].key
    code, out, err = its("store", "verify", "--repair")
    assert (code, err) == (0, "")
    assert out.startswith("repaired: its body")
    assert its("store", "verify")[1] == "5 responses, none damaged\n"


def test_export_and_import(
    its: Its, items: list[PutItem], path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = its("store", "export", "all.jsonl.zst")
    assert (code, err) == (0, "")
    assert out.startswith("all.jsonl.zst: 6 responses to 3 prompts of 1 session, 0.0 MiB")
    document = json.loads(its("store", "export", "used.jsonl.zst", "--used", "--json")[1])
    assert (document["exported"]["responses"], document["exported"]["missing"]) == (2, 0)
    monkeypatch.setenv("ITS_HOME", str(tmp_path / "elsewhere"))
    new = tmp_path / "elsewhere" / "store.sqlite"
    assert its("store", "import", "used.jsonl.zst") == (0, "used.jsonl.zst: 2 new responses, 0 known\n", "")
    assert _stored(new, items) == bodies(items[:2])
    document = json.loads(its("store", "import", "all.jsonl.zst", "--json")[1])
    assert document == {"version": 1, "file": "all.jsonl.zst", "imported": {"new": 4, "known": 2}}
    assert _stored(new, items) == bodies(items)


def test_what_an_export_leaves_out_is_reported(its: Its, items: list[PutItem], path: Path) -> None:
    with Store(path) as store:
        damage_body(store, items[0].key)
    code, out, err = its("store", "export", "used.jsonl.zst", "--used")
    assert code == 0
    assert "1 response to 1 prompt" in out
    assert "warning: 1 responses that the rows cite are not in it" in err
    assert "warning: 1 damaged responses were left out" in err


def test_an_import_that_is_refused(its: Its, project: Path) -> None:
    code, out, err = its("store", "import", "nothing")
    assert (code, out) == (4, "")
    assert "error: nothing: no such file" in err
    (project / "text").write_text("a text")
    code, out, err = its("store", "import", "text")
    assert (code, out) == (3, "")
    assert "error: text: not an export of a store" in err
    assert len(err.splitlines()) == 2


def test_gc(its: Its, items: list[PutItem], path: Path) -> None:
    with Store(path) as store:
        store.register({"model": "never used"}, {})
    assert its("store", "gc", "--dry-run") == (0, "would remove 0 responses, 0 prompts, 1 session, 0 claims\n", "")
    code, out, err = its("store", "gc")
    assert (code, err) == (0, "")
    assert out.startswith("removed 0 responses, 0 prompts, 1 session, 0 claims\n")
    assert "MiB before" in out
    assert _stored(path, items) == bodies(items)


def test_gc_of_unused_responses(its: Its, items: list[PutItem], path: Path) -> None:
    code, out, err = its("store", "gc", "--unused")
    assert (code, out) == (2, "")
    assert "without a terminal give `--yes`" in err
    assert its("store", "gc", "--unused", "--dry-run")[1].startswith("would remove 4 responses, 2 prompts")
    assert _stored(path, items) == bodies(items)
    document = json.loads(its("store", "gc", "--unused", "--yes", "--json")[1])
    assert (document["dry_run"], document["removed"]["responses"]) == (False, 4)
    assert _stored(path, items) == bodies(items[:2])


def test_gc_asks_on_a_terminal(its: Its, items: list[PutItem], path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    answers = iter("ny")
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda prompt: next(answers))
    code, out, err = its("store", "gc", "--unused")
    assert (code, out) == (130, "")
    assert "4 responses are not cited by any row of" in err
    assert "Other studies, branches and queued experiments that share this store lose theirs" in err
    assert _stored(path, items) == bodies(items)
    assert its("store", "gc", "--unused")[0] == 0
    assert _stored(path, items) == bodies(items[:2])


def test_gc_refuses_where_the_rows_are_of_another_store(
    its: Its, items: list[PutItem], project: Path, path: Path
) -> None:
    _write_rows(project / "data" / "responses" / "c" / "b" / "similar.jsonl", [{"request_key": "ab" * 32}])
    code, out, err = its("store", "gc", "--unused", "--yes")
    assert (code, out) == (4, "")
    assert "1 of 3 responses that the study cites are not in this store" in err
    assert _stored(path, items) == bodies(items)


def test_cited_keys_name_every_bad_row(project: Path, items: list[PutItem]) -> None:
    bad = project / "data" / "responses" / "c" / "b" / "random.jsonl"
    _write_rows(bad, [{"request_key": "zz"}, [], {"request_key": items[3].key}])
    with bad.open("a", encoding="utf-8") as out:
        out.write("{broken\n")
    keys = []
    with pytest.raises(FaultsError) as caught:
        for key in cited_keys(project):
            keys.append(key)
    assert sorted(keys) == sorted(items[number].key for number in (0, 1, 3))
    assert {fault.where.removeprefix(f"{bad}:").split(":")[0] for fault in caught.value.faults} == {"1", "2", "4"}


def test_help_loads_no_database() -> None:
    code = (
        "import sys, its.cli.main\n"
        "try:\n    its.cli.main.main(['store', 'export', '--help'])\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "found = {name.split('.')[0] for name in sys.modules} & {'sqlite3', 'zstandard', 'pydantic', 'filelock'}\n"
        "assert not found, found\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Example its store export" in done.stdout


def test_rejected_attempts_are_cited_too(tmp_path: Path) -> None:
    """A replay goes through them again, so an export of what is used must have them."""
    rows = tmp_path / "data" / "personas" / "sums" / "random.jsonl"
    rows.parent.mkdir(parents=True)
    keys = [letter * 64 for letter in "abc"]
    rows.write_text(json.dumps({"request_key": keys[0], "rejected_keys": keys[1:]}) + "\n", encoding="utf-8")
    assert list(cited_keys(tmp_path)) == keys
