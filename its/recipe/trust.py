"""What in a recipe may run code, reach other files or other machines, and who may allow it.

A recipe is data, and may be someone else's. Settings known to be harmless are listed in `its.recipe.safe_settings`;
every other one is refused, unless the owner of the machine names it in `ITS_ALLOW_CODE`, a variable that no recipe can
set:

    export ITS_ALLOW_CODE=engine.options.trust_remote_code,train.axolotl.plugins

An allowance is for a setting, whatever its value and in any recipe.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from its.recipe.key_issuers import destination, sent_home
from its.recipe.launcher import says_where
from its.recipe.safe_axolotl_settings import AXOLOTL, DATASET
from its.recipe.safe_settings import (
    LAUNCHER_FLAGS,
    LAUNCHER_OPTIONS,
    LAUNCHER_REFUSED,
    SAMPLING,
    TRANSFORMERS,
    VARIABLES,
    VLLM,
    Rule,
)
from its.recipe.sampling_checks import OWN, SETTINGS, UNREAD, extras
from its.recipe.trainings import overlays
from its.recipe.values import Found, Location, table_at

VARIABLE = "ITS_ALLOW_CODE"
OPTIONS = {"vllm": VLLM, "transformers": TRANSFORMERS}
_NAMEABLE = re.compile(r"[A-Za-z0-9_.:/@-]+")
_IMPORTS = "imports and runs what it names"
_PICKLES = "unpickles what comes from there, which runs code"
_NETWORK = "opens connections to other machines"
_FILES = "reads or writes files of its choice"
REASONS = {
    **dict.fromkeys(["trust_remote_code", "use_kernels", "custom_generate"], "runs code that comes with a download"),
    **dict.fromkeys(["worker_cls", "worker_extension_cls", "scheduler_cls", "logits_processors", "plugins"], _IMPORTS),
    **dict.fromkeys(["trainer_cls", "model_class_overrides", "reward_funcs", "type", "input_transform"], _IMPORTS),
    **dict.fromkeys(["inductor_passes", "io_processor_plugin", "reasoning_parser_plugin"], _IMPORTS),
    **dict.fromkeys(["distributed_executor_backend", "auto_map"], _IMPORTS),
    **dict.fromkeys(["load_format", "weights_only", "use_safetensors"], "may unpickle weights, which runs their code"),
    **dict.fromkeys(["lisa_layers_attribute"], "is evaluated as Python"),
    **dict.fromkeys(["attn_implementation", "eval_causal_lm_metrics"], "may name code to download"),
    **dict.fromkeys(["master_addr", "data_parallel_address", "MASTER_ADDR", "VLLM_HOST_IP"], _PICKLES),
    **dict.fromkeys(["otlp_traces_endpoint", "kv_transfer_config", "HF_ENDPOINT", "hub_model_id"], _NETWORK),
    **dict.fromkeys(["HTTP_PROXY", "HTTPS_PROXY", "use_wandb", "use_mlflow", "push_dataset_to_hub"], _NETWORK),
    **dict.fromkeys(["download_dir", "tokenizer", "model", "path", "data_files", "chat_template_jinja"], _FILES),
    **dict.fromkeys(["LD_PRELOAD", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "PYTHONSTARTUP"], "has other code loaded"),
    "structured_outputs": "compiles a grammar, which may take any time and memory",
    "extra_args": "reaches plugins and connectors to other machines",
    "deepspeed": "names a file (a mapping with its settings is accepted instead)",
    **dict.fromkeys(["--config_file", "--module", "--no_python", "-m"], "runs something other than the training"),
}
UNKNOWN = "is not known to be harmless"


class Code(NamedTuple):
    """A setting that may run code: `name` as an allowance states it, `where` the place in the recipe."""

    where: Location
    name: str
    why: str


def code_settings(values: Mapping[str, Any]) -> list[Code]:
    """Every setting of a recipe that needs an allowance, granted or not; the values may be invalid."""
    engine, train = table_at(values, "engine"), table_at(values, "train")
    out: list[Code] = []
    kind = engine.get("kind")
    if isinstance(kind, str) and kind in OPTIONS:  # `openai` sends its options to servers, `replay` uses none
        out += _listed(table_at(engine, "options"), OPTIONS[kind], ("engine", "options"))
        out += _listed(table_at(engine, "environment"), VARIABLES, ("engine", "environment"))
    if kind == "vllm":
        for extra, here in extras(values):
            # What no recipe may set is refused by `its.recipe.sampling_checks`, with what to write.
            refused_anyway = {*SETTINGS, *OWN, *UNREAD, *(name for name in extra if name.startswith("_"))}
            settings = {name: value for name, value in extra.items() if name not in refused_anyway}
            out += _listed(settings, SAMPLING, here)
    if kind == "openai":
        out += _servers(table_at(engine, "openai").get("servers"))
    out += _training_code(train)
    for here, overlay in overlays(values):
        # An allowance names the setting, wherever a recipe sets it.
        out += [item._replace(where=(*here, *item.where[1:])) for item in _training_code(overlay)]
    return out


def _training_code(table: Mapping[str, Any]) -> Iterator[Code]:
    """The same of `train`, or of an overlay as if it were `train`."""
    yield from _listed(table_at(table, "axolotl"), _axolotl_rules(None), ("train", "axolotl"))
    yield from _launcher(table.get("launcher_args"))


def axolotl_code(config: Mapping[str, Any], rows: str | None = None) -> list[Code]:
    """What needs an allowance in a configuration of Axolotl; named as in `train.axolotl`.

    Args:
        config: template and recipe together, before ITS adds its own plugin.
        rows: the one file that `datasets` may name.
    """
    return list(_listed(config, _axolotl_rules(rows), ("train", "axolotl")))


def allowed_names() -> frozenset[str]:
    """The settings that the owner of the machine allows."""
    return frozenset(filter(None, (name.strip() for name in os.environ.get(VARIABLE, "").split(","))))


def refused(settings: Sequence[Code]) -> list[Code]:
    """The settings that the owner of the machine does not allow."""
    allowed = allowed_names()
    return [item for item in settings if item.name not in allowed or not _NAMEABLE.fullmatch(item.name)]


def refusal(item: Code) -> tuple[str, str]:
    """(message, hint) of a refused setting."""
    message = f"`{item.name}` {item.why}: refused unless the owner of this machine allows it"
    if not _NAMEABLE.fullmatch(item.name):
        return message, "take it out"
    return message, f"take it out; or, if you trust it, `export {VARIABLE}={item.name}` (a list, with commas)"


def code_faults(values: Mapping[str, Any]) -> Iterator[Found]:
    """The faults of refused settings."""
    for item in refused(code_settings(values)):
        message, hint = refusal(item)
        yield item.where, message, hint
    environment = table_at(table_at(values, "engine"), "environment")
    for name, value in environment.items():
        if isinstance(value, str) and not _passable(value):
            where = ("engine", "environment", name)
            yield where, f"`{'.'.join(where)}` contains characters that no variable can contain", "remove them"


def allowances(values: Mapping[str, Any], rendered: Sequence[Code] = ()) -> list[str]:
    """What a recipe may do with the owner's allowance, and which variable it sends to which server; one line each.

    Args:
        rendered: settings of its Axolotl template.
    """
    settings = [*code_settings(values), *rendered]
    bad = set(refused(settings))
    out = [f"runs code: {item.name} ({item.why}), allowed by {VARIABLE}" for item in settings if item not in bad]
    engine = table_at(values, "engine")
    servers = table_at(engine, "openai").get("servers") if engine.get("kind") == "openai" else None
    for server in servers if isinstance(servers, list) else []:
        if isinstance(server, Mapping) and server.get("key_variable"):
            out.append(f"sends ${server['key_variable']} to {server.get('url')}")
    return list(dict.fromkeys(out))


def _axolotl_rules(rows: str | None) -> dict[str, Rule]:
    dataset: dict[str, Rule] = {**DATASET, "path": lambda value: rows is not None and value == rows}
    return {**AXOLOTL, "datasets": {"*": dataset}}


def _listed(table: Mapping[str, Any], rules: Mapping[str, Rule], here: Location) -> Iterator[Code]:
    """The entries of a table that its rules do not list, or not with this value."""
    for key, value in table.items():
        rule = rules.get(str(key))
        where = (*here, key if isinstance(key, str | int) else str(key))
        if value is None or value == {}:
            continue  # nothing is set, or a template's value is removed
        if isinstance(rule, Mapping) and isinstance(value, Mapping):
            yield from _listed(value, rule, where)
        elif isinstance(rule, Mapping) and "*" in rule and isinstance(value, list):
            for index, item in enumerate(value):
                yield from _entry(item, rule["*"], (*where, index))
        elif isinstance(rule, Mapping):
            if not isinstance(value, bool | int | float):  # `deepspeed: false`, `compilation_config: 3`
                yield _code(where)
        elif rule is None or not rule(value):
            yield _code(where)


def _entry(item: Any, rule: Rule, where: Location) -> Iterator[Code]:
    if isinstance(rule, Mapping) and isinstance(item, Mapping):
        yield from _listed(item, rule, where)
    else:
        yield _code(where)


def _code(where: Location, why: str | None = None) -> Code:
    name = ".".join(str(part) for part in where if not isinstance(part, int))
    return Code(where, name, why or REASONS.get(str(where[-1]), UNKNOWN))


def _launcher(arguments: Any) -> Iterator[Code]:
    """Arguments of torchrun or `accelerate launch` that are not known options with harmless values.

    Those that say where processes meet are left out: no recipe may have them, whatever the owner allows
    (`its.recipe.launcher.launch_fault`).
    """
    here: Location = ("train", "launcher_args")
    rest = list(enumerate(arguments)) if isinstance(arguments, list) else []
    while rest:
        index, item = rest.pop(0)
        if not isinstance(item, str):
            continue  # a fault of the schema
        name, equals, value = item.partition("=")
        plain = "--" + name[2:].replace("-", "_") if name.startswith("--") else name
        if plain in LAUNCHER_FLAGS and not equals:
            continue
        rule, meets = LAUNCHER_OPTIONS.get(plain), says_where(item)
        takes_value = rule is not None or plain in LAUNCHER_REFUSED or meets
        if takes_value and not equals and rest and not str(rest[0][1]).startswith("-"):
            value = str(rest.pop(0)[1])
        if not meets and (rule is None or isinstance(rule, Mapping) or not value or not rule(value)):
            shown = plain if name.startswith("-") else "positional"
            yield Code((*here, index), f"train.launcher_args.{shown}", REASONS.get(shown, UNKNOWN))


def _servers(servers: Any) -> Iterator[Code]:
    """Variables that a recipe would send to a server that is not known to have issued them."""
    for index, server in enumerate(servers if isinstance(servers, list) else []):
        variable, url = (server.get(key) if isinstance(server, Mapping) else None for key in ("key_variable", "url"))
        if not isinstance(variable, str) or not isinstance(url, str):
            continue
        host = destination(url)
        if host is None or sent_home(variable, url):
            continue  # not an address: a fault of the schema
        where = ("engine", "openai", "servers", index, "key_variable")
        why = f"sends `${variable}` to `{host}`, which is not known to have issued it"
        if host.startswith("http://"):
            why = f"sends `${variable}` unencrypted to another network"
        yield Code(where, f"engine.openai.servers.key_variable.{variable}@{host}", why)


def _passable(value: str) -> bool:
    """Whether the operating system accepts it as the value of a variable."""
    try:
        return "\0" not in value and bool(value.encode("utf-8") or True)
    except UnicodeEncodeError:
        return False
