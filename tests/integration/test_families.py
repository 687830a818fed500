"""Every family's template through real parts: Axolotl's strategy, the proof, a step of training, vLLM's prompts.

For each family a tiny model of its own architecture, with a tokenizer of its kind and marks, is trained on rows with
and without a thought, with and without a system turn. The trained checkpoint is then served by vLLM, which must be sent
the ids that were trained. Templates of models that are known to be unfit are refused, with what a user reads.
"""

# ruff: noqa: RUF001 - the bars in DeepSeek's tokens

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from integration.clone import ROOT
from integration.preloaded import preloaded
from integration.tiny_models import TINY, make_models
from sampled import spread

from its.engines.kinds import EngineSettings, open_session
from its.engines.protocol import EngineModel, Request
from its.environments import Environment, find_environment
from its.errors import ItsError
from its.home import its_home
from its.model_files import final_template
from its.models import SOUND_FILE, ready_model, trained_model
from its.parity import COMPARED, PromptCheck
from its.prompts.chat import closes_thought
from its.prompts.render import read_template
from its.recipe.schema import Model, Train
from its.rows import write_json
from its.store import Store
from its.strategies.query import solution_turn
from its.training.run import Trained, Training, copy_model, train_checkpoint

pytestmark = pytest.mark.integration

SYSTEM = {"role": "system", "content": "You are a careful teacher."}
PLAIN = "7 apples and 5 apples are 12 apples. The final answer is \\boxed{12}."
THOUGHT = "<think>\nLet's see. 7 + 5 = 12.\n\nWait, check: 12 - 5 = 7.\n</think>\n\nThe final answer is \\boxed{12}."
QUESTIONS = ("What is 7 + 5?", "If $x + 5 = 12$ then what is $x$?\n")
OPTIONS = {"enforce_eager": True, "enable_chunked_prefill": False, "max_num_batched_tokens": 1024, "max_num_seqs": 8}


@dataclass(frozen=True)
class Case:
    """A family with one setting of its template.

    Args:
        model: in TINY.
        template: in `recipes/prompts/`; None: the model's own.
        thinking: the recipe's `opened_by`; None: no marks are declared.
        plain, thought: whether such solutions can be trained.
        system: whether the template has a system turn.
    """

    model: str
    template: str | None
    kwargs: dict[str, Any] = field(default_factory=dict)
    thinking: str | None = None
    plain: bool = True
    thought: bool = True
    system: bool = True

    def kinds(self) -> list[tuple[str, bool]]:
        """(kind of solution, whether there is a system turn) of the rows that can be trained."""
        kinds = [kind for kind, fits in (("plain", self.plain), ("thinking", self.thought)) if fits]
        return [(kind, system) for kind in kinds for system in ((False, True) if self.system else (False,))]


_CASES = {
    "SmolLM2": Case("smollm2", "chatml"),
    "Qwen2.5": Case("qwen2_5", "qwen2_5"),
    "Qwen3": Case("qwen3", "qwen3", thinking="model"),
    "Qwen3, thinking off": Case("qwen3", "qwen3", {"enable_thinking": False}, "model", thought=False),
    "R1-Distill-Qwen": Case("r1_qwen", "r1_distill", thinking="prompt", plain=False),
    "R1-Distill-Llama": Case("r1_llama", "r1_distill", thinking="prompt", plain=False),
    "Llama 3": Case("llama3", "llama3"),
    "Gemma 3": Case("gemma3", "gemma3", system=False),
    "Mistral v3": Case("mistral", "mistral"),
    "Mistral v7": Case("mistral_v7", "mistral_v7"),
    "Phi-4": Case("phi4", "phi4"),
    "Phi-4-mini": Case("phi4_mini", "phi4_mini"),
    "Phi-3.5": Case("phi3_5", "phi3_5"),
    "SmolLM3": Case("smollm3", "smollm3", thinking="model"),
    "SmolLM3, thinking off": Case("smollm3", "smollm3", {"enable_thinking": False}, "model", thought=False),
}
CASES = {name: _CASES[name] for name in spread(list(_CASES), 2)}

# What the models' own templates do, in few words. Qwen3 writes an empty thought before a plain answer, and takes a
# thought apart; R1 cuts it off; Gemma and Llama trim; Mistral v0.3 has a system turn only where a question is last.
_ASKED = "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
_PROMPT = "{%- if add_generation_prompt %}{{ '<｜Assistant｜><think>\\n' }}{% endif %}"
OWN = {
    "qwen3": (
        "{% for m in messages %}{% set text = m['content'] %}{% if m['role'] == 'assistant' %}"
        "{% set thought = text.split('</think>')[0].split('<think>')[-1].strip('\\n') if '</think>' in text else '' %}"
        "{% set text = '<think>\\n' + thought + '\\n</think>\\n\\n' + text.split('</think>')[-1].lstrip('\\n') %}"
        "{% endif %}"
        "{{ '<|im_start|>' + m['role'] + '\\n' + text + '<|im_end|>\\n' }}{% endfor %}" + _ASKED
    ),
    "r1_qwen": (
        "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'assistant' %}"
        "{{ '<｜Assistant｜>' + m['content'].split('</think>')[-1] + '<｜end▁of▁sentence｜>' }}"
        "{% elif m['role'] == 'user' %}{{ '<｜User｜>' + m['content'] }}{% else %}{{ m['content'] }}{% endif %}"
        "{% endfor %}" + _PROMPT
    ),
    "gemma3": (
        "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}"
        "{{ raise_exception('System role not supported') }}{% endif %}"
        "{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\\n' + m['content'] | trim"
        " + '<end_of_turn>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
    ),
}


@dataclass
class Result:
    """What became of a case."""

    case: Case
    trained: Trained
    served: EngineModel
    sent: dict[str, str] = field(default_factory=dict)


def declared(case: Case, folder: Path) -> Model:
    """The model as a recipe declares it."""
    tiny = TINY[case.model]
    marks = {"start": "<think>", "end": "</think>", "opened_by": case.thinking}
    return Model.model_validate(
        {
            "source": {"kind": "folder", "path": str(folder / case.model)},
            "dtype": "float32",
            "context_length": 1024,
            "special_tokens": {"bos": tiny.bos, "eos": tiny.eos, "pad": tiny.pad},
            "chat_template": f"prompts/{case.template}.jinja" if case.template else None,
            "template_kwargs": case.kwargs,
            "thinking": marks if case.thinking else None,
        }
    )


def rows_of(case: Case, model: Model, template: str) -> list[list[dict[str, str]]]:
    """Two questions of each kind, answered as `train` answers them."""
    closed = model.thinking is not None and closes_thought(template, model.thinking)
    out = []
    for kind, system in case.kinds():
        for question in QUESTIONS:
            solution = solution_turn(PLAIN if kind == "plain" else THOUGHT, model.thinking, closed)
            turns = [*([SYSTEM] if system else []), {"role": "user", "content": f"{question} ({kind})"}]
            out.append([*turns, {"role": "assistant", "content": solution}])
    return out


def train(case: Case, models: Path, environment: Environment, home: Path) -> tuple[Trained, Model, EngineModel]:
    """One step of training, by Axolotl."""
    model = declared(case, models)
    base = ready_model(case.model, model, ROOT, home, print)
    rows = rows_of(case, model, final_template(base) or "")
    settings = Train.model_validate(
        {
            **{"hardware": "cpu", "launcher": "python", "devices": 1, "template": "axolotl/full_cpu.yaml.j2"},
            **{"epochs": 1, "learning_rate": 1e-3, "lr_scheduler": "constant", "warmup_ratio": 0, "weight_decay": 0},
            **{"global_batch_size": len(rows), "micro_batch_size": len(rows), "sequence_length": 512},
            "axolotl": {"dataset_num_proc": 1, "dataloader_num_workers": 0},
        }
    )
    training = Training(
        messages=rows,
        train=settings,
        template=read_template(ROOT / "recipes" / settings.template),
        tokens=model.special_tokens,
        base=base,
        seed=1,
        environment=environment,
    )
    trained = train_checkpoint(training, home=home, say=print, progress=lambda row: None)
    return trained, model, base


def ask(served: EngineModel, chats: list[list[dict[str, str]]], home: Path) -> dict[str, str]:
    """The hash of the ids that vLLM was sent for each chat, from the store."""
    sampling = {"temperature": 0.0, "top_p": 1.0, "max_tokens": 1, "stop": []}
    requests = [Request(f"{n}", chat, sampling, seed=1, model=served.name) for n, chat in enumerate(chats)]
    choice = EngineSettings("vllm", OPTIONS, {"VLLM_CPU_KVCACHE_SPACE": "1"})
    log = home / "logs" / f"{served.name}.log"
    log.parent.mkdir(exist_ok=True)
    with (
        Store(home / "store.sqlite") as store,
        open_session(store, [served], choice, project=ROOT, home=home, log=log, say=print) as session,
    ):
        session.ensure(requests)
        return {json.dumps(request.messages): str(found.prompt_sha256) for request, _, found in session.read(requests)}


@dataclass
class World:
    """All cases; what was refused and how long it took."""

    home: Path
    models: Path
    results: dict[str, Result]
    refused: dict[str, str]
    seconds: dict[str, float]


def made(folder: Path) -> World:
    """Train and serve every family."""
    home, models = folder / "home", folder / "models"
    home.mkdir()
    real = {name: find_environment(name, ROOT, its_home(ROOT)) for name in ("axolotl", "vllm")}
    templates = {case.model: (ROOT / f"recipes/prompts/{case.template}.jinja").read_text() for case in _CASES.values()}
    results: dict[str, Result] = {}
    refused: dict[str, str] = {}
    seconds: dict[str, float] = {}
    began = time.monotonic()
    with preloaded(real["axolotl"], home) as environment:
        seconds["start of Axolotl"] = time.monotonic() - began
        make_models(TINY, models, environment, templates)
        began = time.monotonic()
        for name, case in CASES.items():
            trained, model, base = train(case, models, environment, home)
            kept = home / "kept" / case.model / str(len(results))
            kept.parent.mkdir(parents=True, exist_ok=True)
            copy_model(trained.folder, kept)
            write_json(kept / SOUND_FILE, trained.sound)
            served = trained_model(f"m{len(results)}", kept, lambda base=base: base, model, home, ROOT)  # type: ignore[misc]
            results[name] = Result(case, trained, served)
        seconds["trainings"], began = time.monotonic() - began, time.monotonic()
        for name, case in UNFIT.items():
            (models / case.model / "chat_template.jinja").write_text(OWN[case.model], encoding="utf-8")
            try:
                train(case, models, environment, home)
            except ItsError as error:
                refused[name] = error.message
        seconds["refused trainings"], began = time.monotonic() - began, time.monotonic()
    with preloaded(real["vllm"], home):
        seconds["start of vLLM"], began = time.monotonic() - began, time.monotonic()
        for result in results.values():
            result.sent = ask(result.served, [probe["messages"] for probe in result.trained.parity["probes"]], home)
        seconds["engines"] = time.monotonic() - began
    return World(home, models, results, refused, seconds)


UNFIT = {
    "Qwen3, plain solutions": Case("qwen3", None, thought=False, system=False),
    "Qwen3, thoughts": Case("qwen3", None, plain=False, system=False),
    "R1, thoughts": Case("r1_qwen", None, thinking="prompt", plain=False, system=False),
    "Gemma, with a system turn": Case("gemma3", None, thought=False),
}


def table(world: World) -> str:
    """The table of families, in Markdown."""
    lines = [
        "| family | template | solutions | system turn | rows | faults by the proof | ids trained = ids sent |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, result in world.results.items():
        probes = result.trained.parity["probes"]
        for kind, system in result.case.kinds():
            mine = [
                probe
                for probe in probes
                if probe["messages"][-1]["content"].endswith(f"({kind})") and (len(probe["messages"]) > 1) == system
            ]
            same = sum(result.sent.get(json.dumps(probe["messages"])) == probe["prompt_sha256"] for probe in mine)
            shown = f"`{result.case.template}.jinja`"
            if result.case.kwargs:
                shown += " `enable_thinking: false`"
            faults = result.trained.parity["faults"]
            has = "yes" if system else "no"
            lines.append(f"| {name} | {shown} | {kind} | {has} | {len(mine)} | {faults} | {same} of {len(mine)} |")
    for name, case in UNFIT.items():
        (kind, system) = case.kinds()[-1]
        count = re.search(r"\((\d+) faults\)", world.refused.get(name, ""))
        faults, has = count[1] if count else "fails", "yes" if system else "no"
        lines.append(f"| {name.partition(',')[0]} | its own | {kind} | {has} | 2 | {faults} | refused |")
    return "\n".join(lines)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("families")
    yield made(folder)
    shutil.rmtree(folder)


@pytest.mark.parametrize("name", CASES)
def test_the_proof_finds_no_fault_and_a_step_is_trained(world: World, name: str) -> None:
    result = world.results[name]
    kinds = result.case.kinds()
    assert result.trained.parity["rows"] == 2 * len(kinds) == len(result.trained.parity["probes"])
    assert result.trained.parity["faults"] == 0
    assert result.trained.parity["end_of_turn"] == TINY[result.case.model].eos
    assert result.trained.sound["steps"]["done"] == 1 and result.trained.sound["changed"]


@pytest.mark.parametrize("name", CASES)
def test_vllm_is_sent_the_ids_that_were_trained(world: World, name: str) -> None:
    result = world.results[name]
    trained = {json.dumps(item["messages"]): item["prompt_sha256"] for item in result.trained.parity["probes"]}
    assert result.sent == trained and len(set(trained.values())) == len(trained)
    check = PromptCheck([result.served], {result.served.name: result.trained.parity["probes"]}, fetch=False)
    assert check.account() == {result.served.name: COMPARED}


@pytest.mark.parametrize("name", CASES)
def test_the_checkpoint_carries_the_template(world: World, name: str) -> None:
    result = world.results[name]
    saved = (result.trained.folder / "chat_template.jinja").read_text(encoding="utf-8")
    source = (ROOT / f"recipes/prompts/{result.case.template}.jinja").read_text(encoding="utf-8")
    assert saved == result.served.chat_template
    assert saved.removesuffix("\n").endswith(source.removesuffix("\n"))
    assert saved.startswith("{%- set enable_thinking = false %}") == bool(result.case.kwargs)


def test_the_models_own_templates_are_refused_with_the_reason(world: World) -> None:
    """Few words of what their makers' templates do."""
    refused = world.refused
    assert list(refused) == list(UNFIT)
    assert "the chat template writes" in refused["Qwen3, plain solutions"]
    assert "that the engine is never sent" in refused["Qwen3, plain solutions"]
    assert "<think>\\n\\n</think>" in refused["Qwen3, plain solutions"]
    assert "the prompt is not what the engine would be sent" in refused["R1, thoughts"]
    assert "2 ids ([" in refused["Qwen3, thoughts"] and "are masked" in refused["Qwen3, thoughts"]
    # A template that raises fails in Axolotl's own process; `its recipe check` and `query` name it before.
    assert "axolotl failed" in refused["Gemma, with a system turn"]


def test_what_a_prompt_has_no_place_for_is_refused() -> None:
    """A plain solution where the prompt opens a thought, a thought where it closes one: no row of it is trained."""
    for name, kind, told in (
        ("R1-Distill-Qwen", "plain", "no whole thought"),
        ("Qwen3, thinking off", "thinking", "the prompt ends a thought"),
        ("SmolLM3, thinking off", "thinking", "the prompt ends a thought"),
    ):
        case = _CASES[name]
        model = declared(case, Path("models"))
        source = (ROOT / f"recipes/prompts/{case.template}.jinja").read_text(encoding="utf-8")
        template = "".join(f"{{%- set {key} = false %}}\n" for key in case.kwargs) + source
        wrong = Case(case.model, case.template, case.kwargs, case.thinking, kind == "plain", kind == "thinking")
        with pytest.raises(ValueError, match=told):
            rows_of(wrong, model, template)
