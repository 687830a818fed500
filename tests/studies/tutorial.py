"""The tutorial as steps: its blocks in order, and what a reader does with each, in a copy of the project."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"
RECIPE = "recipes/shop.yaml"
SETS_UP = ("make engines", "source .venv/bin/activate")
"""Commands before the first step; the tests bring their own environments."""
REPLACED = re.compile(r"Replace the sections? `\w+`|Change in the section `\w+`|replace the entry `\w+`")


@dataclass(frozen=True)
class Step:
    """A block: its line in the tutorial, its language, its text, and the text between it and the block above."""

    line: int
    language: str
    text: str
    before: str


def steps(text: str) -> Iterator[Step]:
    """The fenced blocks of a page, in order."""
    at = 0
    for found in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.M | re.S):
        yield Step(text.count("\n", 0, found.start()) + 2, found[1], found[2], text[at : found.start()])
        at = found.end()


class Reader:
    """Does what the tutorial says in a copy of the project; `printed` has what each command printed."""

    def __init__(self, project: Path, environment: dict[str, str]) -> None:
        self.project, self.environment = project, environment
        self.printed: dict[str, str] = {}
        self._shown: list[str] = []

    def follow(self, step: Step) -> None:
        """Take one step: run the commands, save the file, edit the recipe, compare the output."""
        match step.language:
            case "sh":
                commands = [line for line in step.text.splitlines() if line not in SETS_UP]
                self._shown = [self.run(command) for command in commands]
            case "python" | "jinja":
                (name,) = re.findall(r"`([\w/]+\.(?:py|j2))`", step.before)[:1] or [None]
                assert name, f"line {step.line}: no file is named to save these lines in"
                (self.project / name).write_text(step.text, encoding="utf-8")
            case "yaml":
                self._edit(step)
            case "text":
                self._compare(step)
            case _:
                raise AssertionError(f"line {step.line}: nobody knows what to do with a block of `{step.language}`")

    def run(self, command: str) -> str:
        """Run a line of the shell, which must succeed; what it printed."""
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.project,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1800,
            check=False,
        )
        assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout}"
        self.printed[command] = done.stdout
        return done.stdout

    def _edit(self, step: Step) -> None:
        """Put the sections of a block into the recipe, whole or key by key, as the sentence before it says."""
        (what,) = REPLACED.findall(step.before)[-1:] or [None]
        assert what, f"line {step.line}: the text before this YAML does not say what to do with it"
        yaml = YAML()
        yaml.width = 1000
        path = self.project / RECIPE
        recipe = yaml.load(path.read_text(encoding="utf-8"))
        for section, values in yaml.load(step.text).items():
            assert section in recipe, f"line {step.line}: the recipe has no section `{section}` to edit"
            if what.startswith("Replace"):
                recipe[section] = values
            else:
                assert set(values) <= set(recipe[section]), f"line {step.line}: not in the recipe: {set(values)}"
                recipe[section].update(values)
        with path.open("w", encoding="utf-8") as out:
            yaml.dump(recipe, out)

    def _compare(self, step: Step) -> None:
        """Output is among what the last command printed; an error is what `max_token` for `max_tokens` leads to."""
        if not step.text.startswith("error:"):
            assert step.text in self._shown[-1], f"line {step.line}: the command printed\n{self._shown[-1]}"
            return
        path = self.project / RECIPE
        kept = path.read_text(encoding="utf-8")
        path.write_text(kept.replace("  max_tokens: 128", "  max_token: 128"), encoding="utf-8")
        done = subprocess.run(
            ["its", "recipe", "check", "shop"],
            cwd=self.project,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        path.write_text(kept, encoding="utf-8")
        places = re.compile(r":\d+:\d+:")  # lines move with the editor
        assert places.sub(":", step.text) == places.sub(":", done.stderr), f"line {step.line}: {done.stderr}"
