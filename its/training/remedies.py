"""What to change for a fault that the proof of parity found within a training (`its_axolotl.py`)."""

from __future__ import annotations

import re

_REMEDIES = (
    (
        r"`train\.sequence_length` is too small",
        "raise `train.sequence_length`, or leave such problems out: `train.long_rows: drop`",
    ),
    (
        r"no single token of|^the tokenizer's eos token",
        "`models.NAME.special_tokens.eos` must be the one token of the tokenizer that ends a turn",
    ),
    (
        r"^row \d+: the end-of-turn token .* times in the assistant's turn",
        "remove the token from the solution, or use a chat template that writes it once (`models.NAME.chat_template`)",
    ),
    (
        r"did not reach the trainer|reached the trainer more often|was changed on its way"
        r"|: the loss |labels?\b|attention mask| is not trained$",
        "take the setting that drops, cuts, repeats or masks rows out of `train.axolotl` or of the template that"
        " `train.template` names",
    ),
)
"""What a fault says -> its remedy; the first that fits."""
_TEMPLATE = (
    "the engine must receive the prompts of training, with nothing between prompt and solution, as with those in"
    " `recipes/prompts/` (`models.NAME.chat_template`)"
)


def parity_hint(fault: str) -> str:
    """The remedy of one fault, by its message; that of a chat template where no other fits."""
    return next((remedy for said, remedy in _REMEDIES if re.search(said, fault)), _TEMPLATE)
