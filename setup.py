"""Puts the files that `its init` writes into the wheel; all else is in pyproject.toml."""

from __future__ import annotations

import runpy
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


class BuildWithStudy(build_py):  # type: ignore[misc]  # no stubs
    """Copies the files of a new study below the package. An editable install finds them in the clone."""

    def run(self) -> None:
        super().run()
        if not getattr(self, "editable_mode", False):
            for source, target in self._study():
                self.mkpath(str(Path(target).parent))
                self.copy_file(source, target)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        outputs: list[str] = super().get_outputs(include_bytecode)
        return (
            outputs if getattr(self, "editable_mode", False) else [*outputs, *(target for _, target in self._study())]
        )

    def _study(self) -> list[tuple[str, str]]:
        files = runpy.run_path(str(ROOT / "its" / "installed" / "files.py"))
        target = Path(self.build_lib, "its", files["FOLDER"])
        return [(str(ROOT / name), str(target / name)) for name in files["listed"](ROOT)]


if __name__ == "__main__":
    setup(cmdclass={"build_py": BuildWithStudy})
