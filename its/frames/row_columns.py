"""The columns of `responses`, `personas`, `problems`, of the logs of others, and of comparisons of two sides."""

from __future__ import annotations

from its.frames.columns import Column

_BASE = "base, which was not trained"
_CELL = (
    Column("checkpoint", "text", "`MODEL-DATASET-TRAIN-SEED` or `MODEL-base`, as in `cells`."),
    Column("model", "text", "The model's name in the recipe."),
    Column("dataset", "text", "The dataset it was trained on.", _BASE),
    Column("train", "text", "The train strategy.", _BASE),
    Column("variant", "text", "The variant of the training.", _BASE),
    Column("seed", "integer", "The training seed.", _BASE),
    Column("saved_at", "text", "`last`, or the share of its steps at which the checkpoint was saved.", _BASE),
    Column("benchmark", "text", "The benchmark."),
    Column("test", "text", "The test strategy."),
)
_SCORE = (
    "The score of the response, from 0 to 1; the grader of ITS gives 1 for `correct` and 0 for every other verdict."
)
RESPONSES = (
    *_CELL,
    Column("problem_id", "text", "The problem, as in `problems`."),
    Column("sample_index", "integer", "Which response of the cell to this problem it is, from 0."),
    Column("score", "share", _SCORE),
    Column("verdict", "text", "`correct`, `incorrect`, `no_answer` or `grader_error`."),
    Column("answer", "text", "The answer that the grader compared, normalised.", "no answer was found"),
    Column("rule", "text", "What found the answer in the response (docs/grading.md).", "no answer, or grader 1"),
    Column("reason", "text", "Why the grader could not decide.", "it could"),
    Column("text", "text", "The response after its thinking."),
    Column("thinking", "text", "Its thinking.", "none that is apart from the text"),
    Column("finish_reason", "text", "`stop`, `length` (cut at `generation.max_tokens`) or `error`."),
    Column("prompt_tokens", "integer", "Tokens of the prompt."),
    Column("completion_tokens", "integer", "Tokens generated: thinking and text."),
    Column("thinking_tokens", "integer", "Tokens of thinking; part of `completion_tokens`."),
    Column("sampling_seed", "integer", "The seed with which it was sampled."),
    Column("request_key", "text", "Its key in the store."),
    Column("grader_version", "text", "GRADER_VERSION of the verdict."),
)
_SET = (
    Column("side", "text", "`train` for a dataset, `test` for a benchmark."),
    Column("problem_set", "text", "The dataset or benchmark, by its name in the recipe."),
)
PERSONAS = (
    *_SET,
    Column("strategy", "text", "The strategy; of a mix or union the member that has the persona."),
    Column("problem_id", "text", "The problem."),
    Column("index", "integer", "Which of several personas it is, from 0.", "the strategy writes one"),
    Column("text", "text", "The persona; empty where the strategy gives none or a flag says why."),
    Column("domain", "text", "The field that the writer was given.", "none was"),
    Column("taken_from", "text", "The problem whose persona this is (`shuffled`).", "its own"),
    Column("attempts", "integer", "Requests to the writer; 0 for a control."),
    Column("flags", "list", "Rules that the persona breaks, as texts."),
    Column("request_key", "text", "The key in the store of the response that it came from.", "no request"),
    Column("rejected_keys", "list", "Keys in the store of the responses that were rejected."),
)
PROBLEMS = (
    *_SET,
    Column("problem_id", "text", "The problem; unique within its set."),
    Column("text", "text", "The question."),
    Column("reference", "text", "The known answer.", "there is none"),
    Column("solution", "text", "A worked solution; a thought is between `<think>` and `</think>`.", "there is none"),
    Column("source", "text", "The set that it came from."),
    Column("row", "text", "Its place there, `path:line`.", "it was generated"),
    Column("meta", "object", "Other fields of the source that the recipe keeps, by name."),
)
LOG = (
    Column("name", "text", "The log, with filter and metric, or scorer, where it has any."),
    Column("kind", "text", "`lm-eval`, `inspect`, or `its` for a file that `its grade` wrote."),
    Column("problem_id", "text", "The problem's id in the log, or its text where the log has no ids."),
    Column("sample_index", "integer", "Which scored response to this problem it is, from 0, in the order of the log."),
    Column("score", "share", _SCORE),
    Column("rule", "text", "What found the answer (docs/grading.md).", "the grader is another"),
    Column("problem", "text", "The text of the problem.", "the log does not have it"),
    Column("reference", "text", "The known answer.", "the log does not have it"),
    Column("grader", "text", "Who scored; several are joined by a comma.", "unknown"),
)


def _side(letter: str) -> tuple[Column, ...]:
    name = letter.upper()
    return (
        Column(f"{letter}_name", "text", f"{name}, by its name."),
        Column(f"{letter}_kind", "text", "`cell`, `its`, `lm-eval` or `inspect`."),
        Column(f"{letter}_n", "text", "Responses to each problem: `4`, or `1 to 4` where problems differ."),
        Column(f"{letter}_graders", "list", "Who scored, as texts."),
        Column(f"{letter}_avg", "share", f"Mean score of {name} over the shared problems."),
        Column(f"{letter}_low", "share", f"Lower 95 % bound of `{letter}_avg`."),
        Column(f"{letter}_high", "share", f"Upper 95 % bound of `{letter}_avg`."),
        Column(f"{letter}_unpaired", "list", f"Problems of {name} without a partner, which are left out."),
    )


COMPARED = (
    Column("cell", "text", "The cell.", "two logs or frames"),
    *_side("a"),
    *_side("b"),
    Column("problems", "integer", "Problems compared: those that both sides have."),
    Column("difference", "number", "A - B, mean over problems, as a share: 0.03 is 3 points."),
    Column("low", "number", "Lower 95 % bound of `difference`, not corrected for the number of cells."),
    Column("high", "number", "Upper 95 % bound of `difference`, not corrected."),
    Column("p_value", "share", "Two-sided p value, Holm-adjusted for the cells that are compared together."),
    Column("p_value_method", "text", "The test behind `p_value` (docs/statistics.md)."),
    Column("significant", "true or false", "Whether `p_value` is below 0.05."),
    Column(
        "minimum_detectable_difference",
        "number",
        "True difference that the corrected test finds with 80 % power, as a share.",
        "so few problems find none",
    ),
    Column("right_only_a", "integer", "Problems right in A alone: the mean score is above one half there alone."),
    Column("right_only_b", "integer", "Problems right in B alone."),
    Column("right_both", "integer", "Problems right in both."),
    Column("right_neither", "integer", "Problems wrong in both."),
    Column("right_tied", "integer", "Problems with a mean score of one half in A or B."),
    Column("changed_problems", "list", "Problems with one id and different texts, which are left out."),
    Column("changed_references", "list", "Problems whose reference differs between the sides."),
)
