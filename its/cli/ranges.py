"""Ranges of options that are numbers."""

from __future__ import annotations

import math
from typing import Any

import click


class Between(click.FloatRange):
    """A range that `nan` is outside of: click compares it with both bounds, and no comparison with it is true."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is not in the range {self._describe_range()}.", param, ctx)
        return number
