"""The conversion of a GGUF file: what the file says decides how its tokenizer is built; what is unknown is refused."""

from __future__ import annotations

import importlib.util
import json
import random
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from its.errors import DataError, RunError
from its.models import CONVERTER, REFUSED, UNCHANGED_CONVERSIONS, ready_model
from its.recipe.load import load_recipe
from its.recipe.schema import Model, WheelsSource

ROOT = Path(__file__).parents[2]


def _converter() -> Any:
    spec = importlib.util.spec_from_file_location("convert_gguf", CONVERTER)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CONVERT = _converter()
NORMAL, UNKNOWN, CONTROL, USER, BYTE = 1, 2, 3, 4, 6


def _pieces() -> list[tuple[str, float, int]]:
    """A small vocabulary as sentencepiece makes them: control tokens, runs, bytes, then pieces, the best first."""
    fixed = [(token, -1000.0, CONTROL) for token in ("<pad>", "<eos>", "<bos>", "<unk>", "<end_of_turn>")]
    user = [*("\n" * count for count in range(1, 4)), *(" " * count for count in range(2, 6)), "<td>", "\t"]
    fixed += [(piece, -1000.0, USER) for piece in user]
    fixed += [(f"<0x{value:02X}>", 0.0, BYTE) for value in range(256)]
    drawn = random.Random(5)
    letters = "▁abcd12.<>td/"
    merged = list(dict.fromkeys("".join(drawn.choices("▁abcd12", k=drawn.randint(2, 5))) for _ in range(120)))
    return fixed + [(piece, -float(rank), NORMAL) for rank, piece in enumerate([*merged, *letters])]


def _fields(**change: Any) -> dict[str, Any]:
    pieces, scores, types = zip(*_pieces(), strict=True)
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": list(pieces),
        "tokenizer.ggml.scores": list(scores),
        "tokenizer.ggml.token_type": list(types),
        "tokenizer.ggml.bos_token_id": 2,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.ggml.unknown_token_id": 3,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_space_prefix": False,
    } | {f"tokenizer.ggml.{key}": value for key, value in change.items()}


def _reference(text: str, fields: dict[str, Any]) -> list[int]:
    """Sentencepiece's BPE by its definition: of all neighbours that form a piece, the best score, then the leftmost."""
    pieces, types = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    ids = {piece: index for index, piece in enumerate(pieces)}
    whole = sorted((p for p, kind in zip(pieces, types, strict=True) if kind in (CONTROL, USER)), key=len, reverse=True)
    normal = {p: s for p, s, k in zip(pieces, fields["tokenizer.ggml.scores"], types, strict=True) if k == NORMAL}
    out: list[int] = []
    at = 0
    symbols: list[str] = []

    def merge() -> None:
        while True:
            pairs = [(-normal[a + b], i) for i, (a, b) in enumerate(pairwise(symbols)) if a + b in normal]
            if not pairs:
                break
            _, i = min(pairs)
            symbols[i : i + 2] = [symbols[i] + symbols[i + 1]]
        for symbol in symbols:
            known = [ids[symbol]] if symbol in normal else [ids[f"<0x{value:02X}>"] for value in symbol.encode()]
            out.extend(known)
        symbols.clear()

    while at < len(text):
        found = next((piece for piece in whole if text.startswith(piece, at)), None)
        if found is None:
            symbols.append("▁" if text[at] == " " else text[at])
            at += 1
        else:
            merge()
            out.append(ids[found])
            at += len(found)
    merge()
    return out


FIELDS = _fields()
BACKEND = CONVERT.sentencepiece_backend(FIELDS)


@settings(max_examples=600, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.text(alphabet=" abcd12", max_size=12),
            st.sampled_from(
                ["\n", "\t", "  ", "      ", "<td>", "<t", "<end_of_turn>", "<bos>", "<0x41>", "é", "语", "🙂", "x"]
            ),
        ),
        max_size=8,
    )
)
def test_the_ids_are_those_of_sentencepiece(parts: list[str]) -> None:
    text = "".join(parts)
    ids = BACKEND.encode(text, add_special_tokens=False).ids
    assert ids == _reference(text, FIELDS)
    assert BACKEND.decode(ids, skip_special_tokens=False) == text


def test_it_begins_a_text_as_the_file_says() -> None:
    assert BACKEND.encode("a", "b").tokens == ["<bos>", "a", "<bos>", "b"]
    both = CONVERT.sentencepiece_backend(_fields(add_bos_token=False, add_eos_token=True))
    assert both.encode("a", "b").tokens == ["a", "<eos>", "b", "<eos>"]
    assert BACKEND.encode("a<end_of_turn>", add_special_tokens=False).tokens == ["a", "<end_of_turn>"]
    assert BACKEND.decode(BACKEND.encode("a<end_of_turn>").ids) == "a"


def test_merges_are_ordered_by_the_score_of_the_piece() -> None:
    pieces, scores = ["a", "b", "ab", "ba", "aba", "<x>", "c<x>"], [-9.0, -8.0, -3.0, -1.0, -2.0, -1000.0, -0.5]
    types = [NORMAL, NORMAL, NORMAL, NORMAL, NORMAL, CONTROL, NORMAL]
    assert CONVERT.bpe_merges(pieces, scores, types) == [("b", "a"), ("a", "ba"), ("ab", "a"), ("a", "b")]


def _refusal(act: Callable[[], Any]) -> str:
    with pytest.raises(CONVERT.Refusal) as caught:
        act()
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"model": "gpt2", "pre": "llama-bpe"},
            "the file's tokenizer is `gpt2` with the pre-tokenizer `llama-bpe`; known",
        ),
        ({"model": "gpt2", "pre": "default"}, "`gpt2` with the pre-tokenizer `default`"),
        ({"model": "gpt2", "pre": "qwen2"}, "`gpt2` with the pre-tokenizer `qwen2`"),
        ({"model": "llama", "pre": "smollm"}, "`llama` with the pre-tokenizer `smollm`"),
        ({"model": "bert"}, "`bert`"),
        ({"model": "t5"}, "`t5`"),
        ({"model": None}, "`None`"),
        ({"add_space_prefix": True}, "a space before each text"),
        ({"remove_extra_whitespaces": True}, "removes spaces"),
        ({"precompiled_charsmap": [1, 2]}, "normalizes characters"),
    ],
    ids=str,
)
def test_a_tokenizer_that_is_not_known_is_refused(change: dict[str, Any], words: str) -> None:
    assert words in _refusal(lambda: CONVERT.tokenizer_builder(_fields(**change)))


def test_a_file_that_does_not_say_whether_a_space_comes_first_is_refused() -> None:
    """As Llama 2's: llama.cpp then puts one there."""
    fields = _fields()
    del fields["tokenizer.ggml.add_space_prefix"]
    assert "a space before each text" in _refusal(lambda: CONVERT.tokenizer_builder(fields))


def test_known_tokenizers_are_built_by_what_the_file_says() -> None:
    assert CONVERT.tokenizer_builder(_fields()) is CONVERT.sentencepiece
    unsaid = _fields()
    del unsaid["tokenizer.ggml.pre"]
    assert CONVERT.tokenizer_builder(unsaid) is CONVERT.sentencepiece
    assert CONVERT.tokenizer_builder(_fields(model="gpt2", pre="smollm")) is CONVERT.smollm


READ = {"gemma3": {"embedding_length": "hidden_size", "attention.head_count": "n", "attention.key_length": "head_dim"}}
GEMMA = {
    "general.architecture": "gemma3",
    "gemma3.embedding_length": 640,
    "gemma3.attention.head_count": 4,
    "gemma3.attention.key_length": 256,
    "gemma3.attention.value_length": 256,
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gemma3.rope.scaling.factor": 8.0}, "does not read these settings of the file: rope.scaling.factor"),
        ({"gemma3.b": 1, "gemma3.a": 1}, "of the file: a, b"),
        ({"gemma3.attention.value_length": 128}, "`gemma3.attention.value_length` is 128, but a head has 256"),
        ({"gemma3.rope.dimension_count": 64}, "`gemma3.rope.dimension_count` is 64, but a head has 256"),
        ({"general.architecture": "mamba9"}, "does not read files of the architecture `mamba9`"),
    ],
    ids=str,
)
def test_settings_that_would_be_lost_are_refused(change: dict[str, Any], words: str) -> None:
    assert words in _refusal(lambda: CONVERT.check_settings({**GEMMA, **change}, READ))


def test_the_reason_of_a_refusal_is_written_into_the_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(spec: dict[str, Any]) -> None:
        raise CONVERT.Refusal("it is `bert`")

    (tmp_path / "spec.json").write_text(json.dumps({"output": str(tmp_path)}))
    monkeypatch.setattr(sys, "argv", ["convert_gguf.py", str(tmp_path / "spec.json")])
    monkeypatch.setattr(CONVERT, "convert", refuse)
    assert CONVERT.main() == CONVERT.REFUSED == REFUSED
    assert (tmp_path / "refused.txt").read_text() == "it is `bert`"


def test_settings_that_are_all_read_pass() -> None:
    CONVERT.check_settings(GEMMA, READ)
    CONVERT.check_settings({**GEMMA, "gemma3.rope.dimension_count": 256, "tokenizer.ggml.pre": "default"}, READ)


def test_weights_that_were_not_in_the_file_are_refused() -> None:
    CONVERT.check_weights({"missing_keys": set(), "unexpected_keys": [], "mismatched_keys": set()})
    for name in ("missing_keys", "unexpected_keys"):
        said = _refusal(lambda name=name: CONVERT.check_weights({name: {"model.norm.weight"}}))  # type: ignore[misc]
        assert name in said and "model.norm.weight" in said


def test_queries_that_are_scaled_otherwise_are_refused() -> None:
    class Config:
        query_pre_attn_scalar, head_dim = 256, 256

    CONVERT.check_attention(Config)
    CONVERT.check_attention(object())
    Config.head_dim = 128  # Gemma 3 27B
    assert "scaled by 256, but a head has 128" in _refusal(lambda: CONVERT.check_attention(Config))


def _declared() -> Model:
    source = {
        "kind": "wheels",
        "parts": [
            {"package": f"p-{number}", "version": "1", "file": f"p/m.part{number}", "sha256": str(number) * 64}
            for number in range(2)
        ],
        "sha256": "a" * 64,
    }
    return Model.model_validate(
        {
            "source": source,
            "dtype": "float32",
            "context_length": 64,
            "special_tokens": {"eos": "<end_of_turn>", "pad": "<pad>"},
        }
    )


def _convert_by(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str) -> None:
    """Run a converter of this code, in this Python; `output` is the folder that it fills."""
    script = tmp_path / "converter.py"
    head = "import json, pathlib, sys\noutput = pathlib.Path(json.load(open(sys.argv[1]))['output'])\n"
    script.write_text(head + code)
    monkeypatch.setattr("its.models.CONVERTER", script)
    monkeypatch.setattr("its.models.find_environment", lambda *args: SimpleNamespace(python=Path(sys.executable)))
    monkeypatch.setattr("its.models.environment_variables", lambda *args: {})
    monkeypatch.setattr("its.models.unpacked_file", lambda source, home, say: tmp_path / "m.gguf")


def test_a_refusal_of_the_converter_is_said_where_the_source_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _convert_by(monkeypatch, tmp_path, "(output / 'refused.txt').write_text('it is `bert`')\nsys.exit(3)\n")
    with pytest.raises(DataError, match=r"^models\.m\.source: it is `bert`$") as caught:
        ready_model("m", _declared(), tmp_path, tmp_path / "home", lambda text: None)
    assert "kind: hub" in str(caught.value.hint)
    assert not [
        path for path in (tmp_path / "home" / "models").iterdir() if path.is_dir() and path.suffix != ".partial"
    ]


def test_a_converter_that_dies_is_an_error_with_its_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _convert_by(monkeypatch, tmp_path, "sys.exit(1)\n")
    with pytest.raises(RunError, match=r"failed \(exit code 1\)") as caught:
        ready_model("m", _declared(), tmp_path, tmp_path / "home", lambda text: None)
    assert ".log" in str(caught.value.hint)


def test_what_is_converted_stays_where_it_was_for_the_shipped_model(tmp_path: Path) -> None:
    """Its folder has the name that version 1 gave it: the same bytes, so nothing is converted again."""
    shipped = load_recipe(ROOT / "recipes" / "quickstart.yaml", ROOT).models["smollm2_135m"]
    model = shipped.model_copy(update={"dtype": "bfloat16"})
    folder = tmp_path / "home" / "models" / "smollm2_135m-b36d31d3e1b11794"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    ready = ready_model("smollm2_135m", model, ROOT, tmp_path / "home", print, make=False)
    assert ready.path == str(folder)
    assert {model.source.sha256} == UNCHANGED_CONVERSIONS  # type: ignore[union-attr]


def test_the_parts_of_gemma_are_named_in_their_order() -> None:
    recipe = load_recipe(ROOT / "recipes" / "arithmetic_gemma3.yaml", ROOT)
    source = recipe.models["gemma3_270m"].source
    assert isinstance(source, WheelsSource)
    assert [part.file[-2:] for part in source.parts] == ["00", "01", "02", "03"]
    assert json.loads(source.model_dump_json())["kind"] == "wheels"
