"""Weights read without torch: which are there, which are not finite, which changed; models and adapters."""

from __future__ import annotations

import json
import math
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.tiny_weights import Tensors, save, values

from its.errors import DataError, ItsError, RunError
from its.files import file_sha256
from its.training.checkpoint import check_weights
from its.training.weights import CHUNK, any_nonzero, differs, header, read_through, tensors_of

FLOATS = {"F64": np.uint64, "F32": np.uint32, "F16": np.uint16}


def _value(dtype: str, value: float) -> bytes:
    if dtype == "BF16":
        return (np.array([value], np.float32).view(np.uint32) >> 16).astype(np.uint16).tobytes()
    kind = {"F64": np.float64, "F32": np.float32, "F16": np.float16}[dtype]
    with np.errstate(over="ignore"):
        return np.array([value], kind).tobytes()


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16"])
def test_every_value_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    """Wherever it stands, at the seam of two chunks too; the largest finite value is finite."""
    largest = {"F64": 1.7976931348623157e308, "F32": 3.4028235e38, "F16": 65504.0, "BF16": 3.3895314e38}[dtype]
    monkeypatch.setattr("its.training.weights.CHUNK", 64)
    one = len(_value(dtype, 1.0))
    count = 64 // one + 5
    for place in range(count):
        for value in (math.nan, math.inf, -math.inf, largest, -largest, 0.0):
            content = bytearray(one * count)
            content[place * one : (place + 1) * one] = _value(dtype, value)
            path = save(
                tmp_path / "x.safetensors", {"a": ("I64", [1], b"\xff" * 8), "w": (dtype, [count], bytes(content))}
            )
            found = read_through(path)
            assert found.not_finite == ({} if math.isfinite(value) else {"w": 1}), (place, value)
            assert found.sha256 == file_sha256(path)


@pytest.mark.parametrize("dtype", FLOATS)
def test_bits_are_read_as_numpy_reads_values(tmp_path: Path, dtype: str) -> None:
    kind: Any = FLOATS[dtype]
    bits = np.random.default_rng(1).integers(0, np.iinfo(kind).max, 4096, dtype=kind, endpoint=True)
    bits[::2] |= kind(np.iinfo(kind).max) ^ kind(np.iinfo(kind).max >> 8)  # many exponents of ones alone
    path = save(tmp_path / "x.safetensors", {"w": (dtype, [4096], bits.tobytes())})
    wanted = int(np.count_nonzero(~np.isfinite(bits.view(dtype.replace("F", "float")))))
    assert sum(read_through(path).not_finite.values()) == wanted


@pytest.mark.parametrize(("dtype", "bad"), [("F8_E4M3", [0x7F, 0xFF]), ("F8_E5M2", [0x7C, 0xFC, 0x7D, 0x7F, 0xFF])])
def test_types_of_eight_bits(tmp_path: Path, dtype: str, bad: list[int]) -> None:
    path = save(tmp_path / "x.safetensors", {"w": (dtype, [256], bytes(range(256)))})
    expected = {"F8_E4M3": 2, "F8_E5M2": 8}[dtype]
    assert read_through(path).not_finite == {"w": expected}
    path = save(tmp_path / "x.safetensors", {"w": (dtype, [len(bad)], bytes(bad))})
    assert read_through(path).not_finite == {"w": len(bad)}


def test_large_files_need_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    size = 2**28
    text = json.dumps({"w": {"dtype": "BF16", "shape": [size // 2], "data_offsets": [0, size]}}).encode()
    with path.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        out.truncate(8 + len(text) + size)
    tracemalloc.start()
    try:
        assert read_through(path).not_finite == {}
        assert not any_nonzero(header(path)["w"])
        assert tracemalloc.get_traced_memory()[1] < 8 * CHUNK
    finally:
        tracemalloc.stop()


def _raw(entries: Any, content: bytes = b"", length: int | None = None) -> bytes:
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + content


ENTRY = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x08" + b"\0" * 15,
        b"1234567",
        _raw({"w": ENTRY}),
        _raw({"w": ENTRY}, b"\0" * 5),
        _raw({"w": ENTRY}, b"\0" * 4, length=2**40),
        _raw({"w": {**ENTRY, "data_offsets": [4, 8]}}, b"\0" * 8),
        _raw({"w": {**ENTRY, "shape": [2]}}, b"\0" * 4),
        _raw({"w": {**ENTRY, "shape": [-1]}}, b"\0" * 4),
        _raw({"w": {**ENTRY, "shape": [1.0]}}, b"\0" * 4),
        _raw({"w": {**ENTRY, "dtype": "F4"}}, b"\0" * 4),
        _raw({"w": {**ENTRY, "dtype": ["F32"]}}, b"\0" * 4),
        _raw({"w": {"dtype": "F32", "shape": [1]}}, b"\0" * 4),
        _raw({"w": 4}, b"\0" * 4),
        _raw({"a": ENTRY, "b": ENTRY}, b"\0" * 4),
        _raw([1]),
        _raw(b"{" * 5000),
        _raw(b"\xff\xfe"),
        _raw(b"[" * 100_000),
        _raw({"w": {**ENTRY, "shape": [1] * 17}}, b"\0" * 4),
        _raw({"w": {**ENTRY, "shape": [2**53, 0], "data_offsets": [0, 0]}}),
        _raw({"w": {**ENTRY, "shape": {}}}, b"\0" * 4),
        _raw({"w": {**ENTRY, "shape": [10**3999] * 2000}}, b"\0" * 4),
        _raw({"w": {"dtype": "F8_E4M3FNUZ", "shape": [4], "data_offsets": [0, 4]}}, b"\0" * 4),
        _raw({"w": {"dtype": "F4", "shape": [8], "data_offsets": [0, 4]}}, b"\0" * 4),
        _raw(json.dumps({"w": ENTRY})[:-1].encode() + b"," + json.dumps({"w": ENTRY})[1:].encode(), b"\0" * 4),
        _raw({"w" * 1_000_000: {**ENTRY, "shape": [2]}}, b"\0" * 4),
        _raw({"w": {**ENTRY, "dtype": "F" * 1_000_000}}, b"\0" * 4),
    ],
)
def test_a_broken_file_is_one_error(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(raw)
    with pytest.raises(DataError, match=r"model\.safetensors: ") as caught:
        check_weights(tmp_path, None)
    assert caught.value.hint and len(str(caught.value)) < len(str(tmp_path)) + 500


def test_a_file_cut_anywhere_is_an_error(tmp_path: Path) -> None:
    path = save(tmp_path / "model.safetensors", {"w": values([3, 5]), "v": values([7], 1, "BF16")})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ItsError):
            check_weights(tmp_path, None)


def test_a_file_changed_anywhere_is_read_or_refused(tmp_path: Path) -> None:
    """Bytes of the header, the length too, changed at random: an account or one error, and never another exception."""
    source = np.random.default_rng(3)
    path = save(tmp_path / "model.safetensors", {"w": values([3, 5]), "v": values([7], 1, "BF16")}, {"format": "pt"})
    whole = path.read_bytes()
    begin = 8 + int.from_bytes(whole[:8], "little")
    refused = 0
    for _ in range(400):
        raw = bytearray(whole)
        for place in source.integers(0, begin, source.integers(1, 4)):
            raw[place] = source.choice(list(b'0123456789{}[]",:-.eEFnul ')) if place > 7 else source.integers(0, 256)
        path.write_bytes(bytes(raw))
        try:
            record = check_weights(tmp_path, None)
        except ItsError:
            refused += 1
        else:
            assert record["tensors"] in (1, 2)
    assert refused > 200


SHARDS: dict[str, Tensors] = {
    "model-00001-of-00002.safetensors": {"a": values([2, 3], 1), "b": values([4], 2, "BF16")},
    "model-00002-of-00002.safetensors": {"c": values([5], 3)},
}


def _shards(folder: Path, **change: Any) -> Path:
    folder.mkdir()
    for name, tensors in SHARDS.items():
        save(folder / name, tensors)
    index = {name: file for file, tensors in SHARDS.items() for name in tensors}
    text = json.dumps({"metadata": {}, "weight_map": {**index, **change}})
    (folder / "model.safetensors.index.json").write_text(text, encoding="utf-8")
    return folder


def test_shards_are_one_model(tmp_path: Path) -> None:
    base, trained = _shards(tmp_path / "base"), _shards(tmp_path / "trained")
    last = "model-00002-of-00002.safetensors"
    save(trained / last, {"c": values([5], 4)})
    record = check_weights(trained, base)
    assert (record["tensors"], record["values"], record["changed"], list(record["files"])) == (3, 15, "c", list(SHARDS))
    (base / "consolidated.safetensors").write_bytes(b"somebody's second copy")
    assert check_weights(trained, base) == record
    (trained / last).unlink()
    with pytest.raises(DataError, match=r"names `model-00002-of-00002\.safetensors`, which is missing"):
        check_weights(trained, base)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: save(folder / "model.safetensors", {"d": values([2])}),
        lambda folder: save(folder / "model.safetensors", {"a": values([2, 3])}),
        lambda folder: save(folder / "model-00002-of-00002.safetensors", {"d": values([5])}),
        lambda folder: (folder / "model.safetensors.index.json").write_text("{}"),
        lambda folder: (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": 1}}'),
        lambda folder: (folder / "other.safetensors.index.json").write_text("{}"),
        lambda folder: (folder / "model.safetensors.index.json").write_text(
            json.dumps({"weight_map": {"a": "x" * 5000 + ".safetensors"}})
        ),
        lambda folder: (folder / "model.safetensors.index.json").write_text(
            json.dumps({"weight_map": {"a": "\0.safetensors"}})
        ),
    ],
)
def test_files_that_disagree_are_no_model(tmp_path: Path, spoil: Callable[[Path], Any]) -> None:
    folder = _shards(tmp_path / "m")
    spoil(folder)
    with pytest.raises(DataError):
        tensors_of(folder)


def _folder(path: Path, tensors: Tensors, config: dict[str, Any] | None = None) -> Path:
    path.mkdir()
    save(path / "model.safetensors", tensors)
    (path / "config.json").write_text(json.dumps(config or {}), encoding="utf-8")
    return path


WHOLE: Tensors = {"model.embed_tokens.weight": values([6, 2], 1), "lm_head.weight": values([6, 2], 2)}


def test_a_tied_output_layer_may_be_left_out(tmp_path: Path) -> None:
    base = _folder(tmp_path / "base", WHOLE)
    tied = {"model.embed_tokens.weight": values([6, 2], 3)}
    assert check_weights(_folder(tmp_path / "a", tied, {"tie_word_embeddings": True}), base)["changed"]
    assert check_weights(_folder(tmp_path / "default", tied), base)["changed"]  # Gemma's class ties by default
    with pytest.raises(RunError, match=r"`lm_head\.weight` is missing"):
        check_weights(_folder(tmp_path / "b", tied, {"tie_word_embeddings": False}), base)
    nested = {"text_config": {"tie_word_embeddings": True}}
    assert check_weights(_folder(tmp_path / "c", tied, nested), base)["changed"]


def test_a_vocabulary_may_grow_if_both_configurations_say_so(tmp_path: Path) -> None:
    base = _folder(tmp_path / "base", {**WHOLE, "w": values([6, 2], 3)}, {"vocab_size": 6})
    grown = {name: values([8, 2], number) for number, name in enumerate(WHOLE)}
    good = _folder(tmp_path / "a", {**grown, "w": values([6, 2], 4)}, {"vocab_size": 8})
    assert check_weights(good, base)["changed"] == "w"
    for number, vocabulary in enumerate([6, 9, None]):
        bad = _folder(tmp_path / f"b{number}", {**grown, "w": values([6, 2], 4)}, {"vocab_size": vocabulary})
        with pytest.raises(RunError, match=r"has the shape \[8, 2\], in the base \[6, 2\]"):
            check_weights(bad, base)


def test_buffers_of_old_checkpoints_are_no_parameters(tmp_path: Path) -> None:
    base = _folder(tmp_path / "base", {**WHOLE, "model.layers.0.self_attn.rotary_emb.inv_freq": values([2])})
    assert check_weights(_folder(tmp_path / "a", {**WHOLE, "lm_head.weight": values([6, 2], 9)}), base)["changed"]


@pytest.mark.parametrize(
    "dtypes", [(a, b) for a in ("F64", "F32", "F16", "BF16") for b in ("F64", "F32", "F16", "BF16")]
)
def test_saving_in_another_type_is_no_change(tmp_path: Path, dtypes: tuple[str, str]) -> None:
    first, second = dtypes
    numbers = np.random.default_rng(5).normal(size=1000).astype(np.float32)

    def stored(dtype: str, source: Any) -> bytes:
        if dtype == "BF16":
            bits = source.astype(np.float32).view(np.uint32)
            rounded = bits + 0x7FFF + ((bits >> 16) & 1)
            return bytes((rounded >> 16).astype(np.uint16).tobytes())
        return bytes(source.astype({"F64": np.float64, "F32": np.float32, "F16": np.float16}[dtype]).tobytes())

    def read(dtype: str, raw: bytes) -> Any:
        if dtype == "BF16":
            return (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(np.float32)
        return np.frombuffer(raw, {"F64": np.float64, "F32": np.float32, "F16": np.float16}[dtype])

    raw = stored(first, numbers)
    again = stored(second, read(first, raw))
    a = header(save(tmp_path / "a.safetensors", {"w": (first, [1000], raw)}))["w"]
    b = header(save(tmp_path / "b.safetensors", {"w": (second, [1000], again)}))["w"]
    assert differs(b, a) is False
    moved = read(second, again).copy()
    moved[777] += 0.5
    b = header(save(tmp_path / "b.safetensors", {"w": (second, [1000], stored(second, moved))}))["w"]
    assert differs(b, a) is True


def test_a_change_of_the_type_alone_is_no_training(tmp_path: Path) -> None:
    base = _folder(tmp_path / "base", {"w": values([6], 1, "BF16")})
    raw = np.frombuffer(values([6], 1, "BF16")[2], np.uint16).astype(np.uint32) << 16
    trained = _folder(tmp_path / "a", {"w": ("F32", [6], raw.tobytes())})
    with pytest.raises(RunError, match="training changed no parameter") as caught:
        check_weights(trained, base)
    assert "learning_rate" in str(caught.value.hint)


def test_a_base_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    trained, base = _folder(tmp_path / "a", WHOLE), tmp_path / "base"
    assert check_weights(trained, None)["compared"] == "not compared with the base, which is in no folder here"
    base.mkdir()
    (base / "pytorch_model.bin").write_bytes(b"pickled")
    record = check_weights(trained, base)
    assert (record["compared"], record["changed"]) == (
        "not compared with the base, which has no safetensors files",
        None,
    )


def test_what_the_class_of_a_model_does_not_read_need_not_be_saved(tmp_path: Path) -> None:
    base = _folder(tmp_path / "base", {**WHOLE, "mtp.fc.weight": values([2]), "mtp.norm.weight": values([2])})
    trained = _folder(tmp_path / "a", {**WHOLE, "lm_head.weight": values([6, 2], 9)})
    with pytest.raises(RunError, match=r"`mtp\.fc\.weight` is missing; `mtp\.norm\.weight` is missing"):
        check_weights(trained, base)
    told = check_weights(trained, base, unread=["^mtp.*"])["compared"]
    assert told == "2 tensors of the base (2 more are not read by its class)"


def test_a_part_of_a_model_in_the_hubs_cache_is_not_compared(tmp_path: Path) -> None:
    base, trained = _shards(tmp_path / "base"), _shards(tmp_path / "trained")
    save(trained / "model-00002-of-00002.safetensors", {"c": values([5], 4)})
    assert check_weights(trained, base, cached=True)["changed"] == "c"
    (base / "model-00002-of-00002.safetensors").unlink()
    record = check_weights(trained, base, cached=True)
    assert record["changed"] is None and "the hub's cache holds a part" in record["compared"]
    with pytest.raises(DataError):
        check_weights(trained, base)


def _signed(item: tuple[str, list[int], bytes]) -> tuple[str, list[int], bytes]:
    """The same with every zero's sign turned; the values are zeros."""
    width = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1}[item[0]]
    return item[0], item[1], (b"\0" * (width - 1) + b"\x80") * math.prod(item[1])


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"])
def test_another_sign_of_zero_is_no_change(tmp_path: Path, dtype: str) -> None:
    positive = (dtype, [4], bytes(4 * {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}.get(dtype, 1)))
    base = _folder(tmp_path / "base", {**WHOLE, "w": positive})
    with pytest.raises(RunError, match="training changed no parameter"):
        check_weights(_folder(tmp_path / "a", {**WHOLE, "w": _signed(positive)}), base)
    moved = bytearray(_signed(positive)[2])
    moved[-1] = 0x81 if "F8" in dtype else 0xB0
    assert check_weights(_folder(tmp_path / "b", {**WHOLE, "w": (dtype, [4], bytes(moved))}), base)["changed"] == "w"


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("model.layers.0.self_attn.rotary_emb.inv_freq", values([2], 1), values([2], 2)),
        ("h.0.attn.masked_bias", values([1], 1), values([1], 2)),
        ("model.position_ids", ("I64", [1], b"\0" * 8), ("I64", [1], b"\1" * 8)),
        ("mask", ("BOOL", [1], b"\0"), ("BOOL", [1], b"\1")),
    ],
)
def test_a_buffer_that_changed_is_no_training(tmp_path: Path, name: str, first: Any, second: Any) -> None:
    base = _folder(tmp_path / "base", {**WHOLE, name: first})
    with pytest.raises(RunError, match="training changed no parameter"):
        check_weights(_folder(tmp_path / "a", {**WHOLE, name: second}), base)


BARE: Tensors = {"wte.weight": values([6, 2], 1), "h.0.norm.weight": values([2], 2), "norm.weight": values([2], 3)}


@pytest.mark.parametrize("prefix", ["transformer.", "model.", "model.language_model."])
@pytest.mark.parametrize("turned", [False, True])
def test_the_prefix_of_a_class_is_no_other_name(tmp_path: Path, prefix: str, turned: bool) -> None:
    bare = {**BARE, "lm_head.weight": values([6, 2], 4)}
    long = {prefix + name if "lm" not in name else name: item for name, item in bare.items()}
    first, second = (long, bare) if turned else (bare, long)
    base = _folder(tmp_path / "base", first)
    with pytest.raises(RunError, match="training changed no parameter"):
        check_weights(_folder(tmp_path / "same", second), base)
    last = next(name for name in second if name.endswith("h.0.norm.weight"))
    assert check_weights(_folder(tmp_path / "a", {**second, last: values([2], 9)}), base)["changed"] == last
    for number, name in enumerate(second):  # and what is missing is still found
        if name != "lm_head.weight":
            left = {other: item for other, item in second.items() if other != name}
            with pytest.raises(RunError, match="is missing"):
                check_weights(_folder(tmp_path / f"b{number}", left), base)


def test_a_missing_name_is_not_found_as_the_end_of_another(tmp_path: Path) -> None:
    base = _folder(tmp_path / "base", BARE)
    trained = {"wte.weight": values([6, 2], 7), "h.0.norm.weight": values([2], 2)}
    with pytest.raises(RunError, match=r"`norm\.weight` is missing"):
        check_weights(_folder(tmp_path / "a", trained), base)


@pytest.mark.parametrize(
    ("dtype", "shape", "size"),
    [
        ("F8_E4M3", [4, 2], 8),
        ("F8_E5M2", [4, 2], 8),
        ("U8", [4, 1], 4),
        ("F4", [4, 2], 4),
        ("F6_E2M3", [4, 2], 6),
        ("F6_E3M2", [4, 2], 6),
        ("F8_E4M3FNUZ", [4, 2], 8),
        ("F8_E5M2FNUZ", [4, 2], 8),
    ],
)
def test_a_quantized_base_is_not_compared_with_what_it_became(
    tmp_path: Path, dtype: str, shape: list[int], size: int
) -> None:
    packed: Tensors = {"a.weight": (dtype, shape, b"\1" * size), "a.weight_scale_inv": values([1])}
    base = _folder(tmp_path / "base", packed)
    record = check_weights(_folder(tmp_path / "a", {"a.weight": values([4, 2], 1, "BF16")}), base)
    assert record["changed"] is None and "cannot be seen" in record["compared"]
    assert ("of a type that is not read: " + dtype in record["compared"]) == (
        dtype[:2] in ("F4", "F6") or "FN" in dtype
    )
    with pytest.raises(RunError, match=r"`a\.weight` is missing"):
        check_weights(_folder(tmp_path / "b", {"b.weight": values([4, 2], 1, "BF16")}), base)
    norm = {"n.weight": values([2], 1)}
    mixed = _folder(tmp_path / "mixed", {**packed, **norm})
    whole = {"a.weight": values([4, 2], 1, "BF16"), "n.weight": values([2], 2)}
    assert check_weights(_folder(tmp_path / "c", whole), mixed)["changed"] == "n.weight"
    scale = {"a.weight": (dtype, shape, b"\1" * size), "a.weight_scale_inv": values([1], 8)}
    if dtype.startswith("F8_E") and "FN" not in dtype:  # a scale is no parameter
        with pytest.raises(RunError, match="changed no parameter"):
            check_weights(_folder(tmp_path / "d", scale), base)


# Adapters.

LAYERS = [f"model.layers.{layer}.{part}" for layer in (0, 1) for part in ("self_attn.q_proj", "mlp.up_proj")]
UNDER: Tensors = {
    "model.embed_tokens.weight": values([6, 3]),
    **{f"{name}.weight": values([5, 3], 1) for name in LAYERS},
    "model.norm.weight": values([3]),
}
SETTINGS = {"peft_type": "LORA", "r": 2, "target_modules": ["q_proj", "up_proj"], "init_lora_weights": True}


def _pairs(names: list[str] = LAYERS, rank: int = 2, start: int = 0) -> Tensors:
    out: Tensors = {}
    for name in names:
        out[f"base_model.model.{name}.lora_A.weight"] = values([rank, 3], start)
        out[f"base_model.model.{name}.lora_B.weight"] = values([5, rank], start + 1)
    return out


def _adapter(path: Path, tensors: Tensors, **settings: Any) -> Path:
    path.mkdir()
    (path / "adapter_config.json").write_text(json.dumps({**SETTINGS, **settings}), encoding="utf-8")
    save(path / "adapter_model.safetensors", tensors)
    return path


def _zeroed(tensors: Tensors, sign: int = 0) -> Tensors:
    zero = {
        name: (item[0], item[1], (b"\0\0\0" + bytes([sign])) * (len(item[2]) // 4)) for name, item in tensors.items()
    }
    return {name: zero[name] if "lora_B" in name else item for name, item in tensors.items()}


def test_an_adapter_is_sound(tmp_path: Path) -> None:
    base = _folder(tmp_path / "base", UNDER)
    record = check_weights(_adapter(tmp_path / "a", _pairs()), base)
    assert (record["kind"], record["tensors"], record["changed"]) == (
        "adapter",
        8,
        "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight",
    )
    hub = check_weights(_adapter(tmp_path / "b", _pairs()), None)
    assert hub["changed"] and hub["compared"].endswith("is in no folder here")
    pattern = {"target_modules": r".*\.(q_proj|up_proj)", "rank_pattern": {"layers.1.mlp.up_proj": 4}}
    mixed = {**_pairs(), **_pairs([LAYERS[3]], rank=4)}
    assert check_weights(_adapter(tmp_path / "c", mixed, **pattern), base)["tensors"] == 8
    started = check_weights(_adapter(tmp_path / "d", _pairs(), init_lora_weights="pissa"), base)
    assert started["changed"] is None  # B is not zero before the first step: nothing can be seen


@pytest.mark.parametrize(
    ("tensors", "settings", "message"),
    [
        (_pairs(LAYERS[:3]), {}, r"`model.layers.1.mlp.up_proj` is a target and has no LoRA matrices"),
        ({}, {}, "saved no weights"),
        ({"w": values([2])}, {}, "no target has a pair of LoRA matrices"),
        (
            {
                name: item
                for name, item in _pairs().items()
                if name != "base_model.model.model.layers.0.mlp.up_proj.lora_B.weight"
            },
            {},
            "`model.layers.0.mlp.up_proj` has one of two LoRA matrices",
        ),
        (_pairs(), {"r": 4}, r"has LoRA matrices of \[2, 3\] and \[5, 2\], and the rank is 4"),
        (
            {**_pairs(), "base_model.model.model.layers.0.mlp.up_proj.lora_B.weight": values([7, 2])},
            {},
            r"over \[5, 3\]",
        ),
        (_zeroed(_pairs()), {}, "training changed no parameter"),
        (_zeroed(_pairs(), 0x80), {}, "training changed no parameter"),
        (_pairs(), {"modules_to_save": ["lm_head"]}, "`lm_head` should be saved whole and is missing"),
        (
            {**_pairs(), "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight": ("F32", [2, 3], b"\xff" * 24)},
            {},
            "not finite in 1 of 8 tensors",
        ),
    ],
)
def test_an_adapter_that_is_not_sound(tmp_path: Path, tensors: Tensors, settings: dict[str, Any], message: str) -> None:
    base = _folder(tmp_path / "base", UNDER)
    folder = _adapter(tmp_path / "a", tensors, **settings)
    with pytest.raises(RunError, match=message):
        check_weights(folder, base)


@pytest.mark.parametrize("dtype", ["U8", "I32", "F4"])
def test_an_adapter_over_packed_weights_is_sound(tmp_path: Path, dtype: str) -> None:
    packed = (dtype, [8, 1], bytes({"U8": 8, "I32": 32, "F4": 4}[dtype]))
    base = _folder(tmp_path / "base", {name: packed if name[:-7] in LAYERS else item for name, item in UNDER.items()})
    assert check_weights(_adapter(tmp_path / "a", _pairs()), base)["changed"]
    with pytest.raises(RunError, match="is a target and has no LoRA matrices"):
        check_weights(_adapter(tmp_path / "b", _pairs(LAYERS[:3])), base)


def test_an_adapter_over_a_base_without_the_prefix_of_its_class(tmp_path: Path) -> None:
    base = _folder(tmp_path / "base", {name.removeprefix("model."): item for name, item in UNDER.items()})
    assert check_weights(_adapter(tmp_path / "a", _pairs()), base)["changed"]
    with pytest.raises(RunError, match=r"`layers\.1\.mlp\.up_proj` is a target and has no LoRA matrices"):
        check_weights(_adapter(tmp_path / "b", _pairs(LAYERS[:3])), base)
    wrong = {**_pairs(), "base_model.model.model.layers.0.mlp.up_proj.lora_B.weight": values([7, 2])}
    with pytest.raises(RunError, match=r"over \[5, 3\]"):
        check_weights(_adapter(tmp_path / "c", wrong), base)


@pytest.mark.parametrize(
    "settings",
    [
        [],
        "x",
        *({**SETTINGS, key: value} for key in ("target_modules", "modules_to_save") for value in [5, {}, [5], True]),
        *({**SETTINGS, "r": value} for value in (None, [2], "x" * 10_000)),
    ],
)
def test_settings_of_an_adapter_of_another_form_are_an_error(tmp_path: Path, settings: Any) -> None:
    base, folder = _folder(tmp_path / "base", UNDER), _adapter(tmp_path / "a", _pairs())
    (folder / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(DataError, match=r"adapter_config\.json: ") as caught:
        check_weights(folder, base)
    assert caught.value.hint and len(str(caught.value)) < len(str(tmp_path)) + 400


@pytest.mark.parametrize("pattern", ["a{99999999999}", "(" * 10_000 + ")" * 10_000, "["])
def test_a_pattern_that_is_none_is_no_traceback(tmp_path: Path, pattern: str) -> None:
    base = _folder(tmp_path / "base", UNDER)
    folder = _adapter(tmp_path / "a", _pairs(), target_modules=pattern, rank_pattern={pattern: 2})
    assert check_weights(folder, base)["changed"]


def test_a_configuration_of_another_form_is_an_error(tmp_path: Path) -> None:
    base, trained = _folder(tmp_path / "base", WHOLE), _folder(tmp_path / "a", WHOLE)
    (trained / "config.json").write_text("[]", encoding="utf-8")
    with pytest.raises(DataError, match=r"config\.json: not a mapping"):
        check_weights(trained, base)
