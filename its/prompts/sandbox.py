"""The sandbox of untrusted templates: plain data goes in, text comes out, and nothing else happens.

Three walls, each sufficient alone:

- A template is parsed and its tree checked against a list: only `if`, `for`, `set`, `with`, expressions, and the
  filters and tests of `its.prompts.filters`. Nothing is called, imported, included or defined.
- `a.b` and `a['b']` look into mappings, lists and texts. No attribute of a Python object is ever read.
- Every loop turn, operator, filter and text written is charged (`its.prompts.budget`), so that no template runs long or
  takes much memory. Nothing is evaluated while it is compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, Undefined, meta, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from its.prompts.budget import ITEM_UNITS, MAX_BITS, budget, charge, charge_value
from its.prompts.filters import charged_operator, declared_filters, declared_tests
from its.shown import unshowable

MAX_CHARACTERS = 100_000
"""Longest template: about twenty worked examples of reasoning."""
MAX_NODES = 5_000
MAX_DEPTH = 40
"""Depth of nested brackets, blocks and chained operators."""
MAX_NESTED_LOOPS = 4

_ALLOWED = {
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.For, nodes.Assign, nodes.AssignBlock),
    *(nodes.With, nodes.FilterBlock, nodes.Const, nodes.Name, nodes.Getattr, nodes.Getitem, nodes.Slice),
    *(nodes.Filter, nodes.Test, nodes.Compare, nodes.Operand, nodes.CondExpr, nodes.And, nodes.Or, nodes.Not),
    *(nodes.Neg, nodes.Pos, nodes.Concat, nodes.List, nodes.Tuple, nodes.Dict, nodes.Pair, nodes.Keyword),
    *(nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Pow),
}
_WORDS = {
    nodes.Call: ("calls", "filters do what methods do: `{{ text | split(',') | first }}`"),
    nodes.Macro: ("`macro`", "write it out"),
    nodes.CallBlock: ("`call`", "write it out"),
    nodes.Include: ("`include`", "a template is one file"),
    nodes.Import: ("`import`", "a template is one file"),
    nodes.FromImport: ("`import`", "a template is one file"),
    nodes.Extends: ("`extends`", "a template is one file"),
    nodes.Block: ("`block`", "write its content without it"),
    nodes.NSRef: ("`set` of an attribute", "set a plain name"),
}
_INSTEAD = {
    **dict.fromkeys(("strip", "lstrip", "rstrip"), "the filter `trim`: `{{ text | trim }}`"),
    **{name: f"the filter `{name}`" for name in ("upper", "lower", "title", "capitalize", "replace", "items", "join")},
    "format": "the filter `format`: `{{ '%.2f' | format(x) }}`",
    "get": "the filter `default`: `{{ problem.meta.level | default('') }}`",
    "startswith": "a slice: `{% if text[:3] == 'abc' %}`",
    "endswith": "a slice: `{% if text[-3:] == 'abc' %}`",
    "range": "loop over a list: `{% for i in [1, 2, 3] %}`",
    "keys": "loop over the mapping itself",
    "values": "the filter `items`",
    "append": "lists are joined by `+`",
}
_KEPT_NAMES = ("self", "super", "caller", "varargs", "kwargs")
_LOOP = (
    "index",
    "index0",
    "revindex",
    "revindex0",
    "first",
    "last",
    "length",
    "depth",
    "depth0",
    "previtem",
    "nextitem",
)


class RefusedError(TemplateSyntaxError):
    """The template contains something forbidden; `hint` is what to write instead."""

    def __init__(self, message: str, lineno: int, hint: str | None = None) -> None:
        super().__init__(message, lineno)
        self.hint = hint


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of one kind of template.

    Args:
        written: how the value of `{{ ... }}` becomes text.
        filters: further filters, each bounded by its input.
        options: of Jinja's lexer (`trim_blocks`, ...).
    """

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def __init__(
        self, written: Callable[[Any], str], filters: Mapping[str, Callable[..., Any]] | None = None, **options: Any
    ) -> None:
        super().__init__(
            undefined=StrictUndefined,
            autoescape=False,
            optimized=False,
            cache_size=0,
            finalize=_finalizer(written),
            **options,
        )
        self.globals.clear()
        self.filters.clear()
        self.filters.update({**declared_filters(), **(filters or {}), **INNER})
        self.tests.clear()
        self.tests.update(declared_tests())

    def checked(self, source: str) -> nodes.Template:
        """The tree of a template in which every step is charged.

        Raises:
            RefusedError: if it is too long or too deeply nested, or contains what is not allowed.
            TemplateSyntaxError: if it is not a template, or names a filter or test that does not exist.
        """
        if len(source) > MAX_CHARACTERS:
            raise RefusedError(f"the template has {len(source)} characters; the limit is {MAX_CHARACTERS}", 1)
        try:
            tree = self.parse(source)
        except RecursionError as error:
            raise _too_deep(1) from error
        except ValueError as error:  # a number of more than 4,300 digits
            raise RefusedError("the template has a number of more than 4,300 digits", 1) from error
        _check(tree)
        charged = _Charging().visit(tree)
        assert isinstance(charged, nodes.Template)
        charged.set_environment(self)
        return charged

    def ready(self, tree: nodes.Template) -> Template:
        """The template of a tree from `checked`, ready to be rendered.

        Raises:
            TemplateSyntaxError: if it is nested beyond Python's own limits, or names an unknown filter or test.
        """
        try:
            code = self.compile(tree)
        except (SyntaxError, RecursionError, MemoryError) as error:  # Python's own limits of nesting
            raise _too_deep(1) from error
        return Template.from_code(self, code, {}, None)

    def getattr(self, obj: Any, attribute: str) -> Any:
        return self._reached(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        return self._reached(obj, argument)

    def _reached(self, obj: Any, key: Any) -> Any:
        if isinstance(obj, Mapping):
            if isinstance(key, str | int) and key in obj:
                return obj[key]
        elif isinstance(obj, list | tuple | str):
            if isinstance(key, int) and -len(obj) <= key < len(obj):
                return obj[key]
        elif isinstance(obj, LoopContext) and key in _LOOP:
            return getattr(obj, key)
        if isinstance(key, str) and key.startswith("__"):
            raise SecurityError(f"the template tries to leave the sandbox: `{key}` of a {type(obj).__name__}")
        return self.undefined(obj=obj, name=key)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        return charged_operator(operator, left, right)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return False

    def is_safe_callable(self, obj: Any) -> bool:
        return False

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> NoReturn:
        raise SecurityError("the template tries to leave the sandbox: a call")


def undeclared_names(tree: nodes.Template) -> set[str]:
    """Names that a template reads and sets nowhere."""
    own = {name.name for name in tree.find_all(nodes.Name) if name.ctx != "load"}
    return meta.find_undeclared_variables(tree) - own


def rendered(template: Template, values: Mapping[str, Any]) -> str:
    """The text of a template with plain values, within the budget of one rendering.

    Raises:
        BudgetError: if it does too much.
        TemplateError, TypeError, ValueError, ArithmeticError, LookupError: if it fails.
    """
    with budget(values):
        return template.render(values)


def _finalizer(written: Callable[[Any], str]) -> Callable[[Context, Any], str]:
    @pass_context  # so never evaluated while the template is compiled
    def finalize(context: Context, value: Any) -> str:
        text = value if type(value) is str else written(value)
        charge(len(text))
        return text

    return finalize


def _too_deep(line: int) -> RefusedError:
    return RefusedError(f"nested or chained more than {MAX_DEPTH} deep", line, "set parts of it to names first")


def _check(tree: nodes.Template) -> None:
    """Walk the tree without recursion; raise RefusedError for the first thing in it that is not allowed."""
    waiting: list[tuple[nodes.Node, int, int]] = [(tree, 0, 0)]
    count = 0
    while waiting:
        node, depth, loops = waiting.pop()
        count += 1
        line = node.lineno or 1
        if type(node) not in _ALLOWED:
            what, hint = _WORDS.get(type(node), (f"`{type(node).__name__.lower()}`", None))
            if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Getattr | nodes.Name):
                called = node.node.attr if isinstance(node.node, nodes.Getattr) else node.node.name
                hint = _INSTEAD.get(called, hint)
            raise RefusedError(f"templates have no {what} (the sandbox allows `if`, `for`, `set`, filters)", line, hint)
        if isinstance(node, nodes.Name) and node.name in _KEPT_NAMES:
            raise RefusedError(f"the template tries to leave the sandbox: `{node.name}`", line)
        if isinstance(node, nodes.Filter | nodes.Test) and (node.dyn_args is not None or node.dyn_kwargs is not None):
            raise RefusedError("templates have no `*` and `**` before arguments", line)
        text = (
            node.data if isinstance(node, nodes.TemplateData) else node.value if isinstance(node, nodes.Const) else None
        )
        if isinstance(text, str) and (found := unshowable(text)):
            raise RefusedError(f"the template contains {found}, which is not allowed in prompts", line)
        if isinstance(node, nodes.Const) and isinstance(node.value, int) and node.value.bit_length() > MAX_BITS:
            raise RefusedError(f"the template has an integer of more than {MAX_BITS} bits", line)
        if isinstance(node, nodes.For):
            loops += 1
            if node.recursive:
                raise RefusedError("templates have no `recursive` loops", line, "write the loops out")
        if loops > MAX_NESTED_LOOPS:
            raise RefusedError(f"more than {MAX_NESTED_LOOPS} loops in one another", line)
        if depth > MAX_DEPTH:
            raise _too_deep(line)
        if count > MAX_NODES:
            raise RefusedError(f"more than {MAX_NODES} parts", line, "shorten it")
        waiting.extend((child, depth + 1, loops) for child in node.iter_child_nodes())


class _Charging(NodeTransformer):
    """Adds a charge before every step whose cost depends on data."""

    def visit_For(self, node: nodes.For) -> nodes.For:
        cost = _cost(node)
        self.generic_visit(node)
        assert isinstance(node.iter, nodes.Expr)
        node.iter = _inner("each", node.iter, nodes.Const(cost))
        return node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Compare:
        self.generic_visit(node)
        sides: list[nodes.Compare | nodes.Operand] = [node, *node.ops]
        for side in sides:
            if not isinstance(side.expr, nodes.Const):
                side.expr = _inner("weighed", side.expr)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Expr:
        self.generic_visit(node)
        return _inner("joined", nodes.List(node.nodes, lineno=node.lineno))

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Expr:
        self.generic_visit(node)
        if not isinstance(node.arg, nodes.Slice):
            return node
        bounds = [part or nodes.Const(None) for part in (node.arg.start, node.arg.stop, node.arg.step)]
        return _inner("cut", node.node, *bounds)

    def visit_List(self, node: nodes.List) -> nodes.Expr:
        self.generic_visit(node)
        return _inner("weighed", node)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Expr:
        self.generic_visit(node)
        return _inner("weighed", node)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Expr:
        self.generic_visit(node)
        return _inner("weighed", node) if node.ctx == "load" else node


def _cost(loop: nodes.For) -> int:
    """Units of one iteration of a loop."""
    cost = 0
    for node in loop.find_all(nodes.Node):
        cost += len(node.data) if isinstance(node, nodes.TemplateData) else ITEM_UNITS
    return cost


def _inner(name: str, value: nodes.Expr, *args: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(value, f"its:{name}", list(args), [], None, None, lineno=value.lineno)


@pass_context
def _each(context: Context, value: Any, cost: int) -> list[Any]:
    if isinstance(value, Undefined):
        iter(value)  # raises, naming what is undefined
    if not isinstance(value, list | tuple | str | Mapping):
        raise TypeError(f"a {type(value).__name__} is not a list")
    charge(cost * len(value))
    return list(value)


@pass_context
def _weighed(context: Context, value: Any) -> Any:
    return charge_value(value)


@pass_context
def _joined(context: Context, value: list[Any]) -> str:
    charge_value(value, 2)
    return "".join(map(str, value))


@pass_context
def _cut(context: Context, value: Any, start: Any, stop: Any, step: Any) -> Any:
    if isinstance(value, Undefined):
        iter(value)  # raises, naming what is undefined
    if not isinstance(value, list | tuple | str):
        raise TypeError(f"a {type(value).__name__} has no parts")
    return charge_value(value[start:stop:step])


# No template can write a name with a colon.
INNER: dict[str, Callable[..., Any]] = {
    "its:each": _each,
    "its:weighed": _weighed,
    "its:joined": _joined,
    "its:cut": _cut,
}
