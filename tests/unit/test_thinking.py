"""What a model thinks is cut from what it answers by one rule: responses, personas, judges, files, recipes' check."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from running import run_stage

from its import thinking
from its.cli.grade import grade as grade_command
from its.commands.grade_file import grade_file
from its.engines.protocol import Completion, Request
from its.errors import DataError, FaultsError
from its.grading.grade import Grader, Item
from its.models import require_opening
from its.recipe.document import read_document
from its.recipe.load import checked, validate
from its.recipe.schema import Thinking
from its.rows import read_rows, write_rows
from its.sources.thoughts import Trace, normal_trace
from its.stages import generate, persona
from its.strategies.persona import persona_answer
from its.study.study import Checkpoint, Study, load_study
from its.thinking import SOLUTION_MARKS, Cut, OpenedBy, PlainMarks, cut_thinking, thinking_tokens
from its.types import Message, Persona, Problem, Query, Response, Verdict

Edit = Callable[..., None]
OPENERS: list[OpenedBy | None] = ["prompt", "model", None]


def _cut(text: str, opened_by: OpenedBy | None, cut_short: bool = False, apart: str | None = None) -> Cut:
    return cut_thinking(text, PlainMarks("<t>", "</t>", opened_by), cut_short, apart)


def _table() -> Iterator[tuple[str, str, str, str, str]]:
    """The rows of the table in the module's own words."""
    assert thinking.__doc__ is not None
    for line in thinking.__doc__.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5 and cells[4] in ("yes", "no"):
            yield (cells[0], cells[1], cells[2], cells[3], cells[4])


@pytest.mark.parametrize("row", list(_table()), ids=lambda row: " ".join(row[:2]))
def test_the_table_is_what_happens(row: tuple[str, str, str, str, str]) -> None:
    shown, who, thought, answer, finished = row
    texts = re.findall("`([^`]*)`", shown) or [""]
    openers: list[OpenedBy | None] = ["model", None] if "but prompt" in who else OPENERS if "any" in who else [None]
    if who in ("prompt", "model"):
        openers = [who]  # type: ignore[list-item]
    mark = PlainMarks("*", "*") if "both marks" in shown else PlainMarks("<t>", "</t>")
    for text in texts[: 1 if "both marks" in shown or "cut" in shown else 2]:
        for opened_by in openers:
            found = cut_thinking(text, mark._replace(opened_by=opened_by), "cut by" in shown)
            wanted = "" if "empty" in thought else None if thought == "None" else "\n\n".join(_quoted(thought))
            assert (found.thinking, found.answer) == (wanted, "\n".join(_quoted(answer))), (text, opened_by)
            assert found.finished == (finished == "yes")


def _quoted(cell: str) -> list[str]:
    return re.findall("`([^`]*)`", cell)


def test_the_table_has_its_rows() -> None:
    assert len(list(_table())) == 17


PIECES = [*["<t>", "</t>"] * 4, "a", "\\boxed{5}", "\\boxed{9}", " ", "\n", "\u00e9", "\U0001f914", "5"]
PIECES += ["<t", "t>", "< t >", "x"]


def _texts(count: int, seed: int = 1) -> Iterator[str]:
    """Texts of marks, answers, halves of marks and letters of any script in any order."""
    drawn = random.Random(seed)
    for _ in range(count):
        yield "".join(drawn.choices(PIECES, k=drawn.randrange(9)))


def _letters(text: str, opened_by: OpenedBy | None, cut_short: bool) -> tuple[str, str, bool]:
    """The rule once more, letter by letter: what is thought, what is not, and whether the text ends outside."""
    inside, found, thought, outside, since = opened_by == "prompt", False, "", "", ""
    while text:
        if text.startswith("</t>"):
            thought, since, inside, found, text = thought + since, "", False, True, text[4:]
        elif text.startswith("<t>") and not inside:
            outside, since, inside, found, text = outside + since, "", True, True, text[3:]
        else:
            since, text = since + text[0], text[1:]
    if inside or (opened_by is None and cut_short and not found):
        return thought + since, outside, False
    return thought, outside + since, True


@pytest.mark.parametrize("opened_by", OPENERS)
@pytest.mark.parametrize("cut_short", [False, True])
def test_every_letter_is_thought_or_answer(opened_by: OpenedBy | None, cut_short: bool) -> None:
    for text in _texts(3000):
        found = _cut(text, opened_by, cut_short)
        thought, outside, finished = _letters(text, opened_by, cut_short)
        assert found.finished == finished, text
        assert "".join(found.answer.split()) == ("".join(outside.split()) if finished else ""), text
        told = "".join((found.thinking or "").split())
        assert told.replace("<t>", "") == "".join(thought.split()).replace("<t>", ""), text
        assert "\n".join(text[start:end] for start, end in found.pieces) == found.answer
        assert 0 <= found.share <= 1
        if found.thinking is None:
            assert found.answer == text and found.share == 0
        # What was cut is not cut again, and a text that nothing stands open in is cut the same whoever opens.
        assert _cut(found.answer, "model") == found._replace(**_cut(found.answer, "model")._asdict())
        assert _cut(found.answer, "model").thinking is None


def test_a_place_in_the_answer_is_one_in_the_text() -> None:
    for text in _texts(2000, seed=2):
        found = _cut(text, "model")
        for start in range(len(found.answer)):
            if found.answer[start] == "\n" and len(found.pieces) > 1:
                continue  # it may be the line end between two pieces, which stands nowhere
            assert text[slice(*found.place(start, start + 1))] == found.answer[start], (text, start)
    found = _cut("12<t>a</t>34", "model")
    assert (found.answer, found.place(1, 4), found.place(3, 5)) == ("12\n34", (1, 11), (10, 12))


def test_thinking_that_came_apart_opens_nothing_in_the_text() -> None:
    for opened_by in OPENERS:
        for cut_short in (False, True):
            found = _cut("\\boxed{5}", opened_by, cut_short, apart="hm")
            assert (found.thinking, found.answer, found.finished) == ("hm", "\\boxed{5}", True)
        assert _cut("5<t>or 9</t>", opened_by, apart="hm")[:2] == ("hm\n\nor 9", "5")
        assert _cut("5", opened_by, apart="")[:2] == ("", "5")
    assert cut_thinking("<t>a</t>5", None, True, "hm")[:2] == ("hm", "<t>a</t>5")


@pytest.mark.parametrize(
    ("text", "apart", "told", "tokens"),
    [
        ("12345", None, None, 0),
        ("<t>4567</t>", None, None, 100),
        ("<t>4567</t>89abcdefghi", None, None, 50),
        ("<t>4567</t>89abcdefghi", None, 70, 70),  # the server saw the same thought
        ("<t>4567</t>89abcdefghi", None, 0, 50),  # and this one sees none at all
        ("12345", None, 70, 70),  # a thought that is counted and not shown
        ("<t>45", None, None, 100),
        ("12345", "12345", None, 50),
        ("12345", "12345", 70, 70),
        ("12345", "12345", 700, 50),  # counted beside the completion
        ("<t>4567</t>89abcdefghi", "123", 60, 80),
        ("", None, None, 0),
        ("", "12", None, 100),
    ],
)
def test_tokens_of_thinking_follow_the_cut(text: str, apart: str | None, told: int | None, tokens: int) -> None:
    assert thinking_tokens(_cut(text, "model", apart=apart), 100, told, apart is not None) == tokens


def test_a_solution_that_sources_accept_is_cut_into_its_thought_and_the_rest() -> None:
    drawn, accepted = random.Random(3), 0
    pieces = ["<think>", "</think>", "so", " ", "\n", "<|begin_of_thought|>", "<|end_of_thought|>", "\\boxed{5}"]
    pieces += ["<|begin_of_solution|>", "<|end_of_solution|>"]
    for _ in range(20_000):
        trace = normal_trace("".join(drawn.choices(pieces, k=drawn.randrange(8))))
        if not isinstance(trace, Trace) or trace.form is None:
            continue
        accepted += 1
        found = cut_thinking(trace.text, SOLUTION_MARKS, False)
        assert found.thinking is not None
        shape = f"<think>\n{found.thinking}" + (f"\n</think>\n\n{found.answer}" if found.finished else "")
        assert shape == trace.text
    assert accepted > 50


# One rule for the stage and for a file.


def _by_stage(text: str, finish_reason: str, apart: str | None, marks: Thinking, grader: Grader) -> Verdict:
    request = Request("q", [], {"temperature": 0}, 1)
    completion = Completion("q", text, finish_reason, 1, 10, thinking=apart)
    cut = cut_thinking(text, marks, finish_reason == "length", apart)
    row = generate._response(request, "q", "k", completion, cut)
    assert row.thinking_tokens <= row.completion_tokens
    return grader.grade_one(Item("q", 0, row.text, "5", "integer"))


@pytest.mark.parametrize("opened_by", OPENERS)
def test_a_file_gets_the_verdicts_of_the_stage(tmp_path: Path, opened_by: OpenedBy | None) -> None:
    rows = [
        {"reference": "5", "response": text, "finish_reason": reason, "thinking": apart}
        for text in [*_texts(400, seed=4), "<t>a</t>\n\\boxed{5}\n<t>or \\boxed{9}</t>"]
        for reason in ("stop", "length")
        for apart in (None, "hm")
    ]
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    grade_file(source, out, "integer", ("<t>", "</t>"), opened_by=opened_by)
    marks = Thinking(start="<t>", end="</t>", opened_by=opened_by)
    graded = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    seen = set()
    with Grader() as grader:
        for row, found in zip(rows, graded, strict=True):
            text, apart = str(row["response"]), row["thinking"]
            verdict = _by_stage(text, str(row["finish_reason"]), apart, marks, grader)
            assert (found["verdict"], found["answer"], found["rule"]) == (verdict.verdict, verdict.answer, verdict.rule)
            if found["rule"] == "box":
                assert text[slice(*found["span"])] == found["answer"]
            seen.add(found["verdict"])
    assert seen >= {"correct", "incorrect", "no_answer"}  # and what is not read to its end
    assert graded[-4]["verdict"] == "correct" or opened_by == "prompt"


def test_a_file_says_whether_the_limit_ended_a_text(tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    rows = [{"reference": "5", "response": "is it 5", **more} for more in ({}, {"finish_reason": "length"})]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    words = [str(source), "--kind", "integer", "--output", str(out)]

    def verdicts(*more: str) -> list[str]:
        done = CliRunner().invoke(grade_command, [*words, *more])
        assert done.exit_code == 0, done.output
        return [json.loads(line)["verdict"] for line in out.read_text(encoding="utf-8").splitlines()]

    marks = ("--thinking", "<t>", "</t>")
    assert verdicts() == ["correct", "correct"]
    assert verdicts(*marks) == ["correct", "no_answer"]
    assert verdicts(*marks, "--opened-by", "model") == ["correct", "correct"]
    assert verdicts(*marks, "--opened-by", "prompt") == ["no_answer", "no_answer"]
    assert "needs --thinking" in CliRunner().invoke(grade_command, [*words, "--opened-by", "model"]).output


# Personas.


@pytest.mark.parametrize(
    ("start", "completion", "opened_by", "persona"),
    [
        (None, "<t>Okay, the sum is five.</t> You are a baker.", "model", "You are a baker."),
        (None, "Okay, the sum is five.</t> You are a baker.", "prompt", "You are a baker."),
        (None, "<t>Okay, the sum is", "model", ""),
        (None, "Okay, the sum is five.", "prompt", ""),
        (None, "You are<t>no, better:</t>a baker.", "model", "You are a baker."),
        ("You are", " a baker.", "prompt", "You are a baker."),  # the start stands where the template opens a thought
        ("You are", " a baker.", "model", "You are a baker."),
        ("You are", "<t>hm</t> a baker.", "prompt", "You are a baker."),
        ("You are", " a baker.<t>hm</t>", "model", "You are a baker."),
        ("You are", "<t>hm", "prompt", ""),
        ("You are", "<t>hm</t>", "model", ""),
        ("<t>", "Okay.</t>You are a baker.", "model", "You are a baker."),
        ("<t>", "Okay. You are a baker.", "model", ""),
        ("<t>\n\n</t>\n\nYou are", " a baker.", "prompt", "You are a baker."),
        ("<t>\n\n</t>\n\n", "You are a baker.", "prompt", "You are a baker."),
    ],
)
def test_a_persona_is_the_answer_alone(start: str | None, completion: str, opened_by: OpenedBy, persona: str) -> None:
    for said in (opened_by, None) if opened_by == "model" or start else (opened_by,):
        assert persona_answer(start, completion, PlainMarks("<t>", "</t>", said), False) == persona


def test_no_thought_comes_into_a_persona() -> None:
    for text in _texts(2000, seed=5):
        for opened_by in OPENERS:
            answer = _cut(text, opened_by).answer
            marks = PlainMarks("<t>", "</t>", opened_by)
            assert persona_answer(None, text, marks, False) == " ".join(answer.split())


@pytest.fixture
def study(project: Path, model_in_folder: Callable[[], None], edit: Edit, engines: Any) -> Study:
    """The quickstart with a few problems; its model thinks."""
    model_in_folder()
    path = project / "params.yaml"
    text = re.sub(r"(?m)^      size: .*$", "      size: 4", path.read_text(encoding="utf-8"))
    text = re.sub(r"(?m)^(  smollm2_135m:\n)", r"\1    thinking: {start: <t>, end: </t>}\n", text, count=1)
    path.write_text(text, encoding="utf-8")
    return load_study(project)


def test_a_writer_that_thinks_writes_personas_without_its_thoughts(study: Study, engines: Any) -> None:
    run_stage("prepare", "arithmetic")
    run_stage("prepare", "arithmetic_test")
    engines.tell(personas={"": ["<t>Okay, the sum is five.</t> potter who likes the rain.<t>Or a baker?</t>"]})
    run_stage("persona")
    path = study.personas_path("arithmetic_test", "random")
    for row in read_rows(path, Persona):
        assert (row.text, row.flags, row.attempts) == ("You are a potter who likes the rain.", [], 1)
    asked = study.problems("arithmetic_test")[:1]
    (found,) = persona.write_personas(study, "arithmetic_test", "random", asked)  # as `its strategy preview` has it
    assert found.tries == [("You are a potter who likes the rain.", [])]

    for file in study.home.glob("store.sqlite*"):
        file.unlink()
    engines.tell(personas={"": ["<t>Okay, the sum is five.", "cut:</t><t>"]})
    run_stage("persona")
    for row in read_rows(path, Persona):
        assert row.text == "" and "empty" in row.flags and row.attempts == study.recipe.writer.attempts


def test_responses_are_cut_and_one_that_the_prompt_began_is_told(
    study: Study, engines: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    strategy, checkpoint = study.recipe.design.test[0], Checkpoint("smollm2_135m")
    for test in study.recipe.design.test:
        rows = [
            Query(query_id=f"arithmetic_test/p{n}/{test}", problem_id=f"p{n}", strategy=test, messages=[message])
            for n, message in enumerate(Message(role="user", content=f"What is {n}?") for n in range(3))
        ]
        write_rows(study.queries_path("test", "arithmetic_test", test), rows)
    recipe = study.recipe
    only_base = recipe.model_copy(update={"design": recipe.design.model_copy(update={"train": []})})
    engines.tell(answers={"is 0?": "hm</t>0", "is 1?": "<t>hm</t>1<t>or 2</t>", "is 2?": "<t>hm"})
    generate.run(Study(study.project, only_base))
    responses = list(read_rows(study.responses_path(checkpoint, "arithmetic_test", strategy), Response))
    found = [(row.thinking, row.text) for row in responses]
    # The fake puts every answer into a box behind some words.
    words = "The final answer is \\boxed{"
    assert found == [(f"{words}hm", "0}."), ("hm\n\nor 2", f"{words}\n1\n}}."), ("hm}.", "")]
    assert all(0 < row.thinking_tokens <= row.completion_tokens for row in responses)
    assert "none: 1 response ends a thought that they did not begin. Set" in capsys.readouterr().err


def test_a_judges_opinion_is_read_outside_of_its_thoughts(study: Study, engines: Any, edit: Edit) -> None:
    edit(
        (
            "grading:\n",
            "grading:\n  judge:\n    model: smollm2_135m\n    template: prompts/judge.j2\n"
            "    sampling: {temperature: 0, top_p: 1, max_tokens: 8}\n",
        )
    )
    opened = load_study(study.project)
    for name in opened.recipe.design.benchmarks:
        problems = [Problem(problem_id=f"p{n}", text=f"What is {n}?", reference=str(n), source="s") for n in range(3)]
        write_rows(opened.problems_path(name), problems)
        for checkpoint in opened.checkpoints():
            for test in opened.recipe.design.test:
                rows = [_row(f"{name}/p{n}/{test}", f"\\boxed{{{n}}}") for n in range(3)]
                write_rows(opened.responses_path(checkpoint, name, test), rows)
    asked = "Reference answer: {0}\n\nGiven answer: {0}\n".format
    engines.tell(
        answers={
            asked(0): "</t>correct<t>or is it incorrect?</t>",
            asked(1): "<t>it may be</t>\ncorrect<t>",
            asked(2): "<t>incorrect?</t> It is correct.",
        }
    )
    run_stage("grade")
    run_stage("judge")
    found = json.loads((study.project / "data" / "judge.json").read_text(encoding="utf-8"))
    assert found["version"] == 2
    cells = len(opened.checkpoints()) * len(opened.recipe.design.test)
    # The fake puts every answer into a box behind some words.
    assert found["counts"] == {"agree": 2 * cells, "disagree": 0, "unclear": cells}


def _row(query_id: str, text: str) -> Response:
    counts = {"prompt_tokens": 1, "completion_tokens": 1, "seed": 1, "request_key": "k"}
    return Response(query_id=query_id, sample_index=0, text=text, finish_reason="stop", **counts)  # type: ignore[arg-type]


# The recipe says who opens a thought, and its template has to agree.

OPENING = "{{ '<t>\\n' }}"


@pytest.mark.parametrize(
    ("opening", "said", "fault"),
    [
        (OPENING, None, "models.smollm2_135m.thinking`: "),
        (OPENING, "model", "models.smollm2_135m.thinking.opened_by` is `model`: "),
        (OPENING, "prompt", None),
        ("{{ '<t>\\nOkay, ' }}", None, "models.smollm2_135m.thinking`: "),
        ("", "prompt", "models.smollm2_135m.thinking.opened_by` is `prompt`: "),
        ("{{ '<t>\\n\\n</t>\\n\\n' }}", "prompt", "models.smollm2_135m.thinking.opened_by` is `prompt`: "),
        ("{{ '<t>\\n\\n</t>\\n\\n' }}", "model", None),
        ("{{ '<t>\\n\\n</t>\\n\\n' }}", None, None),
        ("", "model", None),
        ("", None, None),
    ],
)
@pytest.mark.parametrize("kind", ["wheel", "folder"])
def test_the_chat_template_tells_who_opens_a_thought(
    project: Path, tmp_path: Path, opening: str, said: str | None, fault: str | None, kind: str
) -> None:
    path, template = project / "params.yaml", project / "recipes" / "prompts" / "chatml.jinja"
    chat = template.read_text(encoding="utf-8").rstrip("\n")
    # Before a turn that has a thought, or where the prompt ends one, what the prompt writes.
    closed = "</t>" if "</t>" in opening else ""
    before = f"{{% if '</t>' in message.content or '</t>' in '{closed}' %}}{opening}{{% endif %}}"
    turn = "{{ '<|im_start|>assistant\\n' }}" + before + "{{ message.content + '<|im_end|>\\n' }}"
    chat = chat.replace(
        "%}{{ '<|im_start|>' + message",
        "%}{% if message.role == 'assistant' %}" + turn + "{% else %}{{ '<|im_start|>' + message",
    )
    chat = chat.replace("{% endfor %}", "{% endif %}{% endfor %}")
    chat += "{% if add_generation_prompt %}" + opening + "{% endif %}"
    more = "" if said is None else f", opened_by: {said}"
    text = re.sub(
        r"(?m)^(  smollm2_135m:\n)", rf"\1    thinking: {{start: <t>, end: </t>{more}}}\n", path.read_text(), count=1
    )
    if kind == "folder":
        folder = tmp_path / "model"
        folder.mkdir()
        (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": chat}), encoding="utf-8")
        text = re.sub(r"(?m)^    chat_template: .*\n", "", text)
        source = f"    source:\n      kind: folder\n      path: {folder}\n    dtype:"
        text = re.sub(r"(?s)    source:\n      kind: wheel\n.*?    dtype:", lambda _: source, text, count=1)
    else:
        template.write_text(chat, encoding="utf-8")
    path.write_text(text, encoding="utf-8")
    recipe, faults = validate(read_document(path), project)
    assert [item.message for item in faults] == ([] if fault is None else [faults[0].message])
    if fault is None:
        assert recipe is not None
        return
    assert faults[0].message.startswith(f"`{fault}")
    assert "params.yaml:" in faults[0].where
    with pytest.raises(FaultsError):
        checked(read_document(path), project, {})


def test_a_servers_template_is_not_known_here(project: Path, edit: Edit) -> None:
    text = (project / "params.yaml").read_text(encoding="utf-8")
    text = re.sub(r"(?m)^(  smollm2_135m:\n)", r"\1    thinking: {start: <t>, end: </t>, opened_by: prompt}\n", text)
    server = "engine:\n  kind: openai\n  openai:\n    servers: [{url: 'http://localhost:1/v1'}]\n    concurrency: 1\n"
    server += "    timeout_seconds: 1\n    retries: 1\n"
    (project / "params.yaml").write_text(re.sub(r"(?ms)^engine:\n(  .*?\n|\n)+", server, text), encoding="utf-8")
    _, faults = validate(read_document(project / "params.yaml"), project)
    assert not [fault for fault in faults if "opened_by" in fault.message]


OPENS = "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}<t>\n{% endif %}"


@pytest.mark.parametrize(
    ("template", "said", "wrong"),
    [
        (OPENS, None, "begins within"),
        (OPENS, "model", "begins within"),
        (OPENS, "prompt", None),
        (OPENS.replace("<t>", "A:"), None, None),
        (OPENS.replace("<t>", "A:"), "prompt", "would be a thought"),
    ],
)
def test_an_opener_is_held_against_the_template_that_is_served(
    template: str, said: OpenedBy | None, wrong: str | None, study: Study
) -> None:
    """As for a model of the hub, whose template is known only when the model is made ready."""
    declared = study.recipe.models["smollm2_135m"]
    marks = Thinking(start="<t>", end="</t>", opened_by=said)
    model = declared.model_copy(update={"thinking": marks})
    with pytest.raises(DataError, match=wrong) if wrong else nullcontext():
        require_opening("smollm2_135m", model, template)


def test_a_template_among_several_of_a_folder_is_looked_at(study: Study, edit: Edit) -> None:
    several = [{"name": "tool_use", "template": "{{ messages }}"}, {"name": "default", "template": OPENS}]
    (study.project / "base" / "chat_template.jinja").unlink()
    settings = json.dumps({"chat_template": several})
    (study.project / "base" / "tokenizer_config.json").write_text(settings, encoding="utf-8")
    text = re.sub(r"(?m)^    chat_template: .*\n", "", (study.project / "params.yaml").read_text(encoding="utf-8"))
    (study.project / "params.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(FaultsError, match="ends the prompt within `<t>`"):
        load_study(study.project)
