"""Evaluation logs of others as their programs write them: versions of lm-eval and Inspect, packed files."""

from __future__ import annotations

import gzip
import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
import zstandard

from its.commands.foreign_scores import file_scores
from its.commands.pair_up import pair_up
from its.errors import ItsError

ZSTD = 93


def sample(number: int, **more: Any) -> dict[str, Any]:
    """A sample of Inspect with the keys of 0.3.285 that matter here; a scorer's value is `C` unless given."""
    return {
        "id": number,
        "epoch": 1,
        "input": f"problem {number}",
        "target": "1",
        "messages": [{"role": "user", "content": f"problem {number}"}],
        "scores": {"match": {"value": "C", "answer": "1", "history": []}},
        "events": [],
        "attachments": {},
        **more,
    }


def header(**config: Any) -> dict[str, Any]:
    spec = {"task": "sums", "model": "mockllm/model", "model_args": {"api_key": "secret"}, "config": config}
    return {"version": 2, "status": "success", "eval": spec, "plan": {}, "results": {}, "stats": {}}


def eval_log(path: Path, samples: list[dict[str, Any]], **config: Any) -> Path:
    """A `.eval` file as Inspect 0.3.285 writes it: zstd in frames, with summaries, a journal and reductions."""
    entries: dict[str, Any] = {"_journal/start.json": {"version": 2, "eval": header(**config)["eval"], "plan": {}}}
    entries |= {f"samples/{item['id']}_epoch_{item['epoch']}.json": item for item in samples}
    entries |= {"_journal/summaries/1.json": [], "summaries.json": [], "reductions.json": []}
    zstd_zip(path, {name: json.dumps(value).encode() for name, value in entries.items()})
    return path


def zstd_zip(path: Path, entries: dict[str, bytes], frames: int = 2) -> None:
    """Write a zip whose entries are packed by zstd, which Python's `zipfile` cannot write before 3.14."""
    packed = {
        name: b"".join(
            zstandard.compress(content[len(content) * place // frames : len(content) * (place + 1) // frames])
            for place in range(frames)
        )
        for name, content in entries.items()
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in packed.items():
            archive.writestr(name, content)
        places = {item.filename: item.header_offset for item in archive.infolist()}
        start = archive.start_dir
    data = bytearray(path.read_bytes())
    at = start
    for name, content in entries.items():  # the method, the checksum and the size of what was packed
        for place, begin in ((places[name], 8), (at, 10)):
            struct.pack_into("<H", data, place + begin, ZSTD)
            struct.pack_into("<I", data, place + begin + 6, zlib.crc32(content))
            struct.pack_into("<I", data, place + begin + 14, len(content))
        at += 46 + len(name.encode())
    path.write_bytes(data)


def rows(count: int, **more: Any) -> list[dict[str, Any]]:
    """Samples of lm-eval without filter and metrics, as its versions of 2023 wrote them."""
    return [
        {
            "doc_id": number,
            "doc": {"question": f"problem {number}", "answer": "#### 1"},
            "target": "#### 1",
            "arguments": [[f"problem {number}", {"until": ["\n"]}]],
            "resps": [["1"]],
            "filtered_resps": ["1"],
            **more,
        }
        for number in range(count)
    ]


def lines(path: Path, values: list[Any], pack: bool = False) -> Path:
    content = "".join(json.dumps(value) + "\n" for value in values).encode()
    path.write_bytes(gzip.compress(content) if pack else content)
    return path


def test_an_inspect_log_packed_by_zstd(tmp_path: Path) -> None:
    several = [sample(number, epoch=epoch) for number in range(3) for epoch in (1, 2)]
    several[1]["scores"]["match"]["value"] = "I"
    path = eval_log(tmp_path / "log.eval", several, epochs=2, epochs_reducer=["mode"])
    found = file_scores(path)
    assert found.scores == {"0": [1.0, 0.0], "1": [1.0, 1.0], "2": [1.0, 1.0]}
    assert found.texts["0"] == "problem 0" and found.graders == ["inspect match"]
    assert found.settings["config.epochs"] == "2" and "secret" not in str(found.settings)
    assert len(found.notes) == 2 and "its status is started" in found.notes[0] and "by mode" in found.notes[1]


def test_samples_that_inspect_did_not_score_are_left_out_and_counted(tmp_path: Path) -> None:
    several = [
        sample(0),
        sample(1, scores={"match": {"value": float("nan"), "history": []}}),
        sample(2, scores={}),
        sample(3, scores=None, error={"message": "no answer"}),
        sample(4, invalidation={"author": "x"}),
        sample(5, scores={"match": {"value": "N"}}),
    ]
    path = tmp_path / "log.json"
    path.write_text(json.dumps({**header(), "samples": several}), encoding="utf-8")
    found = file_scores(path)
    assert found.scores == {"0": [1.0], "4": [1.0], "5": [0.0]}
    assert [note.partition(": ")[2] for note in found.notes] == [
        "2 of 6 responses without a score are left out",
        "1 of 6 responses with an error are left out",
        "1 of 6 responses are marked as invalid; they are counted",
    ]


def test_a_scorer_with_several_values_is_named_with_its_key(tmp_path: Path) -> None:
    path = eval_log(tmp_path / "log.eval", [sample(0, scores={"quiz": {"value": {"right": "C", "style": 0.25}}})])
    with pytest.raises(ItsError, match=r"2 scorers: `quiz\.right`, `quiz\.style`"):
        file_scores(path)
    assert file_scores(path, metric="quiz.style").scores == {"0": [0.25]}


def test_a_log_whose_samples_are_in_parts_is_refused_with_a_way_out(tmp_path: Path) -> None:
    content = {"header.json": b'{"version": 3}', "samples/1_epoch_1/sample.json": b'{"id": 1}'}
    zstd_zip(tmp_path / "log.eval", content)
    with pytest.raises(ItsError, match="log format 3") as error:
        file_scores(tmp_path / "log.eval")
    assert "--to json" in str(error.value.hint)


@pytest.mark.parametrize("name", ["old.jsonl", "old.json"])
def test_the_first_samples_of_lm_eval_are_one_array(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(json.dumps(rows(3, acc=True, acc_norm=0.0, bits=3), indent=2), encoding="utf-8")
    found = file_scores(path, metric="acc")
    assert found.name.endswith("(acc, filter none)") and found.scores == {str(n): [1.0] for n in range(3)}
    with pytest.raises(ItsError, match=r"\[0\]: `bits`: 3 is not a score"):
        file_scores(path, metric="bits")


def test_filters_that_rows_do_not_name_are_numbered(tmp_path: Path) -> None:
    path = lines(tmp_path / "s.jsonl", [*rows(2, exact_match=0.0), *rows(2, exact_match=1.0)])
    with pytest.raises(ItsError, match="2 filters: `unnamed-1`, `unnamed-2`"):
        file_scores(path)
    assert file_scores(path, "unnamed-2").scores == {"0": [1.0], "1": [1.0]}


def test_a_text_that_lm_eval_writes_for_a_value_of_numpy_is_a_score(tmp_path: Path) -> None:
    several = rows(3, filter="none", metrics=["acc"])
    for row, value in zip(several, ("True", "False", "0.5"), strict=True):
        row["acc"] = value
    assert file_scores(lines(tmp_path / "s.jsonl", several)).scores == {"0": [1.0], "1": [0.0], "2": [0.5]}


def test_a_packed_file_is_the_same_as_the_plain_one(tmp_path: Path) -> None:
    several = rows(3, filter="none", metrics=["acc"], acc=1.0)
    plain = file_scores(lines(tmp_path / "s.jsonl", several))
    packed = file_scores(lines(tmp_path / "s.jsonl.gz", several, pack=True))
    assert plain.scores == packed.scores and len(pair_up(plain, packed).pairs) == 3
    content = json.dumps({**header(), "samples": [sample(0)]}).encode()
    (tmp_path / "log.json.zst").write_bytes(zstandard.compress(content))
    assert file_scores(tmp_path / "log.json.zst").scores == {"0": [1.0]}


@pytest.mark.parametrize(
    ("document", "message", "hint"),
    [
        ({"results": {"gsm8k": {}}, "configs": {}}, "a summary of lm-eval", "samples_TASK_DATE.jsonl"),
        ({"samples": {"a": [], "b": []}}, "the samples of 2 tasks", "one task"),
        ({"samples": [], "version": 2}, "none of 0 samples has a score", "inspect score"),
    ],
)
def test_another_file_of_the_same_program_is_told(tmp_path: Path, document: Any, message: str, hint: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(ItsError, match=message) as error:
        file_scores(tmp_path / "a.json")
    assert hint in str(error.value.hint)


def test_what_simple_evaluate_returns_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"results": {}, "samples": {"t": rows(2, acc=1)}}), encoding="utf-8")
    assert file_scores(tmp_path / "a.json").scores == {"0": [1.0], "1": [1.0]}
