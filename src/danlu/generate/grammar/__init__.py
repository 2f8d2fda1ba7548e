"""Answers held to a grammar: JSON of any kind or of a schema, and calls of tools in the model's own form.

    grammar = json_schema(tokenizer, schema)
    grammar.least                            words of the shortest answer
    constraint = grammar.begin(max_tokens)   one request's state: fill, accept, finished

Whatever is drawn among the words allowed, the answer is whole before its words are used up.
"""

from danlu.generate.grammar.calls import json_object, json_schema, tool_calls
from danlu.generate.grammar.compiled import Grammar, TooShort
from danlu.generate.grammar.constraint import Constraint

__all__ = ["Constraint", "Grammar", "TooShort", "json_object", "json_schema", "tool_calls"]
