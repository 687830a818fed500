"""`its data`: what it prints, what it exits with, and that an export can be read by others."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from unit.data_samples import TRAINED, edit_rows, problem, write_set, write_study

from its.cards.markdown import card_markdown
from its.commands.cards import problem_card
from its.commands.export import _front_matter
from its.commands.lineage import lineage
from its.errors import DataError
from its.rows import read_json
from its.study.study import Study, load_study

Its = Callable[..., tuple[int, str, str]]


@pytest.fixture
def study(project: Path) -> Study:
    made = load_study(project)
    write_study(made)
    return made


def _json(its: Its, *words: str) -> Any:
    code, out, err = its(*words, "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert document["version"] == 1
    return document


def test_show_lists_sets_steps_files_and_stages(its: Its, study: Study) -> None:
    (study.project / "dvc.lock").write_text(
        "schema: '2.0'\nstages:\n  prepare@arithmetic:\n    cmd: x\n    outs:\n"
        "    - path: data/problems/arithmetic.jsonl\n      md5: d41d8cd98f00b204e9800998ecf8427e\n"
        "  persona:\n    cmd: x\n    outs:\n    - path: data/personas\n      md5: abc.dir\n",
        encoding="utf-8",
    )
    code, out, err = its("data", "show")
    assert (code, err) == (0, "")
    assert "arithmetic  dataset, 3 problems\n    loaded: 5 -> 5\n    filter has_box: 5 -> 3 (2 without a box)\n" in out
    assert "    measured: 3 of 5 rows; out: filter has_box (2)\n" in out, "a benchmark's number names its denominator"
    assert out.count("measured: ") == 1
    lines = {line.split()[0]: line for line in out.splitlines() if line.startswith("  data/")}
    assert lines["data/problems/arithmetic.jsonl"].endswith("written by prepare@arithmetic, changed since")
    assert lines["data/personas/arithmetic/random.jsonl"].endswith("written by persona")
    assert lines["data/queries/train/arithmetic/random.jsonl"].endswith("not in dvc.lock")
    sets = _json(its, "data", "show", "arithmetic_test")["sets"]
    assert [(item["name"], item["kind"], item["rows"]) for item in sets] == [("arithmetic_test", "benchmark", 3)]
    assert all(len(file["sha256"]) == 64 for file in sets[0]["files"])


def test_show_before_anything_ran(its: Its) -> None:
    code, out, _ = its("data", "show")
    assert code == 0
    assert "arithmetic  dataset, not prepared\n  data/problems/arithmetic.jsonl  missing\n" in out


def test_show_counts_quarantine_and_old_cards(its: Its, study: Study) -> None:
    rows = [problem(index, "train") for index in range(2)]
    write_set(study, "arithmetic", "dataset", rows, quarantine=[{"reasons": ["no answer"]}])
    assert "    quarantine: 1, overlaps: 0\n" in its("data", "show", "arithmetic")[1]
    card = study.project / "data" / "cards" / "arithmetic" / "card.json"
    card.write_text('{"card_version": 1}', encoding="utf-8")
    code, out, _ = its("data", "show", "arithmetic")
    assert code == 0
    assert "no card: " in out
    assert "`card_version` is `1`, this version of ITS reads 2" in out


def test_card_of_problems(its: Its, study: Study) -> None:
    code, out, err = its("data", "card", "arithmetic")
    assert (code, err) == (0, "")
    assert out.startswith("# arithmetic\n\nA dataset of 3 problems; 3 have a reference answer, ")
    stored = read_json(study.project / "data" / "cards" / "arithmetic" / "card.json")
    assert _json(its, "data", "card", "arithmetic")["card"] == stored


def test_card_under_a_strategy(its: Its, study: Study) -> None:
    card = _json(its, "data", "card", "arithmetic", "--strategy", "random")["card"]
    assert [item["role"] for item in card["templates"]] == ["persona", "query"]
    assert card["writer"]["sampling"]["temperature"] == 0.7
    assert card["writer"]["model"] == "smollm2_135m"
    assert [(item["responses"], item["environment lock"]) for item in card["sessions"]] == [(3, "lock")]
    assert (card["personas"]["asked"], card["personas"]["rules_version"]) == (6, "1")
    assert card["examples"][0]["personas"] == ["You are a botanist."]
    assert card["examples"][0]["query"].startswith("[user]\nYou are a botanist.\n\nHow many is")
    assert list(card["files"]) == [
        "data/problems/arithmetic.jsonl",
        "data/personas/arithmetic/random.jsonl",
        "data/queries/train/arithmetic/random.jsonl",
    ]
    plain = _json(its, "data", "card", "arithmetic_test", "--strategy", "none")["card"]
    assert (plain["writer"], plain["personas"]) == (None, None)
    assert [item["role"] for item in plain["templates"]] == ["query"]


def test_a_card_without_a_store_says_so(its: Its, study: Study) -> None:
    (Path(os.environ["ITS_HOME"]) / "store.sqlite").unlink()
    assert "The store of responses is not available" in its("data", "card", "arithmetic", "--strategy", "random")[1]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["show", "other"], 3, "params.yaml declares no dataset or benchmark `other`"),
        (["card", "other"], 3, "params.yaml declares no dataset or benchmark `other`"),
        (["card", "arithmetic", "--strategy", "odd"], 3, "params.yaml declares no strategy `odd`"),
        (["card", "arithmetic", "--strategy", "similar"], 3, "no cell of `arithmetic` under train strategy `similar`"),
        (["lineage", "nothing"], 3, "no row of this study has the id `nothing`"),
        (["diff", "./data", "params.yaml"], 3, "`data` is not a file, `params.yaml` is one"),
        (["diff", "HEAD"], 4, "not in a DVC repository"),
        (["export", "other", "out"], 3, "params.yaml declares no dataset or benchmark `other`"),
        (["export", "arithmetic", "recipes"], 3, "`recipes` exists"),
        (["export", "arithmetic_test", "out", "--strategy", "none", "--side", "train"], 3, "has no solution"),
    ],
)
def test_failures_are_named(its: Its, study: Study, words: list[str], code: int, said: str) -> None:
    found, out, err = its("data", *words)
    assert (found, out) == (code, "")
    assert said in err
    assert not (study.project / "out").exists()
    assert json.loads(its("data", *words, "--json")[1])["errors"]


def test_lineage_prints_each_step_and_its_place(its: Its, study: Study) -> None:
    row = f"{TRAINED}/arithmetic_test/test_00001/random/0"
    code, out, err = its("data", "lineage", row)
    assert (code, err) == (0, "")
    heads = [line.split("  ")[0] for line in out.splitlines() if not line.startswith(" ")]
    assert heads[:4] == ["verdict", "response", "request", "engine session"]
    assert heads[-4:] == ["problem", "source row", "commit", "dvc.lock"]
    assert f"verdict  {row}  (data/verdicts/{TRAINED}/arithmetic_test/random.jsonl:2)\n    answer: 1\n" in out
    assert _json(its, "data", "lineage", row)["lineage"]["target"]["id"] == row


def _copy(study: Study, tmp_path: Path) -> Path:
    return Path(shutil.copytree(study.project, tmp_path / "other"))


def test_diff_of_two_folders(its: Its, study: Study, tmp_path: Path) -> None:
    other = _copy(study, tmp_path)
    assert "data/problems/arithmetic.jsonl: 3 -> 3 rows: equal\n" in its("data", "diff", str(other))[1]
    edit_rows(
        study.problems_path("arithmetic"),
        lambda rows: [rows[0] | {"text": "New?"}, rows[1], rows[2] | {"problem_id": "n"}],
    )
    study.personas_path("arithmetic", "random").unlink()
    found = _json(its, "data", "diff", str(other), "--set", "arithmetic")["files"]
    by_path = {file["path"]: file for file in found}
    assert set(by_path) == {
        "data/problems/arithmetic.jsonl",
        "data/personas/arithmetic/none.jsonl",
        "data/personas/arithmetic/random.jsonl",
    }
    problems = by_path["data/problems/arithmetic.jsonl"]
    assert [row["id"] for row in problems["added"]] == ["n"]
    assert [row["id"] for row in problems["removed"]] == ["train_00002"]
    (changed,) = problems["changed"]
    assert (changed["id"], list(changed["fields"]), changed["fields"]["text"][1]) == ("train_00000", ["text"], "New?")
    personas = by_path["data/personas/arithmetic/random.jsonl"]
    assert (personas["before"], personas["after"], len(personas["removed"])) == (3, None, 3)

    out = its("data", "diff", str(other), "--set", "arithmetic")[1]
    assert "data/problems/arithmetic.jsonl: 3 -> 3 rows: 1 added, 1 removed, 1 changed\n" in out
    assert "  + n  How many is" in out
    assert "  ~ train_00000\n      text: How many is" in out
    assert "data/personas/arithmetic/random.jsonl: 3 -> absent: 0 added, 3 removed, 0 changed\n" in out
    only = _json(its, "data", "diff", str(other), "--strategy", "random")["files"]
    assert {Path(file["path"]).name for file in only} == {"random.jsonl"}
    code, _, err = its("data", "diff", str(other), "--set", "other")
    assert (code, err.splitlines()[0]) == (3, f"error: neither `{other}` nor `workspace` has rows of other")


def test_diff_of_two_files_shows_the_first_few(its: Its, study: Study, tmp_path: Path) -> None:
    old, new = tmp_path / "old.jsonl", tmp_path / "new.jsonl"
    old.write_text('{"problem_id": "p", "index": 0, "text": "a"}\n{"problem_id": "p", "index": 1, "text": "b"}\n')
    rows = [{"problem_id": "p", "index": 0, "text": "a"}, {"problem_id": "p", "index": 1, "text": "c"}]
    rows += [{"problem_id": f"q{index}", "text": "x" * 1000} for index in range(8)]
    new.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    code, out, _ = its("data", "diff", str(old), str(new))
    assert code == 0
    assert out.startswith(f"{new}: 2 -> 10 rows: 8 added, 0 removed, 1 changed\n")
    assert "  + 3 more (--json has all)\n" in out
    assert "  ~ p (2)\n      text: b\n          > c\n" in out
    assert max(map(len, out.splitlines())) < 200
    assert len(_json(its, "data", "diff", str(old), str(new))["files"][0]["added"]) == 8


def test_diff_names_every_line_that_is_no_row(its: Its, study: Study, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"problem_id": "p"\n{"text": "x"}\n{"problem_id": "p"}\n', encoding="utf-8")
    code, out, err = its("data", "diff", str(bad), str(bad))
    assert (code, out) == (3, "")
    assert f"error: {bad}:1:1: broken JSON" in err
    assert f"error: {bad}:2: not a row of problems or personas: it has no `problem_id`" in err


def _load(folder: Path, tmp_path: Path) -> Any:
    """What `datasets.load_dataset` makes of a folder, in a process of its own and without a network."""
    code = (
        "import json, sys, datasets\n"
        "found = datasets.load_dataset(sys.argv[1])\n"
        "print(json.dumps({name: list(rows) for name, rows in found.items()}))\n"
    )
    environment = os.environ | {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_an_export_is_a_dataset(its: Its, study: Study, tmp_path: Path) -> None:
    out = tmp_path / "new" / "exported"
    code, said, err = its("data", "export", "arithmetic", str(out), "--strategy", "random")
    assert (code, said) == (0, f"{out}: 3 rows, split `train`\n")
    assert err == "warning: the licence of the source is unknown; check it before you publish\n"
    loaded = _load(out, tmp_path)
    assert list(loaded) == ["train"]
    row = loaded["train"][1]
    assert row["query_id"] == "arithmetic/train_00001/random"
    assert [turn["role"] for turn in row["messages"]] == ["user", "assistant"]
    assert row["messages"][0]["content"].startswith("You are a botanist.\n\nHow many is $\\frac{{1}}{1}$")
    assert row["messages"][1]["content"] == row["solution"]
    assert row["personas"] == ["You are a botanist."]
    assert json.loads(row["meta"]) == {"level": 1}
    readme = (out / "README.md").read_text(encoding="utf-8")
    assert readme.startswith("---\n")
    assert "size_categories:\n- n<1K\n" in readme
    assert "\n---\n\n# arithmetic with strategy random\n" in readme
    assert sorted(path.name for path in out.parent.iterdir()) == ["exported"]  # no temporary folder is left


def test_problems_alone_and_the_other_side(its: Its, study: Study, tmp_path: Path) -> None:
    assert its("data", "export", "arithmetic_test", str(tmp_path / "a"))[0] == 0
    (row, *_) = _load(tmp_path / "a", tmp_path)["test"]
    assert "messages" not in row
    assert (row["problem_id"], row["reference"], row["solution"]) == ("test_00000", "0", None)
    words = ["--strategy", "random", "--side", "test"]
    done = _json_with_warning(its, "data", "export", "arithmetic", str(tmp_path / "b"), *words)
    assert done["exported"]["split"] == "test"
    assert [turn["role"] for turn in _load(tmp_path / "b", tmp_path)["test"][0]["messages"]] == ["user"]


def _json_with_warning(its: Its, *words: str) -> Any:
    code, out, _ = its(*words, "--json")
    assert code == 0
    return json.loads(out)


def test_a_known_licence_is_handed_on(its: Its, study: Study, tmp_path: Path) -> None:
    rows = [problem(index, "train") for index in range(2)]
    write_set(study, "arithmetic", "dataset", rows, origin={"kind": "hub", "licence": "apache-2.0"})
    assert its("data", "export", "arithmetic", str(tmp_path / "a"))[2] == ""
    assert "license: apache-2.0\n" in (tmp_path / "a" / "README.md").read_text(encoding="utf-8")


class FakeHub:
    """huggingface_hub's client at its two calls; what the real hub does with them is not tested here."""

    calls: list[tuple[str, dict[str, Any]]]
    fault: Exception | None = None

    def __init__(self, token: str) -> None:
        FakeHub.calls = [("token", {"token": token})]

    def create_repo(self, repo_id: str, **words: Any) -> None:
        FakeHub.calls.append(("create", {"repo_id": repo_id, **words}))
        if FakeHub.fault is not None:
            raise FakeHub.fault

    def upload_folder(self, **words: Any) -> Any:
        FakeHub.calls.append(("upload", words))
        return SimpleNamespace(commit_url="https://hub/commit/1")


def test_push_takes_the_token_of_the_environment_and_makes_it_private(
    its: Its, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", FakeHub)
    monkeypatch.setattr(FakeHub, "fault", None)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    out = tmp_path / "a"
    code, said, err = its("data", "export", "arithmetic", str(out), "--push", "me/set")
    assert code == 0
    assert said.endswith("pushed: https://hub/commit/1\n")
    (_, token), (_, created), (_, uploaded) = FakeHub.calls
    assert token == {"token": "hf_secret"}
    assert created == {"repo_id": "me/set", "repo_type": "dataset", "private": True, "exist_ok": True}
    assert (uploaded["folder_path"], uploaded["repo_type"]) == (out, "dataset")
    assert "hf_secret" not in said + err


def test_push_that_fails_keeps_the_export_and_hides_the_token(
    its: Its, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", FakeHub)
    monkeypatch.setattr(FakeHub, "fault", OSError("401 for token hf_secret"))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    code, said, err = its("data", "export", "arithmetic", str(tmp_path / "a"), "--push", "me/set")
    assert (code, said) == (1, "")
    assert "the hub refused `me/set`: 401 for token ***" in err
    assert (tmp_path / "a" / "README.md").is_file()
    monkeypatch.delenv("HF_TOKEN")
    code, _, err = its("data", "export", "arithmetic", str(tmp_path / "b"), "--push", "me/set")
    assert code == 4
    assert "`HF_TOKEN` is not set" in err
    assert not (tmp_path / "b").exists()


def test_help_of_each_command_has_an_example(its: Its) -> None:
    for name in ("show", "card", "diff", "lineage", "export", "convert"):
        code, out, _ = its("data", name, "--help")
        assert code == 0
        assert f"Example its data {name}" in out


NINES = "9" * 5000


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (f'{{"problem_id": "p", "a": {NINES}}}\n', "an integer of more than 4300 digits is not read"),
        ('{"problem_id": "p", "a": [' + '{"":0},' * 1_000_000 + "0]}\n", "the line has more than 1000000 values"),
        (('{"problem_id": "p", "a": [' + "0," * 100_000 + "0]}\n") * 110, "has more than 10000000 values"),
        ("{}\n" * 100_000, "1 more fault"),
        ("[" * 5000 + "\n", "nested too deeply"),
    ],
)
def test_diff_of_files_that_would_take_the_memory(
    its: Its, study: Study, tmp_path: Path, content: str, said: str
) -> None:
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    good.write_text('{"problem_id": "p"}\n')
    bad.write_text(content)
    code, out, err = its("data", "diff", str(good), str(bad))
    assert (code, out) == (3, "")
    assert said in err
    assert "set_int_max_str_digits" not in err


def test_diff_of_a_file_that_is_too_large(its: Its, study: Study, tmp_path: Path) -> None:
    with (tmp_path / "large.jsonl").open("wb") as out:
        out.truncate(2**40)
    code, _, err = its("data", "diff", str(tmp_path / "large.jsonl"), str(tmp_path / "large.jsonl"))
    assert code == 3
    assert f"has {2**40} bytes, and at most {2**30} are read" in err


@pytest.mark.parametrize(
    "words",
    [
        ["diff", "HEAD", "a" * 5000],
        ["diff", "a" * 5000],
        ["diff", "./" + "a" * 5000],
        ["export", "arithmetic", "a" * 5000],
        ["export", "arithmetic", "a" * 250],
    ],
)
def test_names_that_no_file_can_have(its: Its, study: Study, words: list[str]) -> None:
    code, out, err = its("data", *words)
    assert code in (3, 4)
    assert out == ""
    assert err.startswith("error: ")


@pytest.mark.parametrize("where", ["{home}/models/x", "{home}/x", ".git/x", ".GIT/x", ".dvc/a/b", "link/x"])
def test_an_export_is_not_written_where_others_keep_theirs(its: Its, study: Study, where: str) -> None:
    (study.project / "link").symlink_to(study.home)
    place = study.project / where.format(home=study.home)
    code, _, err = its("data", "export", "arithmetic", str(place))
    assert code == 3
    assert "is in" in err
    assert not place.exists()


def _changes(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Each part of a card, and what may stand in its place; `...` is nothing."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        changed: tuple[Any, ...] = (..., None, 5, "x", [], [[5]], {"x": []})
        yield from (((*place, key), other) for other in changed)
        yield from _changes(item, (*place, key))


def test_no_card_ends_in_a_traceback(study: Study) -> None:
    path = study.card_path("arithmetic")
    whole = json.loads(path.read_text(encoding="utf-8"))
    files = [{"path": "data/sources/set/a.jsonl", "sha256": "a" * 64, "rows": 3}]
    parts = [
        {"name": "train", "kind": "files", "path": "data/sources/set", "sha256": "b" * 64, "files": files, "rows": 3},
        {"name": "b", "kind": "hub", "id": "a/b", "split": "train", "revision": "c" * 40, "rows": 2},
    ]
    whole["origin"] |= {"files": files, "ignored": ["_SUCCESS"], "parts": parts}
    original = json.dumps(whole)
    cases = list(_changes(whole))
    refused = 0
    for place, other in cases:
        card = json.loads(original)
        holder = card
        for key in place[:-1]:
            holder = holder[key]
        if other is ...:
            del holder[place[-1]]
        else:
            holder[place[-1]] = other
        path.write_text(json.dumps(card), encoding="utf-8")
        try:
            card_markdown(problem_card(study, "arithmetic"))
            sum(item["before"] for item in card["steps"])
            lineage(study, "train_00001")
        except DataError as error:
            assert "card.json" in error.message
            refused += 1
    assert len(cases) > 300
    assert 100 < refused < len(cases)


def test_convert_writes_json_lines_and_overwrites_nothing(its: Its, project: Path) -> None:
    Path("train.json").write_text('{"data": [{"q": 1.50}, {"q":\n2}]}')
    assert its("data", "convert", "train.json", "data/sources/train.jsonl", "--at", "data") == (
        0,
        "data/sources/train.jsonl: 2 rows\n",
        "",
    )
    assert Path("data/sources/train.jsonl").read_text() == '{"q": 1.50}\n{"q": 2}\n'
    code, out, err = its("data", "convert", "train.json", "data/sources/train.jsonl")
    assert (code, out) == (3, "") and "`data/sources/train.jsonl` exists" in err
    document = _json(its, "data", "convert", "train.json", "b.jsonl")
    assert document["converted"] == {"file": "b.jsonl", "rows": 2}
    assert its("data", "convert", "none.json", "c.jsonl")[0] == 4
    for name in ("a.pkl", "a.json"):
        Path(name).write_bytes(b"\x80\x04")
        code, _, err = its("data", "convert", name, "d.jsonl")
        assert code == 3 and "never read" in err and not Path("d.jsonl").exists()


@pytest.mark.parametrize("content", ["5", "[]", "null", '"x"', "{}", '{"card_version": "2"}', '{"card_version": 2}'])
def test_what_is_no_card(its: Its, study: Study, content: str) -> None:
    study.card_path("arithmetic").write_text(content)
    for words in (["card", "arithmetic"], ["export", "arithmetic", "out"], ["lineage", "train_00001"]):
        code, out, err = its("data", *words)
        assert (code, out) == (3, "")
        assert "not what `prepare` writes" in err
    code, out, _ = its("data", "show", "arithmetic")
    assert code == 0
    assert "no card: " in out


@pytest.mark.parametrize(("rows", "size"), [(999, "n<1K"), (1000, "1K<n<10K"), (1_000_000, "1M<n<10M")])
def test_the_size_on_the_hub_is_that_of_the_rows(rows: int, size: str) -> None:
    assert f"- {size}\n" in _front_matter("sums", "train", rows, None)
