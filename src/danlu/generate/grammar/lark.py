"""The same grammar, written for the grammar library: Lark with llguidance's extensions.

start: n1
n1: t1 n2 t3           one rule a node, one terminal a lexeme; lexemes that are equal share one
t1: /[\\x{7B}]/
"""

from __future__ import annotations

from danlu.generate.grammar.lexemes import Lexeme, Token
from danlu.generate.grammar.nodes import Alt, Node, Piece, Repeat, Rule, Seq, every


def written(root: Node) -> str:
    """Return the Lark text of a grammar."""
    lines = ['%llguidance {"no_forcing": true}', ""]
    terminals: dict[str, str] = {}
    names: dict[int, str] = {}
    nodes = list(every(root))
    for node in nodes:
        names[id(node)] = (
            _terminal(node.lexeme, terminals, lines) if isinstance(node, Piece) else f"n{len(names)}"
        )
    lines[1] = f"start: {names[id(root)]}"
    for node in nodes:
        if not isinstance(node, Piece):
            lines.append(f"{names[id(node)]}: {_body(node, names)}")
    return "\n".join(lines) + "\n"


def _terminal(lexeme: Lexeme, terminals: dict[str, str], lines: list[str]) -> str:
    if isinstance(lexeme, Token):
        return lexeme.lark
    key = f"{lexeme.lazy} {lexeme.lark}"
    if key not in terminals:
        name = f"T{len(terminals)}"
        lines.append(f"{name}: {lexeme.lark}")
        terminals[key] = name
        if lexeme.lazy:
            terminals[key] = name.lower()
            lines.append(f"{name.lower()}[lazy]: {name}")
    return terminals[key]


def _body(node: Node, names: dict[int, str]) -> str:
    if isinstance(node, Seq):
        return " ".join(names[id(part)] for part in node.parts) or '""'
    if isinstance(node, Alt):
        return " | ".join(names[id(option)] for option in node.options)
    if isinstance(node, Rule):
        assert node.body is not None, f"rule {node.name} has no body"
        return names[id(node.body)]
    assert isinstance(node, Repeat)
    inner = names[id(node.inner)]
    if node.high == 0:
        return '""'
    if (node.low, node.high) == (0, 1):
        return f"{inner}?"
    if node.high is None:
        return f"{inner}*" if node.low == 0 else f"{inner}{{{node.low},}}"
    return f"{inner}{{{node.low},{node.high}}}"
