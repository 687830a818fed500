"""Checks beyond the text of a recipe, of `its recipe check` and `its doctor`: rows, engines, training, git, machine."""
