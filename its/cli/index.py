"""Every command with the module that defines it; a module is imported when its command is called, or its help shown."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "Study": {
        "init": ("init", "Write a study outside the clone, or upgrade one."),
        "run": ("run", "Run a study: its recipe, its stages, its table."),
        "recipe": ("recipe", "List, check and choose recipes."),
        "strategy": ("strategy", "List, scaffold and try strategies."),
        "sweep": ("sweep", "Run a grid over recipe values as DVC experiments."),
        "results": ("results", "Read the results of the last run."),
        "solve": ("solve", "Give a problem to the pair that the study reports."),
        "serve": ("serve", "Serve the study as an OpenAI-compatible API."),
        "publish": ("publish", "Write the study as a folder to publish."),
        "verify": ("publish", "Check a published study; no GPU, network or engine."),
    },
    "Stages, which dvc.yaml calls": {
        "code": ("init", "Write the hashes of the installed code of each stage."),
        "prepare": ("stages", "Load, filter and sample one dataset or benchmark."),
        "persona": ("stages", "Write the personas of the design with the writer."),
        "solution": ("stages", "Regenerate solutions; keep those graded as correct."),
        "query": ("stages", "Render train and test queries from problems and personas."),
        "train": ("stages", "Fine-tune the checkpoints of one combination with Axolotl."),
        "generate": ("stages", "Sample the responses of every cell."),
        "grade": ("grade", "Give every response a verdict."),
        "judge": ("stages", "Request a judge model's opinion on every answer."),
        "measure": ("stages", "Measure cells, compare blocks, count votes."),
        "report": ("stages", "Build results/report.html, one offline page."),
    },
    "Data and store": {
        "regrade": ("grade", "Grade stored responses again and show what changed."),
        "data": ("data", "Inspect, compare and export data sets."),
        "store": ("store", "Manage the store of responses."),
        "prune": ("prune", "Remove trainings that left the design."),
    },
    "Machine": {
        "env": ("env", "Install and list the engine environments."),
        "home": ("home", "Show what the ITS home stores and what removes it."),
        "training": ("home", "List and remove the trainings in the ITS home."),
        "doctor": ("env", "Show what this machine has and what is missing."),
        "completion": ("complete", "Print the script with which a shell completes `its`."),
    },
}
"""Title -> command -> (module of `its.cli` that has it under this name, first line of its help), in the order of the
work."""
ORDER = [name for commands in GROUPS.values() for name in commands]
DESTRUCTIVE = {"prune"}
"""Never suggested for a mistyped command."""
_MODULES = {name: module for commands in GROUPS.values() for name, (module, _) in commands.items()}


class Index(click.Group):
    """The commands of `GROUPS`, each imported on its first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(ORDER)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _MODULES:
            return None
        found = getattr(import_module(f"its.cli.{_MODULES[cmd_name]}"), cmd_name)
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, ORDER))
        for title, commands in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), first) for name, (_, first) in commands.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        texts = {name: first for commands in GROUPS.values() for name, (_, first) in commands.items()}
        found = [CompletionItem(name, help=texts[name]) for name in ORDER if name.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does; an unknown command gets no suggestion that deletes."""
        mistyped = args and not args[0].startswith("-") and args[0] not in _MODULES
        if mistyped and not ctx.resilient_parsing:  # a shell that completes gets no error
            from its.errors import did_you_mean, nearest
            from its.shown import shown

            likely = nearest(args[0], [name for name in ORDER if name not in DESTRUCTIVE], count=3)
            ctx.fail(" ".join([f"No such command {shown(args[0])!r}.", did_you_mean(likely).capitalize()]).rstrip())
        return super().resolve_command(ctx, args)
