"""Configuration, read strictly: pydantic sections, a YAML file, then `key=value` words.

    class Optim(Section):
        lr: float = 5e-4
        '''Peak learning rate, reached after `warmup` steps.'''

    cfg = load(Config, "configs/sft.yaml", ["optim.lr=1e-5"])

The string under a field is its help, its line in the docs and its label in a web form; there is no
second place. Unknown keys and wrong types are refused with the file (or the word), the key, the
value found and the nearest known key. Order of precedence: defaults < file < words.

Two traps handled here: YAML 1.1 reads `1e-5` as text, and a Python `bool` is an `int`.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from danlu.base.errors import UserError, nearest


class Section(BaseModel):
    """One group of keys. Frozen, strict, and it knows no key it did not declare."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        use_attribute_docstrings=True,
        populate_by_name=True,
        protected_namespaces=(),
    )


S = TypeVar("S", bound=Section)


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads `1e-5` as a number and refuses a key written twice."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d[\d_]*)(?:\.[\d_]*)?[eE][-+]?\d+$"),
    list("-+0123456789"),
)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            line = key_node.start_mark.line + 1
            raise UserError(f"{key_node.start_mark.name}:{line}: {key}: written twice", "keep one of them")
        seen[key] = loader.construct_object(value_node, deep=True)
    return seen


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def parse(text: str, name: str = "<word>") -> Any:
    """Return what a piece of YAML says, or refuse it with its name and line."""
    loader = _Loader(text)
    loader.name = name
    try:
        return loader.get_single_data()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{name}:{mark.line + 1}" if mark else name
        raise UserError(
            f"{where}: not valid YAML: {getattr(error, 'problem', error)}",
            "check the quoting and the indentation",
        ) from None
    finally:
        loader.dispose()


def read(path: Path) -> dict[str, Any]:
    """Return the mapping a YAML file holds."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file", "check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}", "a UTF-8 YAML file is wanted") from None
    data = parse(text, str(path))
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise UserError(
            f"{path}: holds {type(data).__name__}, not keys and values",
            "begin with a line like 'steps: 1000'",
        )
    return data


def override(data: dict[str, Any], words: Sequence[str], shorthand: str = "preset") -> dict[str, Any]:
    """Return `data` with each `key=value` word applied; dots in a key reach into sections.

    A text where a word wants to reach further becomes a section under `shorthand`, so that
    `model=26m model.hidden_size=640` means the preset 26m with another width.

    >>> override({"optim": {"lr": 1.0}}, ["optim.lr=1e-5", "seed=3"])
    {'optim': {'lr': 1e-05}, 'seed': 3}
    >>> override({}, ["model=26m", "model.hidden_size=640"])
    {'model': {'preset': '26m', 'hidden_size': 640}}
    """
    data = _copy(data)
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UserError(f"'{word}' is not a setting", "write key=value, for example steps=1000")
        *groups, last = key.split(".")
        place = data
        for group in groups:
            inner = place.get(group)
            if inner is None:
                inner = {}
            elif isinstance(inner, str):
                inner = {shorthand: inner}
            elif not isinstance(inner, dict):
                raise UserError(f"{key}: '{group}' is a value, not a section", f"{group}=...")
            place[group] = inner
            place = inner
        try:
            place[last] = parse(value, word) if value != "" else ""
        except UserError:
            place[last] = value  # a bare path or URL with YAML's punctuation in it is still text
    return data


def _copy(data: Any) -> Any:
    return {key: _copy(value) for key, value in data.items()} if isinstance(data, dict) else data


def load(kind: type[S], path: Path | None, words: Sequence[str] = ()) -> S:
    """Return a checked configuration from a file and words."""
    data = override(read(path) if path else {}, words)
    return check(kind, data, str(path) if path else "the command line", words)


def check(kind: type[S], data: dict[str, Any], source: str, words: Sequence[str] = ()) -> S:
    """Return `data` as a `kind`, or raise the first thing wrong with it as two lines."""
    try:
        return kind.model_validate(_numbers(kind, data))
    except ValidationError as error:
        first, *others = error.errors(include_url=False)
        if first["type"] == "bool_type" and others and others[0]["type"] == "literal_error":
            first = others[0]  # both alternatives failed; the one with words says more
            first["ctx"] = {"expected": f"true, false or {first['ctx']['expected']}"}
        raise _explain(kind, first, source, words) from None


# Parts of a place that name no key but which alternative of a type was tried.
KINDS = ("function-", "dict[", "list[", "tuple[", "union[", "constrained-", "literal[", "is-instance[")
WORDS = ("str", "float", "int", "bool", "none", "constrained-float")


def _explain(kind: type[Section], error: Any, source: str, words: Sequence[str]) -> UserError:
    loc = [str(part) for part in error["loc"] if not str(part).startswith(KINDS) and str(part) not in WORDS]
    key = ".".join(loc)
    if any(f"{word.partition('=')[0]}.".startswith(f"{key}.") for word in words):
        source = "the command line"
    if error["type"] == "extra_forbidden":
        prefix, _, _ = key.rpartition(".")
        known = [field.key for field in fields(kind)]
        beside = [name for name in known if name.rpartition(".")[0] == prefix]
        if any(part.isdecimal() for part in loc):  # in an item of a list
            return UserError(f"{source}: {key}: unknown key", nearest(loc[-1], _item_keys(kind, loc[:-1])))
        hint = nearest(key, known)
        return UserError(
            f"{source}: {key}: unknown key", hint if hint.startswith("did") else nearest(key, beside or known)
        )
    found = error.get("input")
    if error["type"] == "missing":
        return UserError(f"{source}: {key}: is required and not set", f"{key}=VALUE")
    message = error["msg"].removeprefix("Value error, ")
    hint = (
        str(error.get("ctx", {}).get("expected", ""))
        or f"'danlu config' prints every key with its meaning; {key}=VALUE sets this one"
    )
    shown = "" if isinstance(found, dict) else f" (found {found!r})"
    where = f"{source}: {key}: " if key else f"{source}: "
    problem, _, advice = message.partition("; try: ")
    return UserError(f"{where}{problem[0].lower() + problem[1:]}{shown}", advice or hint)


def _item_keys(kind: type[BaseModel], loc: Sequence[str]) -> list[str]:
    """Return the keys of the section at a place that leads through lists."""
    for part in loc:
        field = kind.model_fields.get(part)
        if field is not None:
            parts = [inner for each in _kinds(field.annotation) for inner in (each, *typing.get_args(each))]
            kind = _section(parts) or kind
    return [field.alias or name for name, field in kind.model_fields.items()]


def _numbers(kind: type[BaseModel], data: Any) -> Any:
    """Let an int stand where a float is wanted, and a list where a tuple is; leave all else to strictness."""
    if not isinstance(data, dict):
        return data
    out = {}
    by_name = {(field.alias or name): field for name, field in kind.model_fields.items()}
    by_name |= dict(kind.model_fields)
    for key, value in data.items():
        field = by_name.get(key)
        kinds = _kinds(field.annotation) if field else []
        inner = _section(kinds)
        if inner is not None and isinstance(value, dict):
            value = _numbers(inner, value)
        elif float in kinds and int not in kinds and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        elif isinstance(value, list) and any(typing.get_origin(k) is tuple for k in kinds):
            value = tuple(value)
        out[key] = value
    return out


def _kinds(annotation: Any) -> list[Any]:
    """Return the alternatives of a type: `float | None` gives float and NoneType."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _kinds(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return [kind for part in typing.get_args(annotation) for kind in _kinds(part)]
    return [annotation]


def _section(kinds: list[Any]) -> type[BaseModel] | None:
    """Return the alternative that is a section of its own, if one is."""
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


class Key(NamedTuple):
    """One key as a person sees it."""

    key: str
    type: str
    default: Any
    help: str


def fields(kind: type[BaseModel], prefix: str = "") -> Iterator[Key]:
    """Yield every key of a section and of the sections in it, in the order they are written."""
    for name, field in kind.model_fields.items():
        key = prefix + (field.alias or name)
        inner = _section(_kinds(field.annotation))
        if inner is None:
            yield Key(
                key,
                _type_name(field.annotation),
                _default(field),
                " ".join((field.description or "").split()),
            )
        else:
            yield from fields(inner, key + ".")


def _default(field: FieldInfo) -> Any:
    return None if field.is_required() else field.get_default(call_default_factory=True)


def _type_name(annotation: Any) -> str:
    if typing.get_origin(annotation) is typing.Literal:
        return "|".join(str(word) for word in typing.get_args(annotation))
    parts = typing.get_args(annotation)
    if typing.get_origin(annotation) is tuple:
        return f"list of {_type_name(parts[0])}"
    if typing.get_origin(annotation) is dict:
        return f"{{{_type_name(parts[0])}: {_type_name(parts[1])}}}"
    if _section([annotation]):
        return f"{{{', '.join(annotation.model_fields)}}}"
    kinds = _kinds(annotation)
    if len(kinds) > 1:
        return " or ".join("none" if kind is type(None) else _type_name(kind) for kind in kinds)
    return (
        getattr(annotation, "__name__", str(annotation))
        if not typing.get_args(annotation)
        else str(annotation).replace("typing.", "")
    )


def dump(cfg: BaseModel) -> str:
    """Return the YAML that gives exactly this configuration again."""
    return yaml.safe_dump(cfg.model_dump(mode="json", by_alias=True), sort_keys=False, allow_unicode=True)


def flat(data: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one of dotted keys.

    >>> flat({"a": 1, "b": {"c": 2}})
    {'a': 1, 'b.c': 2}
    """
    if not isinstance(data, dict):
        return {prefix[:-1]: data}
    out: dict[str, Any] = {}
    for key, value in data.items():
        out |= flat(value, f"{prefix}{key}.")
    return out
