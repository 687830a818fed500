"""Training: the config as Axolotl reads it, parity proved token by token, a run across its process boundary."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
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
from its.training.config import axolotl_config, yaml_text
from its.training.remedies import parity_hint
from its.training.run import (
    Trained,
    Training,
    _base_folder,
    _check_stops,
    _was_folded,
    copy_model,
    kept_config,
    replaced_folder,
    train_checkpoint,
)
from its.training.steps import expected_steps, fraction_faults, saved_step

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


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ("cut", "raise `train.sequence_length`"),
        ("other", "`train.axolotl`"),
        ("label", "`train.axolotl`"),
        ("no end", "`train.axolotl`"),
        ("hole", "`train.axolotl`"),
        ("prompt in loss", "`train.axolotl`"),
        ("newline trained", "`train.axolotl`"),
        ("start not trained", "`models.NAME.chat_template`"),
    ],
)
def test_a_fault_has_its_own_remedy(plugin: ModuleType, change: str, remedy: str) -> None:
    """A long row is not a matter of the chat template."""
    hint = parity_hint(_prove(plugin, _change(change))["examples"][0])
    assert remedy in hint and ("chat_template" in hint) == ("chat_template" in remedy)


def test_a_lost_row_and_another_end_of_turn_have_their_remedies(plugin: ModuleType) -> None:
    assert "`train.axolotl`" in parity_hint(_prove(plugin, lambda rows: rows.clear())["examples"][0])
    assert "special_tokens.eos" in parity_hint(_prove(plugin, eos_token="<|endoftext|>")["examples"][0])


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

    def go(
        seed: int = 1,
        base: str = "base",
        say: Callable[[str], None] = lambda text: None,
        fractions: Sequence[str] = (),
        copied_to: Path | None = None,
        **change: Any,
    ) -> Trained:
        training = Training(
            messages=[row["messages"] for row in ROWS],
            train=_train(**{"devices": 1, "global_batch_size": 2, **change}),
            template=TEMPLATE,
            tokens=TOKENS,
            base=EngineModel("m", base, "sha256:0", "bfloat16", 64),
            seed=seed,
            environment=environment,
        )
        return train_checkpoint(
            training, home=home, say=say, progress=lambda row: None, fractions=fractions, copied_to=copied_to
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
    with replaced_folder(target) as partial:
        copy_model(run().folder, partial)
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


# Earlier checkpoints, saved by the real plugin.

THIRDS = ("1/3", "2/3")


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_earlier_checkpoints_change_neither_the_key_nor_the_last_one(run: Callable[..., Trained]) -> None:
    """And beside the weights, which are their own, they have the files of the last one: an engine can serve both."""
    last = run()
    plain, config = _files(last.folder), kept_config(last, last.folder.parents[2])
    shutil.rmtree(last.folder.parent)
    trained = run(fractions=THIRDS)
    assert trained.folder == last.folder
    assert _files(trained.folder) == plain
    assert kept_config(trained, last.folder.parents[2]) == config and "$ITS_HOME/training" in config
    assert list(trained.earlier) == ["1/3", "2/3"]
    weights = {(saved.folder / "model.safetensors").read_bytes() for saved in trained.earlier.values()}
    assert len(weights | {plain["model.safetensors"]}) == 3
    for fraction, step in (("1/3", 1), ("2/3", 2)):
        folder, sound = trained.earlier[fraction].folder, trained.earlier[fraction].sound
        assert folder == last.folder.parent / "at" / fraction.replace("/", "of")
        assert sound["steps"] == {"done": step, "of": 3}
        assert sound["files"]["model.safetensors"]["sha256"] == file_sha256(folder / "model.safetensors")
        small = {name: text for name, text in plain.items() if name not in ("model.safetensors", "debug.log")}
        own = _files(folder)
        assert {name: own[name] for name in own if name not in ("model.safetensors", "its_saved.json")} == small
    again = run(fractions=["2/3"])
    assert (again.reused, again.earlier) == (True, {"2/3": trained.earlier["2/3"]})
    assert run().reused


def test_a_finished_training_without_a_checkpoint_is_left_as_it_is(run: Callable[..., Trained]) -> None:
    """To train it again may take hours and would replace a model that other results are of: its owner decides."""
    folder = run(fractions=["1/3"]).folder.parent
    with pytest.raises(
        DataError, match=r"`design.checkpoints`: this training is finished .*, and .* `2/3` was not"
    ) as e:
        run(fractions=THIRDS)
    assert run(fractions=["1/3"]).reused
    command = str(e.value.hint).split("`")[1]
    assert command == f"rm -r {folder}"
    subprocess.run(command, shell=True, check=True)
    assert not run(fractions=THIRDS).reused


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        (["1/10"], "a training of 3 steps has no step before its last at `1/10`$"),
        (["9/10", "1/3"], "a training of 3 steps has no step before its last at `9/10`$"),
        (["3/3"], "has no step before its last at `3/3`"),
        (["1/3", "2/6"], "in a training of 3 steps `1/3` and `2/6` are one checkpoint, step 1"),
        (["1/2", "2/3", "1/10"], "at `1/10`; in a training of 3 steps `1/2` and `2/3` are one checkpoint, step 2"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_fraction_needs_its_own_step(
    run: Callable[..., Trained], fractions: list[str], message: str, packed: bool
) -> None:
    """Packed rows only the trainer can count: then it is the plugin that says so, before the first step."""
    with pytest.raises(ItsError) as caught:
        run(fractions=fractions, axolotl={"sample_packing": True} if packed else {})
    assert re.search(message.split("; ")[0] if packed else message, caught.value.message)
    assert "checkpoints" in str(caught.value.hint) or not packed
    losses = list(Path(os.environ["ITS_HOME"]).rglob("progress.jsonl"))
    assert not losses


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 8, 1000])
def test_the_plugin_counts_steps_as_the_stage_does(plugin: ModuleType, steps: int) -> None:
    saving = importlib.import_module("its_checkpoints")
    fractions = [f"{top}/{bottom}" for bottom in range(1, 13) for top in range(1, 13)]
    for fraction in fractions:
        step = saved_step(fraction, steps)
        assert saving.saved_step(fraction, steps) == step
        assert abs(step - Fraction(fraction) * steps) <= Fraction(1, 2)
        assert saving.fraction_fault([fraction], steps) == next(iter(fraction_faults([fraction], steps)), None)
        for other in fractions[:20]:
            pair = list(dict.fromkeys([fraction, other]))
            assert (saving.fraction_fault(pair, steps) is None) == (not fraction_faults(pair, steps))


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        ("early_nothing", r"at/1of3: the training saved no weights"),
        ("early_stub", r"at/1of3/model\.safetensors: not a complete safetensors file"),
        ("early_nan", r"at/1of3: the trained model contains values that are not finite"),
        ("early_missing", r"at/1of3: the trained model is incomplete: `model.norm.weight` is missing"),
        ("early_shape", r"`model.norm.weight` has the shape \[2, 2\], in the base \[2\]"),
    ],
)
def test_an_earlier_checkpoint_is_checked_as_the_last_is(
    run: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trouble: str, message: str
) -> None:
    base = _base(tmp_path / "m")
    monkeypatch.setenv("ITS_FAKE_TRAINING", trouble)
    for _ in range(2):
        with pytest.raises(ItsError, match=message):
            run(base=base, fractions=["1/3"], save_every_steps=2)
    monkeypatch.delenv("ITS_FAKE_TRAINING")
    trained = run(base=base, fractions=["1/3"], save_every_steps=2)
    assert not trained.reused
    assert trained.earlier["1/3"].sound["changed"] == "model.norm.weight"


def test_a_checkpoint_before_anything_has_changed_is_one(
    run: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The first step of a warmup has a learning rate of zero."""
    monkeypatch.setenv("ITS_FAKE_TRAINING", "early_unchanged")
    sound = run(base=_base(tmp_path / "m"), fractions=["1/3"]).earlier["1/3"].sound
    assert sound["changed"] is None and "no parameter has changed yet" in sound["compared"]


@pytest.mark.parametrize("every", [None, 1, 2])
@pytest.mark.parametrize("trouble", ["killed_1", "killed_2", "early_killed"])
def test_a_killed_training_has_every_checkpoint_whole(
    run: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch, every: int | None, trouble: str
) -> None:
    fresh = {name: _files(saved.folder) for name, saved in run(fractions=THIRDS, seed=2).earlier.items()}
    monkeypatch.setenv("ITS_FAKE_TRAINING", trouble)
    change: dict[str, Any] = {"fractions": THIRDS, "seed": 2, "save_every_steps": every, "weight_decay": 0.0}
    with pytest.raises(RunError, match="axolotl failed"):
        run(**change)
    monkeypatch.delenv("ITS_FAKE_TRAINING")
    trained = run(**change)
    assert {name: _files(saved.folder) for name, saved in trained.earlier.items()} == fresh
    assert {path.name for path in (trained.folder.parent / "at").iterdir()} == {"1of3", "2of3"}
    assert trained.sound["steps"]["done"] == 3


def test_a_state_behind_a_checkpoint_that_was_not_saved_is_not_resumed(
    run: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint was declared after the kill; packed rows are counted by what the killed run logged."""
    for packed in ({}, {"axolotl": {"sample_packing": True}}):
        monkeypatch.setenv("ITS_FAKE_TRAINING", "killed_2")
        with pytest.raises(RunError):
            run(save_every_steps=1, fractions=["2/3"], **packed)
        monkeypatch.delenv("ITS_FAKE_TRAINING")
        told: list[str] = []
        trained = run(save_every_steps=1, fractions=THIRDS, say=told.append, **packed)
        assert "training from the start" in told[0] and "1/3" in told[0]
        assert list(trained.earlier) == list(THIRDS)


def test_a_checkpoint_of_a_run_that_was_not_resumed_is_not_used(
    run: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was saved after the last state, so what follows that state is another run's."""
    monkeypatch.setenv("ITS_FAKE_TRAINING", "killed_1")
    with pytest.raises(RunError):
        run(fractions=["1/3"])
    monkeypatch.delenv("ITS_FAKE_TRAINING")
    folder = run().folder.parent
    assert not list(folder.glob("at/*"))
    with pytest.raises(DataError, match="was not saved"):
        run(fractions=["1/3"])


@pytest.mark.parametrize("damage", ["flipped", "gone"])
def test_an_earlier_checkpoint_that_changed_in_the_home_is_trained_again(
    run: Callable[..., Trained], damage: str
) -> None:
    first = run(fractions=THIRDS)
    weights = first.earlier["1/3"].folder / "model.safetensors"
    whole = weights.read_bytes()
    if damage == "gone":
        shutil.rmtree(weights.parent)
    else:
        weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert run(fractions=["2/3"]).reused  # which is as it was
    told: list[str] = []
    again = run(fractions=THIRDS, say=told.append)
    assert not again.reused and again.earlier == first.earlier and weights.read_bytes() == whole
    assert "at/1of3" in told[0] and "training again" in told[0]


@pytest.mark.parametrize("earlier", [None, 5, {"1/3": None}, {"1/3": {}}, {"1/3": {"steps": {"done": 1, "of": "x"}}}])
def test_an_account_of_another_form_is_of_no_saved_checkpoint(run: Callable[..., Trained], earlier: Any) -> None:
    done = run(fractions=["1/3"]).folder.parent / "done.json"
    record = json.loads(done.read_text(encoding="utf-8"))
    if isinstance(earlier, dict) and earlier["1/3"]:
        earlier = {"1/3": record["earlier"]["1/3"] | earlier["1/3"]}
    done.write_text(json.dumps({**record, "earlier": earlier}), encoding="utf-8")
    assert not run(fractions=["1/3"]).reused
    assert run(fractions=["1/3"]).reused


@pytest.mark.parametrize("setting", ["relora", "qat", "llmcompressor"])
def test_a_model_that_is_another_one_at_the_end_has_no_earlier_checkpoints(
    run: Callable[..., Trained], setting: str
) -> None:
    with pytest.raises(RunError, match=f"with `{setting}` a model is not saved before the end"):
        run(fractions=["1/3"], axolotl={setting: True})
    assert run(axolotl={setting: True}).earlier == {}


def test_training_keys_are_those_of_former_versions(tmp_path: Path) -> None:
    """A key that changes costs every user a training of every checkpoint."""
    environment = Environment("axolotl", "cpu", tmp_path, tmp_path, "0" * 64, {})
    training = Training(
        messages=[[{"role": "user", "content": "What is 7 + 5?"}, {"role": "assistant", "content": "12"}]],
        train=_train(devices=1, global_batch_size=2, axolotl={"lora_r": 8}),
        template=TEMPLATE,
        tokens=TOKENS,
        base=EngineModel("m", "base", "sha256:0", "bfloat16", 64),
        seed=1,
        environment=environment,
    )
    assert training.identity["plugin"] == "7435be68f09dacf9760b31f5ea6416790054977682124c7c9273882b5e9c97db"
    assert training.key == "b539ade3bd1c4336"
    gpu = replace(training, train=_train(devices=1, global_batch_size=2, hardware="gpu"))
    for dtype in ("float16", "float32"):  # on a GPU the config decides, whatever engines load
        assert replace(gpu, base=replace(training.base, dtype=dtype)).key == gpu.key


@pytest.mark.parametrize(
    ("dtype", "last"), [("bfloat16", "its_axolotl.ItsPlugin"), ("float32", "its_float32.NoAutocast")]
)
def test_on_a_cpu_the_dtype_of_the_model_decides_about_autocast(tmp_path: Path, dtype: str, last: str) -> None:
    training = Training(
        messages=[row["messages"] for row in ROWS],
        train=_train(),
        template=TEMPLATE,
        tokens=TOKENS,
        base=EngineModel("m", "base", "sha256:0", dtype, 64),
        seed=1,
        environment=Environment("axolotl", "cpu", tmp_path, tmp_path, "0" * 64, {}),
    )
    assert training.config("base", "rows.jsonl", ".")["plugins"][-1] == last
    assert training.identity["config"]["plugins"][-1] == last
    assert ("float32_plugin" in training.identity) is (dtype == "float32")


def test_equal_trainings_have_one_key_whatever_they_are_called(tmp_path: Path) -> None:
    environment = Environment("axolotl", "cpu", tmp_path, tmp_path, "0" * 64, {})
    declared = _train(
        devices=1,
        global_batch_size=2,
        epochs=3,
        axolotl={"lora_r": 8, "adapter": "lora"},
        datasets={"big": {"epochs": 5}, "small": {"epochs": 3.0}},
        models={"m": {"learning_rate": 5e-6}},
        variants={"same": {"axolotl": {"lora_r": 8}}, "other": {"axolotl": {"lora_r": 16}}, "long": {"epochs": 5}},
    )

    def key(train: Train) -> str:
        again = Train.model_validate(json.loads(json.dumps(train.model_dump(exclude_defaults=True))))
        assert again == train
        return Training(
            messages=[row["messages"] for row in ROWS],
            train=again,
            template=TEMPLATE,
            tokens=TOKENS,
            base=EngineModel("m", "base", "sha256:0", "bfloat16", 64),
            seed=1,
            environment=environment,
        ).key

    plain = key(declared.model_copy(update={"datasets": {}, "models": {}, "variants": {}}))
    assert key(declared.of("m", "small")) == plain
    assert key(declared.of("m", "small", "same")) == plain
    assert key(declared.of("m", "small", "other")) != plain
    assert key(declared.of("m", "big")) == key(declared.of("n", "small", "long")) != plain
