"""The note on bfloat16 where a CPU only imitates it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from its.checks import precision
from its.checks.precision import adapter_faults, has_bf16, precision_notes
from its.recipe.load import load_recipe, read_document, validate

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


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ([], None),
        ([("dtype: bfloat16", "dtype: float32")], "models.qwen3_0_6b.dtype"),
        ([("dtype: bfloat16", "dtype: float16")], None),
        ([("dtype: bfloat16", "dtype: float32"), ("hardware: gpu", "hardware: cpu")], None),
        ([("dtype: bfloat16", "dtype: float32"), ("axolotl/lora_gpu.yaml.j2", "axolotl/full_7b_80.yaml.j2")], None),
        ([("  options:\n", "  options:\n    dtype: float32\n")], "engine.options.dtype"),
    ],
)
def test_an_adapter_that_vllm_would_not_serve_is_refused_before_it_is_trained(
    tmp_path: Path, changes: list[tuple[str, str]], where: str | None
) -> None:
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    path = tmp_path / "recipes" / "qwen3_0_6b_lora.yaml"
    text = path.read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    path.write_text(text)
    document = read_document(path)
    recipe, found = validate(document, tmp_path)
    assert recipe is not None, found
    faults = adapter_faults(document, recipe, tmp_path)
    assert [fault.message.startswith(f"`{where}`: it is float32, and on a GPU") for fault in faults] == (
        [True] if where else []
    )
    assert (not where) or faults[0].where.startswith(str(path))
