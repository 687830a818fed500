"""`its publish` writes a folder that `its verify` computes again; `its verify` names everything that was changed."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import zstandard
from fakes.hub import FakeHub, Repo
from unit.test_golden_study import study as study

from its.commands.hub import _licences
from its.commands.publication import MANIFEST, file_differences, read_manifest, write_manifest
from its.commands.published_models import model_card
from its.commands.published_secrets import secret_faults
from its.errors import Fault, ItsError
from its.stages.report import summary
from its.study.study import Study, load_study

Its = Callable[..., tuple[int, str, str]]
CHECKPOINT = "smollm2_135m-arithmetic-random-1"
TOKEN = "hf_" + "Qw3" * 12
ABOUT: dict[str, Any] = {"its": "1", "recipe": "r", "grader_version": "1", "commit": None, "weights": False}


def _replace(path: Path, pattern: str, new: str) -> None:
    """Change the first match in a file, and nothing else."""
    text = path.read_text(encoding="utf-8")
    changed = re.sub(pattern, new, text, count=1)
    assert changed != text
    path.write_text(changed, encoding="utf-8")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """The client of the hub speaks with a stand-in, and nobody is logged in."""
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with FakeHub() as opened:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", opened.url)
        yield opened


def _goes_to_the_hub(study: Study, its: Its, out: Path, hub: FakeHub) -> None:
    """Upload a publication: refused before anything is there, whole, then only what changed."""
    words = ("publish", str(out), "--hub", "me")
    code, printed, _ = its(*words, "--dry-run", "--json")
    planned = [f"{item['kind']}s/{item['repository']}" for item in json.loads(printed)["hub"]]
    assert code == 0 and all(item["commit"] is None for item in json.loads(printed)["hub"])
    code, _, err = its(*words)
    assert code == 4 and "hf auth login" in err
    Path(huggingface_hub.constants.HF_TOKEN_PATH).write_text(TOKEN, encoding="utf-8")
    name = f"datasets/me/{study.recipe.recipe}"
    foreign = hub.repos[f"{name}-arithmetic"] = Repo(True, ["initial commit", "My data"], {"a.csv": b""})
    seen = hub.repos[f"models/me/{study.recipe.recipe}-{CHECKPOINT}"] = Repo(private=False)
    code, _, err = its(*words)
    assert code == 3 and "no commit in it is of `its publish`" in err and "is public, and `--public` was not" in err
    assert list(hub.repos.values()) == [foreign, seen] and not foreign.sent and not seen.sent
    hub.repos.clear()
    hub.refuse = "create"
    code, printed, err = its(*words)
    assert code == 1 and not printed and "*** has no rights here" in err and TOKEN not in err and not hub.repos
    hub.refuse = None

    code, printed, err = its(*words)
    assert code == 0 and TOKEN not in printed + err
    assert sorted(hub.repos) == sorted(planned) and all(repo.private for repo in hub.repos.values())
    folders = {name: out} | {f"{name}-{path.name}": path for path in (out / "datasets").iterdir()}
    folders |= {f"models/me/{study.recipe.recipe}-{path.name}": path for path in (out / "models").iterdir()}
    assert folders.keys() == hub.repos.keys()
    for key, folder in folders.items():
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        assert hub.repos[key].files == {".gitattributes": b"", **files}, key

    hub.repos[name].files["old.txt"] = b""
    hub.repos[f"{name}-arithmetic"].files["README.md"] = b"changed there"
    assert its(*words)[0] == 0
    sent = {key: repo.sent[1:] for key, repo in hub.repos.items() if repo.sent[1:]}
    assert sent == {name: [["old.txt"]], f"{name}-arithmetic": [["README.md"]]}

    report = study.results("report.html")
    text = report.read_text(encoding="utf-8")
    report.write_text(f"{text} ", encoding="utf-8")
    code, _, err = its(*words)
    assert code == 3 and "is not a publication of the study as it is now" in err and "results/report.html" in err
    report.write_text(text, encoding="utf-8")
    assert its("publish", str(out), "--hub", "me/you", "--dry-run")[0] == 3
    assert its("publish", str(out), "--public")[0] == 2


def test_a_licence_that_forbids_it_keeps_a_study_from_the_hub(project: Path, hub: FakeHub) -> None:
    (project / "params.yaml").write_bytes((project / "recipes" / "instructions.yaml").read_bytes())
    study = load_study(project)
    for name in ("models/Qwen/Qwen3-0.6B", "datasets/HuggingFaceH4/MATH-500", "datasets/MathArena/aime_2024_I"):
        hub.repos[name] = Repo(private=False, card={"license": "mit"})
    part = hub.repos["datasets/MathArena/aime_2024_II"] = Repo(private=False)
    data = hub.repos["datasets/GAIR/LIMO"] = Repo(private=False)
    api = huggingface_hub.HfApi(token=TOKEN)
    for licence, refused, noted in (
        ("apache-2.0", 0, 0),
        ("cc-by-nc-nd-4.0", 2, 0),
        (["mit", "cc-by-nd-3.0"], 2, 0),
        ("other", 0, 2),
        (None, 0, 2),
    ):
        part.card = data.card = {"license": licence}
        told = list(_licences(api, TOKEN, study))
        faults = [item for item in told if isinstance(item, Fault)]
        notes = [item for item in told if not isinstance(item, Fault)]
        assert (len(faults), len(notes)) == (refused, noted), (licence, faults, notes)
        assert not faults or "forbids to share" in faults[0].message


def test_licences_of_the_recipe_come_before_those_of_the_hub(project: Path, hub: FakeHub) -> None:
    text = (project / "recipes" / "instructions.yaml").read_text(encoding="utf-8")
    for name in ("models/Qwen/Qwen3-0.6B", "datasets/HuggingFaceH4/MATH-500", "datasets/GAIR/LIMO"):
        hub.repos[name] = Repo(private=False)  # the hub states nothing
    for part in ("I", "II"):
        hub.repos[f"datasets/MathArena/aime_2024_{part}"] = Repo(private=False, card={"license": "mit"})
    api = huggingface_hub.HfApi(token=TOKEN)

    def told(licence: str | None, name: str) -> list[Any]:
        stated = "" if licence is None else f"    licence: {licence}\n"
        changed = re.sub(rf"^  {name}:.*\n", lambda found: found[0] + stated, text, flags=re.MULTILINE)
        assert licence is None or changed != text
        (project / "params.yaml").write_text(changed, encoding="utf-8")
        return list(_licences(api, TOKEN, load_study(project)))

    before = told(None, "limo_90")
    assert len(before) == 3 and not any(isinstance(item, Fault) for item in before)
    for name in ("limo_90", "qwen3_0_6b"):
        assert len(told("apache-2.0", name)) == 2
        assert len(told("other", name)) == 3
        for licence in ("cc-by-nd-4.0", "cc-by-nc-nd-3.0-igo", "cc-by-nd-2.1-jp", "no-derivatives"):
            (fault,) = (item for item in told(licence, name) if isinstance(item, Fault))
            assert fault.where == f"`{name}`" and "by the recipe, forbids to share" in fault.message


def test_a_publication_verifies_and_every_change_is_named(study: Study, its: Its, tmp_path: Path, hub: FakeHub) -> None:
    out = tmp_path / "out"
    results = study.results("cells.json")
    right = results.read_text(encoding="utf-8")
    _replace(results, r'"prompt_tokens": \d', '"prompt_tokens": 9')
    code, _, err = its("publish", str(out))
    assert code == 3 and "study/results/cells.json: cells[0].prompt_tokens: is 9" in err, "stale results stop it"
    results.write_text(right, encoding="utf-8")
    row = study.verdicts_path(*study.cells()[0])
    row.rename(row.with_suffix(".away"))
    code, _, err = its("publish", str(out), "--dry-run")
    assert code == 3 and f"{row.relative_to(study.project)}: no such file" in err
    row.with_suffix(".away").rename(row)
    card = study.card_path("arithmetic").with_name("card.md")
    told = card.read_text(encoding="utf-8")
    key = "hf_" + "a1" * 15
    card.write_text(f"{told}{key}\n", encoding="utf-8")
    code, _, err = its("publish", str(out))
    assert code == 3 and f"card.md:{len(told.splitlines()) + 1}: looks like a key" in err and key not in err
    card.write_text(told, encoding="utf-8")
    assert not [path.name for path in tmp_path.iterdir() if "out" in path.name], "nothing is left of what was refused"

    trained = study.project / "models" / CHECKPOINT
    (trained / "README.md").write_text("the trainer's own", encoding="utf-8")
    code, printed, _ = its("publish", str(out), "--link", "--json")
    assert (trained / "README.md").read_text(encoding="utf-8") == "the trainer's own"
    done = json.loads(printed)
    assert code == 0 and set(done["files"]) == {
        path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()
    }
    assert its("publish", str(out))[0] == 3, "an existing folder is not overwritten"
    assert (out / "models" / CHECKPOINT / "model.safetensors").samefile(trained / "model.safetensors")
    model = (out / "models" / CHECKPOINT / "README.md").read_text(encoding="utf-8")
    template = (study.project / "recipes" / "prompts" / "query_persona_first.j2").read_text(encoding="utf-8")
    for part in (template.strip(), "| this | arithmetic_test | random |", "You are a potter who likes the rain."):
        assert part in model
    assert (
        "The licence of the base model applies; ITS does not know it." in model
        and "license" not in model.split("---")[1]
    )
    stated = {name: item.model_copy(update={"licence": "mit"}) for name, item in study.recipe.models.items()}
    licensed = Study(study.project, study.recipe.model_copy(update={"models": stated}))
    checkpoint = next(item for item in study.checkpoints() if item.name == CHECKPOINT)
    told = model_card(licensed, checkpoint, summary(study), [])
    assert "the recipe states `mit`." in told and "\nlicense: mit\n" in told.split("---")[1]

    code, printed, _ = its("verify", str(out), "--json")
    found = json.loads(printed)
    assert code == 0 and found["agrees"] and found["manifest_sha256"] == done["manifest_sha256"]
    counts = [found[name] for name in ("queries", "responses", "verdicts")]
    assert counts == [15, 54, 54] and found["numbers"] > 500

    _goes_to_the_hub(study, its, out, hub)

    rows = out / "study" / "data"
    _replace(rows / "verdicts" / CHECKPOINT / "arithmetic_test" / "none.jsonl", "incorrect|no_answer", "correct")
    code, printed, _ = its("verify", str(out), "--json")
    places = {item["where"] for item in json.loads(printed)["differences"]}
    one = f"study/data/verdicts/{CHECKPOINT}/arithmetic_test/none.jsonl"
    assert code == 1 and places == {one, f"{one}:1"}, "a changed file, and the row in it"

    _replace(rows / "responses" / "smollm2_135m-base" / "arithmetic_test" / "none.jsonl", '"text":"', '"text":"7')
    _replace(rows / "queries" / "test" / "arithmetic_test" / "random.jsonl", r'"content":"', '"content":"7')
    _replace(rows / "responses" / "sessions.json", r'"engine": "', '"engine": "x')
    _replace(out / "study" / "results" / "votes.json", r'"accuracy": 0\.\d', '"accuracy": 0.9')
    _replace(out / "study" / "results" / "plots" / "cells.csv", r"0\.33333", "0.43333")
    (out / MANIFEST).unlink()
    manifest = {name: found[name] for name in ("its", "recipe")}
    write_manifest(out, **ABOUT | manifest | {"grader_version": "0"})
    code, printed, _ = its("verify", str(out))
    assert code == 1
    for place in (
        "differs: manifest.json: graded by grader 0",
        f"differs: {one}:1: `verdict` is 'correct'",
        "differs: study/data/responses/smollm2_135m-base/arithmetic_test/none.jsonl:1: `text` is '7",
        "differs: study/data/queries/test/arithmetic_test/random.jsonl:1: `messages`",
        f"differs: study/data/responses/{CHECKPOINT}/arithmetic_test/random.jsonl:1: the export has no response",
        "differs: study/data/responses/sessions.json: smollm2_135m-base.engine: is 'x",
        "differs: study/results/votes.json: votes[0].accuracy: is 0.9",
        "differs: study/results/plots/cells.csv: [",
    ):
        assert place in printed, place
    assert str(tmp_path) not in printed.replace(str(out), "")

    _replace(rows / "responses" / "sessions.json", r"\{", "[{")
    (out / "study" / "params.yaml").write_text("recipe_version: 1\nseed: x\n", encoding="utf-8")
    code, printed, err = its("verify", str(out))
    assert code == 1 and "differs: study/params.yaml: has" in printed and "the recipe is invalid" in printed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "out"
    (made / "study").mkdir(parents=True)
    (made / "study" / "a.txt").write_text("a", encoding="utf-8")
    (made / "b.txt").write_text("b", encoding="utf-8")
    write_manifest(made, **ABOUT)
    return made


def test_files_are_those_of_the_manifest(folder: Path) -> None:
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("x", encoding="utf-8")
    assert file_differences(folder, read_manifest(folder)[0]) == ([], True)
    (folder / "b.txt").write_text("c", encoding="utf-8")
    (folder / "more").write_text("", encoding="utf-8")
    found, readable = file_differences(folder, read_manifest(folder)[0])
    assert readable and [item.where for item in found] == ["more", "b.txt"] and "SHA-256" in found[1].what


def _link(folder: Path) -> None:
    (folder / "b.txt").unlink()
    (folder / "b.txt").symlink_to("/etc/hostname")


def _link_folder(folder: Path) -> None:
    (folder / "study" / "a.txt").unlink()
    (folder / "study").rmdir()
    (folder / "study").symlink_to("/etc")


def _pipe(folder: Path) -> None:
    (folder / "b.txt").unlink()
    os.mkfifo(folder / "b.txt")


def _huge(folder: Path) -> None:
    os.truncate(folder / "b.txt", 2**40)


def _extra_link(folder: Path) -> None:
    (folder / "loop").symlink_to(".")


@pytest.mark.parametrize("change", [_link, _link_folder, _pipe, _huge, _extra_link])
def test_nothing_is_read_from_a_folder_with_links_pipes_or_grown_files(
    folder: Path, change: Callable[[Path], None], its: Its
) -> None:
    change(folder)
    code, out, err = its("verify", str(folder))
    assert (code, err) == (1, "") and "not done: rows and results" in out


FILE = {"path": "b.txt", "bytes": 1, "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff", "not UTF-8"),
        (b"[" * 100_000, "broken JSON"),
        (b"[]", "`format` is not"),
        ({"format": "zip"}, "`format` is not"),
        ({"version": True}, "`version` is true"),
        ({"version": 2}, "`version` is 2"),
        ({"commit": 3}, "`commit`"),
        ({"more": 1}, "`more`"),
        ({"files": [FILE, FILE]}, "listed twice"),
        *(
            ({"files": [FILE | {"path": path}]}, "is not a path in the folder")
            for path in ("../b", "/b", "a//b", "./b")
        ),
        ({"files": [FILE | {"path": "a\0"}]}, "is not a path in the folder"),
        ({"files": [FILE | {"path": MANIFEST}]}, "the manifest itself"),
        ({"files": [FILE | {"bytes": -1}]}, "`files.0.bytes`"),
        ({"files": [FILE | {"sha256": "x"}]}, "`files.0.sha256`"),
    ],
)
def test_a_wrong_manifest_is_one_error(folder: Path, content: Any, said: str, its: Its) -> None:
    path = folder / MANIFEST
    if isinstance(content, dict):
        value = json.loads(path.read_text(encoding="utf-8"))
        content = json.dumps(value | content).encode()
    path.write_bytes(content)
    code, out, err = its("verify", str(folder))
    assert code == 3 and not out and said in err and "\0" not in err


def test_what_is_not_a_publication_is_one_error(tmp_path: Path, folder: Path, its: Its) -> None:
    assert its("verify", str(tmp_path / "none"))[0] == 4
    assert its("verify", str(tmp_path))[0] == 4
    assert its("verify", str(folder / "b.txt"))[0] == 4
    (folder / MANIFEST).unlink()
    (folder / MANIFEST).symlink_to("/etc/hostname")
    assert its("verify", str(folder))[0] == 3


KEY = "hf_" + "Zx9" * 10


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("a.md", f"one\ntwo {KEY}\n", "f:2"),
        ("a.jsonl", json.dumps({"text": "x"}) + "\n" + json.dumps({"text": f"x\n{KEY}"}) + "\n", "f:2"),
        ("a.json", json.dumps({"a": [{"b": f"x\n{KEY}"}]}, indent=2), "f: a.0.b"),
        ("a.json", '{"api_key": "k3y-with-digits-42"}', "f:1"),
        ("a.jsonl.zst", json.dumps({"text": f"\n{KEY}"}) + "\n", "f:1"),
        ("a.jsonl", '{"request_key": "' + "0a" * 32 + '"}\n', None),
        ("a.json", '{"eos_token": "<|im_end|>", "text": "token=<answer>"}', None),
        ("a.jsonl", "[" * 5000 + "\\\n", None),
    ],
)
def test_secrets_are_found_where_they_are_and_not_quoted(
    tmp_path: Path, name: str, content: str, place: str | None
) -> None:
    raw = content.encode()
    (tmp_path / name).write_bytes(zstandard.compress(raw) if name.endswith(".zst") else raw)
    found = list(secret_faults(tmp_path / name, "f"))
    assert [fault.where for fault in found] == ([] if place is None else [place])
    assert KEY not in str(found)


def test_a_manifest_lists_no_more_files_than_are_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("its.commands.publication.MAX_FILES", 2)
    with pytest.raises(ItsError, match="more than 2 files"):
        write_manifest(folder, **ABOUT)
