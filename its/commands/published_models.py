"""What a publication has of each trained checkpoint: its card, its proof of prompt parity, its weights."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from its.cards.markdown import _fence as fence
from its.cards.markdown import _inline as inline
from its.cards.markdown import _table as table
from its.commands.strategy import as_yaml, show
from its.errors import MissingError
from its.report.data import ReportData
from its.rows import read_json, read_rows
from its.secrets import writable
from its.shown import counted
from its.study.study import Checkpoint, Study
from its.types import Query

Weights = Literal["copy", "link", "none"]
CARD = "README.md"
DESCRIBING = (
    *("its_parity.json", "its_sound.json", "config.json", "generation_config.json", "adapter_config.json"),
    *("axolotl.yaml", "chat_template.jinja"),
)
"""Files of a checkpoint that say what it is; all others are needed only with the weights."""


def checkpoint_files(study: Study, checkpoint: Checkpoint, weights: Weights) -> list[Path]:
    """The files of a checkpoint to publish, without those of other checkpoints in its folder.

    A trainer's own README.md is left out: the card takes its place.

    Raises:
        MissingError: if the folder is not there and weights are wanted.
    """
    folder = study.model_path(checkpoint)
    if not folder.is_dir():
        if weights == "none":
            return []
        hint = "`dvc pull` fetches it, or `--no-weights` publishes without the checkpoints"
        raise MissingError(f"{folder.relative_to(study.project)}: no such folder", hint)
    found = sorted(path for path in folder.iterdir() if path.is_file() and path.name != CARD)
    return [path for path in found if weights != "none" or path.name in DESCRIBING]


def place_file(source: Path, target: Path, weights: Weights) -> None:
    """Copy a file, or link it to the content that it has (a link of DVC's cache is followed)."""
    if weights == "link" and source.name not in DESCRIBING:
        os.link(os.path.realpath(source), target)
    else:
        shutil.copyfile(source, target)


def model_card(study: Study, checkpoint: Checkpoint, results: ReportData, chosen: Sequence[str]) -> str:
    """The card of a trained checkpoint as Markdown: training, results, how to prompt, proof.

    Args:
        chosen: the sentences on the pair to report.
    """
    lines = [*_front_matter(study, checkpoint), *_lines(study, checkpoint, results, chosen)]
    return ("\n".join(lines).rstrip("\n") + "\n").encode("utf-8", "backslashreplace").decode("utf-8")


def _front_matter(study: Study, checkpoint: Checkpoint) -> Iterator[str]:
    """The metadata that the hub reads."""
    from huggingface_hub import ModelCardData

    source = study.recipe.models[checkpoint.model].source.model_dump(exclude_none=True)
    base = source.get("id") if isinstance(source.get("id"), str) else None
    licence = study.recipe.models[checkpoint.model].licence
    data = ModelCardData(base_model=base, license=licence, library_name="transformers", tags=["its"])
    yield from ("---", str(data.to_yaml()).strip(), "---", "")


def _lines(study: Study, checkpoint: Checkpoint, results: ReportData, chosen: Sequence[str]) -> Iterator[str]:
    recipe = study.recipe
    model, dataset, train = checkpoint.model, str(checkpoint.dataset), str(checkpoint.train)
    yield from (f"# {inline(checkpoint.name)}", "")
    yield from (f"A checkpoint of the study `{recipe.recipe}`: {inline(recipe.description)}", "")
    tests = list(dict.fromkeys(test for item, _, test in study.cells() if item == checkpoint))
    yield f"It was trained with the strategy `{train}`. Without the context of a test strategy its prompts differ from"
    yield from ("those of its training; see *How to prompt*.", "")
    yield from ("## Base model", "")
    source = recipe.models[model].source.model_dump(exclude_none=True)
    yield from table(("what", "value"), [("name", model), *source.items(), ("dtype", recipe.models[model].dtype)])
    licence = recipe.models[model].licence
    known = "ITS does not know it" if licence is None else f"the recipe states `{licence}`"
    yield from (f"The licence of the base model applies; {known}.", "")
    yield from ("## Training data", "")
    rows = counted(_rows(study, dataset, train), "row")
    yield f"`datasets/{dataset}-{train}` of the publication: {rows} of `{dataset}` under"
    yield from (f"the train strategy `{train}`, training seed {checkpoint.seed}.", "")
    yield from ("## Training", "")
    settings = recipe.train.of(model, dataset, checkpoint.variant).model_dump(exclude_defaults=True)
    yield from fence(as_yaml(writable(settings)).rstrip("\n"), "yaml")
    yield from ("## Results", "")
    cells = [cell for cell in results.cells if cell.checkpoint in (checkpoint.name, Checkpoint(model).name)]
    heads = ("checkpoint", "benchmark", "test strategy", "avg@n", "95 % interval", "problems", "n")
    measured = [
        (
            "this" if cell.checkpoint == checkpoint.name else "base",
            *(cell.benchmark, cell.test, f"{cell.avg:.4f}", f"{cell.low:.4f} to {cell.high:.4f}"),
            *(cell.problems, cell.n),
        )
        for cell in cells
    ]
    yield from table(heads, measured)
    yield from ("### The pair to report", "")
    yield from (*map(inline, chosen), "")
    yield from ("## How to prompt", "")
    yield "Each test strategy that was measured, with its declaration, its templates, and one query as the model"
    yield from ("received it before its chat template.", "")
    if recipe.prompt.model_dump(exclude_defaults=True):
        yield from ("The part of every prompt that no strategy changes:", "")
        yield from fence(as_yaml(recipe.prompt.model_dump(exclude_defaults=True)).rstrip("\n"), "yaml")
    for test in tests:
        yield from _strategy(study, checkpoint, test)
    yield from _proof(study, checkpoint)


def _rows(study: Study, dataset: str, train: str) -> int:
    return sum(1 for _ in read_rows(study.queries_path("train", dataset, train), Query))


def _strategy(study: Study, checkpoint: Checkpoint, test: str) -> Iterator[str]:
    declared: dict[str, Any] = show(study, test)
    yield from (f"### {inline(test)}", "")
    yield from fence(as_yaml(declared["strategy"]).rstrip("\n"), "yaml")
    for path, text in declared["templates"].items():
        yield from (f"`{path}`:", "")
        yield from fence(text.rstrip("\n"), "jinja")
    benchmark = next(name for item, name, strategy in study.cells() if (item, strategy) == (checkpoint, test))
    query = next(read_rows(study.queries_path("test", benchmark, test), Query), None)
    if query is not None:
        yield from (f"A query of `{benchmark}`:", "")
        for turn in query.turns(checkpoint.model):
            yield from fence(f"[{turn['role']}]\n{turn['content']}", "text")


def _proof(study: Study, checkpoint: Checkpoint) -> Iterator[str]:
    """What was compared before the training."""
    yield from ("## Proof of prompt parity", "")
    path = study.model_path(checkpoint) / "its_parity.json"
    if not path.is_file():
        yield from ("`its_parity.json` was not available when this was published.", "")
        return
    proof = read_json(path)
    yield f"Before the first step the token ids of {counted(proof.get('rows', 0), 'row')} were compared with what an"
    yield "engine receives for the same messages. `its_parity.json` has some prompts with the hashes of their ids."
    yield ""
    kept = ("rows", "prompt_tokens", "trained_tokens", "end_of_turn", "faults")
    yield from table(("what", "value"), [(name, proof.get(name)) for name in kept])
