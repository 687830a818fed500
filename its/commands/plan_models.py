"""The architecture of each model of a recipe: given, local, or of a stated table. Nothing is fetched."""

from __future__ import annotations

from pathlib import Path

from its.errors import DataError, ItsError, MissingError
from its.models import ready_model
from its.plan.architecture import Architecture, known_architecture, read_architecture
from its.recipe.schema import FolderSource, HubModelSource
from its.rows import read_json
from its.study.study import Study


def given_architecture(name: str, path: Path) -> Architecture:
    """The architecture of a `config.json` that a person named for a model.

    Raises:
        MissingError, DataError: if it cannot be read, or the formulas are not of such a model.
    """
    if not path.exists():  # `read_json` would say that a stage writes it
        raise MissingError(f"{path}: no such file", f"`--config {name}=FILE` names the `config.json` of the model")
    found = read_architecture(read_json(path), str(path))
    if isinstance(found, str):
        raise DataError(f"{path}: given for `{name}`, but {found}", "docs/plan.md lists the models with formulas")
    return found


def find_architecture(study: Study, name: str) -> Architecture | str:
    """The architecture of a model, or why it is not known, as a clause.

    A `config.json` on this machine (of a folder, of a converted wheel, in the hub's cache) wins over the table.
    """
    try:
        path = _config_path(study, name)
        if path is not None:
            return read_architecture(read_json(path), str(path))
    except ItsError as error:
        return error.message
    source = study.recipe.models[name].source
    if isinstance(source, HubModelSource):
        called = source.id
    elif isinstance(source, FolderSource):
        return f"{study.project / source.path} has no config.json"
    else:
        called = source.parts[0].file if source.kind == "wheels" else source.file
    return known_architecture(called) or f"the config.json of {called} is not on this machine"


def _config_path(study: Study, name: str) -> Path | None:
    model = study.recipe.models[name]
    if isinstance(model.source, FolderSource):
        path = study.project / model.source.path / "config.json"
    elif isinstance(model.source, HubModelSource):
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(model.source.id, "config.json", revision=model.source.revision)
        return Path(cached) if isinstance(cached, str) else None
    else:
        try:
            found = ready_model(name, model, study.project, study.home, lambda _: None, make=False, rendered=False)
        except ItsError:
            return None
        path = Path(found.path) / "config.json"
    return path if path.is_file() else None
