"""Earlier checkpoints and variants with real Axolotl and real vLLM, on a tiny model.

One training with and without earlier checkpoints, one that is killed, and one study's worth of checkpoints, full ones
and adapters, served by one session.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from integration.clone import ROOT
from integration.preloaded import preloaded
from integration.test_families import OPTIONS, Case, declared
from integration.tiny_models import make_models
from sampled import spread

from its.engines.kinds import EngineSettings, open_session
from its.engines.protocol import EngineModel, Request
from its.environments import find_environment
from its.errors import RunError
from its.files import file_sha256
from its.home import its_home
from its.models import SOUND_FILE, ready_model, trained_model
from its.prompts.render import read_template
from its.recipe.schema import Model, Train
from its.rows import write_json
from its.store import Store
from its.training.nodes import Node, announced, meeting
from its.training.run import Trained, Training, copy_model, join_training, kept_config, train_checkpoint

pytestmark = pytest.mark.integration

CASE = Case("smollm2", "chatml")
LORA = {"adapter": "lora", "lora_r": 4, "lora_alpha": 64, "lora_dropout": 0.1, "lora_target_linear": True}
CHATS = [[{"role": "user", "content": text}] for text in ("What is 7 + 5?", "If $x + 3 = 7$?", "Wait, 4 + 3?", "12")]
SAMPLING = {"top_p": 1.0, "max_tokens": 48, "stop": [], "extra": {"ignore_eos": True}}
STEPS = 6


class KilledError(Exception):
    """Raised where a test kills a training."""


@dataclass
class World:
    """What tests share: the declared model, its base, and what trains it."""

    home: Path
    model: Model
    base: EngineModel
    train: Callable[..., Any]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("variants")
    home, models = folder / "home", folder / "models"
    home.mkdir()
    model = declared(CASE, models)
    real = find_environment("axolotl", ROOT, its_home(ROOT))
    with preloaded(real, home) as environment:
        template = (ROOT / "recipes/prompts/chatml.jinja").read_text(encoding="utf-8")
        make_models(["smollm2"], models, environment, {"smollm2": template})
        base = ready_model("smollm2", model, ROOT, home, print)

        def train(
            *,
            fractions: Sequence[str] = (),
            kill_at: int | None = None,
            axolotl: dict[str, Any] | None = None,
            node: Node | None = None,
            seen: Callable[[int], None] = lambda step: None,
            **change: Any,
        ) -> Trained | bool:
            settings = Train.model_validate(
                {
                    **{"hardware": "cpu", "launcher": "python", "devices": 1, "template": "axolotl/full_cpu.yaml.j2"},
                    **{"epochs": 2, "learning_rate": 5e-3, "lr_scheduler": "cosine", "warmup_ratio": 0},
                    **{"global_batch_size": 2, "micro_batch_size": 2, "sequence_length": 256, "weight_decay": 0.01},
                    "axolotl": {"dataset_num_proc": 1, "dataloader_num_workers": 0, **(axolotl or {})},
                    **change,
                }
            )

            def progress(row: dict[str, Any]) -> None:
                seen(row["step"])
                if row["step"] == kill_at:
                    raise KilledError  # the stage kills the process with SIGKILL, wherever it is by now

            training = Training(
                messages=[
                    [{"role": "user", "content": f"What is {n} + 5?"}, {"role": "assistant", "content": f"{n + 5}"}]
                    for n in range(6)
                ],
                train=settings,
                template=read_template(ROOT / "recipes" / settings.template),
                tokens=model.special_tokens,
                base=base,
                seed=1,
                # torchrun starts programs of its own, which no process with the libraries can be forked for.
                environment=environment if node is None else real,
            )
            if node is not None:
                place = meeting(home, node, "variants", training.key, training.identity, base.path)
                with announced(place):
                    if node.rank:
                        return join_training(training, home=home, say=print, meeting=place)
                    return train_checkpoint(training, home=home, say=print, progress=progress, meeting=place)
            return train_checkpoint(training, home=home, say=print, progress=progress, fractions=fractions)

        yield World(home, model, base, train)


def _hashes(trained: Trained) -> dict[str, str]:
    """The SHA-256 of the weights of each checkpoint."""
    folders = {"last": trained.folder} | {name: saved.folder for name, saved in trained.earlier.items()}
    return {name: file_sha256(next(folder.glob("*.safetensors"))) for name, folder in folders.items()}


@pytest.mark.parametrize("axolotl", [{}, LORA], ids=["full", "lora"])
def test_the_last_weights_do_not_depend_on_earlier_checkpoints(world: World, axolotl: dict[str, Any]) -> None:
    """Bit by bit; and every file but the weights is that of the last checkpoint, so that one engine serves both."""
    plain = world.train(axolotl=axolotl)
    last, config = _hashes(plain)["last"], kept_config(plain, world.home)
    shutil.rmtree(plain.folder.parent)
    trained = world.train(axolotl=axolotl, fractions=["1/3", "2/3"])
    assert trained.folder == plain.folder and not trained.reused
    assert _hashes(trained)["last"] == last
    assert kept_config(trained, world.home) == config
    assert len(set(_hashes(trained).values())) == 3
    assert [saved.sound["steps"] for saved in trained.earlier.values()] == [{"done": 2, "of": 6}, {"done": 4, "of": 6}]
    assert {saved.sound["kind"] for saved in trained.earlier.values()} == {"adapter" if axolotl else "model"}
    for saved in trained.earlier.values():
        assert saved.sound["changed"]
        names = {path.name for path in saved.folder.iterdir()} - {"its_saved.json"}
        kept = {path.name for path in trained.folder.iterdir() if path.suffix in (".json", ".jinja", ".safetensors")}
        assert names == kept


@pytest.mark.parametrize("every", [None, 3], ids=["from the start", "resumed"])
@pytest.mark.parametrize("kill_at", [2, 5])
def test_a_killed_training_ends_with_every_checkpoint_whole(world: World, every: int | None, kill_at: int) -> None:
    """Killed by SIGKILL at a step or soon after it; what it saved before a state it resumes from is kept."""
    change: dict[str, Any] = {"learning_rate": 4e-3, "save_every_steps": every, "fractions": ["1/3", "2/3"]}
    fresh = _hashes(world.train(**change))
    folder = world.train(**change).folder.parent
    shutil.rmtree(folder)
    with suppress(KilledError):  # the tiny model may be faster than the kill
        world.train(**change, kill_at=kill_at)
    (folder / "at" / ".1of3.partial").mkdir(parents=True, exist_ok=True)
    trained = world.train(**change)
    assert trained.sound["steps"]["done"] == STEPS
    assert _hashes(trained).keys() == fresh.keys()
    assert {path.name for path in (folder / "at").iterdir()} == {"1of3", "2of3"}
    if every is None:
        assert _hashes(trained) == fresh


def test_two_machines_train_as_one_process_does(world: World) -> None:
    """Two launchers of real processes, which meet over loopback: steps, rows, losses and weights are those of one."""
    change: dict[str, Any] = {"learning_rate": 6e-3, "micro_batch_size": 1}
    one = world.train(**change)
    change |= {"launcher": "torchrun", "launcher_args": ["--nnodes=2", "--nproc_per_node=1"], "devices": 2}
    address = _free_address()
    with ThreadPoolExecutor(2) as pool:
        first, other = (pool.submit(world.train, node=Node(rank, 2, address), **change) for rank in (0, 1))
        two = first.result()
        assert other.result() and two.folder != one.folder
    assert (two.sound["steps"], two.parity) == (one.sound["steps"], one.parity)
    assert [row["loss"] for row in two.losses] == pytest.approx([row["loss"] for row in one.losses], rel=1e-5)
    assert max(abs(a - b) for a, b in zip(_floats(two.folder), _floats(one.folder), strict=True)) < 1e-5


def test_a_launcher_that_is_killed_during_a_step_ends_both_machines(world: World) -> None:
    """Kill -9 of the other machine's torchrun while both train: neither goes on alone, and nothing stays behind."""
    change: dict[str, Any] = {"epochs": 400, "micro_batch_size": 1, "launcher": "torchrun", "devices": 2}
    change["launcher_args"] = ["--nnodes=2", "--nproc_per_node=1"]
    killed: list[float] = []

    def seen(step: int) -> None:
        if step >= 3 and not killed:
            for pid in _launched("is_host=0"):
                os.kill(pid, signal.SIGKILL)
                killed.append(time.monotonic())

    address = _free_address()
    with ThreadPoolExecutor(2) as pool:
        sides = [pool.submit(world.train, node=Node(rank, 2, address), seen=seen, **change) for rank in (0, 1)]
        errors = [side.exception() for side in sides]
    assert killed and all(isinstance(error, RunError) for error in errors), errors
    assert time.monotonic() - killed[0] < 150
    assert _launched("is_host=") == []
    models = world.home.glob("training/*/model/model.safetensors")
    assert all((path.parents[1] / "done.json").is_file() for path in models), "a half-trained model"


def _free_address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def _launched(argument: str) -> list[int]:
    """Processes of this machine with a text in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and argument.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


def _floats(folder: Path) -> array[float]:
    """The numbers of a model of float32, in the order of its file."""
    content = (folder / "model.safetensors").read_bytes()
    return array("f", content[8 + int.from_bytes(content[:8], "little") :])


def test_full_checkpoints_and_adapters_are_served_by_one_session(world: World) -> None:
    """Each response is from its own weights: the same as from an engine that never saw others."""
    kept = world.home / "kept"
    models = [replace(world.base, name="base")]
    for variant, rate, axolotl in (("full", 2e-3, {}), ("lora", 2e-2, LORA)):
        change = {"axolotl": axolotl, "learning_rate": rate, "lr_scheduler": "constant"}
        trained = world.train(**change, fractions=["1/3", "2/3"])
        folders = {"last": (trained.folder, trained.sound)}
        folders |= {name: (saved.folder, saved.sound) for name, saved in trained.earlier.items()}
        for name, (folder, sound) in folders.items():
            target = kept / variant / name.replace("/", "of")
            copy_model(folder, target)
            write_json(target / SOUND_FILE, sound)
            own = f"{variant}-{name.replace('/', 'of')}"
            models.append(trained_model(own, target, lambda: world.base, world.model, world.home, ROOT))
    vllm = find_environment("vllm", ROOT, its_home(ROOT))
    if vllm.build == "vllm":  # on a GPU vLLM has no kernels for adapters in float32
        models = [replace(model, dtype="bfloat16") for model in models]
    assert len({model.fingerprint for model in models}) == 7
    assert len({model.group for model in models if model.name.startswith("full")}) == 1
    with preloaded(vllm, world.home):
        texts, engines = _texts(world, models, world.home / "together.sqlite")
        assert engines == 2  # one swaps the full ones, one has the adapters and their base
        assert len({tuple(own) for own in texts.values()}) == 7
        for model in spread(models, 3):  # base, a full one, an adapter
            alone, _ = _texts(world, [model], world.home / f"{model.name}.sqlite")
            assert alone[model.name] == texts[model.name], model.name


def _texts(world: World, models: Sequence[EngineModel], store_file: Path) -> tuple[dict[str, list[str]], int]:
    """Greedy and sampled responses by model, requested as `generate` does; how many engines started.

    What the tiny models find most likely is often the same; what is sampled from two of them is not.
    """
    lines: list[str] = []
    choice = EngineSettings("vllm", OPTIONS, {"VLLM_CPU_KVCACHE_SPACE": "1"})
    log = world.home / "logs" / "variants.log"
    log.parent.mkdir(exist_ok=True)
    with (
        Store(store_file) as store,
        open_session(store, models, choice, project=ROOT, home=world.home, log=log, say=lines.append) as session,
    ):
        # As in a design: the variants of one strategy, then those of the next.
        mixed = sorted(models, key=lambda model: model.name.rpartition("-")[2])
        order = sorted(mixed, key=lambda model: session.engine_index(model.name))
        requests = [
            Request(
                f"{model.name}/{seed}/{n}",
                chat,
                SAMPLING | {"temperature": 2.0 if seed else 0.0},
                seed,
                model=model.name,
            )
            for model in order
            for seed in range(9)
            for n, chat in enumerate(CHATS)
        ]
        session.ensure(requests)
        out: dict[str, list[str]] = {model.name: [] for model in models}
        for request, _, completion in session.read(requests):
            out[request.model].append(completion.text)
    return out, sum(line.startswith("starting vLLM") for line in lines)
