"""Training: the config as Axolotl reads it, parity proved token by token, a run across its process boundary."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import random
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from fakes.tiny_weights import Tensors, save, values
from ruamel.yaml import YAML

from its.engines.protocol import EngineModel
from its.environments import Environment, find_environment
from its.errors import DataError, ItsError, RunError
from its.files import file_sha256
from its.prompts.render import render
from its.recipe.schema import SpecialTokens, Train
from its.training.checkpoint import expected_steps
from its.training.config import axolotl_config, yaml_text
from its.training.run import Trained, _base_folder, _check_stops, _was_folded, copy_model, train_checkpoint

ROOT = Path(__file__).parents[2]
FAKES = ROOT / "tests" / "fakes"
TOKENS = SpecialTokens(bos="<|im_start|>", eos="<|im_end|>", pad="<|im_end|>")
TEMPLATE = "datasets:\n  - path: {{ rows }}\nsequence_len: {{ train.sequence_length }}\nbf16: false\n"


def _train(**change: Any) -> Train:
    return Train.model_validate(
        {
            "template": "axolotl/t.yaml.j2",
            "hardware": "cpu",
            "launcher": "python",
            "epochs": 2,
            "learning_rate": 5e-6,
            "lr_scheduler": "cosine",
            "warmup_ratio": 0.0,
            "weight_decay": 0.01,
            "global_batch_size": 32,
            "micro_batch_size": 2,
            "devices": 4,
            "sequence_length": 256,
            **change,
        }
    )


def _config(template: str = TEMPLATE, revision: str | None = None, **change: Any) -> dict[str, Any]:
    return axolotl_config(
        template=template,
        train=_train(**change),
        tokens=TOKENS,
        base_model="b",
        revision=revision,
        rows="r.jsonl",
        work="w",
        seed=7,
    )


def test_the_config_of_the_quickstart_template(golden: Callable[[str, str], None]) -> None:
    template = (ROOT / "recipes" / "axolotl" / "full_cpu.yaml.j2").read_text(encoding="utf-8")
    golden("axolotl_full_cpu.yaml", yaml_text(_config(template, axolotl={"lora_r": 8})))


def _read_as_axolotl_does(text: str) -> Any:
    """PyYAML, which Axolotl reads with, is YAML 1.1: it takes `5e-6` for text and `no` for False."""
    try:
        import yaml
    except ImportError:
        reader = YAML(typ="safe")
        reader.version = (1, 1)
        return reader.load(text)
    return yaml.safe_load(text)


def test_axolotl_reads_what_was_meant() -> None:
    words = {"no": "no", "lr": [5e-6, 1e-05, 1e22, 3e-7], "on": True, "text": "1e-5", "none": None, "time": "12:30:45"}
    config = _config(axolotl={"words": words, "octal": "010", "lora_target": ["yes", "off", "y"]})
    assert _read_as_axolotl_does(yaml_text(config)) == config


def test_a_chat_template_reaches_axolotl_as_it_is() -> None:
    """A long line may break nowhere: where ruamel folds one behind a backslash, PyYAML reads another text."""
    template = "{{- '<|begin_of_text|><|start_header_id|>system<|end_header_id|>\\n\\nCutting Knowledge Date: ' -}}"
    chosen = random.Random(1)
    pieces = ["\\n", "\\", " ", "\n", "\t", "a", "'", '"', "{{", "%}", "#", ": ", "-", "｜", "😀", "\x85", "\u2028"]  # noqa: RUF001
    texts = ["".join(chosen.choice(pieces) for _ in range(chosen.randrange(1, 150))) for _ in range(500)]
    for text in [f"{template}\n{template}", *texts]:
        config = _config(axolotl={"chat_template_jinja": text, "datasets": [{"path": text}]})
        assert _read_as_axolotl_does(yaml_text(config)) == config


def test_later_entries_win_but_not_over_what_the_recipe_names_or_its_relies_on() -> None:
    config = _config(
        axolotl={
            "weight_decay": 0.5,
            "optimizer": "adamw_8bit",
            "bf16": True,
            "base_model": "x",
            "seed": 1,
            "output_dir": "/elsewhere",
            "plugins": ["axolotl.integrations.liger.LigerPlugin"],
        }
    )
    assert (config["weight_decay"], config["bf16"], config["optimizer"]) == (0.01, True, "adamw_8bit")
    assert (config["base_model"], config["seed"], config["output_dir"]) == ("b", 7, "w/model")
    assert config["plugins"] == ["axolotl.integrations.liger.LigerPlugin", "its_axolotl.ItsPlugin"]


def test_a_hub_model_is_pinned() -> None:
    assert _config(revision="abc")["revision_of_model"] == "abc"
    assert "revision_of_model" not in _config()


@pytest.mark.parametrize("template", ["full_cpu", "full_zero3"])
def test_a_path_with_odd_characters_stays_whole(template: str) -> None:
    source = (ROOT / "recipes" / "axolotl" / f"{template}.yaml.j2").read_text(encoding="utf-8")
    rows = '/a #b: "c"/rows.jsonl'
    text = render(source, template, {"train": _train(), "rows": rows, "seed": 1})
    assert YAML(typ="safe").load(text)["datasets"][0]["path"] == rows


def test_a_chat_template_in_place_of_the_models_own_reaches_the_trainer() -> None:
    given: dict[str, Any] = {"train": _train(), "tokens": TOKENS, "base_model": "b", "revision": None}
    given |= {"rows": "r", "work": "w"}
    config = axolotl_config(template=TEMPLATE, seed=7, chat_template="{{ messages }}", **given)
    assert (config["chat_template"], config["chat_template_jinja"]) == ("jinja", "{{ messages }}")
    assert "chat_template" not in _config()


def test_the_batch_is_divided() -> None:
    assert _config()["gradient_accumulation_steps"] == 4
    assert _config(axolotl={"context_parallel_size": 2})["gradient_accumulation_steps"] == 8
    assert (
        _config(axolotl={"sequence_parallel_degree": 2, "tensor_parallel_size": 2})["gradient_accumulation_steps"] == 16
    )
    template = f"{TEMPLATE}context_parallel_size: 4\n"
    assert _config(template)["gradient_accumulation_steps"] == 16


def test_checkpoints_are_kept_only_if_asked() -> None:
    assert _config()["save_strategy"] == "no"
    saved = _config(save_every_steps=50)
    assert (saved["save_steps"], saved["auto_resume_from_checkpoints"]) == (50, True)
    assert "save_strategy" not in saved


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("a: 1\nb: [", r"^recipes/axolotl/t\.yaml\.j2:\d:\d: rendered: broken YAML"),
        ("- a", r"^recipes/axolotl/t\.yaml\.j2:1:1: rendered: not a mapping"),
        ("a: {{ lr }}", r"^recipes/axolotl/t\.yaml\.j2:1: undefined variable `lr`; given: `rows`, `seed`, `train`"),
    ],
)
def test_a_template_that_is_no_config(template: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        _config(template)


# Prompt parity.

ROWS = [
    {"messages": [{"role": "user", "content": f"{n} + {n}?"}, {"role": "assistant", "content": f"It is {2 * n}."}]}
    for n in (1, 2, 3)
]


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The plugin module over stand-ins for the two classes that it derives from."""
    monkeypatch.syspath_prepend(str(FAKES))
    monkeypatch.syspath_prepend(str(ROOT / "its" / "training" / "workers"))
    names = ("axolotl", "axolotl.integrations", "axolotl.integrations.base", "transformers", "its_axolotl")
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr("ctypes.CDLL", lambda name: type("C", (), {"prctl": staticmethod(lambda *words: 0)}))
    yield importlib.import_module("its_axolotl")
    for name in (*names, "tiny_tokenizer"):
        sys.modules.pop(name, None)


def _prove(
    plugin: ModuleType,
    change: Callable[[list[dict[str, Any]]], None] | None = None,
    rows: list[dict[str, Any]] = ROWS,
    masked: str = "",
    **tokenizer: Any,
) -> Any:
    made = importlib.import_module("tiny_tokenizer").TinyTokenizer(**tokenizer)
    dataset = [made.row(row["messages"], masked) for row in rows]
    if change is not None:
        change(dataset)
    return plugin.prove_parity(rows, dataset, made, "<|im_end|>")


def test_rows_that_are_right_have_no_fault(plugin: ModuleType) -> None:
    report = _prove(plugin)
    assert (report["faults"], report["rows"], report["examples"]) == (0, 3, [])
    assert report["trained_tokens"] == sum(len(row["messages"][1]["content"]) + 1 for row in ROWS)
    assert report["prompt_tokens"] > 0


def test_the_proof_keeps_prompts_with_the_hash_of_their_ids(plugin: ModuleType) -> None:
    probes = _prove(plugin)["probes"]
    assert [probe["messages"] for probe in probes] == [row["messages"][:-1] for row in ROWS]
    ids = ",".join(str(ord(letter) + 10) for letter in "user\n1 + 1?")
    end = ",".join(str(ord(letter) + 10) for letter in "assistant\n")
    assert probes[0]["prompt_sha256"] == hashlib.sha256(f"1,{ids},2,20,1,{end}".encode()).hexdigest()
    assert len(_prove(plugin, rows=ROWS * 100)["probes"]) == 8


def test_the_order_of_rows_is_free_and_twins_are_counted(plugin: ModuleType) -> None:
    assert _prove(plugin, lambda rows: rows.reverse())["faults"] == 0
    assert _prove(plugin, rows=[*ROWS, ROWS[0]])["faults"] == 0
    report = _prove(plugin, lambda rows: rows.__setitem__(1, rows[0]))
    assert report["examples"] == [
        "1 of 3 rows did not reach the trainer",
        "1 rows reached the trainer more often than they stand in the data",
    ]


Row = dict[str, list[int]]


def _masked(row: Row, *places: int) -> Row:
    return {**row, "labels": [-100 if at in places else label for at, label in enumerate(row["labels"])]}


def _trained(row: Row, *places: int) -> Row:
    labels = [row["input_ids"][at] if at in places else label for at, label in enumerate(row["labels"])]
    return {**row, "labels": labels}


def _labelled(row: Row, at: int, label: int) -> Row:
    return {**row, "labels": [*row["labels"][:at], label, *row["labels"][at + 1 :]]}


def _inserted(row: Row, at: int, number: int, trained: bool) -> Row:
    ids, labels = row["input_ids"], row["labels"]
    return {
        "input_ids": [*ids[:at], number, *ids[at:]],
        "labels": [*labels[:at], number if trained else -100, *labels[at:]],
    }


def _without(row: Row, at: int) -> Row:
    return {key: [*values[:at], *values[at + 1 :]] for key, values in row.items()}


def _swapped(row: Row, at: int) -> Row:
    return {key: [*values[:at], values[at + 1], values[at], *values[at + 2 :]] for key, values in row.items()}


def _mutations(row: Row) -> Iterator[tuple[str, Row]]:
    """Every row that is one step away from a right one: each place of it, in each way."""
    ids, labels = row["input_ids"], row["labels"]
    for at in range(len(ids)):
        if labels[at] == -100:
            yield f"trained {at}", _trained(row, at)
        else:
            yield f"masked {at}", _masked(row, at)
            yield f"masked to {at}", _masked(row, *range(at + 1))
        yield f"other label {at}", _labelled(row, at, ids[at] + 1)
        yield f"without {at}", _without(row, at)
        if at + 1 < len(ids) and ids[at] != ids[at + 1]:
            yield f"swapped {at}", _swapped(row, at)
    for at in range(len(ids) + 1):
        for number in (2, 3, 4, 99):  # the end of turn, the end of text, a mark of thinking, a letter
            for trained in (False, True):
                yield f"{number} at {at}, {trained=}", _inserted(row, at, number, trained)
    for cut in range(1, len(ids)):
        yield f"cut to {cut}", {key: values[:cut] for key, values in row.items()}
        yield f"from {cut}", {key: values[cut:] for key, values in row.items()}
    yield "labels to the right", {**row, "labels": [-100, *labels[:-1]]}
    yield "labels to the left", {**row, "labels": [*labels[1:], -100]}
    yield "fewer labels", {**row, "labels": labels[:-1]}
    yield "more labels", {**row, "labels": [*labels, -100]}
    yield "hidden", {**row, "attention_mask": [0] + [1] * (len(ids) - 1)}
    yield "all trained", {**row, "labels": list(ids)}
    yield "none trained", {**row, "labels": [-100] * len(ids)}
    yield "another id in both", {key: [70 if at == 9 else value for at, value in enumerate(row[key])] for key in row}


def test_no_row_but_the_right_one_passes(plugin: ModuleType) -> None:
    made = importlib.import_module("tiny_tokenizer").TinyTokenizer()
    right = [made.row(row["messages"]) for row in ROWS]
    mutations = list(_mutations(right[1]))
    assert len(mutations) > 400
    for name, row in mutations:
        if row == right[1]:
            continue  # an id put beside its like
        report = plugin.prove_parity(ROWS, [right[0], row, right[2]], made, "<|im_end|>")
        assert report["faults"], name
        assert all(len(example) < 900 for example in report["examples"]), name


def _change(name: str) -> Callable[[list[Row]], None]:
    def change(rows: list[Row]) -> None:
        begin = next(at for at, label in enumerate(rows[1]["labels"]) if label != -100)
        end = max(at for at, label in enumerate(rows[1]["labels"]) if label != -100)
        changes: dict[str, Callable[[Row], Row]] = {
            "prompt in loss": lambda row: {**row, "labels": row["input_ids"]},
            "no end": lambda row: _masked(row, end),
            "start not trained": lambda row: _masked(row, begin, begin + 1),
            "hole": lambda row: _masked(row, begin + 2),
            "newline trained": lambda row: _trained(row, end + 1),
            "cut": lambda row: {key: value[:-5] for key, value in row.items()},
            "other": lambda row: {key: [70, *value[1:]] for key, value in row.items()},
            "label": lambda row: _labelled(row, begin, 8),
        }
        rows[1] = changes[name](rows[1])

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_change("prompt in loss"), r"^row 2: the loss covers a part of the prompt: 25 ids .* from id 0 on$"),
        (_change("no end"), r"^row 2: the end-of-turn token '<\|im_end\|>' is not trained$"),
        (
            _change("start not trained"),
            r"^row 2: between the prompt and the first trained id 2 ids \(\[83, 126\], 'It'\) are masked: the model is "
            r"never taught them; give the model a chat template",
        ),
        (_change("hole"), r"^row 2: the loss leaves out 1 ids \(\[42\], ' '\) of the solution, from id 27 on$"),
        (_change("newline trained"), r"^row 2: the loss goes on after the end of turn: 1 ids \(\[20\], '\\n'\)"),
        (_change("cut"), r"^row 2 was cut to 30 of its 35 ids .* `train.sequence_length` is too small for it$"),
        (_change("other"), "^a row was changed on its way to the trainer: "),
        (_change("label"), r"^row 2: label 25 is 8, where the id is \[83\], 'I'$"),
        (lambda rows: rows.pop(1), "1 of 3 rows did not reach the trainer"),
        (lambda rows: rows.clear(), "3 of 3 rows did not reach the trainer"),
        (lambda rows: rows.append(dict(rows[0])), "1 rows reached the trainer more often"),
    ],
)
def test_a_fault_says_what_is_wrong(plugin: ModuleType, change: Callable[..., None], message: str) -> None:
    report = _prove(plugin, change)
    assert re.search(message, report["examples"][0]), report["examples"]


def test_a_cut_row_is_missing_too(plugin: ModuleType) -> None:
    assert _prove(plugin, _change("cut"))["examples"][-1] == "1 of 3 rows did not reach the trainer"


def test_a_tokenizer_with_another_eos_is_found(plugin: ModuleType) -> None:
    report = _prove(plugin, eos_token="<|endoftext|>")
    assert report["examples"] == [
        "the tokenizer's eos token is '<|endoftext|>' but turns end with '<|im_end|>': "
        "the model would never learn to stop"
    ]


def test_an_end_of_turn_that_is_no_token_is_found(plugin: ModuleType) -> None:
    made = importlib.import_module("tiny_tokenizer").TinyTokenizer()
    report = plugin.prove_parity(ROWS, [made.row(row["messages"]) for row in ROWS], made, "<|eot_id|>")
    assert report["examples"][0] == "'<|eot_id|>', which ends a turn, is no single token of the tokenizer"
    assert report["faults"] == 4


def _thoughtful(thought: str) -> list[dict[str, Any]]:
    return [{"messages": [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": f"{thought}Two."}]}]


# What the templates of these families write for a question and an answer, cut to that; the trainer masks what each of
# Axolotl's readers was seen to mask.
TURN = "{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}"
PROMPTED = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
QWEN3 = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{% set parts = m.content.split('</think>') %}"
    "{{ '<|im_start|>assistant\\n<think>\\n' + (parts[0].split('<think>')[-1].strip() if parts[1:] else '')"
    " + '\\n</think>\\n\\n' + parts[-1].lstrip() + '<|im_end|>\\n' }}"
    "{% else %}" + TURN + "{% endif %}{% endfor %}" + PROMPTED
)
R1 = (
    "{% for m in messages %}{% if m.role == 'assistant' %}"
    "{{ '<|im_start|>assistant\\n' + m.content.split('</think>')[-1] + '<|im_end|>' }}"
    "{% else %}" + TURN + "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}{% endif %}"
)
SPACED = "{% for m in messages %}{{ m.role + ':' + (' ' + m.content + '<|im_end|>') }}{% endfor %}" + (
    "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
)
TRIMMED = "{% for m in messages %}" + TURN.replace("m['content']", "m['content'] | trim") + "{% endfor %}" + PROMPTED


@pytest.mark.parametrize(
    ("template", "solution", "masked", "fault"),
    [
        (SPACED, "", "", None),
        (TRIMMED, "", "", None),
        (QWEN3, "<think>\none and one\n</think>\n\n", "", None),
        (
            QWEN3,
            "<think>\none and one\n</think>\n\n",
            "<think>\n",
            r"^row 1: between the prompt and the first trained id 2 ids \(\[4, 20\], '<think>\\n'\) are masked",
        ),
        (
            QWEN3,
            "",
            "<think>\n\n</think>\n\n",
            r"^row 1: between the prompt and the solution the chat template writes 6 ids that the engine is never sent "
            r"and the solution does not have: \[4, 20, 20, 5, 20, 20\], '<think>\\n\\n</think>\\n\\n'; give the model",
        ),
        (QWEN3, "", "", r"the chat template writes 6 ids that the engine is never sent"),
        (R1, "<think>\na\n</think>", "", r"^row 1: the prompt is not what the engine would be sent: from id 25 on"),
        (TRIMMED, "\n", "", r"^row 1: the chat template does not write the solution as it stands: 'Two\.<\|im_end"),
        (SPACED, "<|im_end|>", "", r"^row 1: the end-of-turn token '<\|im_end\|>' stands 2 times"),
    ],
)
def test_templates_of_families(
    plugin: ModuleType, template: str, solution: str, masked: str, fault: str | None
) -> None:
    report = _prove(plugin, rows=_thoughtful(solution), masked=masked, template=template)
    if fault is None:
        assert report["examples"] == []
    else:
        assert re.search(fault, report["examples"][0]), report["examples"]


def test_an_earlier_answer_that_is_trained_too_is_found(plugin: ModuleType) -> None:
    """Axolotl trains every turn of the assistant unless it is told otherwise."""
    turns = [{"role": "user", "content": "0?"}, {"role": "assistant", "content": "Zero."}, *ROWS[0]["messages"]]
    rows = [{"messages": turns}]
    assert _prove(plugin, rows=rows)["faults"] == 0
    report = _prove(plugin, lambda made: made.__setitem__(0, _trained(made[0], *range(21, 27))), rows=rows)
    assert re.search("^row 1: the loss covers a part of the prompt: 6 ids .*'Zero", report["examples"][0])


# What the saved model stops at.


def _saved(tmp_path: Path, config: dict[str, Any], generation: dict[str, Any] | None = None) -> Path:
    vocabulary = {"added_tokens": [{"content": "<|im_end|>", "id": 2}], "model": {"vocab": {"</s>": 5}}}
    for name, value in (("config", config), ("tokenizer", vocabulary), ("generation_config", generation)):
        if value is not None:
            (tmp_path / f"{name}.json").write_text(json.dumps(value), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("config", "generation", "eos"),
    [
        ({"eos_token_id": 2}, None, "<|im_end|>"),
        ({"eos_token_id": 0}, {"eos_token_id": [0, 2]}, "<|im_end|>"),
        ({}, {"eos_token_id": 5}, "</s>"),
    ],
)
def test_a_model_that_stops(tmp_path: Path, config: Any, generation: Any, eos: str) -> None:
    _check_stops(_saved(tmp_path, config, generation), SpecialTokens(eos=eos, pad=eos))


@pytest.mark.parametrize(
    ("config", "generation", "eos"),
    [
        ({"eos_token_id": 0}, None, "<|im_end|>"),
        ({"eos_token_id": 2}, {"eos_token_id": [0]}, "<|im_end|>"),
        ({}, None, "<|im_end|>"),
        ({}, None, "<|unknown|>"),
    ],
)
def test_a_model_that_would_never_stop(tmp_path: Path, config: Any, generation: Any, eos: str) -> None:
    with pytest.raises(RunError, match="it would never stop") as caught:
        _check_stops(_saved(tmp_path, config, generation), SpecialTokens(eos=eos, pad=eos))
    assert "special_tokens.eos" in str(caught.value.hint)


# A run, with the fake `axolotl` command and the real plugin.


@pytest.fixture
def run(engines: Any, project: Path) -> Callable[..., Trained]:
    home = Path(os.environ["ITS_HOME"])
    environment: Environment = find_environment("axolotl", project, home)

    def go(seed: int = 1, base: str = "base", say: Callable[[str], None] = lambda text: None, **change: Any) -> Trained:
        return train_checkpoint(
            messages=[row["messages"] for row in ROWS],
            train=_train(**{"devices": 1, "global_batch_size": 2, **change}),
            template=TEMPLATE,
            tokens=TOKENS,
            base=EngineModel("m", base, "sha256:0", "bfloat16", 64),
            seed=seed,
            environment=environment,
            home=home,
            say=say,
            progress=lambda row: None,
        )

    return go


def test_a_training_is_done_once(run: Callable[..., Trained]) -> None:
    first, second = run(), run()
    assert (first.reused, second.reused) == (False, True)
    assert first.folder == second.folder
    assert [row["loss"] for row in second.losses] == [1.0, 0.5, pytest.approx(1 / 3)]
    assert second.sound == first.sound
    assert second.parity["faults"] == 0
    assert run(seed=2).folder != first.folder
    assert run(learning_rate=1e-3).folder != first.folder


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        ("fail", r"axolotl failed \(exit code 7\)"),
        ("cut", r"prompt parity failed \(2 faults\): row 1 was cut to 20 of its"),
        ("no_plugin", "axolotl ended without proving prompt parity"),
        ("endless", "it would never stop"),
    ],
)
def test_a_training_that_fails_is_not_kept(
    run: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch, trouble: str, message: str
) -> None:
    monkeypatch.setenv("ITS_FAKE_TRAINING", trouble)
    with pytest.raises(RunError, match=message) as caught:
        run()
    if trouble in ("fail", "no_plugin"):
        log = Path(str(caught.value.hint).removeprefix("its log: "))
        assert "axolotl was here" in log.read_text(encoding="utf-8")
    monkeypatch.delenv("ITS_FAKE_TRAINING")
    assert not run().reused


def test_only_what_a_loader_needs_is_copied_and_whole(run: Callable[..., Trained], tmp_path: Path) -> None:
    target = tmp_path / "models" / "m"
    target.mkdir(parents=True)
    (target / "stale.json").touch()
    copy_model(run().folder, target)
    kept = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    assert {path.name for path in target.iterdir()} == kept
    assert [path.name for path in target.parent.iterdir()] == ["m"]


BASE = {"model.embed_tokens.weight": values([6, 2], 1), "model.norm.weight": values([2], 2, "BF16")}


def _base(folder: Path, tensors: Tensors = BASE) -> str:
    folder.mkdir()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    save(folder / "model.safetensors", tensors)
    return str(folder)


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        ("nan_loss", r"diverged at step 2 of 3: the loss is nan, at a learning rate of 5e-06"),
        ("nan_norm", r"diverged at step 2 of 3: the norm of the gradients is nan, at a learning rate of 5e-06"),
        ("short", r"axolotl ended after 1 of 3 steps"),
        ("steps", r"announces 4 steps, and rows, batch and epochs make 3"),
        ("killed_end", r"axolotl ended before the end of training"),
        (
            "processes",
            r"a step would hold 4 rows and `train.global_batch_size` is 2: 2 processes x 2 rows x 1 accumulated",
        ),
        ("nothing", r"saved no weights"),
        ("stub", r"model\.safetensors: not a complete safetensors file"),
        ("nan", r"not finite in 1 of 2 tensors: `model.norm.weight` in 2 of 2 values"),
        ("unchanged", r"training changed no parameter"),
        ("missing", r"is incomplete: `model.norm.weight` is missing"),
        ("shape", r"`model.norm.weight` has the shape \[2, 2\], in the base \[2\]"),
    ],
)
def test_a_training_that_is_not_sound_is_not_kept(
    run: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trouble: str, message: str
) -> None:
    base = _base(tmp_path / "m")
    monkeypatch.setenv("ITS_FAKE_TRAINING", trouble)
    for _ in range(2):  # a rerun does not take what the first left
        with pytest.raises(ItsError, match=message) as caught:
            run(base=base)
        assert caught.value.hint
    monkeypatch.delenv("ITS_FAKE_TRAINING")
    trained = run(base=base)
    assert not trained.reused
    assert trained.sound["changed"] == "model.norm.weight"


def test_nothing_is_left_of_a_training_that_diverged(
    run: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A saved state of it holds weights that are broken already: going on from there could never end well."""
    folder = run().folder
    (folder.parent / "done.json").unlink()
    (folder / "checkpoint-1").mkdir()
    monkeypatch.setenv("ITS_FAKE_TRAINING", "nan_loss")
    with pytest.raises(RunError, match="diverged"):
        run()
    assert not folder.exists()


def test_a_base_that_cannot_be_compared_is_said_before_training(run: Callable[..., Trained], tmp_path: Path) -> None:
    base = _base(tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(DataError, match="not a complete safetensors file"):
        run(base=base)
    assert not list(Path(os.environ["ITS_HOME"]).rglob("axolotl.log"))


def test_no_saved_state_is_left_of_weights_that_are_not_sound(
    run: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run would go on from the last step, and end with the same weights."""
    folder = run().folder
    (folder.parent / "done.json").unlink()
    (folder / "checkpoint-3").mkdir()
    monkeypatch.setenv("ITS_FAKE_TRAINING", "nan")
    with pytest.raises(RunError, match="not finite"):
        run()
    assert not list(folder.glob("checkpoint-*"))


def test_a_gradient_that_the_loss_scaler_left_out_is_counted(
    run: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ITS_FAKE_TRAINING", "skipped_norm")
    trained = run()
    assert trained.sound["steps"]["left_out"] == 1
    assert [row["grad_norm"] for row in trained.losses] == [2.0, None, 2.0]


def test_rows_that_are_too_long_are_named_and_not_dropped(
    run: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ITS_FAKE_TRAINING", "drop")
    with pytest.raises(RunError, match=r"3 of 3 rows are longer than `train.sequence_length`, 16 tokens: the longest"):
        run(sequence_length=16)


def test_the_account_of_a_sound_training(run: Callable[..., Trained], tmp_path: Path) -> None:
    trained = run(base=_base(tmp_path / "m"))
    weights = trained.folder / "model.safetensors"
    assert trained.sound == {
        "version": 1,
        "steps": {"done": 3, "expected": 3, "counted": "rows x epochs / batch", "epochs": 2.0, "left_out": 0},
        "kind": "model",
        "files": {"model.safetensors": {"bytes": weights.stat().st_size, "sha256": file_sha256(weights)}},
        "tensors": 2,
        "values": 14,
        "compared": "2 tensors of the base",
        "changed": "model.norm.weight",
    }
    hub = run(seed=2).sound
    assert (hub["compared"], hub["changed"]) == ("not compared with the base, which is in no folder here", None)


def test_only_a_config_with_a_long_text_is_trained_again_since_it_was_folded() -> None:
    """A former version folded such texts, and Axolotl may have trained with another chat template than the recipe's."""
    assert not _was_folded(_config())
    assert _was_folded(_config(axolotl={"chat_template_jinja": "{{- messages -}} " * 5}))
    assert _was_folded(_config(axolotl={"datasets": [{"path": "a b" * 30}]}))


def test_a_base_of_the_hub_is_looked_for_in_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    commit = "0" * 40
    model = EngineModel("m", "owner/name", "hub", "bfloat16", 64, offline=False, revision=commit)
    assert _base_folder(model) == (None, True)
    snapshot = tmp_path / "models--owner--name" / "snapshots" / commit
    snapshot.parent.mkdir(parents=True)
    _base(snapshot)
    assert _base_folder(model) == (snapshot, True)
    assert _base_folder(replace(model, revision="1" * 40)) == (None, True)


def test_packed_rows_are_counted_by_the_trainer(run: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ITS_FAKE_TRAINING", "steps")
    steps = run(axolotl={"sample_packing": True}).sound["steps"]
    assert (steps["done"], steps["expected"], "packed" in steps["counted"]) == (4, 4, True)


def test_a_training_kept_without_an_account_is_made_again(run: Callable[..., Trained]) -> None:
    done = run().folder.parent / "done.json"
    record = json.loads(done.read_text(encoding="utf-8"))
    done.write_text(json.dumps({**record, "sound": {**record["sound"], "version": 0}}), encoding="utf-8")
    assert not run().reused
    done.write_text(json.dumps({key: value for key, value in record.items() if key != "sound"}), encoding="utf-8")
    assert not run().reused
    assert run().reused


NO_FILES: list[Any] = [None, {}, [], {"model.safetensors": 5}, {"x" * 5000: {}}]


@pytest.mark.parametrize(
    "record",
    [
        *([], None, 5, {}, {"sound": None}, {"sound": []}, {"sound": {"version": 1}}, {"sound": {"steps": {}}}, "{"),
        *({"sound": {"files": value}} for value in NO_FILES),
        *({"sound": {"steps": value}} for value in (None, 5, {"done": "x", "epochs": 1, "left_out": 0})),
        *({"sound": {"compared": 5}}, {"seconds": None}, {"seconds": []}),
    ],
)
def test_an_account_of_another_form_is_of_no_finished_training(run: Callable[..., Trained], record: Any) -> None:
    done = run().folder.parent / "done.json"
    kept = json.loads(done.read_text(encoding="utf-8"))
    if (
        isinstance(record, dict)
        and record
        and (isinstance(record.get("sound", {}), dict))
        and "version" not in record.get("sound", {})
    ):
        record = {**kept, **record, "sound": {**kept["sound"], **record.get("sound", {})}}
    done.write_text(record if record == "{" else json.dumps(record), encoding="utf-8")
    assert not run().reused
    assert run().reused


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone", "another"])
def test_weights_that_changed_in_the_home_are_trained_again(run: Callable[..., Trained], damage: str) -> None:
    """And not from a saved state beside them, which stood on the same disk."""
    first = run()
    weights = first.folder / "model.safetensors"
    whole = weights.read_bytes()
    (first.folder / "checkpoint-3").mkdir()
    if damage == "gone":
        weights.unlink()
    elif damage == "another":
        (first.folder / "other.safetensors").write_bytes(whole)
    else:
        weights.write_bytes(whole[:-4] if damage == "cut" else whole[:-1] + bytes([whole[-1] ^ 1]))
    told: list[str] = []
    again = run(say=told.append)
    assert not again.reused and again.sound == first.sound
    assert weights.read_bytes() == whole and not list(first.folder.glob("checkpoint-*"))
    assert len(told) == 1 and "differs from the file that was checked" in told[0] and "training again" in told[0]
    assert run().reused


@pytest.mark.parametrize(
    ("rows", "batch", "epochs", "steps"),
    [(8, 8, 1, 1), (9, 8, 1, 2), (817, 32, 15, 383), (33, 4, 2, 17), (3, 32, 0.5, 1), (400, 8, 2.5, 125)],
)
def test_steps_are_counted_as_axolotl_does(rows: int, batch: int, epochs: float, steps: int) -> None:
    assert expected_steps(rows, batch, epochs) == steps


@pytest.mark.parametrize(
    ("cfg", "args", "good"),
    [
        ({}, (8, 1, 4), True),
        ({}, (1, 1, 4), False),
        ({"context_parallel_size": 4}, (8, 1, 16), True),
        ({"context_parallel_size": 4}, (8, 1, 4), False),
        ({"tensor_parallel_size": 2, "context_parallel_size": 2}, (8, 4, 4), True),
        ({"context_parallel_size": 3}, (8, 8, 2), False),
        ({}, (2, 32, 1), False),
    ],
)
def test_a_step_holds_the_rows_that_the_recipe_says(
    plugin: ModuleType, cfg: dict[str, int], args: tuple[int, int, int], good: bool
) -> None:
    made = SimpleNamespace(world_size=args[0], train_batch_size=args[1], gradient_accumulation_steps=args[2])
    assert (plugin.batch_fault(cfg, made, 32) is None) is good
