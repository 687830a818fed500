"""Write a study as a folder that others can read, load and verify: data, checkpoints, responses, results, report."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import its
from its.cards.markdown import _inline as inline
from its.cards.markdown import _table as table
from its.commands.cards import set_card
from its.commands.cited_keys import cited_keys
from its.commands.export import _check_place as check_place
from its.commands.export import export_dataset
from its.commands.publication import DATASETS, MODELS, STORE, STUDY, read_manifest, write_manifest
from its.commands.published_models import CARD, Weights, checkpoint_files, model_card, place_file
from its.commands.published_secrets import secret_faults
from its.commands.verify import PLOT, RESULTS, verify
from its.errors import DataError, Fault, MissingError, RunError
from its.files import file_sha256
from its.grading.grade import GRADER_VERSION
from its.home import STORE_FILE
from its.report.tables import TABLES
from its.revisions import standing
from its.rows import raise_faults
from its.shown import counted
from its.stages.report import best_pair, summary
from its.store.exporting import export_store
from its.store.recovery import readable_store
from its.strategies.members import expanded
from its.study.study import Checkpoint, Study

_TEMPLATE_KEYS = frozenset({"template", "query", "chat_template"})
_TEMPLATE_FOLDERS = ("prompts/", "axolotl/")
LARGE = frozenset({".safetensors", ".bin", ".pt", ".gguf"})
VOCABULARY = frozenset({"tokenizer.json", "vocab.json", "merges.txt", "tokenizer.model"})
"""Not searched for secrets, like weights: a vocabulary contains any short text."""


@dataclass(frozen=True)
class Published:
    """What was written, or would be.

    Args:
        files: path in the folder -> bytes; of a dry run those of the study and the checkpoints alone.
        sha256: of the manifest; None of a dry run.
        licences: set -> the licence that its source states; None where it states none.
        notes: what a reader of the publication misses.
    """

    folder: str
    files: dict[str, int]
    sha256: str | None
    licences: dict[str, str | None]
    notes: list[str]


def publish(study: Study, out: Path, weights: Weights = "copy", dry_run: bool = False) -> Published:
    """Write the active study to a new folder, verified before it appears.

    The folder is searched for secrets, then checked as `its verify` does: what would not verify is not published.

    Args:
        out: a folder that does not exist; it appears whole or not at all.
        weights: `link` makes hard links, which take no space and need the same file system.
        dry_run: find the files and search them for secrets; write nothing.

    Raises:
        MissingError: naming every file that a stage has not written, or responses that the store lacks.
        FaultsError: naming every line that looks like a secret, or every difference that `its verify` would find.
        DataError: if `out` exists or is in a folder of git, DVC or ITS.
        RunError: if the disk is full or files cannot be linked.
    """
    check_place(study, out)
    if os.path.lexists(out):
        raise DataError(f"`{out}` exists", "choose a new name; nothing is overwritten")
    sources = _sources(study, weights)
    _refuse_secrets({str(path.relative_to(study.project)): path for path in sources.values()})
    licences = _licences(study)
    notes = list(_notes(study, licences, weights))
    if dry_run:
        return Published(str(out), {name: path.stat().st_size for name, path in sources.items()}, None, licences, notes)
    temporary = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.", suffix=".tmp"))
        for name, path in sources.items():
            target = temporary / name
            target.parent.mkdir(parents=True, exist_ok=True)
            place_file(path, target, weights)
        sha256 = _complete(study, temporary, weights, licences, notes)
        sizes = {path.relative_to(temporary).as_posix(): path.stat().st_size for path in _all(temporary)}
        temporary.chmod(0o755)
        temporary.rename(out)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise DataError(f"{out}: the name is too long for a folder", "give a shorter one") from error
        hint = "publish without `--link` to copy the weights" if error.errno == errno.EXDEV else "nothing was left"
        raise RunError(f"{out}: {str(error.strerror).lower()}", hint) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return Published(str(out), sizes, sha256, licences, notes)


def published_before(study: Study, out: Path, weights: Weights, dry_run: bool = False) -> Published:
    """The publication in a folder, if it is complete, verified, without secrets, and of the study as it is now.

    Args:
        weights: whether the publication has them; how they came there does not matter.
        dry_run: do not verify it.

    Raises:
        MissingError: if a file of the study is missing, or `out` is not a publication.
        DataError: if it is of another state of the study.
        FaultsError: naming every line that looks like a secret, or every difference that `its verify` finds.
    """
    sources = _sources(study, weights)
    manifest, sha256 = read_manifest(out)
    listed = {item.path: item.sha256 for item in manifest.files}
    own = {path for path in listed if path.startswith((f"{STUDY}/", f"{MODELS}/")) and not _is_card(path)}
    changed = sorted(own ^ sources.keys())
    changed = changed or [name for name, path in sources.items() if file_sha256(path) != listed[name]]
    if changed:
        what = f"is not a publication of the study as it is now: {counted(len(changed), 'file')} differ, the first is"
        raise DataError(f"{out}: {what} `{changed[0]}`", "publish to a new folder; nothing is overwritten")
    if not dry_run:
        _refuse_secrets({f"{out}/{name}": out / name for name in listed})
        checked = verify(out)
        hint = "publish to a new folder"
        faults = [Fault(f"{out}/{item.where}", item.what, hint) for item in checked.differences]
        raise_faults([*faults, *(Fault(str(out), reason, hint) for reason in checked.skipped)])
    licences = _licences(study)
    sizes = {item.path: item.bytes for item in manifest.files}
    return Published(str(out), sizes, sha256, licences, list(_notes(study, licences, weights)))


def _is_card(path: str) -> bool:
    return path.startswith(f"{MODELS}/") and path.endswith(f"/{CARD}")


def _sources(study: Study, weights: Weights) -> dict[str, Path]:
    """Path in the folder -> file of the study or of a checkpoint."""
    sources = {f"{STUDY}/{path.relative_to(study.project).as_posix()}": path for path in _study_files(study)}
    for checkpoint in study.checkpoints():
        if checkpoint.train is not None:
            files = checkpoint_files(study, checkpoint, weights)
            sources |= {f"{MODELS}/{checkpoint.name}/{path.name}": path for path in files}
    return sources


def _licences(study: Study) -> dict[str, str | None]:
    return {name: _licence(study, name) for _, name, _ in study.sets()}


def _complete(
    study: Study, folder: Path, weights: Weights, licences: Mapping[str, str | None], notes: list[str]
) -> str:
    """Add the export, the datasets, the cards and the manifest, and verify; returns the manifest's SHA-256."""
    _export(study, folder / STORE)
    for _, name, strategies in study.sets():
        export_dataset(study, name, None, None, folder / DATASETS / name)
        for strategy in strategies:
            export_dataset(study, name, strategy, None, folder / DATASETS / f"{name}-{strategy}")
    results, (_, chosen) = summary(study), best_pair(study)
    for checkpoint in study.checkpoints():
        if checkpoint.train is not None:
            place = folder / MODELS / checkpoint.name
            place.mkdir(parents=True, exist_ok=True)
            (place / CARD).write_text(model_card(study, checkpoint, results, chosen), encoding="utf-8")
    readme = "\n".join(_readme(study, TABLES["markdown"](results), chosen, licences, notes))
    (folder / "README.md").write_text(readme, encoding="utf-8", errors="backslashreplace")
    written = {
        str(path.relative_to(folder)): path
        for path in _all(folder)
        if path.name == "README.md" or path == folder / STORE
    }
    _refuse_secrets(written)
    sha256 = write_manifest(
        folder,
        its=its.__version__,
        recipe=study.recipe.recipe,
        grader_version=GRADER_VERSION,
        commit=standing(study.project, ()).commit,
        weights=weights != "none",
    )
    checked = verify(folder, hashed=True)
    if checked.differences:
        hint = "`dvc repro` makes results that follow from the rows, then publish again"
        raise_faults([Fault(item.where, item.what, hint) for item in checked.differences])
    return sha256


def _export(study: Study, path: Path) -> None:
    """The responses that the rows cite; all of them, or nothing is published."""
    store = study.home / STORE_FILE
    if not store.is_file():
        raise MissingError(
            f"{store}: no such store", "publish where the responses were generated, or `its store import`"
        )
    with readable_store(store) as opened:
        done = export_store(opened, path, cited_keys(study.project))
    if done.missing:
        what = f"{counted(done.missing, 'response')} that the rows cite are missing or damaged in {store}"
        raise MissingError(what, "publish where the responses were generated, or `its store import` an export of them")


def _study_files(study: Study) -> list[Path]:
    """Every file of the design, and those that describe it.

    Raises:
        FaultsError: naming every file that is missing and the stage that writes it.
    """
    project = study.project
    needed = [project / "params.yaml", project / "dvc.yaml", study.sessions_path(), study.lengths_path()]
    needed += [study.results(name) for name in (*RESULTS, PLOT, "report.html", "provenance.json")]
    optional = [project / "dvc.lock", project / "recipes" / f"{study.recipe.recipe}.yaml"]
    optional += [project / "data" / name for name in ("judge.json", "personas/summary.json", "solutions/summary.json")]
    optional.append(study.results("plots", "loss.csv"))
    needed += [project / "recipes" / path for path in sorted(_templates(study.recipe.model_dump()))]
    for side, name, strategies in study.sets():
        needed += [study.problems_path(name), study.card_path(name)]
        optional.append(study.card_path(name).with_name("card.md"))
        for strategy in expanded(study.recipe.strategies, strategies):
            optional += [study.personas_path(name, strategy), study.solutions_path(name, strategy)]
        needed += [study.queries_path(side, name, strategy) for strategy in strategies]
    for cell in study.cells():
        needed += [study.responses_path(*cell), study.verdicts_path(*cell)]
    optional += [study.results("cost", f"{name}.json") for name in ("persona", "solution", "generate")]
    for item in study.checkpoints():
        if item.dataset is not None and item.train is not None and item.seed is not None:
            optional.append(study.trainings_path(item.model, item.dataset, item.train, item.seed))
            optional.append(study.results("cost", f"train-{item.combination}.json"))
            optional += sorted(path for path in study.results("loss", item.combination).rglob("*") if path.is_file())
    missing = [path for path in dict.fromkeys(needed) if not path.is_file()]
    if missing:
        hint = "`dvc repro` writes what a stage writes, `dvc pull` fetches it"
        raise_faults([Fault(str(path.relative_to(project)), "no such file", hint) for path in missing])
    return [*dict.fromkeys(needed), *dict.fromkeys(path for path in optional if path.is_file())]


def _templates(value: Any) -> set[str]:
    """The template files that a recipe names."""
    if isinstance(value, Mapping):
        own = {
            item
            for key, item in value.items()
            if key in _TEMPLATE_KEYS
            and isinstance(item, str)
            and item.startswith(_TEMPLATE_FOLDERS)
            and ".." not in item.split("/")
        }
        return own.union(*(_templates(item) for item in value.values()))
    return set().union(*(_templates(item) for item in value)) if isinstance(value, list | tuple) else set()


def _refuse_secrets(files: Mapping[str, Path]) -> None:
    faults: list[Fault] = []
    for name, path in files.items():
        if path.suffix not in LARGE and path.name not in VOCABULARY:
            faults += secret_faults(path, name)
    raise_faults(faults)


UNSAID = {"other", "unknown"}
"""Ids of the hub that name no licence."""


def _licence(study: Study, name: str) -> str | None:
    licence = set_card(study, name, None)["origin"].get("licence")
    return None if licence is None else str(licence)


def _notes(study: Study, licences: Mapping[str, str | None], weights: Weights) -> Iterator[str]:
    unknown = [name for name, licence in licences.items() if licence is None or licence in UNSAID]
    if unknown:
        yield f"the licence of {', '.join(unknown)} is unknown; check it, and state it as `licence` in the recipe"
    if not (study.project / "dvc.lock").is_file():
        yield "there is no dvc.lock: the versions of the stages' inputs and outputs are not recorded"
    if weights == "none":
        yield "the weights of the checkpoints are not included"


def _all(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _readme(
    study: Study, results: str, chosen: list[str], licences: Mapping[str, str | None], notes: list[str]
) -> Iterator[str]:
    """The first page of a publication."""
    recipe = study.recipe
    # For the hub: its viewer would join the tables of different sets into one.
    yield from ("---", "tags: [its]", "viewer: false", "---", "")
    yield from (f"# {inline(recipe.recipe)}", "", inline(recipe.description), "")
    yield from ("## Results", "", results.rstrip("\n"), "", *map(inline, chosen), "")
    yield "`study/results/report.html` is the complete report; `study/params.yaml` is the recipe."
    yield from ("", "## Verify", "")
    yield "`its verify .` needs no GPU, network or engine. It compares every file with `manifest.json`, renders the"
    yield "queries, builds the response rows from `store.jsonl.zst`, grades them and measures the results again, and"
    yield from ("names every row and number that differs.", "")
    yield from ("## Datasets", "")
    rows = [(name, licence or "unknown to ITS; see the source") for name, licence in licences.items()]
    yield from table(("set", "licence"), rows)
    yield "Each folder of `datasets/` is a Hugging Face dataset with a card: `datasets.load_dataset(FOLDER)`."
    yield from ("", "## Checkpoints", "")
    trained = [item for item in study.checkpoints() if item.train is not None]
    yield from table(("checkpoint", "base model", "train strategy"), [_checkpoint(study, item) for item in trained])
    if notes:
        yield from ("## Notes", "", *(f"- {inline(note)}" for note in notes), "")


def _checkpoint(study: Study, item: Checkpoint) -> tuple[str, str, str]:
    source = study.recipe.models[item.model].source.model_dump(exclude_none=True)
    return item.name, str(source.get("id") or source.get("path") or item.model), str(item.train)
