"""Prepare models for engines and training: fetch, convert once, fingerprint."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from its.child_process import die_with_parent
from its.engines.protocol import EngineModel
from its.environments import environment_variables, find_environment
from its.errors import DataError, MissingError, RunError
from its.files import atomic_file, file_sha256
from its.home import key_lock, remove
from its.model_files import hub_file, own_template, read_chat_template
from its.prompts.chat import generation_prompt, opening_fault
from its.prompts.clock import is_pinned_template, pinned_template
from its.recipe.schema import FolderSource, HubModelSource, Model, WheelSource, WheelsSource
from its.rows import read_json, write_json
from its.wheels import unpacked_file

CONVERTER = Path(__file__).parent / "training" / "workers" / "convert_gguf.py"
CONVERSION_VERSION = 2
"""1 gave every tokenizer the splitting of SmolLM2's."""
UNCHANGED_CONVERSIONS = frozenset({"b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"})
"""Files of which version 1 makes the same bytes; what is converted stays valid. SmolLM2-135M-Instruct, Q4_1."""
REFUSED = 3
"""Exit code of the converter for a file that is not converted because the result could be wrong."""
REMEMBERED_BYTES = 2**20
_SAVERS = (
    *("_name_or_path", "_model_name_or_path", "name_or_path", "dtype", "torch_dtype", "transformers_version"),
    *("use_cache", "is_local", "local_files_only"),
)
SOUND_FILE = "its_sound.json"
"""Beside a trained checkpoint: the results of `its.training.checkpoint`, with the hashes of its files of weights."""
_WEIGHTS = (".safetensors", ".bin")
_FINGERPRINTED = (".safetensors", ".bin", ".json", ".jinja", ".model", ".txt")


def ready_model(
    name: str,
    model: Model,
    project: Path,
    home: Path,
    say: Callable[[str], None],
    *,
    make: bool = True,
    rendered: bool = True,
) -> EngineModel:
    """A model that an engine can load now; a wheel's GGUF is fetched and converted once in the ITS home.

    Args:
        make: whether to fetch and convert a missing model; otherwise that is a MissingError.
        rendered: whether our engine or training renders its chat template, which must then write the same prompt every
            day. A server has its own, which is not known.

    Raises:
        MissingError: if the wheel, the folder or the network is missing.
        DataError: if the file in the wheel, or the folder, is not the one that the recipe pins, or the chat template
            writes today's date and the recipe pins none.
        RunError: if the conversion fails.
    """
    source = model.source
    if isinstance(source, HubModelSource):
        folder, path, fingerprint = None, source.id, f"hub:{source.id}@{source.revision}"
    elif isinstance(source, FolderSource):
        folder = project / source.path
        if not (folder / "config.json").is_file():
            raise MissingError(f"{folder}: no model (no config.json)", f"fix `models.{name}.source.path`")
        path, fingerprint = str(folder.resolve()), folder_fingerprint(folder, home)
        if source.sha256 is not None and fingerprint != f"sha256:{source.sha256}":
            raise DataError(
                f"{folder}: its content is {fingerprint}; `models.{name}.source.sha256` is {source.sha256}",
                "restore the pinned model, or pin this one; DVC then reruns the stages that used the other",
            )
    else:
        folder = _converted(name, model, source, project, home, say, make)
        path, fingerprint = str(folder), folder_fingerprint(folder, home)
    found = EngineModel(
        name=name,
        path=path,
        fingerprint=fingerprint,
        dtype=model.dtype,
        context_length=model.context_length,
        offline=not isinstance(source, HubModelSource),
        revision=source.revision if isinstance(source, HubModelSource) else None,
    )
    template = _replacing_template(found, model, project, rendered)
    if template is not None:
        fingerprint += f" + template sha256:{hashlib.sha256(template.encode()).hexdigest()}"
    group = "" if folder is None else swap_group(folder, template)
    values = dict(model.template_kwargs)
    return replace(found, fingerprint=fingerprint, group=group, chat_template=template, template_kwargs=values)


def require_opening(name: str, model: Model, template: str | None) -> None:
    """Compare `thinking` with the chat template that a model is trained or served with, wherever it comes from.

    Raises:
        DataError: if they disagree on who begins the first thought.
    """
    prompt = None if template is None else generation_prompt(template)
    fault = opening_fault(prompt, f"the chat template of {name}", model.thinking)
    if fault is not None:
        raise DataError(f"params.yaml: `models.{name}.thinking`: {fault[0]}", fault[1])


def trained_model(
    name: str, folder: Path, base: Callable[[], EngineModel], model: Model, home: Path, project: Path
) -> EngineModel:
    """A trained checkpoint in `folder`: a whole model, or a LoRA adapter over its base.

    It contains the chat template that it was trained with, which has the date and `template_kwargs` in it already.

    Args:
        base: prepares the untrained model; called for an adapter alone.

    Raises:
        MissingError: if there is neither.
        DataError: if there are no results of its check, its weights are not those that were checked, or its chat
            template is not that of the recipe, or writes today's date.
    """
    adapter = (folder / "adapter_config.json").is_file()
    if not adapter and not (folder / "config.json").is_file():
        raise MissingError(f"{folder}: no trained model", "`dvc repro train`, or `dvc pull` where it was pushed")
    hashes = _hashes(folder, home)
    _require_checked(folder, hashes)
    own = _saved_template(folder)
    if own is not None:
        _require_declared(folder, own, model, project)
    if adapter:
        below = base()
        if own is not None and below.chat_template not in (None, own):
            raise _other_template(folder)
        return replace(
            below,
            name=name,
            fingerprint=f"{below.fingerprint} + {_fingerprint(hashes)}",
            adapter=str(folder.resolve()),
        )
    found = EngineModel(
        name=name,
        path=str(folder.resolve()),
        fingerprint=_fingerprint(hashes),
        dtype=model.dtype,
        context_length=model.context_length,
        group=swap_group(folder),
    )
    # Sent with each request: the engine may have been started with another model of the group.
    return replace(found, chat_template=own, template_kwargs=dict(model.template_kwargs))


def _saved_template(folder: Path) -> str | None:
    return own_template(EngineModel(folder.name, str(folder.resolve()), "", "", 0))


def _require_declared(folder: Path, saved: str, model: Model, project: Path) -> None:
    """Compare the template of a checkpoint with what the recipe alone says of it; its base may not be here.

    Raises:
        DataError: if it is another one, has another date or other values in it, or writes today's date.
    """
    declared = _declared_template(model, project)
    if declared is not None:
        same = [text.replace("\r\n", "\n").replace("\r", "\n") for text in (declared, saved)]
        if same[0] != same[1]:
            raise _other_template(folder)
    elif (model.template_kwargs or model.date) and not is_pinned_template(saved, model.date, model.template_kwargs):
        raise _other_template(folder)
    pinned_template(saved, f"the chat template in {folder}", None)


def _other_template(folder: Path) -> DataError:
    return DataError(
        f"{folder}: it was trained with another chat template than the recipe's, or with other values of "
        "`template_kwargs` or `date` in it",
        "`dvc repro train`, or restore `chat_template`, `template_kwargs` and `date` of the model in the recipe",
    )


def tokenizer_path(name: str, model: Model, project: Path, home: Path, say: Callable[[str], None]) -> Path:
    """The `tokenizer.json` of a model; of a hub model it alone is fetched.

    Raises:
        MissingError: if the model, its `tokenizer.json` or the network is missing.
    """
    if not isinstance(model.source, HubModelSource):
        path = Path(ready_model(name, model, project, home, say, rendered=False).path) / "tokenizer.json"
        if not path.is_file():
            raise MissingError(f"{path}: no such file", "tokens are counted with the fast tokenizer's file")
        return path
    found = hub_file(name, model.source.id, model.source.revision, "tokenizer.json")
    if found is None:
        raise MissingError(
            f"`{name}` ({model.source.id}) has no tokenizer.json", "tokens are counted with the fast tokenizer's file"
        )
    return found


def folder_fingerprint(folder: Path, home: Path) -> str:
    """SHA-256 over names and contents of all files that a loader reads: weights, config, tokenizer, template.

    Hashes of large files are cached in the ITS home by device, inode, size and times of change (65 GB take a minute).
    """
    return _fingerprint(_hashes(folder, home))


def _hashes(folder: Path, home: Path) -> dict[str, str]:
    """SHA-256 by name of each file of a model that a loader reads."""
    return {
        path.name: _remembered_sha256(path, home)
        for path in sorted(folder.iterdir())
        if path.is_file() and path.suffix in _FINGERPRINTED and not path.name.startswith("its_")
    }


def _fingerprint(hashes: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for name, sha256 in hashes.items():
        digest.update(f"{name}\0{sha256}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def _require_checked(folder: Path, hashes: Mapping[str, str]) -> None:
    """Raises DataError unless the checkpoint has passed its check, with exactly these weights."""
    remedy = "`dvc repro train` trains it, or takes it from the ITS home; `dvc pull` where it was pushed"
    path = folder / SOUND_FILE
    if not path.is_file():
        raise DataError(f"{folder}: no `{SOUND_FILE}`, the results of the check after training", remedy)
    record = read_json(path)
    files = record.get("files") if isinstance(record, dict) else None
    if not isinstance(files, dict) or not files or not all(isinstance(facts, dict) for facts in files.values()):
        raise DataError(f"{path}: names no files of weights", remedy)
    weights = {name: sha256 for name, sha256 in hashes.items() if name.endswith(_WEIGHTS)}
    wanted = {name: facts.get("sha256") for name, facts in files.items()}
    for name in sorted(weights.keys() | wanted.keys()):
        if name not in weights:
            raise DataError(f"{folder / name}: no such file, but `{SOUND_FILE}` names it", remedy)
        if weights[name] != wanted.get(name):
            raise DataError(f"{folder / name}: differs from the file that was checked after training", remedy)


def _remembered_sha256(path: Path, home: Path) -> str:
    facts = path.stat()
    known = None
    if facts.st_size >= REMEMBERED_BYTES:
        identity = f"{facts.st_dev} {facts.st_ino} {facts.st_size} {facts.st_mtime_ns} {facts.st_ctime_ns}"
        known = home / "fingerprints" / hashlib.sha256(identity.encode()).hexdigest()[:32]
        if known.is_file() and len(text := known.read_text(encoding="ascii")) == 64:
            return text
    found = file_sha256(path)
    if known is not None:
        with atomic_file(known) as out:
            out.write(found)
    return found


def _object(path: Path) -> dict[str, Any]:
    """A JSON file of a model's folder.

    Raises:
        DataError: if it is not an object.
    """
    found = read_json(path)
    if not isinstance(found, dict):
        raise DataError(f"{path}: not a JSON object", "is the folder a model in the Hugging Face layout?")
    return found


def swap_group(folder: Path, template: str | None = None) -> str:
    """A hash that two models share exactly if one engine can serve both by swapping weights.

    It covers the architecture, the tokenizer, the chat template and the end of turn; not the saver's version or the
    type of the stored weights (an engine receives the type to compute in).

    Args:
        template: replaces the chat template in the folder.
    """
    config = _object(folder / "config.json")
    tokenizer = _object(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
    generation = _object(folder / "generation_config.json") if (folder / "generation_config.json").is_file() else {}
    eos = generation.get("eos_token_id", config.get("eos_token_id"))
    files = [folder / name for name in ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt")]
    templates = [read_chat_template(path) for path in sorted(folder.glob("*.jinja"))]
    if template is not None:
        tokenizer.pop("chat_template", None)
        templates = [template]
    facts = {
        "config": {key: value for key, value in config.items() if key not in _SAVERS},
        "tokenizer": {key: value for key, value in tokenizer.items() if key not in _SAVERS},
        "eos": sorted(eos) if isinstance(eos, list) else [eos],
        "files": [file_sha256(path) for path in files if path.is_file()],
        "template": templates,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _replacing_template(found: EngineModel, model: Model, project: Path, rendered: bool) -> str | None:
    """The replacement of the model's own chat template; None if its own is used, which then writes no date.

    Args:
        rendered: False uses only the recipe's template, without examining the model's own.

    Raises:
        FaultsError: if the template writes today's date and the recipe pins none, or pins one that is not used.
    """
    declared = _declared_template(model, project)
    if declared is not None:
        # A wheel's model contains it already (`_converted`).
        return None if isinstance(model.source, WheelSource | WheelsSource) else declared
    source = own_template(found) if rendered else None
    if source is None:
        return None
    pinned = pinned_template(source, f"the chat template of `{found.name}`", model.date, model.template_kwargs)
    return None if pinned == source else pinned


def _declared_template(model: Model, project: Path) -> str | None:
    if model.chat_template is None:
        return None
    text = read_chat_template(project / "recipes" / model.chat_template).removeprefix("\ufeff")
    return pinned_template(text, f"recipes/{model.chat_template}", model.date, model.template_kwargs)


def _converted(
    name: str,
    model: Model,
    source: WheelSource | WheelsSource,
    project: Path,
    home: Path,
    say: Callable[[str], None],
    make: bool,
) -> Path:
    template = _declared_template(model, project)
    spec: dict[str, Any] = {
        "dtype": model.dtype,
        "special_tokens": {key: value for key, value in model.special_tokens.model_dump().items() if value},
        "chat_template": template,
        "context_length": model.context_length,
    }
    version = 1 if source.sha256 in UNCHANGED_CONVERSIONS else CONVERSION_VERSION
    identity = {**spec, "sha256": source.sha256, "conversion": version}
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    target = home / "models" / f"{name}-{key}"
    if target.is_dir():
        return target
    if not make:
        raise MissingError(f"{target}: the model `{name}` has not been converted yet", "`dvc repro persona`")
    with key_lock(home, "model", key, say):
        if target.is_dir():
            return target
        work = target.with_name(f"{target.name}.partial")
        remove(work)
        work.mkdir(parents=True)
        spec["gguf"] = str(unpacked_file(source, home, say))
        spec["output"] = str(work)
        spec_path = home / "models" / f"{target.name}.spec.json"
        write_json(spec_path, spec)
        _convert(name, spec_path, work, project, home, say)
        work.rename(target)
    return target


def _convert(name: str, spec: Path, work: Path, project: Path, home: Path, say: Callable[[str], None]) -> None:
    environment = find_environment("axolotl", project, home)
    log = home / "logs" / f"{spec.stem}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    say("converting the model to safetensors (once; SmolLM2-135M takes 25 s)")
    with log.open("wb") as sink:
        done = subprocess.run(
            [str(environment.python), str(CONVERTER), str(spec)],
            stdout=sink,
            stderr=sink,
            env={**environment_variables("axolotl", environment), "HF_HUB_OFFLINE": "1"},
            check=False,
            preexec_fn=die_with_parent,
        )
    if done.returncode == REFUSED:
        reason = (work / "refused.txt").read_text(encoding="utf-8")
        raise DataError(
            f"models.{name}.source: {reason}", "take the model from the hub (`kind: hub`) or a folder (`kind: folder`)"
        )
    if done.returncode:
        raise RunError(f"converting the model failed (exit code {done.returncode})", f"its log: {log}")
