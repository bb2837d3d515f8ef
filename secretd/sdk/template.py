"""The part of Go's template language that Vault's username templates use: its words and its grammar.

``{{ printf "v-%s" (.DisplayName | truncate 8 | lowercase) | truncate 63 }}``: text, actions in ``{{ }}`` with
pipes, parentheses, two fields and a fixed set of functions. No variables, conditions or loops.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from typing import TypeAlias

from secretd.sdk.template_functions import FUNCTIONS, MAX_VALUE, Scope, Text, Value, as_text, join_texts

MAX_TEMPLATE = 1024  # characters
MAX_DEPTH = 16
MAX_WORDS = 200  # of one action; each pipe is three frames of the interpreter's stack

Node: TypeAlias = Callable[[Scope], Value]

_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\\n]|\\.)*"|`[^`]*`)|(?P<int>\d{1,9})(?![\w.])|(?P<field>\.[A-Za-z]\w*)"""
    r"""|(?P<name>[A-Za-z]\w*)|(?P<mark>[|()]))"""
)
_ACTION = re.compile(r"\{\{(-\s)?(.*?)(\s-)?\}\}", re.DOTALL)
_FIELDS = ("DisplayName", "RoleName")


def compile_template(text: str) -> Callable[[Scope], Text]:
    """Return the renderer; raise ValueError, without showing the text, for what is not understood."""
    if len(text) > MAX_TEMPLATE:
        raise ValueError(f"a template has at most {MAX_TEMPLATE} characters")
    nodes: list[Node] = []
    end = 0
    trim = False
    for action in _ACTION.finditer(text):
        before = text[end : action.start()]
        nodes.append(_literal(_trimmed(before, front=trim, back=action[1] is not None)))
        nodes.append(_Parser(action[2]).action())
        trim, end = action[3] is not None, action.end()
    rest = _trimmed(text[end:], front=trim, back=False)
    if "{{" in rest or "}}" in rest:
        raise ValueError("a template has {{ and }} in pairs")
    nodes.append(_literal(rest))
    return lambda scope: join_texts([as_text(node(scope)) for node in nodes])


def _trimmed(text: str, *, front: bool, back: bool) -> str:
    text = text.lstrip() if front else text
    return text.rstrip() if back else text


def _literal(text: str) -> Node:
    value = Text.plain(text)
    return lambda _scope: value


class _Parser:
    """pipeline = command { "|" command }; command = function operand… | operand."""

    def __init__(self, source: str) -> None:
        self._tokens = _tokens(source)
        self._at = 0
        self._depth = 0

    def action(self) -> Node:
        node = self._pipeline()
        if self._kind():
            raise ValueError("an action of the template has something after its end")
        return node

    def _kind(self) -> str:
        return self._tokens[self._at][0] if self._at < len(self._tokens) else ""

    def _take(self) -> tuple[str, str]:
        self._at += 1
        return self._tokens[self._at - 1]

    def _pipeline(self) -> Node:
        node = self._command(None)
        while self._kind() == "|":
            self._take()
            node = self._command(node)
        return node

    def _command(self, piped: Node | None) -> Node:
        if self._kind() == "name":
            name = self._take()[1]
            # Its form decides which arguments are right, so it must be known before any value is.
            if name == "printf" and self._kind() != "string":
                raise ValueError("printf of a template begins with its form in quotes")
            operands: list[Node] = []
            while self._kind() not in ("", "|", ")"):
                operands.append(self._operand())
            return _call(name, operands + ([piped] if piped else []))
        if piped is not None:
            raise ValueError("after | a template has a function")
        return self._operand()

    def _operand(self) -> Node:
        if not self._kind() or self._kind() in ("|", ")"):
            raise ValueError("an action of the template is not complete")
        kind, word = self._take()
        if kind == "(":
            return self._group()
        if kind == "name":
            return _call(word, [])
        if kind == "field":
            return _field(word[1:])
        if kind == "int":
            number = int(word)
            return lambda _scope: number
        return _literal(_unquoted(word))

    def _group(self) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ValueError("the template nests too deeply")
        node = self._pipeline()
        if self._kind() != ")":
            raise ValueError("a template has ( and ) in pairs")
        self._take()
        self._depth -= 1
        return node


def _tokens(source: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    source = source.strip()
    at = 0
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None:
            raise ValueError("an action of the template has something that is no word of its language")
        kind, word = match.lastgroup or "", match[match.lastgroup or 0]
        found.append((word if kind == "mark" else kind, word))
        at = match.end()
    if len(found) > MAX_WORDS:
        raise ValueError(f"an action of the template has at most {MAX_WORDS} words")
    return found


def _unquoted(word: str) -> str:
    if word[0] == "`":
        return word[1:-1]
    try:
        # Go's and Python's escapes agree on all that a name could use; this reads a literal, runs nothing.
        return str(ast.literal_eval(word))
    except (ValueError, SyntaxError):
        raise ValueError("a string of the template has an unknown escape") from None


def _field(name: str) -> Node:
    if name not in _FIELDS:
        raise ValueError(f"a template's fields are .{' and .'.join(_FIELDS)}")
    return lambda scope: Text.plain(scope.fields[name])


def _call(name: str, operands: list[Node]) -> Node:
    if name not in FUNCTIONS:
        raise ValueError(f"a template's functions are {', '.join(sorted(FUNCTIONS))}")
    function, kinds = FUNCTIONS[name]
    if len(operands) != len(kinds) if kinds is not None else not operands:
        raise ValueError(f"{name} of a template has another number of arguments")

    def call(scope: Scope) -> Value:
        values = [operand(scope) for operand in operands]
        if kinds is not None:
            values = [_as(kind, value) for kind, value in zip(kinds, values, strict=True)]
        result = function(scope, *values)
        return result.cut(MAX_VALUE) if isinstance(result, Text) else result

    return call


def _as(kind: type, value: Value) -> Value:
    if kind is Text:
        return as_text(value)
    if not isinstance(value, int) or not 0 < value <= MAX_VALUE:
        raise ValueError(f"a number of the template is not within 1 and {MAX_VALUE}")
    return value
