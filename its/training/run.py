"""Train one checkpoint with Axolotl in its environment; stored under its key in the ITS home, so it is trained once.

A killed training resumes from its last saved step (`train.save_every_steps`), otherwise it starts again; a finished one
is copied. Of two processes that need one key, the second waits and reuses. A training is finished only when its model
has passed the checks of `its.training.checkpoint`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from its.child_process import die_with_parent
from its.engines.protocol import EngineModel
from its.environments import Environment, environment_variables
from its.errors import ItsError, RunError
from its.files import atomic_file, file_sha256
from its.home import key_lock, remove
from its.recipe.schema import SpecialTokens, Train
from its.rows import read_json, write_json
from its.secrets import writable
from its.training.checkpoint import CHECK_VERSION, base_tensors, check_weights, expected_steps
from its.training.config import axolotl_config, yaml_text
from its.training.weights import called

PLUGIN_FOLDER = Path(__file__).parent / "workers"
KEPT = (".safetensors", ".json", ".jinja", ".model", ".txt")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Trained:
    """A finished training: `reused` if it was in the ITS home already, `sound` the results of its check."""

    folder: Path
    losses: list[dict[str, Any]]
    parity: dict[str, Any]
    sound: dict[str, Any]
    seconds: float
    reused: bool


def train_checkpoint(
    *,
    messages: Sequence[list[dict[str, str]]],
    train: Train,
    template: str,
    tokens: SpecialTokens,
    base: EngineModel,
    seed: int,
    environment: Environment,
    home: Path,
    say: Say,
    progress: Callable[[dict[str, Any]], None],
) -> Trained:
    """Train on rows of chat messages whose last turn is the solution, unless this training is finished already.

    Args:
        template: text of `train.template`.
        seed: of the optimisation (order of rows, dropout), 31 bits.
        progress: called with each step's {step, steps, loss, ...}.

    Raises:
        RunError: if Axolotl fails, prompt parity fails, a loss or gradient norm is not finite, steps are missing, the
            saved model fails its check, or it would not stop at its end of turn.
        DataError: if its weights cannot be read.
    """
    config_in_key = axolotl_config(
        template=template,
        train=train,
        tokens=tokens,
        base_model=base.fingerprint,
        revision=base.revision,
        rows="rows.jsonl",
        work=".",
        seed=seed,
        chat_template=base.chat_template,
    )
    identity: dict[str, Any] = {
        "config": config_in_key,
        "rows": hashlib.sha256(json.dumps(list(messages), ensure_ascii=False).encode()).hexdigest(),
        "environment": environment.lock_sha256,
        "plugin": hashlib.sha256((PLUGIN_FOLDER / "its_axolotl.py").read_bytes()).hexdigest(),
        "hardware": [train.hardware, train.launcher, train.launcher_args],
    }
    if _was_folded(config_in_key):
        identity["config_text"] = 2
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    folder = home / "training" / key
    with key_lock(home, "train", key, say):
        done = folder / "done.json"
        record = _finished(done, say)
        reused = record is not None
        if record is None:
            folder.mkdir(parents=True, exist_ok=True)
            config = axolotl_config(
                template=template,
                train=train,
                tokens=tokens,
                base_model=base.path,
                revision=base.revision,
                rows=str(folder / "rows.jsonl"),
                work=str(folder),
                seed=seed,
                chat_template=base.chat_template,
            )
            began = time.monotonic()
            base_tensors(*_base_folder(base))  # a broken base is reported before hours of training
            steps, unread = _run(folder, config, messages, train, tokens, environment, base.offline, progress)
            try:
                # A model of the hub is in its cache only now.
                weights = check_weights(folder / "model", *_base_folder(base), unread)
            except ItsError:
                for state in (folder / "model").glob("checkpoint-*"):  # the next run would resume from the last one
                    remove(state)
                raise
            if (served := _served_folder(folder / "model", base)) is not None:
                _check_stops(served, tokens)
            record = {
                "seconds": round(time.monotonic() - began, 1),
                "sound": {"version": CHECK_VERSION, "steps": steps, **weights},
                "identity": writable(identity),
            }
            write_json(done, record)
        return Trained(
            folder=folder / "model",
            losses=_losses(folder / "progress.jsonl"),
            parity=read_json(folder / "parity.json"),
            sound=record["sound"],
            seconds=float(record["seconds"]),
            reused=reused,
        )


def _was_folded(value: Any) -> bool:
    """Whether a former version folded a text of the configuration, which Axolotl may then have read as another one."""
    if isinstance(value, dict):
        return any(map(_was_folded, value.values()))
    if isinstance(value, list):
        return any(map(_was_folded, value))
    return isinstance(value, str) and len(value) > 60 and " " in value


def _finished(done: Path, say: Say) -> dict[str, Any] | None:
    """The record of a finished training; None if there is none, or it has no valid results of its check.

    A model whose weights differ from those that were checked is reported and removed, with the saved states that the
    next run would resume from.
    """
    if not done.is_file():
        return None
    try:
        record = read_json(done)
        wanted = _sound_files(record)
    except (ItsError, KeyError, TypeError, ValueError, AttributeError):
        return None
    if wanted is None:
        return None
    model = done.parent / "model"
    there = {path.name: path for path in model.glob("*") if path.suffix == ".safetensors" and path.is_file()}
    wrong = [name for name in sorted(there.keys() | wanted) if name not in there or name not in wanted]
    wrong += [name for name in sorted(there.keys() & wanted) if file_sha256(there[name]) != wanted[name]]
    if wrong:
        say(f"train: {model}: {called(wrong[0])} differs from the file that was checked after training: training again")
        done.unlink()
        remove(model)
        return None
    return dict(record)


def _sound_files(record: Any) -> dict[str, str] | None:
    """The SHA-256 of each file of weights; None if the record is of another version or incomplete.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: if it has another structure.
    """
    sound = record["sound"]
    numbers = (record["seconds"], *(sound["steps"][key] for key in ("done", "epochs", "left_out")))
    texts = (sound["compared"], "" if sound["changed"] is None else sound["changed"])
    files = {name: facts["sha256"] for name, facts in sound["files"].items()}
    good = (
        sound["version"] == CHECK_VERSION
        and all(type(number) in (int, float) for number in numbers)
        and all(isinstance(text, str) for text in (*texts, *files.values()))
    )
    return files if good and files else None


def copy_model(source: Path, target: Path) -> None:
    """Copy the files that a loader needs; `target` appears whole or not at all."""
    partial = target.with_name(f".{target.name}.partial")
    remove(partial)
    partial.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        if path.is_file() and path.suffix in KEPT:
            shutil.copy2(path, partial / path.name)
            (partial / path.name).chmod(0o644)
    remove(target)  # a link to another disk becomes a folder here
    partial.rename(target)


def _run(
    folder: Path,
    config: dict[str, Any],
    messages: Sequence[list[dict[str, str]]],
    train: Train,
    tokens: SpecialTokens,
    environment: Environment,
    offline: bool,
    progress: Callable[[dict[str, Any]], None],
) -> tuple[dict[str, Any], list[str]]:
    """Run Axolotl to its end.

    Returns:
        Its steps, {done, expected, counted, epochs, left_out}, and patterns of tensors that the model's class does not
        read from a checkpoint.
    """
    with atomic_file(folder / "rows.jsonl") as out:
        for turns in messages:
            out.write(json.dumps({"messages": turns}, ensure_ascii=False) + "\n")
    (folder / "axolotl.yaml").write_text(yaml_text(config), encoding="utf-8")
    steps, parity, log = folder / "progress.jsonl", folder / "parity.json", folder / "axolotl.log"
    if not any((folder / "model").glob("checkpoint-*")):
        remove(folder / "model")
        steps.unlink(missing_ok=True)
    stopped, ended = folder / "stopped.json", folder / "ended.json"
    for path in (parity, stopped, ended):
        path.unlink(missing_ok=True)
    packed = bool(config.get("sample_packing"))
    expected = None if packed else expected_steps(len(messages), train.global_batch_size, train.epochs)
    settings = folder / "its.json"
    write_json(
        settings,
        {
            "rows": str(folder / "rows.jsonl"),
            "progress": str(steps),
            "parity": str(parity),
            "stopped": str(stopped),
            "ended": str(ended),
            "cpu": train.hardware == "cpu",
            "end_of_turn": tokens.eos,
            "global_batch_size": train.global_batch_size,
            "steps": expected,
        },
    )
    variables = environment_variables("axolotl", environment) | {
        "PYTHONPATH": str(PLUGIN_FOLDER),
        "ITS_TRAINING": str(settings),
    }
    if offline:
        variables["HF_HUB_OFFLINE"] = "1"
    if train.hardware == "cpu":
        variables["OMP_NUM_THREADS"] = str(os.cpu_count() or 1)
    command = [
        str(environment.path / "bin" / "axolotl"),
        "train",
        str(folder / "axolotl.yaml"),
        "--launcher",
        train.launcher,
    ]
    if train.launcher_args:
        command += ["--", *train.launcher_args]
    with log.open("ab") as sink:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            env=variables,
            cwd=folder,
            preexec_fn=die_with_parent,
        )
    try:
        _follow(process, steps, progress)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
    if stopped.is_file():
        why = read_json(stopped)
        if why["diverged"]:  # a saved state is broken already, or will be at its next step
            remove(folder / "model")
        raise RunError(f"{why['message']}", f"{why['hint']} (log: {log})")
    report = read_json(parity) if parity.is_file() else None
    if report is not None and report["faults"]:
        raise RunError(
            f"prompt parity failed ({report['faults']} faults): {report['examples'][0]}",
            "the engine must receive the prompts of training, with nothing between prompt and solution: see "
            "`chat_template` and `special_tokens` of the model",
        )
    if process.returncode:
        raise RunError(f"axolotl failed (exit code {process.returncode})", f"its log: {log}")
    if report is None:
        raise RunError("axolotl ended without proving prompt parity", f"its log: {log}")
    end = read_json(ended) if ended.is_file() else None
    return _steps_done(end, expected, log), list(end["unread"]) if end else []


def _steps_done(end: dict[str, Any] | None, expected: int | None, log: Path) -> dict[str, Any]:
    """The steps of a training.

    Args:
        end: what the plugin wrote at the end of training; None if training never reached it.
        expected: computed from rows, batch and epochs; None for packed rows, which only the trainer can count.

    Raises:
        RunError: if the number differs from the expected one.
    """
    if end is None:
        raise RunError("axolotl ended before the end of training", f"its log: {log}")
    wanted = end["announced"] if expected is None else expected
    if end["done"] != wanted:
        raise RunError(f"axolotl ended after {end['done']} of {wanted} steps", f"its log: {log}")
    return {
        "done": end["done"],
        "expected": wanted,
        "counted": "by the trainer, before its first step: rows are packed"
        if expected is None
        else "rows x epochs / batch",
        "epochs": end["epochs"],
        "left_out": end["left_out"],
    }


def _follow(process: subprocess.Popen[bytes], steps: Path, progress: Callable[[dict[str, Any]], None]) -> None:
    """Report each new line of the progress file until the process ends."""
    position = 0
    while True:
        ended = process.poll() is not None
        if steps.is_file():
            with steps.open("rb") as lines:
                lines.seek(position)
                for line in lines:
                    if not line.endswith(b"\n"):
                        break
                    position += len(line)
                    progress(json.loads(line))
        if ended:
            return
        time.sleep(0.5)


def _base_folder(base: EngineModel) -> tuple[Path | None, bool]:
    """The folder of the model that was trained, and whether it is in the hub's cache and may be incomplete."""
    if base.offline:
        return Path(base.path), False
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(base.path, "config.json", revision=base.revision)
    return (Path(found).parent, True) if isinstance(found, str) else (None, True)


def _served_folder(trained: Path, base: EngineModel) -> Path | None:
    """Where an engine will read configuration and tokenizer: an adapter uses its base's; None if that is on the hub."""
    if not (trained / "adapter_config.json").is_file():
        return trained
    return Path(base.path) if Path(base.path).is_dir() else None


def _check_stops(model: Path, tokens: SpecialTokens) -> None:
    """Check that the saved model ends its turns: its generation config's eos is the token that the loss covered.

    Raises:
        RunError: otherwise; such a model generates up to the token limit, and every number after it is wrong.
    """
    config = read_json(model / "config.json")
    generation = read_json(model / "generation_config.json") if (model / "generation_config.json").is_file() else {}
    vocabulary = read_json(model / "tokenizer.json")
    ids = {token["content"]: token["id"] for token in vocabulary["added_tokens"]}
    wanted = ids.get(tokens.eos, _vocabulary_id(vocabulary["model"]["vocab"], tokens.eos))
    eos = generation.get("eos_token_id", config.get("eos_token_id"))
    found = eos if isinstance(eos, list) else [eos]
    if wanted is None or wanted not in found:
        raise RunError(
            f"{model}: the trained model ends turns with id `{eos}`, but `{tokens.eos}` is `{wanted}`: "
            "it would never stop",
            "fix `special_tokens.eos` of the model in the recipe",
        )


def _vocabulary_id(vocab: Any, token: str) -> int | None:
    """A token's id in tokenizer.json: a mapping, or for Unigram a list of (token, score)."""
    if isinstance(vocab, dict):
        return vocab.get(token)
    return next((index for index, entry in enumerate(vocab) if entry[0] == token), None)


def _losses(path: Path) -> list[dict[str, Any]]:
    """The logged steps; a resumed run may have logged some twice, and the last entry counts."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return list({row["step"]: row for row in rows}.values())
