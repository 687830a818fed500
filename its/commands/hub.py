"""Upload a publication to the Hugging Face hub: one repository for the whole, one for each dataset and checkpoint."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

from its.commands.publication import DATASETS, MODELS
from its.commands.publish import UNSAID, Published, publish, published_before
from its.commands.published_models import Weights
from its.errors import Fault, MissingError, RunError
from its.progress import say
from its.rows import raise_faults
from its.secrets import redacted
from its.shown import shown
from its.study.study import Study

MESSAGE = "its publish"
"""How the title of each commit begins: a repository that has none of them was made by something else."""
_FIRST = "initial commit"  # of the hub, in a repository that is new
_FORBIDS = re.compile(r"(?:.*[-_ ])?nd(?:[-_ \d.].*)?|no-?deriv.*|all-rights-reserved|proprietary|no-license")
"""Licences that do not allow to share what was made from the work."""

Kind = Literal["dataset", "model"]


class Repository(NamedTuple):
    """A repository of the hub, and the folder of the publication that it gets (empty: all of it)."""

    name: str
    kind: Kind
    folder: str


class OnHub(NamedTuple):
    """What is on the hub now, or would be.

    Args:
        published: the folder.
        repositories: each with the address of its last commit; None of a dry run.
        notes: what a user has to know beside those of the folder.
    """

    published: Published
    repositories: Sequence[tuple[Repository, str | None]]
    notes: Sequence[str]


def publish_to_hub(
    study: Study, out: Path, org: str, weights: Weights = "copy", *, public: bool = False, dry_run: bool = False
) -> OnHub:
    """Write the active study to a folder as `publish` does, then upload it; what the hub has already is not sent again.

    If `out` is a publication of the study as it is now, it is checked again and uploaded. A new repository is private
    unless `public`; files of a repository that the publication does not have are deleted there.

    Args:
        org: the user or organization that owns the repositories.
        dry_run: neither write nor connect; licences on the hub are not looked up.

    Raises:
        ItsError: as `publish`, before anything is uploaded.
        MissingError: if nobody is logged in to the hub.
        FaultsError: naming every name that the hub does not allow, licence that forbids it, and repository that
            something else made or whose visibility is another one.
        RunError: if the hub refuses or cannot be reached; no message contains the token.
    """
    repositories = list(_repositories(study, org, weights))
    _check_names(repositories)
    write = published_before if os.path.lexists(out) else publish
    if dry_run:
        found = write(study, out, weights, True)
        return OnHub(found, [(item, None) for item in repositories], [])
    with _explained("the token of the hub", None):
        from huggingface_hub import HfApi, get_token

        token = get_token()
    if not token:
        hint = "`hf auth login`, or `export HF_TOKEN=...`, created at https://huggingface.co/settings/tokens"
        raise MissingError("the hub requires a token with write access, and there is none", hint)
    api = HfApi(token=token)
    told = [*_licences(api, token, study), *_checked(api, token, repositories, public)]
    raise_faults([item for item in told if isinstance(item, Fault)])
    notes = [item for item in told if isinstance(item, str)]
    found = write(study, out, weights, False)
    again = f"; `{out}` is complete: the same command uploads the rest"
    for item in repositories:
        with _explained(f"`{item.name}`", token, again):
            api.create_repo(item.name, repo_type=item.kind, private=not public, exist_ok=True)
    done: list[tuple[Repository, str | None]] = []
    for item in repositories:
        say(f"publish: uploading {item.kind} `{item.name}`")
        with _explained(f"`{item.name}`", token, again):
            commit = api.upload_folder(
                repo_id=item.name,
                repo_type=item.kind,
                folder_path=out / item.folder,
                commit_message=f"{MESSAGE}: {study.recipe.recipe}",
                delete_patterns="*",
            )
        done.append((item, str(commit.commit_url)))
    return OnHub(found, done, notes)


def _repositories(study: Study, org: str, weights: Weights) -> Iterator[Repository]:
    name = f"{org}/{study.recipe.recipe}"
    yield Repository(name, "dataset", "")
    for _, own, strategies in study.sets():
        for folder in (own, *(f"{own}-{strategy}" for strategy in strategies)):
            yield Repository(f"{name}-{folder}", "dataset", f"{DATASETS}/{folder}")
    for checkpoint in study.checkpoints():
        if checkpoint.train is not None and weights != "none":
            yield Repository(f"{name}-{checkpoint.name}", "model", f"{MODELS}/{checkpoint.name}")


def _check_names(repositories: Sequence[Repository]) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    faults = []
    for item in repositories:
        try:
            validate_repo_id(item.name)
            wrong = None if item.name.count("/") == 1 else "is not `ORG/NAME`"
        except HFValidationError as error:
            wrong = f"is not a name for a repository: {_reason(error)}"
        if wrong is not None:
            faults.append(Fault(f"--hub: `{shown(item.name[:200])}`", wrong, "another ORG, or shorter names"))
    raise_faults(faults)


def _checked(api: Any, token: str, repositories: Sequence[Repository], public: bool) -> Iterator[str | Fault]:
    """Notes on the repositories that exist, and faults of those that must not be written to."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    for item in repositories:
        with _explained(f"`{item.name}`", token):
            try:
                private = api.repo_info(item.name, repo_type=item.kind).private
                titles = [commit.title for commit in api.list_repo_commits(item.name, repo_type=item.kind)]
            except GatedRepoError:
                raise
            except RepositoryNotFoundError:
                continue
        where = f"{item.kind} `{item.name}`"
        if not all(title == _FIRST for title in titles) and not any(title.startswith(MESSAGE) for title in titles):
            what = "exists on the hub, and no commit in it is of `its publish`"
            yield Fault(where, what, "another ORG, or rename one of them: its files would be deleted")
        elif not private and not public:
            hint = "`--public`, or make it private in its settings on the hub"
            yield Fault(where, "is public, and `--public` was not given", hint)
        elif private and public:
            yield f"{where} stays private: its settings on the hub make it public"


def _licences(api: Any, token: str, study: Study) -> Iterator[str | Fault]:
    """Notes on licences that the hub does not state, and faults of those that forbid to share what was made."""
    recipe = study.recipe
    datasets = {name: {**recipe.datasets, **recipe.benchmarks}[name] for _, name, _ in study.sets()}
    trained = dict.fromkeys(item.model for item in study.checkpoints() if item.train is not None)
    stated = {("dataset", name): one.licence for name, one in datasets.items()}
    stated |= {("model", name): recipe.models[name].licence for name in trained}
    for (_, name), licence in stated.items():
        if licence is not None and _FORBIDS.fullmatch(licence):
            what = f"its licence, `{licence}` by the recipe, forbids to share what was made from it"
            yield Fault(f"`{name}`", what, "publish without `--hub`, for yourself")
    sources = [(name, "dataset", item) for name, one in datasets.items() for item in _hub_ids(one.model_dump())]
    for model in trained:
        sources += [(model, "model", item) for item in _hub_ids(recipe.models[model].model_dump())]
    for name, kind, repo_id in sources:
        licences = _licences_of(api, token, kind, repo_id)
        forbidding = [item for item in licences if _FORBIDS.fullmatch(item.lower())]
        if forbidding:
            what = f"its licence, `{shown(forbidding[0])}`, forbids to share what was made from it"
            yield Fault(f"`{name}`: {kind} `{repo_id}`", what, "publish without `--hub`, for yourself")
        elif (stated[kind, name] or "other") in UNSAID and UNSAID.issuperset(map(str.lower, licences)):  # or none
            yield f"the hub states no licence of {kind} `{repo_id}` (`{name}`); check it before you share anything"


def _hub_ids(value: Any) -> list[str]:
    """The repositories of the hub that a declaration names, in its sources and their parts."""
    if isinstance(value, dict):
        own = [value["id"]] if value.get("kind") == "hub" and isinstance(value.get("id"), str) else []
        return list(dict.fromkeys([*own, *(name for item in value.values() for name in _hub_ids(item))]))
    return [name for item in value for name in _hub_ids(item)] if isinstance(value, list | tuple) else []


def _licences_of(api: Any, token: str, kind: str, repo_id: str) -> list[str]:
    from huggingface_hub.errors import RepositoryNotFoundError

    with _explained(f"`{repo_id}`", token):
        try:
            data = api.repo_info(repo_id, repo_type=kind).card_data
        except RepositoryNotFoundError:
            return []  # withdrawn, or not for this token
    found = None if data is None else data.get("license")
    return [str(item) for item in (found if isinstance(found, list) else [found]) if item is not None]


@contextmanager
def _explained(what: str, token: str | None, more: str = "") -> Iterator[None]:
    """Turn what the hub's client raises into one error without the token."""
    from httpx2 import HTTPError

    try:
        yield
    except (HTTPError, OSError, RuntimeError, ValueError) as error:  # the client's own are among them
        hint = f"check the network, the rights of the token, and ORG{more}"
        raise RunError(f"the hub refused {what}: {_reason(error, token)}", hint) from error


def _reason(error: Exception, token: str | None = None) -> str:
    text = " ".join(str(error).split())
    text = redacted(text.replace(token, "***") if token else text)
    return shown(text[:500]) or type(error).__name__
