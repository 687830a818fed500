"""`its serve`: an OpenAI-compatible server over the study."""

from __future__ import annotations

import click

from its.cli.complete import complete_checkpoint, complete_declared


@click.command()
@click.option(
    "--checkpoint",
    "checkpoints",
    multiple=True,
    metavar="NAME",
    shell_complete=complete_checkpoint,
    help="A checkpoint to serve; may be repeated. Default: that of the reported pair.",
)
@click.option(
    "--benchmark",
    metavar="NAME",
    shell_complete=complete_declared("benchmarks"),
    help="Take its kind of answer and its sampling, as in `its solve`.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Another than this machine needs a key.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
@click.option("--max-n", type=click.IntRange(1, 1024), default=64, show_default=True, help="Most responses to a query.")
@click.option(
    "--max-requests",
    type=click.IntRange(1, 10_000),
    default=256,
    show_default=True,
    help="In flight; further ones get status 429.",
)
@click.option(
    "--grace", type=click.IntRange(0, 3600), default=30, show_default=True, help="Seconds for requests at the end."
)
def serve(
    checkpoints: tuple[str, ...],
    benchmark: str | None,
    host: str,
    port: int,
    max_n: int,
    max_requests: int,
    grace: int,
) -> None:
    """Serve the study as an OpenAI-compatible API.

    A model is a pair CHECKPOINT/STRATEGY or a vote of the recipe, with `+voteN` for a vote over N responses. The
    user's turn is the problem: it gets persona, prompt and seeds as in `its solve`, through the store. The key of the
    API, if there is one, is in the variable ITS_SERVE_KEY. SIGTERM or Ctrl-C answers what is in flight and ends.

    \b
    Reads   params.yaml, recipes/prompts/, models/, data/problems/, results/
    Writes  the store
    Example its serve --checkpoint smollm2_135m-base --port 8000
    """
    from its.server.run import Settings, run_server, served_checkpoints
    from its.study.study import load_study

    study = load_study()
    settings = Settings(host, port, max_n, max_requests, grace_seconds=grace)
    run_server(study, served_checkpoints(study, checkpoints), benchmark, settings)
