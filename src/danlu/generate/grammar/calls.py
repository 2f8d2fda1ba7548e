"""Calls of tools as an answer, whole or behind free text, and thoughts before either.

    tool_choice   none       nothing is held to a grammar
                  auto       text; once a call begins it is held to its form, and to its tool's schema if
                             that is strict. Without a strict tool nothing is
                  required   calls and nothing else
                  a name     calls of this tool
    parallel      whether more than one call may follow

`thinking` says whether thoughts may come first: "may" (the model opens them itself) or "opened" (the prompt
has). They are free, but for marks that their reader would take for their end, and end in time for the rest.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from danlu.base.errors import UserError, nearest, pick
from danlu.generate.grammar.compiled import KEPT, Grammar, possible, spec, value_node
from danlu.generate.grammar.forms import FORMS, Form, Tool, mark
from danlu.generate.grammar.lexemes import Token, table, text_until, text_without
from danlu.generate.grammar.nodes import Alt, Node, Piece, Repeat, Seq, optional, text
from danlu.generate.grammar.regex import ANY, Cat, Chars, Rep, without
from danlu.generate.grammar.vocabulary import Vocabulary, vocabulary_of
from danlu.tokenizer.tokenizer import Tokenizer

OPEN, CLOSE = "<think>", "</think>"
THINKING = ("", "may", "opened")


def json_object(tokenizer: Tokenizer, *, thinking: str = "", ends: Collection[int] | None = None) -> Grammar:
    """Return the grammar of any JSON object."""
    return json_schema(tokenizer, {"type": "object"}, thinking=thinking, ends=ends)


def json_schema(
    tokenizer: Tokenizer, schema: Any, *, thinking: str = "", ends: Collection[int] | None = None
) -> Grammar:
    """Return the grammar of the values that satisfy a JSON schema."""
    pick("way of thinking", thinking, THINKING)
    return _schema(vocabulary_of(tokenizer, ends), spec(schema), thinking)


def tool_calls(
    tokenizer: Tokenizer,
    form: str | None,
    tools: Sequence[Mapping[str, Any]],
    choice: str | Mapping[str, Any] = "auto",
    *,
    parallel: bool = True,
    thinking: str = "",
    ends: Collection[int] | None = None,
    instead: Any = None,
) -> Grammar | None:
    """Return the grammar of an answer that may or must call tools; None where nothing holds it.

    `form` is the model's by vLLM's parser name, `choice` as OpenAI's tool_choice has it. An answer that may
    call is otherwise free, or JSON of the schema `instead`.
    """
    pick("way of thinking", thinking, THINKING)
    wanted = _wanted(choice)
    if wanted == "none" or (wanted == "auto" and instead is None and not any(map(_strict, tools))):
        return None
    if form not in FORMS:
        raise UserError(
            f"this model writes calls in {f'the form {form!r}' if form else 'no known form'},"
            " so tool_choice and strict cannot be kept",
            nearest(form, FORMS) if form else "tool_choice auto, or a model whose template knows tools",
        )
    if not tools:
        raise UserError(f"tool_choice '{wanted}' without tools", "give tools, or tool_choice none")
    words = vocabulary_of(tokenizer, ends)
    other = spec(instead) if instead is not None and wanted == "auto" else ""
    return _calls(words, form, spec([_function(tool) for tool in tools]), wanted, parallel, thinking, other)


@functools.lru_cache(maxsize=KEPT)
def _schema(words: Vocabulary, schema: str, thinking: str) -> Grammar:
    return Grammar(_thoughtful(words, value_node(json.loads(schema), "schema"), thinking), words)


@functools.lru_cache(maxsize=KEPT)
def _calls(
    words: Vocabulary, form: str, tools: str, choice: str, parallel: bool, thinking: str, instead: str
) -> Grammar:
    known = [Tool(tool["name"], _schema_of(tool, choice)) for tool in json.loads(tools)]
    named = [tool for tool in known if choice in ("auto", "required", tool.name)]
    if not named:
        raise UserError(
            f"tool_choice names '{choice}', which is none of the tools",
            nearest(choice, [tool.name for tool in known]),
        )
    shape = FORMS[form]
    if choice == "auto" and not instead:
        return Grammar(possible(lambda: _behind_text(words, shape, named, parallel, thinking)), words, True)
    root = possible(lambda: shape.calls(words, named, parallel))
    if instead:
        root = Alt(value_node(json.loads(instead), "schema"), root)
    return Grammar(_thoughtful(words, root, thinking, "".join(shape.open)), words)


def _schema_of(tool: dict[str, Any], choice: str) -> Any:
    if choice == "auto" and not tool.get("strict"):
        return {"type": "object"}
    return tool.get("parameters") or {"type": "object", "properties": {}}


def _function(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = tool.get("function", tool)
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(name, str) or not name:
        raise UserError(
            f"a tool has no function with a name: {json.dumps(tool, default=str)[:80]}", "name it"
        )
    return {key: function.get(key) for key in ("name", "parameters", "strict")}


def _strict(tool: Mapping[str, Any]) -> bool:
    function = tool.get("function", tool)
    return isinstance(function, Mapping) and function.get("strict") is True


def _wanted(choice: str | Mapping[str, Any]) -> str:
    if isinstance(choice, str):
        return choice
    function = choice.get("function")
    if choice.get("type") != "function" or not isinstance(function, Mapping) or "name" not in function:
        raise UserError(
            f"tool_choice {json.dumps(choice, default=str)[:80]} is not understood",
            'auto, none, required, or {"type": "function", "function": {"name": ...}}',
        )
    return str(function["name"])


def _behind_text(words: Vocabulary, shape: Form, tools: list[Tool], several: bool, thinking: str) -> Node:
    """Return free text that may lead to calls; where a call begins, it is held to its form."""
    calls = shape.rest(words, tools, several)
    if not shape.open:
        begun = ((9, 13), (32, 32), (ord("["), ord("[")), (ord("{"), ord("{")))
        plain = Cat((Chars(without(ANY.ranges, begun)), Rep(ANY, 0, None)))
        return _thoughtful(words, Alt(calls, optional(Piece(table(plain, long=True)))), thinking)
    opened = "".join(shape.open)
    free = Piece(text_without(opened))
    if all(tag in words.special for tag in shape.open):
        body: Node = Seq(free, optional(Seq(mark(words, *shape.open), calls)))
    else:
        body = Alt(free, Seq(Piece(text_until(opened)), calls))
    # Words for thoughts may stand in the text; what is said between them matters as little.
    thoughts = [Piece(Token(words.special[tag])) for tag in (OPEN, CLOSE) if tag in words.special]
    return Seq(Repeat(Seq(free, Alt(*thoughts)), 0, None), body) if thoughts else body


def _thoughtful(words: Vocabulary, node: Node, thinking: str, call: str = "") -> Node:
    """Return a grammar with thoughts before it, in which no call may begin."""
    if not thinking:
        return node
    never = (OPEN, call) if call else (OPEN,)
    if CLOSE in words.special:
        thoughts: Node = Seq(Piece(text_without(CLOSE, *never)), Piece(Token(words.special[CLOSE])))
    else:
        thoughts = Piece(text_until(CLOSE, never))
    thoughtful = Seq(thoughts, Repeat(text("\n"), 0, 2), node)
    return thoughtful if thinking == "opened" else Alt(node, Seq(mark(words, OPEN), thoughtful))
