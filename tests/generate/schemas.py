"""Schemas to hold answers to: a fixed set as people write them, and random ones."""

from __future__ import annotations

import random
from typing import Any

Schema = Any

WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
        "unit": {"enum": ["c", "f"]},
    },
    "required": ["city", "days"],
    "additionalProperties": False,
}
TREE = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "v": {"type": "integer"},
                "kids": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
            "required": ["v", "kids"],
        }
    },
}

AS_WRITTEN: dict[str, Schema] = {
    "any value": True,
    "any object": {"type": "object"},
    "weather": WEATHER,
    "tree": TREE,
    "nullable": {"type": "object", "properties": {"a": {"type": ["string", "null"]}}, "required": ["a"]},
    "any of": {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "boolean"}}]},
    "tagged": {
        "oneOf": [
            {
                "type": "object",
                "properties": {"k": {"const": "a"}, "n": {"type": "number"}},
                "required": ["k", "n"],
            },
            {"type": "object", "properties": {"k": {"const": "b"}}, "required": ["k"]},
        ]
    },
    "all of": {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {"properties": {"b": {"type": "string"}}, "required": ["b"]},
        ]
    },
    "numbers": {
        "type": "array",
        "items": {"type": "number", "exclusiveMinimum": -0.5, "maximum": 12.25},
        "minItems": 2,
        "maxItems": 4,
    },
    "whole numbers": {
        "type": "array",
        "items": {"type": "integer", "minimum": -17, "maximum": 105},
        "minItems": 1,
    },
    "multiples": {"type": "integer", "minimum": 0, "maximum": 100, "multipleOf": 7},
    "counted text": {"type": "string", "minLength": 3, "maxLength": 6},
    "pattern": {"type": "string", "pattern": "^[A-Z]{2}-\\d{3,5}$"},
    "found pattern": {"type": "string", "pattern": "cat|dog", "maxLength": 12},
    "date": {
        "type": "object",
        "properties": {"on": {"type": "string", "format": "date"}},
        "required": ["on"],
    },
    "mail": {"type": "string", "format": "email"},
    "listed": {"enum": ["red", "green", 1, 2.5, None, {"a": [1]}, "蓝"]},
    "pair": {
        "type": "array",
        "prefixItems": [{"type": "string"}, {"type": "integer"}],
        "items": False,
        "minItems": 2,
    },
    "map": {"type": "object", "additionalProperties": {"type": "boolean"}},
    "map by pattern": {
        "type": "object",
        "patternProperties": {"^x_": {"type": "integer"}},
        "additionalProperties": False,
    },
    "optional ones": {
        "type": "object",
        "properties": {name: {"type": "boolean"} for name in ("one", "two", "three", "four")},
        "required": ["three"],
    },
    "chinese": {
        "type": "object",
        "properties": {"城市": {"type": "string", "maxLength": 4}},
        "required": ["城市"],
    },
    "nothing in it": {"type": "object", "properties": {}, "additionalProperties": False},
    "deep": {
        "type": "array",
        "items": {"type": "array", "items": {"type": "array", "items": {"type": "null"}}},
    },
}

DEFS: dict[str, Schema] = {
    "leaf": {"type": "string", "maxLength": 4},
    "tree": {
        "type": "object",
        "properties": {
            "v": {"$ref": "#/$defs/leaf"},
            "kids": {"type": "array", "items": {"$ref": "#/$defs/tree"}},
        },
        "required": ["v", "kids"],
        "additionalProperties": False,
    },
    "chain": {
        "anyOf": [
            {"type": "null"},
            {"type": "object", "properties": {"next": {"$ref": "#/$defs/chain"}}, "required": ["next"]},
        ]
    },
}
NAMES = ["a", "b", "name", "city name", 'x"y', "城市", "a_rather_long_name", "z"]
PATTERNS = ["^[a-z]+$", "a|b", "^\\d{3}-\\d{4}$", "^(foo|bar)+$", "\\w+@\\w+", "^.{2,4}$", '^[^"]*$',
            "^\\S+\\s\\S+$", "[\\u4e00-\\u9fff]{2}", "^$", "^-?(0|[1-9]\\d*)$", "(^x|y$)"]  # fmt: skip
LISTED = [1, 2.5, "a", "bc", "北京", None, True, False, {"x": [1]}, [], '\n"q', "a b c", -7, "ab"]
TYPES = ["string", "integer", "null", "boolean", "object", "array", "number"]


def drawn(draw: random.Random, depth: int = 0) -> Schema:
    """Return a random schema, its references into DEFS."""
    kinds = [*_LEAVES, *(_WHOLES if depth < 3 else ())]
    return {**_LEAVES, **_WHOLES}[draw.choice(kinds)](draw, depth + 1)


def _text(draw: random.Random, depth: int) -> Schema:
    low = draw.randint(0, 5)
    bounds = {"minLength": low, "maxLength": low + draw.randint(0, 6)}
    return {"type": "string"} | {key: value for key, value in bounds.items() if draw.random() < 0.4}


def _integer(draw: random.Random, depth: int) -> Schema:
    low = draw.randint(-300, 300)
    bounds = {"minimum": low, "maximum": low + draw.randint(0, 1000), "exclusiveMaximum": low + 1001}
    out = {"type": "integer"} | {key: value for key, value in bounds.items() if draw.random() < 0.5}
    if draw.random() < 0.3:
        out["multipleOf"] = draw.randint(1, 7) if out.keys() >= bounds.keys() else 1
    return out


def _number(draw: random.Random, depth: int) -> Schema:
    low = draw.choice(
        [draw.randint(-30, 30), round(draw.uniform(-3, 3), draw.randint(0, 4)), 0, 1e-3, -2.5e5]
    )
    high = low + draw.choice([1, 0.5, 100, 0.001, round(draw.uniform(0, 5), 3)])
    bounds = {
        draw.choice(["minimum", "exclusiveMinimum"]): low,
        draw.choice(["maximum", "exclusiveMaximum"]): high,
    }
    return {"type": "number"} | {key: value for key, value in bounds.items() if draw.random() < 0.5}


def _object(draw: random.Random, depth: int) -> Schema:
    properties = {draw.choice(NAMES): drawn(draw, depth) for _ in range(draw.randint(0, 4))}
    out: dict[str, Any] = {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if draw.random() < 0.5],
    }
    if draw.random() < 0.3:
        out["additionalProperties"] = draw.choice([True, False, drawn(draw, depth)])
    if draw.random() < 0.2:
        out["patternProperties"] = {"^n_": drawn(draw, depth), "^m\\d$": {"type": "integer"}}
    if draw.random() < 0.1:
        out["maxProperties"] = draw.randint(len(out["required"]), 5)
    return out


def _array(draw: random.Random, depth: int) -> Schema:
    low = draw.randint(0, 3)
    parts = {"minItems": low, "maxItems": low + draw.randint(0, 3), "items": drawn(draw, depth)}
    out = {"type": "array"} | {key: value for key, value in parts.items() if draw.random() < 0.5}
    if draw.random() < 0.3:
        out["prefixItems"] = [drawn(draw, depth) for _ in range(draw.randint(1, 3))]
    return out


_LEAVES = {
    "text": _text,
    "integer": _integer,
    "number": _number,
    "pattern": lambda draw, depth: {"type": "string", "pattern": draw.choice(PATTERNS)},
    "listed": lambda draw, depth: {"enum": draw.sample(LISTED, draw.randint(1, 5))},
    "const": lambda draw, depth: {"const": draw.choice(["x", 1, None, [1, 2], {"k": "v"}, "\x01"])},
    "simple": lambda draw, depth: draw.choice(
        [True, {}, {"type": "boolean"}, {"type": "null"}, {"title": "t"}]
    ),
}
_WHOLES = {
    "object": _object,
    "another object": _object,
    "array": _array,
    "types": lambda draw, depth: {"type": draw.sample(TYPES, draw.randint(1, 3))},
    "reference": lambda draw, depth: {"$ref": "#/$defs/" + draw.choice(sorted(DEFS))},
    "any of": lambda draw, depth: {"anyOf": [drawn(draw, depth) for _ in range(draw.randint(1, 3))]},
    "all of": lambda draw, depth: {"allOf": [drawn(draw, depth), drawn(draw, depth + 1)]},
}
