"""What tokenizer.json holds, and changing it consistently: ids stand in more places than one.

    added_tokens      what is looked for before text is cut; control tokens among them
    model             vocab (a table, or Unigram's list whose places are the ids), merges, unk
    post_processor    ids of what is put around a text
    padding           the id that fills

The library numbers added tokens anew when it reads a file, unless the model's table has them too; so
they are written there, and whatever was changed is read once more and compared.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tokenizers import pre_tokenizers

from danlu.base.errors import UserError
from danlu.tokenizer.tokenizer import Tokenizer
from danlu.tokenizer.train import readable

BYTE = re.compile(r"<0x[0-9A-F]{2}>")
ADDED = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}


def opened(tokenizer: Tokenizer) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return copies of tokenizer.json and of the settings, to be changed."""
    layout = tokenizer.layout
    vocab = layout["model"]["vocab"]
    if isinstance(vocab, dict):
        vocab |= {token["content"]: token["id"] for token in layout["added_tokens"]}
    return layout, tokenizer.settings


def closed(
    tokenizer: Tokenizer, layout: dict[str, Any], settings: dict[str, Any], kept: Sequence[int] | None = None
) -> Tokenizer:
    """Return the changed tokenizer, after comparing every token that it has of the old one.

    `kept` tells the old id of each token, where they were numbered anew.
    """
    made = Tokenizer(readable(json.dumps(layout)), settings, tokenizer.template, tokenizer.name)
    for new, old in enumerate(range(tokenizer.size) if kept is None else kept):
        assert made.token_text(new) == tokenizer.token_text(old), (new, old)
    for text in made.control:
        if steers(made, text) and not steers(tokenizer, text):
            raise UserError(
                f"control token {text!r}: whoever types it would steer", "a name with signs: <|...|>"
            )
    return made


def steers(tokenizer: Tokenizer, text: str) -> bool:
    """Return whether a text that somebody types becomes a control token."""
    return not {token["id"] for token in tokenizer.control.values()}.isdisjoint(tokenizer.encode(text))


def pairs(layout: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the merges, which older files write as "a b"."""
    merges = layout["model"].get("merges") or []
    return [(left, right) for left, right in (m.split(" ") if isinstance(m, str) else m for m in merges)]


def append(layout: dict[str, Any], settings: dict[str, Any], number: int, text: str, special: bool) -> None:
    """Add one token that is looked for before text is cut."""
    layout["added_tokens"].append({"id": number, "content": text, **ADDED, "special": special})
    if isinstance(layout["model"]["vocab"], dict):
        layout["model"]["vocab"][text] = number
    if "added_tokens_decoder" in settings:
        settings["added_tokens_decoder"][str(number)] = {"content": text, **ADDED, "special": special}


def append_merges(layout: dict[str, Any], new: Sequence[tuple[str, str]], first: int) -> None:
    """Add merges after the old ones; what they make gets the ids from `first` on."""
    model = layout["model"]
    for number, (left, right) in enumerate(new, first):
        model["vocab"][left + right] = number
    model["merges"] = [list(pair) for pair in (*pairs(layout), *new)]


def is_byte_level(layout: dict[str, Any]) -> bool:
    """Return whether tokens are written in the alphabet of 256 letters that stand for bytes."""
    return '"ByteLevel"' in json.dumps([layout.get("pre_tokenizer"), layout.get("decoder")])


def length(layout: dict[str, Any], text: str) -> int:
    """Return how many bytes of text a token stands for."""
    return len(text) if is_byte_level(layout) else len(text.replace("\u2581", " ").encode())


def lonely(tokenizer: Tokenizer, layout: dict[str, Any]) -> set[int]:
    """Return the tokens that no merge may touch."""
    found = {token["id"] for token in layout["added_tokens"]}
    found |= {number for text, number in layout["model"]["vocab"].items() if BYTE.fullmatch(text)}
    unknown = layout["model"].get("unk_token")
    return found | ({layout["model"]["vocab"][unknown]} if unknown in layout["model"]["vocab"] else set())


def essential(tokenizer: Tokenizer, layout: dict[str, Any]) -> set[int]:
    """Return the tokens that every smaller vocabulary keeps: added ones, bytes, the unknown one."""
    model = layout["model"]
    found = {token["id"] for token in layout["added_tokens"]}
    found |= {tokenizer.eos_id, tokenizer.pad_id} | set(tokenizer.beginning())
    names = set(model["vocab"]) if isinstance(model["vocab"], dict) else {name for name, _ in model["vocab"]}
    wanted = [name for name in names if BYTE.fullmatch(name)] + [str(model.get("unk_token"))]
    wanted += pre_tokenizers.ByteLevel.alphabet() if is_byte_level(layout) else []
    found |= {number for name in wanted if name in names and (number := tokenizer.token_id(name)) is not None}
    return found | ({model["unk_id"]} if model.get("unk_id") is not None else set())


def renumber(layout: dict[str, Any], settings: dict[str, Any], numbers: Mapping[int, int]) -> None:
    """Drop every token whose old id is not in `numbers`, and give the others their new ones."""
    model = layout["model"]
    if isinstance(model["vocab"], dict):
        model["vocab"] = {text: numbers[old] for text, old in model["vocab"].items() if old in numbers}
        if "merges" in model:
            whole = model["vocab"]
            merges = [(a, b) for a, b in pairs(layout) if a in whole and b in whole and a + b in whole]
            model["merges"] = [list(pair) for pair in merges]
    else:
        model["vocab"] = [piece for old, piece in enumerate(model["vocab"]) if old in numbers]
        model["unk_id"] = numbers.get(model.get("unk_id"))
    layout["added_tokens"] = [token | {"id": numbers[token["id"]]} for token in layout["added_tokens"]]
    if layout.get("padding"):
        layout["padding"]["pad_id"] = numbers.get(layout["padding"]["pad_id"], 0)
    _renumber_around(layout.get("post_processor"), numbers)
    described = settings.get("added_tokens_decoder")
    if described:
        settings["added_tokens_decoder"] = {
            str(numbers[int(old)]): token for old, token in described.items() if int(old) in numbers
        }


def _renumber_around(processor: dict[str, Any] | None, numbers: Mapping[int, int]) -> None:
    """Renumber what is put around a text."""
    if not processor:
        return
    for inner in processor.get("processors", []):
        _renumber_around(inner, numbers)
    for end in ("sep", "cls"):
        if end in processor:
            processor[end][1] = numbers[processor[end][1]]
    special = processor.get("special_tokens")
    for token in special.values() if isinstance(special, dict) else []:
        token["ids"] = _all(token["ids"], numbers)


def _all(ids: Iterable[int], numbers: Mapping[int, int]) -> list[int]:
    return [numbers[number] for number in ids]
