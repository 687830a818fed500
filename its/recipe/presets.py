"""Field mappings of published sets by name, so that a recipe has `preset: gsm8k` instead of six lines.

A preset replaces `fields:` and nothing else: source, split and answer kind stay in the recipe, and the notes on them
here are advice. `seen` says how the field names are known, since publishers rename fields.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from its.recipe.schema import AnswerKind, Choices, Fields


@dataclass(frozen=True)
class Preset:
    """A mapping and what a reader should know about it.

    `hub` is the dataset with subset and split; `answer` the kind of its references (None: it has none, or mixed ones);
    `seen` is `file` if its rows were read, `published` if public code or its card names the fields. `faulty` says which
    rule some of the published rows break; the error counts them, and `tolerate` accepts them. `emptied_by` are filters
    that take out all published rows, or all but one in a thousand.
    """

    fields: Fields
    hub: str
    answer: AnswerKind | None
    seen: Literal["file", "published"]
    note: str = ""
    faulty: str = ""
    emptied_by: tuple[str, ...] = ()


_MATHARENA = Fields(problem="problem", reference="answer", problem_id="problem_idx")

PRESETS: dict[str, Preset] = {
    "openthoughts_114k": Preset(
        Fields(
            problem="problem",
            thinking="deepseek_reasoning",
            solution="deepseek_solution",
            reference="{{ row.ground_truth_solution | boxed }}",
            meta={"domain": "domain", "source": "source"},
        ),
        "open-thoughts/OpenThoughts-114k, subset metadata, split train",
        "math",
        "published",
        "all domains, not mathematics alone; code has no boxed ground truth and so no reference",
    ),
    "openthoughts_114k_conversations": Preset(
        Fields(problem="conversations.0.value", solution="conversations.1.value"),
        "open-thoughts/OpenThoughts-114k, subset default, split train",
        None,
        "published",
        "mathematics begins with `Return your final response within \\boxed{}. `, which stays in the problem",
    ),
    "openthoughts_114k_math": Preset(
        # By its card, `messages` is the solution of NuminaMath and `conversations` the generation of DeepSeek-R1.
        Fields(
            problem="problem",
            solution="conversations.1.value",
            reference="{{ row.solution | boxed }}",
            meta={"source": "source", "correct": "correct", "generated_token_count": "generated_token_count"},
        ),
        "open-r1/OpenThoughts-114k-math, split train",
        "math",
        "published",
        "the mathematics of OpenThoughts, 89,120 rows; `{name: column, of: correct, keep: [true]}` keeps the traces"
        " that the publisher graded correct",
    ),
    "limo": Preset(
        Fields(problem="question", solution="solution", reference="answer"),
        "GAIR/LIMO, split train",
        "math",
        "published",
        "version 1, 817 rows",
    ),
    "limo_v2": Preset(
        # Three independent scripts read these columns; whether the solutions contain marks of reasoning is not known.
        Fields(problem="question", solution="solution", reference="answer"),
        "GAIR/LIMO-v2, split train",
        "math",
        "published",
        "800 rows",
    ),
    "s1k_1_1": Preset(
        Fields(
            problem="question",
            thinking="deepseek_thinking_trajectory",
            solution="deepseek_attempt",
            meta={"ground_truth": "solution"},
        ),
        "simplescaling/s1K-1.1, split train",
        None,
        "published",
        "the ground truth is a short answer or a whole proof, so it is kept in `meta` and not as the reference",
        "some thoughts quote `<think>`",
    ),
    "openr1_math": Preset(
        # `messages` is the conversation that the publisher trains on; its rows were not seen.
        Fields(
            problem="problem",
            solution="messages.1.content",
            reference="answer",
            meta={"source": "source", "problem_type": "problem_type", "uuid": "uuid"},
        ),
        "open-r1/OpenR1-Math-220k, subset default, split train",
        "math",
        "published",
        "one trace a problem; the others are in `generations`",
        "some traces have two marks of their end",
    ),
    "numina_math_cot": Preset(
        Fields(
            problem="problem",
            solution="solution",
            reference="{{ row.solution | boxed }}",
            meta={"source": "source"},
        ),
        "AI-MO/NuminaMath-CoT, split train",
        "math",
        "published",
        "proofs have no box and so no reference; its `amc_aime` part contains AMC and AIME up to 2023",
    ),
    "gsm8k": Preset(
        Fields(problem="question", solution="answer", reference="{{ row.answer | after('####') | strip }}"),
        "openai/gsm8k, subset main, split train or test",
        "integer",
        "file",
        "solutions keep their `<<48/2=24>>` marks; docs/sources.md says how to remove them",
        emptied_by=("has_box", "has_final_answer"),  # of 7,473 rows 0 and 1 are left
    ),
    "math": Preset(
        Fields(
            problem="problem",
            solution="solution",
            reference="{{ row.solution | boxed }}",
            meta={"level": "level", "subject": "type"},
        ),
        "EleutherAI/hendrycks_math, a subset for each subject, split train or test",
        "math",
        "published",
    ),
    "math_500": Preset(
        Fields(
            problem="problem",
            reference="answer",
            solution="solution",
            problem_id="unique_id",
            meta={"level": "level", "subject": "subject"},
        ),
        "HuggingFaceH4/MATH-500, split test",
        "math",
        "file",
    ),
    "aime_2024": Preset(
        _MATHARENA,
        "MathArena/aime_2024_I and MathArena/aime_2024_II, split train",
        "integer",
        "published",
        "two sets of 15 problems whose ids both begin at 1",
    ),
    "aime_2024_h4": Preset(
        Fields(
            problem="problem",
            reference="answer",
            solution="solution",
            problem_id="id",
            meta={"url": "url", "year": "year"},
        ),
        "HuggingFaceH4/aime_2024, split train",
        "integer",
        "published",
        "both papers, 30 problems; answers are text",
    ),
    "aime_2025": Preset(_MATHARENA, "MathArena/aime_2025, split train", "integer", "published"),
    "aime_2026": Preset(_MATHARENA, "MathArena/aime_2026, split train", "integer", "published"),
    "hmmt": Preset(
        _MATHARENA,
        "MathArena/hmmt_feb_2025, split train",
        "math",
        "published",
        "references are expressions",
    ),
    "amc_23": Preset(
        Fields(problem="question", reference="answer", problem_id="id"),
        "math-ai/amc23, split test",
        "integer",
        "file",
        "published as floats (27.0), read as 27",
    ),
    "gpqa_diamond": Preset(
        Fields(
            problem="Question",
            problem_id="Record ID",
            choices=Choices(
                correct="Correct Answer",
                wrong=["Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3"],
            ),
            meta={"domain": "High-level domain"},
        ),
        "Idavidrein/gpqa, subset gpqa_diamond, split train; gated",
        "choice",
        "published",
        "copies made before its revision hold other answers in 36 rows",
        "some rows have a wrong option that is the right one",
    ),
}
