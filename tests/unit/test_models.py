"""Which models share an engine, what a fingerprint hears, and what makes a checkpoint an adapter."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from its.engines.protocol import EngineModel
from its.errors import DataError, MissingError
from its.files import file_sha256
from its.models import REMEMBERED_BYTES, SOUND_FILE, folder_fingerprint, ready_model, swap_group, trained_model
from its.recipe.schema import Model

DECLARED = Model.model_validate(
    {
        "source": {"kind": "folder", "path": "m"},
        "dtype": "bfloat16",
        "context_length": 64,
        "special_tokens": {"eos": "e", "pad": "e"},
    }
)
CONFIG = {"hidden_size": 8, "dtype": "bfloat16", "transformers_version": "5", "use_cache": True, "eos_token_id": 2}


def _model(folder: Path, **change: Any) -> Path:
    """A folder as a saver leaves it; `change` maps a file to its content."""
    folder.mkdir()
    files: dict[str, Any] = {
        "config.json": CONFIG,
        "generation_config.json": {"eos_token_id": 2},
        "tokenizer_config.json": {"eos_token": "e", "is_local": True},
        "tokenizer.json": {"model": {}},
    }
    for name, content in {**files, **{key.replace("__", "."): value for key, value in change.items()}}.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    "change",
    [
        {"config__json": {**CONFIG, "dtype": "float32", "transformers_version": "6", "use_cache": False}},
        {"generation_config__json": {"eos_token_id": [2], "do_sample": True}},
        {"tokenizer_config__json": {"eos_token": "e", "is_local": False}},
    ],
    ids=["what a saver writes beside", "one end of turn as a list", "where a tokenizer came from"],
)
def test_what_a_saver_changes_keeps_models_together(tmp_path: Path, change: dict[str, Any]) -> None:
    assert swap_group(_model(tmp_path / "a")) == swap_group(_model(tmp_path / "b", **change))


@pytest.mark.parametrize(
    "change",
    [
        {"config__json": {**CONFIG, "hidden_size": 16}},
        {"config__json": {**CONFIG, "tie_word_embeddings": False}},
        {"generation_config__json": {"eos_token_id": [2, 3]}},
        {"tokenizer__json": {"model": {"vocab": {}}}},
        {"tokenizer_config__json": {"eos_token": "other"}},
        {"chat_template__jinja": "{{ messages }}"},
    ],
    ids=["architecture", "tied embeddings", "ends of turn", "vocabulary", "special tokens", "template"],
)
def test_what_an_engine_takes_from_its_first_model_parts_them(tmp_path: Path, change: dict[str, Any]) -> None:
    assert swap_group(_model(tmp_path / "a")) != swap_group(_model(tmp_path / "b", **change))


def test_a_fingerprint_hears_every_file_and_its_name(tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = folder_fingerprint(_model(tmp_path / "a"), home)
    assert first == folder_fingerprint(_model(tmp_path / "b", its_parity__json={}, notes__md="x"), home)
    for number, change in enumerate([{"model__safetensors": "w"}, {"chat_template__jinja": "t"}, {"config__json": {}}]):
        assert folder_fingerprint(_model(tmp_path / str(number), **change), home) != first


def test_large_files_are_hashed_once_and_again_after_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, folder = tmp_path / "home", _model(tmp_path / "a")
    weights = folder / "model.safetensors"
    weights.write_bytes(b"1" * REMEMBERED_BYTES)
    first = folder_fingerprint(folder, home)
    with monkeypatch.context() as patch:
        patch.setattr("its.models.hashlib.file_digest", _refuse_large)
        assert folder_fingerprint(folder, home) == first
    facts = weights.stat()
    weights.write_bytes(b"2" * REMEMBERED_BYTES)
    os.utime(weights, ns=(facts.st_atime_ns, facts.st_mtime_ns))  # as `touch -r` or an unpacked archive leaves it
    assert folder_fingerprint(folder, home) != first


def _refuse_large(content: Any, name: str) -> Any:
    import hashlib

    data = content.read()
    assert len(data) < REMEMBERED_BYTES, "a large file is hashed again"
    return hashlib.new(name, data)


def test_an_adapter_stands_on_its_base(tmp_path: Path) -> None:
    base = EngineModel("b", "path/of/b", "f-b", "bfloat16", 64, group="g")
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"r": 8}', encoding="utf-8")
    _found_sound(folder, "adapter_model.safetensors")
    adapted = trained_model("c", folder, lambda: base, DECLARED, tmp_path / "home")
    assert (adapted.name, adapted.path, adapted.adapter) == ("c", "path/of/b", str(folder.resolve()))
    assert adapted.fingerprint.startswith("f-b + sha256:")
    other = trained_model("c", folder, lambda: replace(base, fingerprint="f-o"), DECLARED, tmp_path / "home")
    assert other.fingerprint != adapted.fingerprint


def _found_sound(folder: Path, name: str = "model.safetensors") -> Path:
    """Weights, and the account that training leaves of them."""
    (folder / name).write_bytes(b"weights")
    account = {"files": {name: {"bytes": 7, "sha256": file_sha256(folder / name)}}}
    (folder / SOUND_FILE).write_text(json.dumps(account), encoding="utf-8")
    return folder


def _load(folder: Path, home: Path) -> EngineModel:
    return trained_model("c", folder, lambda: pytest.fail("no adapter"), DECLARED, home)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / SOUND_FILE).unlink(), "nothing says that this training was sound"),
        (lambda folder: (folder / SOUND_FILE).write_text("{}"), "names no files of weights"),
        (lambda folder: (folder / SOUND_FILE).write_text('{"files": {"model.safetensors": 7}}'), "names no files"),
        (lambda folder: (folder / SOUND_FILE).write_text("[]"), "names no files of weights"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"weighty"), "is not what was found sound"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"weight"), "is not what was found sound"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no such file"),
        (lambda folder: (folder / "extra.safetensors").write_bytes(b"w"), "is not what was found sound"),
        (lambda folder: (folder / "pytorch_model.bin").write_bytes(b"w"), "is not what was found sound"),
    ],
)
def test_weights_that_were_not_found_sound_are_not_served(
    tmp_path: Path, spoil: Callable[[Path], Any], message: str
) -> None:
    folder = _found_sound(_model(tmp_path / "m"))
    assert _load(folder, tmp_path / "home").fingerprint == folder_fingerprint(folder, tmp_path / "home")
    spoil(folder)
    with pytest.raises(DataError, match=message) as caught:
        _load(folder, tmp_path / "home")
    assert "dvc repro train" in str(caught.value.hint)


def test_a_checkpoint_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no trained model") as caught:
        trained_model("c", tmp_path / "none", lambda: pytest.fail("no adapter"), DECLARED, tmp_path / "home")
    assert "dvc repro train" in str(caught.value.hint)


def test_a_replay_makes_no_model(tmp_path: Path) -> None:
    wheel = {"kind": "wheel", "package": "p", "version": "1", "file": "f.gguf", "sha256": "0" * 64}
    model = Model.model_validate({**DECLARED.model_dump(), "source": wheel})
    with pytest.raises(MissingError, match="was not converted here"):
        ready_model("m", model, tmp_path, tmp_path / "home", print, make=False)
