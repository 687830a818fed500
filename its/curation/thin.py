"""Filters that leave nothing or nearly nothing of a set: seldom what was meant, and what to change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from its.curation.curate import StepCount

THIN = 0.05
"""Share of the rows below which a filter is named: a level or a subject of a published set keeps more."""
FEWEST = 20
"""Rows that a share is taken of, at least."""
REMEDIES = {
    "filter has_box": r"it keeps solutions with a `\boxed{...}`; `solution_parses` keeps any with an answer",
    "filter has_final_answer": "it keeps solutions with the words `final answer`; `solution_parses` keeps any with an "
    "answer",
    "filter complete_trace": "it keeps solutions whose thinking ends, with text behind it; see `fields.thinking`",
    "filter no_figure": "it takes out problems with a picture, or words that point to one",
    "filter answer_agrees": "it keeps solutions whose answer is the reference: does `fields.reference` map it?",
    "filter solution_parses": "it keeps solutions with an answer: does `fields.solution` map them?",
    "filter language": "it keeps problems in these languages: which one are they in?",
    "filter tokens": "change its bounds",
}
"""Beginning of the name of a step -> what it keeps, and what else there is."""

OTHER_STEPS = {
    "loaded": "the rows of the source are all faulty: see `data/cards/NAME/quarantine.jsonl`",
    "split": "a larger `split.select`, or the other side: `split.keep`",
    "gradable": "is `answer` the kind of answer that the references are?",
    "decontamination": "the set is that of the benchmark: name another one, or `action: flag`",
}
"""First word of the name of any other step -> what to do where it leaves nothing."""


def remedy(step: str) -> str:
    """What to do about a step that takes out every row, or a filter that takes out nearly every one, by its name."""
    found = (told for name, told in REMEDIES.items() if step == name or step.startswith(f"{name} "))
    kind = step.split(" ", 1)[0]
    return next(found, OTHER_STEPS.get(kind, "compare its values with those of the rows"))


def thin_steps(steps: Sequence[StepCount], first: bool = False) -> list[str]:
    """Each filter that keeps under 5 % of the rows that it receives, with the numbers and a remedy.

    Args:
        steps: of a set, in order.
        first: whether only the first rows of the set were counted.
    """
    out = []
    for step in steps:
        if step.step.startswith("filter ") and step.before >= FEWEST and step.after < THIN * step.before:
            of = f"the first {step.before} rows" if first else f"{step.before} rows"
            why = f" ({step.note})" if step.note and not step.note.startswith("kept") else ""
            out.append(f"`{step.step}` keeps {step.after or 'none'} of {of}{why}: {remedy(step.step)}")
    return out
