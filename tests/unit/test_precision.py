"""The note on bfloat16 where a CPU only imitates it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from its.checks import precision
from its.checks.precision import has_bf16, precision_notes
from its.recipe.load import load_recipe

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("text", "native"),
    [
        ("flags\t\t: fpu avx2 fma\nflags\t\t: fpu avx2 fma\n", False),
        ("flags\t\t: fpu avx512f avx512_bf16 amx_bf16\n", True),
        ("flags\t\t: fpu amx_bf16\n", True),
        ("Features\t: fp asimd i8mm bf16\n", True),
        ("Features\t: fp asimd sve svebf16\n", False),
        ("processor : 0\nvendor_id : x\n", None),
        ("", None),
        ("flags : avx512_bf16\nflags : avx2\n", False),
    ],
)
def test_the_flags_of_a_cpu(tmp_path: Path, text: str, native: bool | None) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert has_bf16(tmp_path / "cpuinfo") is native


def test_a_machine_that_lists_no_flags(tmp_path: Path) -> None:
    assert has_bf16(tmp_path / "nothing") is None


@pytest.mark.parametrize(
    ("flags", "changed", "named"),
    [
        ("avx2", ("dtype: float32", "dtype: bfloat16"), True),
        ("avx2", ("dtype: float32", "dtype: float32"), False),
        ("avx512_bf16", ("dtype: float32", "dtype: bfloat16"), False),
    ],
)
def test_bfloat16_on_a_cpu_without_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, changed: tuple[str, str], named: bool
) -> None:
    (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n")
    monkeypatch.setattr(precision, "CPU_INFO", tmp_path / "cpuinfo")
    folder = tmp_path / "recipes"
    for part in ("prompts", "axolotl"):
        shutil.copytree(ROOT / "recipes" / part, folder / part)
    path = folder / "quickstart.yaml"
    path.write_text((ROOT / "recipes" / "quickstart.yaml").read_text().replace(*changed))
    notes = precision_notes(load_recipe(path, tmp_path))
    assert [("`models.smollm2_135m.dtype` to `float32`" in note) for note in notes] == [True] * named


@pytest.mark.parametrize("name", ["quickstart", "arithmetic_4x4", "arithmetic_axes", "arithmetic_gemma3", "strategies"])
def test_the_recipes_for_a_cpu_need_no_bfloat16(name: str) -> None:
    assert "dtype: bfloat16" not in (ROOT / "recipes" / f"{name}.yaml").read_text()
