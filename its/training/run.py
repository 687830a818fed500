"""Run one training with Axolotl in its environment; stored under its key in the ITS home, so it is trained once.

A killed training resumes from its last saved step (`train.save_every_steps`), otherwise it starts again; a finished one
is copied. Of two processes that need one key, the second waits and reuses. A training is finished only when its model,
and each earlier checkpoint that is wanted of it, has passed the checks of `its.training.checkpoint`; then its saved
states are removed.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from its.engines.protocol import EngineModel
from its.environments import Environment
from its.errors import DataError, Fault, ItsError, RunError
from its.files import atomic_file, file_sha256
from its.home import key_lock, remove
from its.recipe.schema import SpecialTokens, Train
from its.rows import read_json, write_json
from its.secrets import writable
from its.shown import listed
from its.training.checkpoint import CHECK_VERSION, base_tensors, check_weights
from its.training.config import CHECKPOINTS_PLUGIN, FLOAT32_PLUGIN, PROCESSES_PLUGIN, axolotl_config, yaml_text
from its.training.launch import CONFIG, PLUGIN_FOLDER, SETTINGS, progress_reader, run_axolotl
from its.training.nodes import Meeting
from its.training.remedies import parity_hint
from its.training.space import clone_file, require_space
from its.training.steps import MORE_STEPS, expected_steps, fraction_faults, saved_step
from its.training.weights import INDEX, called

KEPT = (".safetensors", ".json", ".jinja", ".model", ".txt")
SAVED = "its_saved.json"
"""What the plugin writes beside an earlier checkpoint: {step, steps}."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class Training:
    """What determines a training, and nothing that does not: two of one key are one training, whatever their names.

    Args:
        messages: rows of chat messages whose last turn is the solution.
        template: text of `train.template`.
        seed: of the optimisation (order of rows, dropout), 31 bits.
    """

    messages: Sequence[list[dict[str, str]]]
    train: Train
    template: str
    tokens: SpecialTokens
    base: EngineModel
    seed: int
    environment: Environment

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What the key is the hash of."""
        config = self.config(self.base.fingerprint, "rows.jsonl", ".")
        identity: dict[str, Any] = {
            "config": config,
            "rows": hashlib.sha256(json.dumps(list(self.messages), ensure_ascii=False).encode()).hexdigest(),
            "environment": self.environment.lock_sha256,
            "plugin": hashlib.sha256((PLUGIN_FOLDER / "its_axolotl.py").read_bytes()).hexdigest(),
            "hardware": [self.train.hardware, self.train.launcher, self.train.launcher_args],
        }
        if _was_folded(config):
            identity["config_text"] = 2
        if self.float32:
            identity["float32_plugin"] = hashlib.sha256((PLUGIN_FOLDER / "its_float32.py").read_bytes()).hexdigest()
        return identity

    @property
    def float32(self) -> bool:
        """Whether it runs in float32 throughout; else on a CPU with bf16 autocast, on a GPU as its config says."""
        return self.train.hardware == "cpu" and self.base.dtype != "bfloat16"

    @cached_property
    def key(self) -> str:
        """The name of its folder in the ITS home."""
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()[:16]

    @cached_property
    def steps(self) -> int | None:
        """The steps that rows, batch and epochs give; None for packed rows, which only the trainer can count."""
        if self.identity["config"].get("sample_packing"):
            return None
        return expected_steps(len(self.messages), self.train.global_batch_size, self.train.epochs)

    def config(self, base_model: str, rows: str, work: str) -> dict[str, Any]:
        """Its Axolotl config, as `axolotl_config` renders it."""
        config = axolotl_config(
            template=self.template,
            train=self.train,
            tokens=self.tokens,
            base_model=base_model,
            revision=self.base.revision,
            rows=rows,
            work=work,
            seed=self.seed,
            chat_template=self.base.chat_template,
        )
        return config | {"plugins": [*config["plugins"], FLOAT32_PLUGIN]} if self.float32 else config


@dataclass(frozen=True)
class Saved:
    """A checkpoint of a training: the folder of its model, and the results of its check."""

    folder: Path
    sound: dict[str, Any]


@dataclass(frozen=True)
class Trained:
    """A finished training: `reused` if it was in the ITS home already, `sound` the results of its check.

    `earlier` has the checkpoints before the last that were wanted, by fraction.
    """

    folder: Path
    losses: list[dict[str, Any]]
    parity: dict[str, Any]
    sound: dict[str, Any]
    seconds: float
    reused: bool
    earlier: dict[str, Saved] = field(default_factory=dict)


def train_checkpoint(
    training: Training,
    *,
    home: Path,
    say: Say,
    progress: Callable[[dict[str, Any]], None],
    fractions: Sequence[str] = (),
    copied_to: Path | None = None,
    meeting: Meeting | None = None,
) -> Trained:
    """Run a training, unless it is finished already.

    Args:
        meeting: the other machines that train it, if it takes several.
        progress: called with each step's {step, steps, loss, ...}.
        fractions: earlier checkpoints that are wanted of it, such as `1/3`. They change neither its key nor its last
            weights.
        copied_to: where the caller copies its models; only checked for space before it begins.

    Raises:
        RunError: if a disk is too small, Axolotl fails, prompt parity fails, a loss or gradient norm is not finite,
            steps are missing, a saved model fails its check, or it would not stop at its end of turn.
        DataError: if its weights cannot be read, it has no step of its own for a fraction, or it is finished and a
            fraction was not saved.
    """
    base, folder = training.base, home / "training" / training.key
    with key_lock(home, "train", training.key, say):
        done = folder / "done.json"
        record = _finished(done, fractions, say)
        reused = record is not None
        if record is None:
            if training.steps is not None and (faults := fraction_faults(fractions, training.steps)):
                raise DataError(f"params.yaml: `design.checkpoints`: {'; '.join(faults)}", MORE_STEPS)
            # A broken base, or a full disk, is reported before hours of training.
            below, _ = base_tensors(*_base_folder(base))
            require_space(
                folder,
                training.identity["config"],
                below,
                float32=training.float32,
                steps=training.steps,
                earlier=len(fractions),
                copied_to=copied_to,
            )
            folder.mkdir(parents=True, exist_ok=True)
            began = time.monotonic()
            steps, unread = _run(folder, training, fractions, say, progress, meeting)
            model, at = folder / "model", folder / "at"
            try:
                # A model of the hub is in its cache only now.
                weights = check_weights(model, *_base_folder(base), unread)
                earlier = {name: _checked(model, at, name, steps["done"], base, unread) for name in fractions}
            except ItsError:
                for state in (*model.glob("checkpoint-*"), at):  # the next run would resume from the last one
                    remove(state)
                raise
            for path in at.glob("*"):
                if path.name not in map(_folder_name, fractions):
                    remove(path)
            served = [_served_folder(path, base) for path in (model, *(at / _folder_name(name) for name in fractions))]
            for path in dict.fromkeys(filter(None, served)):
                _check_stops(path, training.tokens)
            record = {
                "seconds": round(time.monotonic() - began, 1),
                "sound": {"version": CHECK_VERSION, "steps": steps, **weights},
                "identity": writable(training.identity),
            }
            if earlier:
                record["earlier"] = earlier
            write_json(done, record)
        # Only now: a training that is killed before its record is written resumes from its state.
        for state in filter(_is_state, (folder / "model").glob("checkpoint-*")):
            remove(state)
        return Trained(
            folder=folder / "model",
            losses=_losses(folder / "progress.jsonl"),
            parity=read_json(folder / "parity.json"),
            sound=record["sound"],
            seconds=float(record["seconds"]),
            reused=reused,
            earlier={name: Saved(folder / "at" / _folder_name(name), record["earlier"][name]) for name in fractions},
        )


def join_training(training: Training, *, home: Path, say: Say, meeting: Meeting, fractions: Sequence[str] = ()) -> bool:
    """Run this machine's processes of a training that the first machine runs; whether there was one to run.

    The first machine writes the configuration and the rows, and checks what was trained.

    Raises:
        RunError: if the first machine does not come, or a machine fails or dies.
        DataError: if the first machine has another training, or has it elsewhere.
    """
    folder = home / "training" / training.key
    done, log = folder / "done.json", folder / f"axolotl-{meeting.node.rank}.log"

    def finished() -> bool:
        found = _recorded(done)
        return found is not None and _unsaved(done, found[0], fractions) is None

    if not meeting.join(finished, say):
        return False
    say(f"train: node {meeting.node.rank}: training, log: {log}")
    code, lost = run_axolotl(
        folder, training.train, training.environment, offline=training.base.offline, log=log, meeting=meeting
    )
    stopped = folder / "stopped.json"
    if stopped.is_file():
        why = read_json(stopped)
        raise RunError(f"{why['message']}", f"{why['hint']} (log: {log})")
    if lost is not None or code:
        raise RunError(lost or f"axolotl failed (exit code {code})", f"the log of this machine: {log}")
    return True


def _folder_name(fraction: str) -> str:
    return fraction.replace("/", "of")


def _checked(
    model: Path, at: Path, fraction: str, steps: int, base: EngineModel, unread: Sequence[str]
) -> dict[str, Any]:
    """The results of the check of an earlier checkpoint, as of the last one.

    Only its weights are its own. Tokenizer, chat template and configuration are those of the finished training, so that
    one engine can serve both and each stops where the other does.

    Raises:
        DataError, RunError: as `check_weights`, or if the plugin did not save it.
    """
    folder, wanted = at / _folder_name(fraction), saved_step(fraction, steps)
    saved = read_json(folder / SAVED) if (folder / SAVED).is_file() else None
    if saved != {"step": wanted, "steps": steps}:
        raise RunError(
            f"{folder}: the model at step {wanted} of {steps} was not saved", "`dvc repro train` trains again"
        )
    for path in folder.iterdir():
        if path.name != SAVED and not _is_weights(path):
            remove(path)
    for path in model.iterdir():
        if path.is_file() and path.suffix in KEPT and not _is_weights(path):
            shutil.copyfile(path, folder / path.name)
    weights = check_weights(folder, *_base_folder(base), unread, last=False)
    return {"version": CHECK_VERSION, "steps": {"done": wanted, "of": steps}, **weights}


def kept_config(trained: Trained, home: Path) -> str:
    """The Axolotl config to keep beside a model: the same bytes from the same recipe, on any machine.

    Without the paths of this one, and without the plugins of earlier checkpoints and of processes, which change no
    weight.
    """
    text = (trained.folder.parent / CONFIG).read_text(encoding="utf-8")
    for plugin in (CHECKPOINTS_PLUGIN, PROCESSES_PLUGIN):
        text = text.replace(f"- {plugin}\n", "")
    return text.replace(str(home), "$ITS_HOME")


def _is_weights(path: Path) -> bool:
    return path.suffix == ".safetensors" or path.name.endswith(INDEX)


def _was_folded(value: Any) -> bool:
    """Whether a former version folded a text of the configuration, which Axolotl may then have read as another one."""
    if isinstance(value, dict):
        return any(map(_was_folded, value.values()))
    if isinstance(value, list):
        return any(map(_was_folded, value))
    return isinstance(value, str) and len(value) > 60 and " " in value


def unsaved_checkpoints(home: Path, key: str, fractions: Sequence[str]) -> Fault | None:
    """A fault if the training with this key is finished, and did not save a checkpoint at one of the fractions."""
    done = home / "training" / key / "done.json"
    found = _recorded(done)
    return None if found is None else _unsaved(done, found[0], fractions)


def finished_record(home: Path, key: str) -> dict[str, Any] | None:
    """The record of a training that is finished, and whose check is valid; None if there is none."""
    found = _recorded(home / "training" / key / "done.json")
    return None if found is None else found[0]


def _unsaved(done: Path, record: Mapping[str, Any], fractions: Sequence[str]) -> Fault | None:
    lacking = [f"`{name}`" for name in fractions if name not in record.get("earlier", {})]
    if not lacking:
        return None
    names = listed(lacking)
    what = f"checkpoint at {names} was" if len(lacking) == 1 else f"checkpoints at {names} were"
    return Fault(
        "params.yaml",
        f"`design.checkpoints`: this training is finished ({done.parent}), and its {what} not saved",
        f"`rm -r {shlex.quote(str(done.parent))}`, then `dvc repro train` trains it again and saves "
        f"{'it' if len(lacking) == 1 else 'them'}; or leave {names} out",
    )


def _recorded(done: Path) -> tuple[dict[str, Any], dict[str, dict[str, str]]] | None:
    """The record of a finished training, and by folder the hashes of its weights; None without valid results."""
    if not done.is_file():
        return None
    try:
        record = read_json(done)
        wanted = {"model": _sound_files(record["sound"], ("done", "epochs", "left_out"))}
        numbers = (record["seconds"],)
        earlier = record.get("earlier", {})
        wanted |= {f"at/{_folder_name(name)}": _sound_files(earlier[name], ("done", "of")) for name in earlier}
    except (ItsError, KeyError, TypeError, ValueError, AttributeError):
        return None
    if not all(wanted.values()) or not all(type(number) in (int, float) for number in numbers):
        return None
    return record, wanted


def _finished(done: Path, fractions: Sequence[str], say: Say) -> dict[str, Any] | None:
    """The record of a finished training; None if there is none, or it has no valid results of its check.

    A model whose weights differ from those that were checked is reported and removed, with the saved states that the
    next run would resume from.

    Raises:
        DataError: if it is finished, and one of the fractions was not saved: to train it again may take hours, and
            would replace a model that other results are of, so that is left to its owner.
    """
    found = _recorded(done)
    if found is None:
        return None
    record, wanted = found
    if fault := _unsaved(done, record, fractions):
        raise DataError(f"{fault.where}: {fault.message}", fault.hint)
    for name in ["model", *(f"at/{_folder_name(name)}" for name in fractions)]:
        folder, hashes = done.parent / name, wanted[name]
        there = {path.name: path for path in folder.glob("*") if path.suffix == ".safetensors" and path.is_file()}
        wrong = [file for file in sorted(there.keys() | hashes) if file not in there or file not in hashes]
        wrong += [file for file in sorted(there.keys() & hashes) if file_sha256(there[file]) != hashes[file]]
        if wrong:
            differs = f"{called(wrong[0])} differs from the file that was checked after training"
            say(f"train: {folder}: {differs}: training again")
            done.unlink()
            remove(done.parent / "model")
            remove(done.parent / "at")
            return None
    return dict(record)


def _sound_files(sound: Mapping[str, Any], counts: Sequence[str]) -> dict[str, str]:
    """The SHA-256 of each file of weights; {} if the results are of another version or incomplete.

    Args:
        counts: numbers that its `steps` must have.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: if they have another structure.
    """
    numbers = [sound["steps"][key] for key in counts]
    texts = (sound["compared"], "" if sound["changed"] is None else sound["changed"])
    files = {name: facts["sha256"] for name, facts in sound["files"].items()}
    good = (
        sound["version"] == CHECK_VERSION
        and all(type(number) in (int, float) for number in numbers)
        and all(isinstance(text, str) for text in (*texts, *files.values()))
    )
    return files if good else {}


@contextmanager
def replaced_folder(target: Path) -> Iterator[Path]:
    """An empty folder that takes the place of `target` at the end, whole, and leaves it as it was after an error."""
    partial = target.with_name(f".{target.name}.partial.tmp")  # which DVC does not see (.dvcignore)
    remove(partial)
    partial.mkdir(parents=True)
    yield partial
    remove(target)  # a link to another disk becomes a folder here
    partial.rename(target)


def copy_model(source: Path, target: Path) -> None:
    """Copy the files that a loader needs into a folder, which is created. See `clone_file`."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        if path.is_file() and path.suffix in KEPT and path.name != SAVED:
            clone_file(path, target / path.name)
            (target / path.name).chmod(0o644)


def _run(
    folder: Path,
    training: Training,
    fractions: Sequence[str],
    say: Say,
    progress: Callable[[dict[str, Any]], None],
    meeting: Meeting | None,
) -> tuple[dict[str, Any], list[str]]:
    """Run Axolotl to its end, here and on the other machines.

    Returns:
        Its steps, {done, expected, counted, epochs, left_out}, and patterns of tensors that the model's class does not
        read from a checkpoint.
    """
    train = training.train
    with atomic_file(folder / "rows.jsonl") as out:
        for turns in training.messages:
            out.write(json.dumps({"messages": turns}, ensure_ascii=False) + "\n")
    config = training.config(training.base.path, str(folder / "rows.jsonl"), str(folder))
    further = [PROCESSES_PLUGIN] * (train.devices > 1) + [CHECKPOINTS_PLUGIN] * bool(fractions)
    config |= {"plugins": [*config["plugins"], *further]}
    (folder / CONFIG).write_text(yaml_text(config), encoding="utf-8")
    steps, parity, log = folder / "progress.jsonl", folder / "parity.json", folder / "axolotl.log"
    _keep_what_resumes(folder, training.steps, fractions, say)
    stopped, ended = folder / "stopped.json", folder / "ended.json"
    for path in (parity, stopped, ended):
        path.unlink(missing_ok=True)
    expected = training.steps
    values: dict[str, Any] = {
        "rows": str(folder / "rows.jsonl"),
        "progress": str(steps),
        "parity": str(parity),
        "stopped": str(stopped),
        "ended": str(ended),
        "cpu": train.hardware == "cpu",
        "end_of_turn": training.tokens.eos,
        "global_batch_size": train.global_batch_size,
        "steps": expected,
    }
    if fractions:
        values["at"] = {"folder": str(folder / "at"), "fractions": {name: _folder_name(name) for name in fractions}}
    write_json(folder / SETTINGS, values)
    if meeting is not None:
        meeting.gather(say)
    code, lost = run_axolotl(
        folder,
        train,
        training.environment,
        offline=training.base.offline,
        log=log,
        meeting=meeting,
        look=progress_reader(steps, progress),
    )
    return _outcome(folder, code, lost, expected, log)


def _outcome(
    folder: Path, code: int, lost: str | None, expected: int | None, log: Path
) -> tuple[dict[str, Any], list[str]]:
    """What `_run` returns, from what the plugins and the launcher left.

    Raises:
        RunError: if the training did not reach its end.
    """
    stopped, parity, ended = folder / "stopped.json", folder / "parity.json", folder / "ended.json"
    if stopped.is_file():
        why = read_json(stopped)
        if why["diverged"]:  # a saved state is broken already, or will be at its next step
            remove(folder / "model")
            remove(folder / "at")
        raise RunError(f"{why['message']}", f"{why['hint']} (log: {log})")
    report = read_json(parity) if parity.is_file() else None
    if report is not None and report["faults"]:
        raise RunError(
            f"prompt parity failed ({report['faults']} fault{'s' * (report['faults'] != 1)}): {report['examples'][0]}",
            parity_hint(report["examples"][0]),
        )
    if lost is not None:
        raise RunError(lost, f"the log of this machine: {log}")
    if code:
        raise RunError(f"axolotl failed (exit code {code})", f"its log: {log}")
    if report is None:
        raise RunError("axolotl ended without proving prompt parity", f"its log: {log}")
    end = read_json(ended) if ended.is_file() else None
    return _steps_done(end, expected, log), list(end["unread"]) if end else []


def _keep_what_resumes(folder: Path, steps: int | None, fractions: Sequence[str], say: Say) -> None:
    """Remove what a killed run left, except a saved state to resume from and the checkpoints that were saved before it.

    A state that lies behind a checkpoint that is wanted now and was not saved is no use: it is removed too.

    Args:
        steps: of the whole training; None if only the trainer can count them.
    """
    model, at, logged = folder / "model", folder / "at", folder / "progress.jsonl"
    states = [int(path.name.removeprefix("checkpoint-")) for path in model.glob("checkpoint-*") if _is_state(path)]
    resumed = max(states, default=0)
    for path in at.glob("*"):
        saved = read_json(path / SAVED)["step"] if (path / SAVED).is_file() else None
        if saved is None or saved > resumed:  # of a run that was killed after it, not of the one that resumes
            remove(path)
    if steps is None and states and logged.is_file():
        steps = _announced(logged)
    lacking = [name for name in fractions if not (at / _folder_name(name)).is_dir()]
    if steps is not None and (lost := [name for name in lacking if saved_step(name, steps) <= resumed]):
        say(f"train: {folder}: step {resumed} was saved, but not the checkpoint at {lost[0]}: training from the start")
        remove(model)
    if not any(model.glob("checkpoint-*")):
        for path in (model, at):
            remove(path)
        logged.unlink(missing_ok=True)


def _announced(logged: Path) -> int | None:
    """The steps that the trainer of a killed run announced; its last line may have been cut."""
    for line in logged.read_text(encoding="utf-8").splitlines():
        with suppress(ValueError):
            return int(json.loads(line)["steps"])
    return None


def _is_state(path: Path) -> bool:
    return path.is_dir() and path.name.removeprefix("checkpoint-").isdecimal()


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
