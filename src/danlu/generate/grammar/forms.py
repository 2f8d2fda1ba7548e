"""How a call is written, form by form, under the names that vLLM gives its parsers; see tools/formats.

    Form.open      the marks an answer's calls begin with, by which free text knows that they begin
    Form.rest      a call, or several, without those marks

A mark that is a word of its own in the tokenizer is that word and nothing else; otherwise it is text.
"""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from danlu.base.errors import UserError
from danlu.generate.grammar import spelled_out
from danlu.generate.grammar.bare import Ending
from danlu.generate.grammar.lexemes import Token
from danlu.generate.grammar.nodes import Alt, Node, Piece, Repeat, Seq, text
from danlu.generate.grammar.schema import Compiler
from danlu.generate.grammar.vocabulary import Vocabulary


@dataclass(frozen=True)
class Tool:
    """One function that may be called."""

    name: str
    schema: Any
    """Of its arguments; True is any object."""

    @property
    def place(self) -> str:
        """How an error calls its schema."""
        return f"arguments of '{self.name}'"

    @property
    def quoted(self) -> str:
        """The name as a JSON string."""
        return json.dumps(self.name, ensure_ascii=False)


@dataclass(frozen=True)
class Form:
    """One way to write calls."""

    open: tuple[str, ...]
    """The marks an answer's calls begin with; without any, a call is all of an answer."""
    rest: Callable[[Vocabulary, list[Tool], bool], Node]
    """All calls, one or several, without those marks."""

    def calls(self, words: Vocabulary, tools: list[Tool], several: bool) -> Node:
        """Return the grammar of an answer that is calls and nothing else."""
        return Seq(mark(words, *self.open), self.rest(words, tools, several))


def mark(words: Vocabulary, *tags: str) -> Node:
    """Return the grammar of some marks, each its own word where the tokenizer has one for it."""
    return Seq(*(Piece(Token(words.special[tag])) if tag in words.special else text(tag) for tag in tags))


def arguments(tool: Tool) -> Node:
    """Return the grammar of a call's arguments as a JSON object."""
    compiler = Compiler(tool.schema, tool.place)
    return compiler.node({"allOf": [compiler.root, {"type": "object"}]}, tool.place)


def _objects(tools: list[Tool], key: str, close: str = "}", begin: str = "") -> Node:
    """Return {"name": ..., KEY: {...}} for any of the tools."""
    return Alt(
        *(
            Seq(text(f'{begin}{{"name": {tool.quoted}, "{key}": '), arguments(tool), text(close))
            for tool in tools
        )
    )


def _more(first: Node, later: Node, several: bool) -> Node:
    return Seq(first, Repeat(later, 0, None)) if several else first


def _tagged(words: Vocabulary, inner: Node, several: bool) -> Node:
    """Return calls between <tool_call> and </tool_call>, a line's end between them."""
    rest = Seq(inner, mark(words, "</tool_call>"))
    return _more(rest, Seq(text("\n"), mark(words, "<tool_call>"), rest), several)


def _hermes(words: Vocabulary, tools: list[Tool], several: bool) -> Node:
    return _tagged(words, _objects(tools, "arguments", close="}\n", begin="\n"), several)


def _llama3_json(words: Vocabulary, tools: list[Tool], several: bool) -> Node:
    call = _objects(tools, "parameters")
    return _more(call, Seq(text("; "), call), several)


def _mistral(words: Vocabulary, tools: list[Tool], several: bool) -> Node:
    if "[ARGS]" in words.special:  # so it is from the eleventh tokenizer on
        named = Alt(*(Seq(text(_bare(tool)), mark(words, "[ARGS]"), arguments(tool)) for tool in tools))
        return _more(named, Seq(mark(words, "[TOOL_CALLS]"), named), several)
    call = _objects(tools, "arguments")
    return Seq(text("["), _more(call, Seq(text(", "), call), several), text("]"))


def _phi4(words: Vocabulary, tools: list[Tool], several: bool) -> Node:
    call = _objects(tools, "arguments")
    return Seq(_more(call, Seq(text(", "), call), several), text("]"))


def _internlm(words: Vocabulary, tools: list[Tool], several: bool) -> Node:
    del several  # this form has one call
    return Seq(_objects(tools, "parameters", close="}\n", begin="\n"), mark(words, "<|action_end|>"))


def _deepseek(words: Vocabulary, tools: list[Tool], several: bool) -> Node:
    def one(tool: Tool) -> Node:
        return Seq(
            mark(words, "<｜tool▁call▁begin｜>"),
            text("function"),
            mark(words, "<｜tool▁sep｜>"),
            text(f"{_bare(tool)}\n```json\n"),
            arguments(tool),
            text("\n```"),
            mark(words, "<｜tool▁call▁end｜>"),
        )

    call = Alt(*map(one, tools))
    calls = _more(call, Seq(text("\n"), call), several)
    return Seq(calls, mark(words, "<｜tool▁calls▁end｜>"))


def _qwen3_coder(words: Vocabulary, tools: list[Tool], several: bool) -> Node:
    def one(tool: Tool) -> Node:
        given = spelled_out.arguments(
            tool.schema,
            tool.place,
            before=lambda name: text(f"<parameter={name}>\n"),
            ending=Ending("\n</parameter>", ("<parameter=", "</function>", "</tool_call>")),
        )
        return Seq(text(f"\n<function={_bare(tool)}>\n"), given, text("</function>\n"))

    return _tagged(words, Alt(*map(one, tools)), several)


def _glm45(words: Vocabulary, tools: list[Tool], several: bool) -> Node:
    ending = Ending("</arg_value>", ("</tool_call>",), words.special.get("</arg_value>"))

    def before(name: str) -> Node:
        key, end = mark(words, "<arg_key>"), mark(words, "</arg_key>")
        return Seq(key, text(name), end, text("\n"), mark(words, "<arg_value>"))

    def one(tool: Tool) -> Node:
        return Seq(text(f"{_bare(tool)}\n"), spelled_out.arguments(tool.schema, tool.place, before, ending))

    return _tagged(words, Alt(*map(one, tools)), several)


def _pythonic(words: Vocabulary, tools: list[Tool], several: bool) -> Node:
    def one(tool: Tool) -> Node:
        if not all(map(_is_name, tool.name.split("."))):
            raise UserError(f"function '{tool.name}' is no Python name", "rename it, or use tool_choice auto")
        return Seq(text(f"{tool.name}("), spelled_out.keywords(tool.schema, tool.place), text(")"))

    call = Alt(*map(one, tools))
    return Seq(text("["), _more(call, Seq(text(", "), call), several), text("]"))


def _is_name(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name)


def _bare(tool: Tool) -> str:
    """Return a name that stands between marks without quotes."""
    if not re.fullmatch(r"[\w.-]+", tool.name):
        raise UserError(
            f"function '{tool.name}' cannot be called in this model's form",
            "use letters, digits, '_', '-' and '.' in its name",
        )
    return tool.name


FORMS = {
    "hermes": Form(("<tool_call>",), _hermes),
    "qwen3_coder": Form(("<tool_call>",), _qwen3_coder),
    "glm45": Form(("<tool_call>",), _glm45),
    "mistral": Form(("[TOOL_CALLS]",), _mistral),
    "deepseek_v3": Form(("<｜tool▁calls▁begin｜>",), _deepseek),
    "internlm": Form(("<|action_start|>", "<|plugin|>"), _internlm),
    "phi4_mini_json": Form(("functools[",), _phi4),
    "llama3_json": Form((), _llama3_json),
    "pythonic": Form((), _pythonic),
}
