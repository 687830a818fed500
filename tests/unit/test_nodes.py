"""A training of several machines: they meet, compare what they train, and end together. Machines are threads here."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from its.engines.protocol import EngineModel
from its.environments import find_environment
from its.errors import DataError, ItsError, RunError
from its.recipe.schema import SpecialTokens, Train
from its.rows import read_json, write_json
from its.training import launch, nodes
from its.training.nodes import Node, announced, launcher_arguments, meeting, node_of, require_machines
from its.training.run import Trained, Training, join_training, kept_config, train_checkpoint

TWO = {"launcher": "torchrun", "launcher_args": ["--nnodes=2", "--nproc_per_node=1"], "devices": 2}
TOKENS = SpecialTokens(bos="<|im_start|>", eos="<|im_end|>", pad="<|im_end|>")
TEMPLATE = "datasets:\n  - path: {{ rows }}\nsequence_len: {{ train.sequence_length }}\nbf16: false\n"
ROWS = [
    [{"role": "user", "content": f"{n} + {n}?"}, {"role": "assistant", "content": f"It is {2 * n}."}] for n in (1, 2, 3)
]
FIRST = Node(0, 2, "node0:29400", wait_seconds=20)
OTHER = replace(FIRST, rank=1)


def _train(**change: Any) -> Train:
    return Train.model_validate(
        {
            **{"template": "axolotl/t.yaml.j2", "hardware": "cpu", "launcher": "python", "devices": 1, "epochs": 2},
            **{"learning_rate": 5e-6, "lr_scheduler": "cosine", "warmup_ratio": 0.0, "weight_decay": 0.01},
            **{"global_batch_size": 2, "micro_batch_size": 1, "sequence_length": 256},
            **change,
        }
    )


@pytest.fixture
def home(engines: Any, project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(nodes, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(launch, "POLL_SECONDS", 0.05)
    return Path(os.environ["ITS_HOME"])


@pytest.fixture
def start(home: Path, project: Path) -> Callable[..., Any]:
    """Does what one machine does, here and now."""

    def run(node: Node, base: str = "base", **change: Any) -> Trained | bool:
        training = Training(
            messages=ROWS,
            train=_train(**{**TWO, **change}),
            template=TEMPLATE,
            tokens=TOKENS,
            base=EngineModel("m", base, "sha256:0", "bfloat16", 64),
            seed=1,
            environment=find_environment("axolotl", project, home),
        )
        place = meeting(home, node, "m-d-none-1", training.key, training.identity, training.base.path)
        with announced(place):
            if node.rank:
                return join_training(training, home=home, say=lambda text: None, meeting=place)
            return train_checkpoint(
                training, home=home, say=lambda text: None, progress=lambda row: None, meeting=place
            )

    return run


def _together(first: Callable[[], Any], other: Callable[[], Any]) -> list[Future[Any]]:
    with ThreadPoolExecutor(2) as pool:
        return [pool.submit(first), pool.submit(other)]


def test_two_machines_train_once_and_together(start: Callable[..., Any], home: Path) -> None:
    first, other = (future.result() for future in _together(lambda: start(FIRST), lambda: start(OTHER)))
    assert (first.reused, other) == (False, True)
    assert first.sound["steps"]["done"] == 3 and first.parity["faults"] == 0
    log = (first.folder.parent / "axolotl-1.log").read_text(encoding="utf-8")
    assert "axolotl was here" in log
    config = kept_config(first, home)
    assert "its_processes" not in config and "its_axolotl" in config
    again, other = (future.result() for future in _together(lambda: start(FIRST), lambda: start(OTHER)))
    assert (again.reused, other) == (True, False)
    # Another meeting place is no other training.
    assert start(replace(FIRST, rendezvous="other:1")).reused


def test_machines_with_other_recipes_are_refused(start: Callable[..., Any]) -> None:
    first, other = _together(lambda: start(FIRST), lambda: start(OTHER, learning_rate=1e-3))
    for future in (first, other):
        with pytest.raises(DataError, match=r"has key [0-9a-f]{16} for m-d-none-1: `config.learning_rate` differs$"):
            future.result()
    first, other = _together(lambda: start(FIRST), lambda: start(OTHER, base="elsewhere"))
    for future in (first, other):
        with pytest.raises(ItsError, match="the model to train is `elsewhere` on node 1 and `base` on node 0"):
            future.result()


@pytest.mark.parametrize(("node", "who"), [(FIRST, "node 1 of 2"), (OTHER, "node 0")])
def test_a_machine_that_never_comes_is_named(start: Callable[..., Any], home: Path, node: Node, who: str) -> None:
    place = meeting(home, node, "m-d-none-1", "0" * 16, {}, "base").folder
    write_json(place / f"{1 - node.rank}.json", {"run": "of a dead one", "name": "m-d-none-1", "state": "waiting"})
    with pytest.raises(RunError, match=f"^{who} did not come within 1 s") as caught:
        start(replace(node, wait_seconds=1))
    assert f"its train m-d-none-1 --node {'RANK' if node is FIRST else 0} --nodes 2" in str(caught.value.hint)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_machine_that_fails_ends_the_others(
    start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, rank: int
) -> None:
    monkeypatch.setenv("ITS_FAKE_TRAINING", f"node_{rank}_fails")
    began = time.monotonic()
    futures = _together(lambda: start(FIRST), lambda: start(OTHER))
    with pytest.raises(RunError, match=r"^axolotl failed \(exit code 7\)"):
        futures[rank].result()
    with pytest.raises(RunError, match=rf"^node {rank} failed: axolotl failed \(exit code 7\)"):
        futures[1 - rank].result()
    assert time.monotonic() - began < 30


def test_a_machine_that_dies_without_a_word_ends_the_others(
    start: Callable[..., Any], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ITS_FAKE_TRAINING", "node_9_fails")  # all others wait

    def dies() -> None:
        folder = meeting(home, OTHER, "m-d-none-1", "", {}, "").folder
        while not (folder / "0.json").is_file():
            time.sleep(0.02)
        write_json(folder / "1.json", read_json(folder / "0.json") | {"state": "ready"})

    first, _ = _together(lambda: start(replace(FIRST, lost_seconds=0.5)), dies)
    with pytest.raises(RunError, match=r"^node 1 has shown no sign of life for 0\.5 s$"):
        first.result()


def test_an_interrupt_tells_the_others(home: Path) -> None:
    one = meeting(home, FIRST, "m-d-none-1", "key", {}, "base")
    with pytest.raises(KeyboardInterrupt), announced(one):
        raise KeyboardInterrupt
    assert read_json(one.folder / "0.json")["state"] == "failed"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((0, None, "h:1"), "`--node` and `--rendezvous` without `--nodes`"),
        ((None, 2, None), "`--nodes` without `--node` and `--rendezvous`"),
        ((2, 2, "h:1"), "`--node` is 2, and `--nodes` is 2"),
        ((-1, 2, "h:1"), "`--node` is -1"),
        ((0, 1, "h:1"), "`--nodes` is 1 [2 or more machines"),
        ((0, 10**20, "h:1"), "`--nodes` is 100000000000000000000 [at most 100,000 machines"),
        ((0, 2, "h"), "`--rendezvous` is `h`, not HOST:PORT"),
        ((0, 2, "h:0"), "not HOST:PORT"),
        ((0, 2, "h:65536"), "not HOST:PORT"),
        ((0, 2, "-x:1"), "not HOST:PORT"),
        ((0, 2, "a b:1"), "not HOST:PORT"),
        ((0, 2, "h:1\n"), "not HOST:PORT"),
    ],
)
def test_options_are_checked(given: tuple[Any, ...], message: str) -> None:
    rank, count, rendezvous = given
    with pytest.raises(DataError) as caught:
        node_of(rank, count, rendezvous, 1)
    assert message in f"{caught.value} [{caught.value.hint}"


@pytest.mark.parametrize("address", ["node0:29400", "10.0.0.1:1", "[fe80::1]:65535", "a.b-c_d.internal:29400"])
def test_addresses_are_accepted(address: str) -> None:
    found = node_of(1, 2, address, 1)
    assert found is not None and found.rendezvous == address
    assert f"--rdzv_endpoint={address}" in launcher_arguments([], found, "id")


@pytest.mark.parametrize(
    ("arguments", "node", "message"),
    [
        (["--nnodes=2"], None, "takes 2 machines, and there is no rendezvous"),
        (["--nnodes=3"], FIRST, "`--nodes` is 2, and `train.launcher_args` has `--nnodes=3`"),
        (["--nnodes=1:4"], FIRST, "`train.launcher_args` has `--nnodes=1:4`: the number of machines is not stated"),
        (["--nnodes", "2", "--standalone"], FIRST, "has `--standalone` and `--nnodes=2`"),
        (["--rdzv-endpoint=h:1"], None, "`train.launcher_args` has `--rdzv-endpoint`: where processes meet"),
    ],
)
def test_a_training_takes_the_machines_that_it_states(arguments: list[str], node: Node | None, message: str) -> None:
    with pytest.raises(DataError) as caught:
        require_machines("m-d-none-1", _train(launcher="torchrun", launcher_args=arguments), node)
    assert message in str(caught.value)
    assert not require_machines("m-d-none-1", _train(launcher="torchrun", launcher_args=["--nproc_per_node=2"]), node)


def test_a_node_lives_while_its_count_changes(home: Path) -> None:
    one, two = (meeting(home, replace(node, lost_seconds=0.3), "n", "k", {}, "b") for node in (FIRST, OTHER))
    one.run = two.run = "r"
    for each in (one, two):
        each._write("running")
    until = time.monotonic() + 0.6
    while time.monotonic() < until:
        assert one.lost() is None and two.lost() is None
        time.sleep(0.02)
