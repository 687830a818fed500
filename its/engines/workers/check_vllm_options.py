"""Check settings of vLLM against vLLM's own argument classes. Runs in the engine environment; imports nothing of `its`.

In: a JSON list of {"options", "environment"} and maybe "sampling", the settings of a request. Out: a JSON list with,
for each, the list of its faults as [key, message, hint]. No model is loaded and no GPU needed, so what depends on a
model (whether `tensor_parallel_size` divides its attention heads) or on the machine (free memory, the number of its
GPUs) is not checked.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import importlib.util
import inspect
import json
import os
import re
import sys
import typing
from collections.abc import Iterable
from typing import Any

OUT = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(2, 1)  # what libraries print

import vllm.config  # noqa: E402
import vllm.envs  # noqa: E402
from its_vllm_sampling import BUDGET, parameters, refusals, types  # noqa: E402
from pydantic import ConfigDict, TypeAdapter, ValidationError  # noqa: E402
from vllm import LLM  # noqa: E402
from vllm.engine.arg_utils import EngineArgs  # noqa: E402
from vllm.platforms import current_platform  # noqa: E402

Fault = tuple[str, str, str | None]

# ITS sets these itself.
OWN = {"model": "the recipe's `models` name it", "tokenizer": "it comes with the model"}
FLEET = "for several engines use servers with `engine.kind: openai` (docs/scale.md)"
# ParallelConfig refuses them without a GPU, whatever the machine that will run it has.
GPU_ONLY = ("enable_eplb", "eplb_config", "enable_elastic_ep")
MANY_GPUS = 2**20
LISTED = 40
WORDS = {bool: "true or false", int: "an integer", float: "a number", str: "text"}


def argument_types() -> dict[str, list[Any]]:
    """Each argument of `vllm.LLM` -> its declared types; a value needs one of them."""
    module = vars(sys.modules[EngineArgs.__module__])
    out: dict[str, list[Any]] = {}
    for item in dataclasses.fields(EngineArgs):
        if not item.name.startswith("_"):
            out[item.name] = [resolved(item.type, module)]
    for name, parameter in inspect.signature(LLM.__init__).parameters.items():
        if name == "self" or parameter.kind is inspect.Parameter.VAR_KEYWORD:
            continue
        hint = resolved(parameter.annotation, vars(sys.modules[LLM.__module__]))
        if name in out and name != "quantization":
            out[name].append(hint)  # LLM turns `compilation_config` from a table or a number into a class
        else:
            out[name] = [hint]  # EngineArgs accepts any text for `quantization` and refuses it when the model is loaded
    return out


def resolved(hint: Any, names: dict[str, Any]) -> Any:
    """The type of an annotation that may be text; Any if its names exist for type checkers alone."""
    if not isinstance(hint, str):
        return hint
    try:
        return eval(hint, names)  # vLLM's own source
    except (NameError, TypeError):
        return Any


def constraints() -> dict[str, list[Any]]:
    """Argument -> bounds (at least 1, at most 1.0) from the config class that has the field."""
    first = ["ModelConfig", "CacheConfig", "ParallelConfig", "SchedulerConfig", "LoRAConfig", "LoadConfig"]
    classes = [
        getattr(vllm.config, name) for name in [*first, *sorted(vars(vllm.config))] if hasattr(vllm.config, name)
    ]
    out: dict[str, list[Any]] = {}
    for config in classes:
        for name, field in getattr(config, "__pydantic_fields__", {}).items() if isinstance(config, type) else ():
            out.setdefault(name, list(field.metadata))
    return out


def parts(hint: Any) -> list[Any]:
    """The members of a union, recursively."""
    if typing.get_origin(hint) is typing.Annotated:
        return parts(typing.get_args(hint)[0])
    if typing.get_origin(hint) is typing.Union or isinstance(hint, type(int | str)):
        return [part for member in typing.get_args(hint) for part in parts(member)]
    return [hint]


def enum_names(hints: Iterable[Any]) -> list[str]:
    """Names of enum members: vLLM takes them as text in any case, and `auto`."""
    enums = [part for hint in hints for part in parts(hint) if isinstance(part, type) and issubclass(part, enum.Enum)]
    return [member.name for part in enums for member in part] + (["AUTO"] if enums else [])


def choices(hints: Iterable[Any]) -> list[Any]:
    """The values that the types list."""
    literals = [part for hint in hints for part in parts(hint) if typing.get_origin(part) is typing.Literal]
    return list(dict.fromkeys([value for part in literals for value in typing.get_args(part)] + enum_names(hints)))


def wanted(hints: Iterable[Any]) -> str:
    """The types as text for a message."""
    listed = choices(hints)
    words = []
    for part in [part for hint in hints for part in parts(hint)]:
        base = typing.get_origin(part) or part
        if part in WORDS and not (part is str and listed):
            words.append(WORDS[part])
        elif base in (list, set, tuple):
            words.append("a list")
        elif base is dict or fields_of(base):
            words.append("a table")
    if listed:
        more = f" and {len(listed) - LISTED} more" if len(listed) > LISTED else ""
        words.append("one of " + ", ".join(f"`{choice}`" for choice in listed[:LISTED]) + more)
    return " or ".join(dict.fromkeys(words)) or "something else"


def shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return f"`{text}`" if len(text) <= 60 else f"`{text[:60]}...`"


def near(word: str, known: Iterable[Any]) -> str | None:
    names = {str(item).lower(): str(item) for item in known}
    found = difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.6)
    return f"did you mean `{names[found[0]]}`?" if found else None


def adapter(hint: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
    except Exception as error:  # a type with its own configuration accepts no other
        if "type-adapter-config-unused" not in str(getattr(error, "code", "")):
            raise
        return TypeAdapter(hint)


def converted(value: Any, found: Any) -> bool:
    """Whether pydantic silently converted a plain value: "8" is not a number, and 1 is not true."""
    plain = (bool, int, float, str)
    if type(value) not in plain or type(found) not in plain or type(value) is type(found):
        return False
    return (type(value), type(found)) != (int, float)


class Checker:
    """vLLM's arguments, inspected once."""

    def __init__(self) -> None:
        self.types = argument_types()
        self.bounds = constraints()
        self.defaults = {item.name: item.default for item in dataclasses.fields(EngineArgs)}

    def faults(
        self, options: dict[str, Any], environment: dict[str, str], sampling: dict[str, Any] | None = None
    ) -> list[Fault]:
        out: list[Fault] = [] if sampling is None else sampling_faults(sampling)
        valid: dict[str, Any] = {}
        for key, value in options.items():
            found = self.option_faults(key, value)
            out += found
            if not found:
                valid[key] = value
        out += self.combination_faults(valid)
        for name, value in environment.items():
            out += variable_faults(name, value)
        return out

    def option_faults(self, key: str, value: Any) -> list[Fault]:
        where = f"options.{key}"
        if key in OWN:
            return [(where, f"`{key}` cannot be an option: {OWN[key]}", None)]
        if key not in self.types:
            return [(where, f"vLLM {vllm.__version__} has no option `{key}`", near(key, self.types))]
        if value is None and self.defaults.get(key) is None:
            return []  # `max_model_len` is declared an integer and is None by default
        return typed_faults(where, key, value, self.types[key], self.bounds.get(key))

    def combination_faults(self, options: dict[str, Any]) -> list[Fault]:
        """Combinations that vLLM refuses of options that are valid one by one."""
        out: list[Fault] = []
        size, backend = options.get("data_parallel_size", 1), options.get("distributed_executor_backend")
        if size > 1 and backend != "external_launcher":
            message = f"`data_parallel_size` is `{size}`, which `vllm.LLM` refuses: it is one engine"
            out.append(("options.data_parallel_size", message, FLEET))
        if backend == "ray" and importlib.util.find_spec("ray") is None:
            message = "`distributed_executor_backend` is `ray`, which is not in this engine environment"
            hint = "`its env sync vllm --ray`; or " + FLEET
            out.append(("options.distributed_executor_backend", message, hint))
        out += self.refused("ParallelConfig", self.parallel_options(options), "options")
        if options.get("max_model_len") and options.get("max_num_batched_tokens"):
            scheduler = self.fields_for("SchedulerConfig", options)
            out += self.refused("SchedulerConfig", {"is_encoder_decoder": False, **scheduler}, "options")
        return out

    def parallel_options(self, options: dict[str, Any]) -> dict[str, Any]:
        kept = self.fields_for("ParallelConfig", options)
        for name in ("data_parallel_size", "data_parallel_size_local"):  # reported above
            kept.pop(name, None)
        if kept.get("distributed_executor_backend") == "ray" and importlib.util.find_spec("ray") is None:
            kept["distributed_executor_backend"] = "mp"
        if not current_platform.is_cuda():
            kept = {name: value for name, value in kept.items() if name not in GPU_ONLY}
        return kept

    def fields_for(self, config: str, options: dict[str, Any]) -> dict[str, Any]:
        names = {item.name for item in dataclasses.fields(getattr(vllm.config, config))}
        if config == "SchedulerConfig":
            names |= {"max_model_len"}
        return {name: value for name, value in options.items() if name in names and value is not None}

    def refused(self, config: str, arguments: dict[str, Any], where: str) -> list[Fault]:
        try:
            getattr(vllm.config, config)(**arguments)
        except ValidationError as error:
            return [(where, f"vLLM's {config} refuses them: {plain(found['msg'])}", None) for found in error.errors()]
        except (ValueError, NotImplementedError, ImportError) as error:
            return [(where, f"vLLM's {config} refuses them: {plain(str(error))}", None)]
        return []


def typed_faults(where: str, key: str, value: Any, hints: list[Any], bounds: list[Any] | None = None) -> list[Fault]:
    """The faults of a value that needs one of some types."""
    if isinstance(value, str) and (listed := choices(hints)):
        if value.upper() in enum_names(hints) or value in listed:
            return []
        if "." not in value and Any not in hints:
            # Some accept any text, which a plugin may have registered, but misspellings are far more common. A text
            # with a dot names a class to import.
            return [(where, f"`{key}` is {shown(value)}, expected {wanted(hints)}", near(value, listed))]
    if isinstance(value, dict) and (tables := [part for hint in hints for part in parts(hint) if fields_of(part)]):
        hints = tables  # `LLM` takes any table for these and drops keys that the class does not have
    faults: list[Fault] = []
    for hint in hints:
        bounded = typing.Annotated[(hint, *bounds)] if bounds else hint
        try:
            if not converted(value, adapter(bounded).validate_python(value)):
                return []
            found = [(where, f"`{key}` is {shown(value)}, expected {wanted(hints)}", None)]
        except ValidationError as error:
            found = explained(where, key, value, hints, error)
        except refusals() as error:  # pydantic passes on what is no ValueError
            found = [(where, f"`{key}` is {shown(value)}: {said_by(error)}", None)]
        faults = faults or found
    return faults


def sampling_faults(sampling: dict[str, Any]) -> list[Fault]:
    """What `SamplingParams` refuses of a request: names and types of `extra`, then bounds and combinations of all."""
    out: list[Fault] = []
    for name, value in sampling.get("extra", {}).items():
        where = f"sampling.extra.{name}"
        if name not in types():
            hint = near(name, types())
            out.append((where, f"vLLM {vllm.__version__} has no setting `{name}` of a request", hint))
        else:
            out += typed_faults(where, name, value, [types()[name]])
    if out:
        return out
    try:
        parameters(sampling, seed=1)
    except (TypeError, *refusals()) as error:
        said = said_by(error)
        named = [word for word in re.findall(r"\w+", said) if word in sampling or word in sampling.get("extra", {})]
        name = getattr(error, "parameter", None) or next(iter(named), None)
        name = "thinking_budget" if name == BUDGET else name
        inside = "extra." if name in sampling.get("extra", {}) else ""
        where = f"sampling.{inside}{name}" if inside or name in sampling else "sampling"
        out.append((where, f"vLLM refuses it: {said}", None))
    return out


def explained(where: str, key: str, value: Any, hints: list[Any], error: ValidationError) -> list[Fault]:
    """Pydantic's errors as faults: bounds and errors inside a table in its words, the rest in ours."""
    out: list[Fault] = []
    for found in error.errors():
        # The last part of the place of a key is `[key]`.
        inside = [str(part) for part in found["loc"] if part != "[key]"] if isinstance(value, dict) else []
        if inside and found["type"] == "unexpected_keyword_argument":
            known = [name for hint in hints for name in fields_of(hint)]
            out.append((".".join([where, *inside]), f"`{key}` has no `{inside[-1]}`", near(inside[-1], known)))
        elif inside or found["type"].startswith(("greater", "less", "value_error", "multiple")):
            name, path = ".".join([key, *inside]), ".".join([where, *inside])
            out.append((path, f"`{name}` is {shown(found['input'])}: {plain(found['msg'])}", None))
    return out or [(where, f"`{key}` is {shown(value)}, expected {wanted(hints)}", None)]


def fields_of(part: Any) -> list[str]:
    return [item.name for item in dataclasses.fields(part)] if dataclasses.is_dataclass(part) else []


def plain(message: str) -> str:
    """A message in our style: one line, lower case, no final stop."""
    line = " ".join(message.removeprefix("Value error, ").split()).rstrip(".")
    return line[:1].lower() + line[1:] if line[1:2].islower() else line


def said_by(error: Exception) -> str:
    """The message of an error of vLLM's, without the parameter that it appends."""
    return plain(str(error.args[0] if error.args else error))


def variable_faults(name: str, value: str) -> list[Fault]:
    """Faults of a `VLLM_` variable: vLLM ignores unknown ones, and reads the others only when it needs them."""
    where = f"environment.{name}"
    if not name.startswith("VLLM_"):
        return []
    known = vllm.envs.environment_variables
    if name not in known:
        return [(where, f"vLLM {vllm.__version__} knows no variable `{name}`", near(name, known))]
    before = os.environ.get(name)
    os.environ[name] = str(value)
    try:
        known[name]()
    except Exception as error:  # whatever the reader of this variable raises
        return [(where, f"`{name}` is {shown(value)}: {plain(str(error))}", None)]
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
    return []


def main() -> None:
    # ParallelConfig compares its world size with the GPUs of this machine, if it has any. The recipe is for another.
    type(current_platform).device_count = classmethod(lambda platform: MANY_GPUS)
    checker = Checker()
    items = json.load(sys.stdin)
    json.dump([checker.faults(item["options"], item["environment"], item.get("sampling")) for item in items], OUT)
    OUT.flush()


if __name__ == "__main__":
    main()
    os._exit(0)  # skip the libraries' slow teardown
