"""`its recipe use` overwrites what it wrote itself without asking, and never what a person changed."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from its.checks.committed import experiment_with_params, recipe_committed_with_params
from its.errors import DataError, ItsError
from its.recipe.apply import departures, recipe_path, use_recipe
from its.recipe.document import read_document
from its.recipe.last_used import REPLACED, USED, last_used

Its = Callable[..., tuple[int, str, str]]
Edit = Callable[..., None]
RECIPE = "recipes/quickstart.yaml"
HAND = ("\n  max_tokens: #", "\n  max_tokens: 97")
"""What a person changes in params.yaml; what is changed in the recipe's file is something else."""


def _edit_recipe(project: Path, draw: int = 18) -> None:
    path = project / RECIPE
    text = re.sub(r"(?m)^seed: \d+", f"seed: {draw}", path.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8")


def _is(project: Path, path: str = RECIPE) -> bool:
    return (project / "params.yaml").read_bytes() == (project / path).read_bytes()


def _use(project: Path, name: str = "quickstart", force: bool = False) -> None:
    """Without the check of the recipe, which is tried elsewhere."""
    by = (recipe_committed_with_params, experiment_with_params)
    use_recipe(project, recipe_path(project, name), force, lambda *_: None, *by)  # type: ignore[arg-type]


def _git(project: Path, *words: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *words], cwd=project, check=True, capture_output=True)


def _commit(project: Path) -> None:
    if not (project / ".git").exists():
        _git(project, "init", "-q")
        (project / ".gitignore").write_text(".its/\n", encoding="utf-8")
    _git(project, "add", "-A")
    _git(project, "commit", "-qm", "x")


def test_an_edit_of_the_recipe_is_no_change_of_params(project: Path, its: Its) -> None:
    for seed in (18, 19, 20):
        assert its("recipe", "use", "quickstart")[0] == 0
        assert _is(project)
        _edit_recipe(project, seed)
    assert its("recipe", "use", "quickstart")[0] == 0 and _is(project)


def test_between_recipes_that_are_edited(project: Path) -> None:
    _use(project)
    _use(project, "arithmetic_4x4")
    assert _is(project, "recipes/arithmetic_4x4.yaml")
    path = project / "recipes" / "arithmetic_4x4.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("\nseed: 17", "\nseed: 3"), encoding="utf-8")
    _edit_recipe(project)
    _use(project)
    _use(project, "arithmetic_4x4")
    assert _is(project, "recipes/arithmetic_4x4.yaml")


def test_a_hand_edit_is_told_alone_and_kept(project: Path, edit: Edit, its: Its) -> None:
    _use(project)
    _edit_recipe(project)
    edit(HAND)
    before = (project / "params.yaml").read_bytes()
    code, _, err = its("recipe", "use", "quickstart")
    assert code == 3
    assert "params.yaml was changed since `its recipe use` wrote `quickstart` there (`generation.max_tokens`)" in err
    assert "`its recipe diff --used` shows all" in err and "seed" not in err
    code, out, _ = its("recipe", "diff", "--used")
    assert code == 0 and out.startswith("generation.max_tokens: ") and out.endswith(" -> 97\n") and out.count("\n") == 1
    assert "seed: 18 -> 17\n" in its("recipe", "diff")[1]
    assert (project / "params.yaml").read_bytes() == before
    _use(project, force=True)
    assert _is(project)
    _edit_recipe(project, 20)
    _use(project)
    assert _is(project), "what was forced is what was used last"


def test_an_edit_that_was_taken_back_is_none(project: Path, edit: Edit) -> None:
    _use(project)
    kept = (project / "params.yaml").read_text(encoding="utf-8")
    edit(HAND)
    (project / "params.yaml").write_text(f"# back again\n{kept}", encoding="utf-8")
    _edit_recipe(project)
    _use(project)
    assert _is(project)


def test_an_edit_is_none_once_it_stands_in_the_recipe(project: Path, edit: Edit) -> None:
    _use(project)
    edit(HAND)
    edit(HAND, file=RECIPE)
    _use(project, "arithmetic_4x4")
    assert _is(project, "recipes/arithmetic_4x4.yaml")


@pytest.mark.parametrize("seed", range(4))
def test_no_order_of_acts_loses_a_hand_edit(project: Path, seed: int) -> None:
    """Edits of the recipe, of params.yaml, uses of two recipes, and losses of the record, in any order."""
    draw = random.Random(seed)
    edited: str | None = None  # what a person left in params.yaml
    for step in range(30):
        act = draw.choice(["recipe", "params", "use", "use", "force", "forget"])
        if act == "recipe":
            _edit_recipe(project, 1000 + step)
        elif act == "params":
            text = (project / "params.yaml").read_text(encoding="utf-8")
            edited = re.sub(r"(?m)^  top_p: .*", f"  top_p: 0.{100 + step}", text)
            assert edited != text
            (project / "params.yaml").write_text(edited, encoding="utf-8")
        elif act == "forget":
            (project / USED).unlink(missing_ok=True)
        else:
            name = draw.choice(["quickstart", "arithmetic_4x4"])
            try:
                _use(project, name, act == "force")
            except DataError:
                continue
            assert edited is None or act == "force", f"step {step} lost {edited}"
            edited = None
            assert _is(project, f"recipes/{name}.yaml")
            _edit_recipe(project, 2000 + step)
            _use(project, "arithmetic_4x4")  # right behind a use, an edit of the recipe asks for nothing
    assert edited is None or (project / "params.yaml").read_text(encoding="utf-8") == edited


def test_true_is_not_one() -> None:
    assert departures({"a": True, "b": [1, {"c": 0}]}, {"a": 1, "b": [1, {"c": False}]}) == [
        ("a", True, 1),
        ("b", [1, {"c": 0}], [1, {"c": False}]),
    ]
    assert departures({"a": 1, "b": [1]}, {"a": 1.0, "b": [1.0]}) == []


def test_a_path_outside_of_recipes(project: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    text = (project / RECIPE).read_text(encoding="utf-8").replace("recipe: quickstart\n", "recipe: mine\n")
    mine.write_text(text, encoding="utf-8")
    for seed in (17, 18, 19):
        mine.write_text(text.replace("\nseed: 17", f"\nseed: {seed}"), encoding="utf-8")
        _use(project, str(mine))
        assert (project / "params.yaml").read_bytes() == mine.read_bytes()
    _use(project)
    assert _is(project)


def test_a_faulty_recipe_leaves_the_record_alone(project: Path, edit: Edit) -> None:
    _use(project)
    before = (project / USED).read_bytes()
    edit(("grading:\n", "gradng:\n"), file=RECIPE)
    with pytest.raises(DataError):
        use_recipe(project, recipe_path(project, "quickstart"), force=True)
    assert (project / USED).read_bytes() == before and not list((project / ".its").glob("*.tmp"))


# Without a record


def test_without_record_and_git_an_edited_recipe_asks(project: Path) -> None:
    """What params.yaml departs from cannot be known: the edit may be a person's."""
    _edit_recipe(project)
    with pytest.raises(DataError, match=r"differs from its recipe `quickstart` \(`seed`\)"):
        _use(project)
    _use(project, force=True)


@pytest.mark.parametrize("committed", [False, True])
def test_in_a_clone_the_shipped_params_are_nobodys_changes(project: Path, tmp_path: Path, committed: bool) -> None:
    _use(project)
    _commit(project)
    clone = tmp_path / "clone"
    _git(project, "clone", "-q", "--depth", "1", f"file://{project}", str(clone))
    assert not (clone / ".its").exists()
    _edit_recipe(clone)
    if committed:
        _commit(clone)
    _use(clone)
    assert _is(clone)


@pytest.mark.parametrize("committed", [False, True])
def test_in_a_clone_a_hand_edit_is_kept(project: Path, tmp_path: Path, edit: Edit, committed: bool) -> None:
    _commit(project)
    edit(HAND)
    if committed:
        _commit(project)
    _edit_recipe(project)
    with pytest.raises(DataError, match="differs from its recipe `quickstart`"):
        _use(project)
    with pytest.raises(DataError, match="differs from its recipe `quickstart`"):
        _use(project, "arithmetic_4x4")


def test_params_of_another_branch(project: Path) -> None:
    _use(project)
    _commit(project)
    _git(project, "checkout", "-qb", "other")
    _edit_recipe(project)
    _use(project)
    _commit(project)
    _git(project, "checkout", "-q", "-")
    _edit_recipe(project, 21)  # the record is the other branch's
    _use(project)
    assert _is(project)


def test_two_checkouts_share_a_home_and_no_record(project: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(project, other)
    _use(project)
    assert last_used(other) is None and str(os.environ["ITS_HOME"]) != str(project / ".its")
    _edit_recipe(other)
    with pytest.raises(DataError):
        _use(other)


# What else writes params.yaml


def test_a_sweep_in_the_workspace_is_a_change(project: Path) -> None:
    """`dvc exp run -S` leaves its parameters in params.yaml; its way of writing YAML alone is none."""
    from dvc.utils.hydra import apply_overrides

    _use(project)
    shipped = (project / "params.yaml").read_text(encoding="utf-8")
    apply_overrides(project / "params.yaml", [f"seed={read_document(project / 'params.yaml').values['seed']}"])
    _edit_recipe(project)
    _use(project)
    assert _is(project) and shipped
    apply_overrides(project / "params.yaml", ["generation.max_tokens=97"])
    assert (project / "params.yaml").read_text(encoding="utf-8") != (project / RECIPE).read_text(encoding="utf-8")
    with pytest.raises(DataError, match=r"was changed since .* \(`generation\.max_tokens`\)"):
        _use(project)


def _experiment(project: Path, name: str) -> None:
    """Keep the files as `dvc exp run` does: a commit under `refs/exps/`, the workspace as it is."""
    _git(project, "add", "-A")
    _git(project, "stash", "-q")
    _git(project, "update-ref", f"refs/exps/ab/{'c' * 38}/{name}", "stash@{0}")
    _git(project, "stash", "pop", "-q")


def test_the_values_of_an_experiment_are_not_lost(project: Path, edit: Edit, its: Its) -> None:
    _use(project)
    _commit(project)
    edit(HAND)
    with pytest.raises(DataError, match="was changed since"):
        _use(project)
    _experiment(project, "short")
    kept = (project / "params.yaml").read_bytes()
    code, _, err = its("recipe", "use", "quickstart")
    assert code == 0 and "had the values of experiment `short`: `dvc exp apply short` restores them" in err
    assert _is(project) and not (project / REPLACED).exists()
    (project / "params.yaml").write_bytes(kept)
    _use(project, "arithmetic_4x4")
    assert _is(project, "recipes/arithmetic_4x4.yaml"), "another recipe as well"


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text + "\n# seen: too long\n",
        lambda text: text.replace("\nseed: 17", "\nseed: 3"),
        lambda text: text.replace("97", "98"),
    ],
)
def test_an_edit_after_an_experiment_is_kept(project: Path, edit: Edit, change: Callable[[str], str]) -> None:
    _use(project)
    _commit(project)
    edit(HAND)
    _experiment(project, "short")
    path = project / "params.yaml"
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    before = path.read_bytes()
    with pytest.raises(DataError, match=r"generation\.max_tokens"):
        _use(project)
    assert path.read_bytes() == before


def test_what_dvc_keeps_for_itself_is_no_experiment(project: Path, edit: Edit) -> None:
    """The queue's stash may be dropped by DVC at any time."""
    _use(project)
    _commit(project)
    edit(HAND)
    _git(project, "stash", "-q")
    for reference in ("celery/stash", "exec/EXEC_HEAD", "stash"):
        _git(project, "update-ref", f"refs/exps/{reference}", "stash@{0}")
    _git(project, "stash", "pop", "-q")
    with pytest.raises(DataError, match=r"was changed since"):
        _use(project)


@pytest.mark.parametrize("content", [b"seed: 97 # mine\n", b"\xff broken: [\n", b"a: " + b"x" * 10**6, b""])
def test_force_keeps_a_copy(project: Path, content: bytes) -> None:
    path = project / "params.yaml"
    for _ in range(2):
        path.write_bytes(content)
        with pytest.raises(DataError):
            _use(project)
        _use(project, force=True)
        (copy,) = (project / REPLACED).iterdir()  # one, however often the same is overwritten
        assert copy.read_bytes() == content and _is(project)


def test_the_copy_is_told(project: Path, edit: Edit, its: Its) -> None:
    edit(HAND)
    code, _, err = its("recipe", "use", "quickstart", "--force")
    (copy,) = (project / REPLACED).iterdir()
    assert code == 0 and f"the former params.yaml is kept as {copy.relative_to(project)}" in err


def test_without_a_copy_nothing_is_overwritten(project: Path, edit: Edit) -> None:
    _use(project)
    edit(HAND)
    before = (project / "params.yaml").read_bytes()
    (project / REPLACED).write_text("a file where the folder goes", encoding="utf-8")
    with pytest.raises(ItsError):
        _use(project, force=True)
    assert (project / "params.yaml").read_bytes() == before


@pytest.mark.parametrize("record", ["damaged", "huge", "a folder", "a pipe", "a link", "a list"])
def test_a_record_that_is_none_is_no_record(project: Path, tmp_path: Path, record: str) -> None:
    path = project / USED
    path.parent.mkdir()
    target = tmp_path / "elsewhere.yaml"
    target.write_text("kept", encoding="utf-8")
    makers: dict[str, Callable[[], object]] = {
        "damaged": lambda: path.write_bytes(b"recipe: [\xff"),
        "huge": lambda: path.write_text("a: " + "x" * 10**6, encoding="utf-8"),
        "a folder": path.mkdir,
        "a pipe": lambda: os.mkfifo(path),
        "a link": lambda: path.symlink_to(target),
        "a list": lambda: path.write_text("- 1\n", encoding="utf-8"),
    }
    makers[record]()
    assert last_used(project) is None
    _edit_recipe(project)
    before = (project / "params.yaml").read_bytes()
    with pytest.raises(DataError, match="differs from its recipe"):
        _use(project)
    if record in ("a folder", "a pipe"):
        with pytest.raises(DataError, match=r"used\.yaml: is "):
            _use(project, force=True)
        assert (project / "params.yaml").read_bytes() == before
    else:
        _use(project, force=True)
        assert _is(project) and last_used(project) is not None
    assert target.read_text(encoding="utf-8") == "kept"


def test_the_record_says_what_it_is(project: Path, its: Its) -> None:
    code, _, err = its("recipe", "diff", "--used")
    assert code == 4 and "there is no record of what" in err
    assert its("recipe", "diff", "quickstart", "--used")[0] == 2
    _use(project)
    assert (project / USED).read_text(encoding="utf-8").startswith("# What `its recipe use` wrote to params.yaml last.")
    assert its("recipe", "diff", "--used") == (0, "params.yaml is recipe `quickstart`\n", "")
