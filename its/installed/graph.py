"""The graph of a study outside the clone: dvc.yaml of the clone, with one file for the code of each stage.

In the clone a stage depends on `its/...`, files beside its dvc.yaml. Elsewhere the code is wherever pip put it, so
stage `code`, which always runs, writes their hashes to `code/STAGE.txt`, on which the stage depends instead.
"""

from __future__ import annotations

import re

GRAPH = "dvc.yaml"
CODE_FOLDER = "code"
CODE_STAGE = "code"
PACKAGES = f"{CODE_FOLDER}/packages.txt"
"""The versions of the installed libraries that can change a row."""
_HEADER = """\
# The study as a graph, written by `its init`. params.yaml is the active recipe (`its recipe use NAME`); every stage
# lists the data, the parameters and the code that can change its rows, and no more. The code is that of the installed
# ITS: stage `code` always runs and writes its hashes to code/, where an unchanged file reruns nothing. After an upgrade
# of ITS, `its init --upgrade` replaces this file, unless you have edited it.
stages:
"""
_STAGE = re.compile(r"^  (\w+):\n((?:    .*\n|\n)*)", re.MULTILINE)
_CODE = re.compile(r"^      - (its/\S+)\n", re.MULTILINE)


def code_file(stage: str) -> str:
    """The path in a study of the file with the hashes of a stage's code."""
    return f"{CODE_FOLDER}/{stage}.txt"


def stage_entries(text: str) -> dict[str, list[str]]:
    """Stage -> the files and folders of code on which it depends in the clone's dvc.yaml, `its/...`."""
    found = {name: _CODE.findall(block) for name, block in _STAGE.findall(_stages(text))}
    return {name: entries for name, entries in found.items() if entries}


def study_graph(text: str) -> str:
    """dvc.yaml of a study from that of the clone."""
    stages = _stages(text)
    after = text[text.index(stages) + len(stages) :]
    return _HEADER + _code_stage(list(stage_entries(text))) + _STAGE.sub(_with_code_file, stages) + after


def _stages(text: str) -> str:
    """The part of dvc.yaml below `stages:`, up to the next key."""
    _, _, rest = text.partition("\nstages:\n")
    end = re.search(r"^\w", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def _with_code_file(found: re.Match[str]) -> str:
    block, entries = found[0], _CODE.search(found[0])
    if entries is None:
        return block
    lines = f"      - {code_file(found[1])}\n      - {PACKAGES}\n"
    at = entries.start()
    return block[:at] + lines + _CODE.sub("", block[at:])


def _code_stage(stages: list[str]) -> str:
    paths = [*map(code_file, sorted(stages)), PACKAGES]
    outs = "".join(f"      - {path}:\n          cache: false\n          persist: true\n" for path in paths)
    return (
        f"  {CODE_STAGE}:\n"
        "    desc: Write the hashes of the installed code; a stage whose code is unchanged is not run again\n"
        f"    cmd: python -m its {CODE_STAGE}\n"
        "    always_changed: true\n"
        f"    outs:\n{outs}\n"
    )
