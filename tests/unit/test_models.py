"""Which models share an engine, what a fingerprint hears, and what makes a checkpoint an adapter."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from its.engines.protocol import EngineModel
from its.errors import DataError, FaultsError, MissingError
from its.files import file_sha256
from its.model_files import final_template
from its.models import (
    REMEMBERED_BYTES,
    SOUND_FILE,
    UNCHANGED_CONVERSIONS,
    folder_fingerprint,
    ready_model,
    swap_group,
    trained_model,
)
from its.prompts.clock import pinned_template
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
    changes: list[dict[str, Any]] = [{"model__safetensors": "w"}, {"chat_template__jinja": "t"}, {"config__json": {}}]
    for number, change in enumerate(changes):
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
    adapted = trained_model("c", folder, lambda: base, DECLARED, tmp_path / "home", tmp_path)
    assert (adapted.name, adapted.path, adapted.adapter) == ("c", "path/of/b", str(folder.resolve()))
    assert adapted.fingerprint.startswith("f-b + sha256:")
    other = trained_model("c", folder, lambda: replace(base, fingerprint="f-o"), DECLARED, tmp_path / "home", tmp_path)
    assert other.fingerprint != adapted.fingerprint


def _found_sound(folder: Path, name: str = "model.safetensors") -> Path:
    """Weights, and the account that training leaves of them."""
    (folder / name).write_bytes(b"weights")
    account = {"files": {name: {"bytes": 7, "sha256": file_sha256(folder / name)}}}
    (folder / SOUND_FILE).write_text(json.dumps(account), encoding="utf-8")
    return folder


def _load(folder: Path, home: Path) -> EngineModel:
    return trained_model("c", folder, lambda: pytest.fail("no adapter"), DECLARED, home, home.parent)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / SOUND_FILE).unlink(), "the results of the check after training"),
        (lambda folder: (folder / SOUND_FILE).write_text("{}"), "names no files of weights"),
        (lambda folder: (folder / SOUND_FILE).write_text('{"files": {"model.safetensors": 7}}'), "names no files"),
        (lambda folder: (folder / SOUND_FILE).write_text("[]"), "names no files of weights"),
        (
            lambda folder: (folder / "model.safetensors").write_bytes(b"weighty"),
            "differs from the file",
        ),
        (
            lambda folder: (folder / "model.safetensors").write_bytes(b"weight"),
            "differs from the file",
        ),
        (lambda folder: (folder / "model.safetensors").unlink(), "no such file"),
        (lambda folder: (folder / "extra.safetensors").write_bytes(b"w"), "differs from the file"),
        (lambda folder: (folder / "pytorch_model.bin").write_bytes(b"w"), "differs from the file"),
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
        trained_model("c", tmp_path / "none", lambda: pytest.fail("no adapter"), DECLARED, tmp_path / "home", tmp_path)
    assert "dvc repro train" in str(caught.value.hint)


def test_a_replay_makes_no_model(tmp_path: Path) -> None:
    # The hash of SmolLM2, whose conversion is the same in every version.
    (sha256,) = UNCHANGED_CONVERSIONS
    wheel = {"kind": "wheel", "package": "p", "version": "1", "file": "f.gguf", "sha256": sha256}
    model = Model.model_validate({**DECLARED.model_dump(), "source": wheel})
    with pytest.raises(MissingError, match="has not been converted yet"):
        ready_model("m", model, tmp_path, tmp_path / "home", print, make=False)


# Chat templates: what a model comes with, what the recipe puts in its place, and the date.

TODAY = "{{ strftime_now('%d %b %Y') }}{% for m in messages %}{{ m.content }}{% endfor %}"
PLAIN = "{% for m in messages %}{{ m.content }}{% endfor %}"


def _ready(tmp_path: Path, files: dict[str, Any], **declared: Any) -> EngineModel:
    if not (tmp_path / "m").is_dir():
        _model(tmp_path / "m", **files)
    model = Model.model_validate({**DECLARED.model_dump(exclude_none=True), **declared})
    return ready_model("m", model, tmp_path, tmp_path / "home", lambda text: None)


OWN = {
    "file": {"chat_template__jinja": TODAY},
    "tokenizer": {"tokenizer_config__json": {"chat_template": TODAY}},
    "one of several": {"tokenizer_config__json": {"chat_template": [{"name": "default", "template": TODAY}]}},
}


@pytest.mark.parametrize("files", OWN.values(), ids=OWN)
def test_a_model_whose_own_template_asks_for_the_day_is_refused(tmp_path: Path, files: dict[str, Any]) -> None:
    with pytest.raises(FaultsError, match=r"^the chat template of `m`:1: the chat template writes today's date"):
        _ready(tmp_path, files)
    pinned = _ready(tmp_path, files, date="2025-01-31")
    assert pinned.chat_template is not None and "31 Jan 2025" in pinned.chat_template
    assert "+ template sha256:" in pinned.fingerprint
    other = _ready(tmp_path, files, date="2025-02-01")
    assert other.fingerprint != pinned.fingerprint and other.group != pinned.group


def test_what_a_server_renders_is_not_known_and_not_guessed(tmp_path: Path) -> None:
    _model(tmp_path / "m", chat_template__jinja=TODAY)
    found = ready_model("m", DECLARED, tmp_path, tmp_path / "home", lambda text: None, rendered=False)
    assert found.chat_template is None


def test_a_declared_template_stands_in_for_the_own_one_of_any_model(tmp_path: Path) -> None:
    (tmp_path / "recipes" / "prompts").mkdir(parents=True)
    (tmp_path / "recipes" / "prompts" / "c.jinja").write_text(PLAIN, encoding="utf-8")
    found = _ready(tmp_path, {"chat_template__jinja": TODAY}, chat_template="prompts/c.jinja")
    assert found.chat_template == PLAIN
    # A model trained with it has it in its folder: one engine serves both, and each request says the template.
    folder = _found_sound(_model(tmp_path / "t", chat_template__jinja=PLAIN))
    trained = trained_model("t", folder, lambda: found, DECLARED, tmp_path / "home", tmp_path)
    assert (trained.group, trained.chat_template) == (found.group, PLAIN)
    with pytest.raises(FaultsError, match="does not use a date"):
        _ready(tmp_path, {}, chat_template="prompts/c.jinja", date="2025-01-31")


def test_a_model_without_a_clock_is_known_as_before(tmp_path: Path) -> None:
    found = _ready(tmp_path, {"chat_template__jinja": PLAIN})
    assert found.chat_template is None
    assert found.fingerprint == folder_fingerprint(tmp_path / "m", tmp_path / "home")


def test_a_trained_model_whose_template_asks_for_the_day_is_refused(tmp_path: Path) -> None:
    folder = _found_sound(_model(tmp_path / "t", chat_template__jinja=TODAY))
    with pytest.raises(FaultsError, match="writes today's date"):
        trained_model("t", folder, pytest.fail, DECLARED, tmp_path / "home", tmp_path)


class FakeHub:
    """huggingface_hub at the call that fetches one file of a model."""

    def __init__(self, files: dict[str, str], folder: Path, offline: bool = False) -> None:
        self.files, self.folder, self.offline = files, folder, offline
        self.asked: list[tuple[str, str, str]] = []

    def __call__(self, repo: str, name: str, *, revision: str) -> str:
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        self.asked.append((repo, name, revision))
        if self.offline:
            raise LocalEntryNotFoundError("no network")
        if name not in self.files:
            raise EntryNotFoundError(f"404: {name}")
        (self.folder / name).write_text(self.files[name], encoding="utf-8")
        return str(self.folder / name)


HUB = {"source": {"kind": "hub", "id": "meta/llama", "revision": "0123456"}}


def _from_hub(tmp_path: Path, **declared: Any) -> EngineModel:
    model = Model.model_validate({**DECLARED.model_dump(exclude_none=True), **HUB, **declared})
    return ready_model("m", model, tmp_path, tmp_path / "home", lambda text: None)


@pytest.mark.parametrize("name", ["chat_template.jinja", "tokenizer_config.json"])
def test_the_template_of_a_model_on_the_hub_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def hub(text: str) -> FakeHub:
        content = text if name.endswith("jinja") else json.dumps({"chat_template": text})
        fake = FakeHub({name: content}, tmp_path)
        monkeypatch.setattr("huggingface_hub.hf_hub_download", fake)
        return fake

    fake = hub(TODAY)
    with pytest.raises(FaultsError, match="writes today's date"):
        _from_hub(tmp_path)
    assert {(repo, revision) for repo, _, revision in fake.asked} == {("meta/llama", "0123456")}
    pinned = _from_hub(tmp_path, date="2025-01-31")
    assert pinned.chat_template is not None and "31 Jan 2025" in pinned.chat_template
    hub(PLAIN)
    assert _from_hub(tmp_path).fingerprint == "hub:meta/llama@0123456"


def test_a_template_that_cannot_be_fetched_is_no_template_without_a_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.hf_hub_download", FakeHub({}, tmp_path, offline=True))
    with pytest.raises(MissingError, match=r"`chat_template.jinja` of `m` \(meta/llama\) is not available: no network"):
        _from_hub(tmp_path)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", FakeHub({}, tmp_path))
    assert _from_hub(tmp_path).chat_template is None  # a model without any: its engine says so


def test_a_model_in_the_hubs_cache_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node without one has what was fetched before: files that are not there, the engine does not read either."""
    snapshot = tmp_path / "cache" / "models--meta--llama" / "snapshots" / "0123456"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}", encoding="utf-8")
    monkeypatch.setattr("huggingface_hub.hf_hub_download", FakeHub({}, tmp_path, offline=True))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    assert _from_hub(tmp_path).chat_template is None


def test_a_pinned_folder_that_holds_another_model_is_refused(tmp_path: Path) -> None:
    folder = _model(tmp_path / "m", model__safetensors="weights")
    pin = folder_fingerprint(folder, tmp_path / "home").removeprefix("sha256:")
    pinned = DECLARED.model_copy(update={"source": DECLARED.source.model_copy(update={"sha256": pin})})
    assert ready_model("m", pinned, tmp_path, tmp_path / "home", print).fingerprint.startswith(f"sha256:{pin}")
    for file, content in (("model.safetensors", "others"), ("tokenizer.json", "{}"), ("more.jinja", "x")):
        kept = (folder / file).read_bytes() if (folder / file).is_file() else None
        (folder / file).write_text(content, encoding="utf-8")
        with pytest.raises(DataError, match=f"`models.m.source.sha256` is {pin}"):
            ready_model("m", pinned, tmp_path, tmp_path / "home", print)
        (folder / file).unlink() if kept is None else (folder / file).write_bytes(kept)
    assert ready_model("m", pinned, tmp_path, tmp_path / "home", print).name == "m"


# The values of `template_kwargs`: in the one text of a model, wherever it comes from.

READS = "{% if enable_thinking is defined and not enable_thinking %}off{% endif %}" + PLAIN
OFF = {"enable_thinking": False}
WRITTEN = "{%- set enable_thinking = false %}\n" + READS
DATED = TODAY + READS


def test_values_are_in_the_text_and_the_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a folder, of the hub, and of a template in the recipe."""
    plain = _ready(tmp_path, {"chat_template__jinja": READS})
    found = _ready(tmp_path, {}, template_kwargs=OFF)
    on = _ready(tmp_path, {}, template_kwargs={"enable_thinking": True})
    assert (plain.chat_template, found.chat_template) == (None, WRITTEN)
    assert len({model.fingerprint for model in (plain, found, on)}) == 3
    assert len({model.group for model in (plain, found, on)}) == 3
    monkeypatch.setattr("huggingface_hub.hf_hub_download", FakeHub({"chat_template.jinja": READS}, tmp_path))
    hub = _from_hub(tmp_path, template_kwargs=OFF)
    assert hub.chat_template == WRITTEN == final_template(hub) and "+ template sha256:" in hub.fingerprint
    (tmp_path / "recipes" / "prompts").mkdir(parents=True)
    (tmp_path / "recipes" / "prompts" / "c.jinja").write_text(DATED, encoding="utf-8")
    both = _ready(tmp_path, {}, chat_template="prompts/c.jinja", template_kwargs=OFF, date="2025-01-31")
    assert both.chat_template is not None and both.chat_template.endswith(
        "%}\n{%- set enable_thinking = false %}\n" + DATED
    )


def test_a_value_that_no_template_reads_is_refused_for_any_model(tmp_path: Path) -> None:
    message = "`template_kwargs` has `enable_thinkin`, and the chat template never reads it"
    with pytest.raises(FaultsError, match=message) as caught:
        _ready(tmp_path, {"chat_template__jinja": READS}, template_kwargs={"enable_thinkin": False})
    assert "did you mean `enable_thinking`?" in str(caught.value.faults[0].hint)


def test_a_server_is_sent_the_values_for_its_own_template(tmp_path: Path) -> None:
    _model(tmp_path / "m", chat_template__jinja=READS)
    model = Model.model_validate({**DECLARED.model_dump(exclude_none=True), "template_kwargs": OFF})
    found = ready_model("m", model, tmp_path, tmp_path / "home", lambda text: None, rendered=False)
    assert (found.chat_template, found.template_kwargs) == (None, OFF)
    assert found.fingerprint == folder_fingerprint(tmp_path / "m", tmp_path / "home")


def test_a_wheels_model_has_the_values_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A declared template is converted with them; without them its key stays what it was."""
    (tmp_path / "recipes" / "prompts").mkdir(parents=True)
    (tmp_path / "recipes" / "prompts" / "c.jinja").write_text(READS, encoding="utf-8")
    # The hash of SmolLM2, whose conversion is the same in every version.
    (sha256,) = UNCHANGED_CONVERSIONS
    wheel = {"kind": "wheel", "package": "p", "version": "1", "file": "f.gguf", "sha256": sha256}
    specs: list[dict[str, Any]] = []

    def convert(name: str, spec: Path, *_: Any) -> None:
        specs.append(json.loads(spec.read_text()))
        folder = Path(specs[-1]["output"])
        _model(folder.with_name("made"), chat_template__jinja=specs[-1]["chat_template"] or READS)
        for path in folder.with_name("made").iterdir():
            path.rename(folder / path.name)
        folder.with_name("made").rmdir()

    monkeypatch.setattr("its.models._convert", convert)
    monkeypatch.setattr("its.models.unpacked_file", lambda *_: tmp_path / "f.gguf")

    def ready(**declared: Any) -> EngineModel:
        model = Model.model_validate({**DECLARED.model_dump(exclude_none=True), "source": wheel, **declared})
        return ready_model("m", model, tmp_path, tmp_path / "home", lambda text: None)

    declared = ready(chat_template="prompts/c.jinja", template_kwargs=OFF)
    assert specs[-1]["chat_template"] == WRITTEN == final_template(declared)
    assert declared.chat_template is None  # it is in the folder, which the fingerprint covers
    own = ready(template_kwargs=OFF)
    assert specs[-1]["chat_template"] is None and own.chat_template == WRITTEN
    assert len({model.fingerprint for model in (declared, own, ready(chat_template="prompts/c.jinja"))}) == 3
    names = sorted(path.name for path in (tmp_path / "home" / "models").iterdir() if path.is_dir())
    assert f"m-{UNCHANGED_KEY}" in names


UNCHANGED_KEY = "e5df11db97db4f1f"
"""Of the template without values, as it was before there were any."""


def _trained(tmp_path: Path, saved: str, **declared: Any) -> EngineModel:
    folder = tmp_path / "t"
    if not folder.is_dir():
        _found_sound(_model(folder))
    (folder / "chat_template.jinja").write_text(saved, encoding="utf-8")
    model = Model.model_validate({**DECLARED.model_dump(exclude_none=True), **declared})
    return trained_model("t", folder, lambda: pytest.fail("no adapter"), model, tmp_path / "home", tmp_path)


def test_a_checkpoint_has_the_values_already(tmp_path: Path) -> None:
    found = _trained(tmp_path, WRITTEN, template_kwargs=OFF)
    assert (found.chat_template, found.template_kwargs) == (WRITTEN, OFF)
    base = _ready(tmp_path, {"chat_template__jinja": READS}, template_kwargs=OFF)
    assert found.group == base.group


@pytest.mark.parametrize(
    ("saved", "declared"),
    [
        (READS, {"template_kwargs": OFF}),
        (WRITTEN, {"template_kwargs": {"enable_thinking": True}}),
        (WRITTEN, {"template_kwargs": {**OFF, "more": 1}}),
        (WRITTEN, {"template_kwargs": OFF, "date": "2025-01-31"}),
        (pinned_template(TODAY, "", "2025-01-31"), {"date": "2025-02-01"}),
        (TODAY, {"date": "2025-01-31"}),
        (READS, {"chat_template": "prompts/c.jinja", "template_kwargs": OFF}),
        (WRITTEN, {"chat_template": "prompts/c.jinja"}),
        (WRITTEN + " ", {"chat_template": "prompts/c.jinja", "template_kwargs": OFF}),
        (PLAIN, {"chat_template": "prompts/c.jinja"}),
    ],
)
def test_a_checkpoint_with_another_template_than_the_recipes_is_refused(
    tmp_path: Path, saved: str, declared: dict[str, Any]
) -> None:
    (tmp_path / "recipes" / "prompts").mkdir(parents=True)
    (tmp_path / "recipes" / "prompts" / "c.jinja").write_text(READS, encoding="utf-8")
    with pytest.raises(DataError, match="it was trained with another chat template than the recipe's") as caught:
        _trained(tmp_path, saved, **declared)
    assert "dvc repro train" in str(caught.value.hint)


def test_line_ends_that_a_saver_changes_are_no_other_template(tmp_path: Path) -> None:
    (tmp_path / "recipes" / "prompts").mkdir(parents=True)
    (tmp_path / "recipes" / "prompts" / "c.jinja").write_bytes(b"{{ value }}\r\n" + READS.encode())
    declared = {"chat_template": "prompts/c.jinja", "template_kwargs": {"value": "a\r\nb"}}
    saved = '{%- set value = "a\\r\\nb" %}\n{{ value }}\n' + READS
    assert _trained(tmp_path, saved, **declared).chat_template == saved


def test_an_adapter_stands_on_a_base_with_its_template(tmp_path: Path) -> None:
    base = EngineModel("b", "path/of/b", "f-b", "bfloat16", 64, chat_template=WRITTEN, template_kwargs=OFF)
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"r": 8}', encoding="utf-8")
    _found_sound(folder, "adapter_model.safetensors")
    model = Model.model_validate({**DECLARED.model_dump(exclude_none=True), "template_kwargs": OFF})

    def trained() -> EngineModel:
        return trained_model("c", folder, lambda: base, model, tmp_path / "home", tmp_path)

    assert trained().chat_template == WRITTEN  # saved without one
    (folder / "chat_template.jinja").write_text(WRITTEN, encoding="utf-8")
    assert (trained().chat_template, trained().template_kwargs) == (WRITTEN, OFF)
    for other in (READS, "{%- set enable_thinking = false %}\n" + READS + "x"):
        (folder / "chat_template.jinja").write_text(other, encoding="utf-8")
        with pytest.raises(DataError, match="another chat template than the recipe's"):
            trained()


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "generation_config.json"])
def test_a_file_of_a_model_that_is_no_object_is_an_error(tmp_path: Path, name: str) -> None:
    folder = _model(tmp_path / "a")
    (folder / name).write_text("[1]", encoding="utf-8")
    with pytest.raises(DataError, match=f"{re.escape(name)}: not a JSON object"):
        swap_group(folder)
