"""Text to token ids and back, for the starter tokenizer and any Hugging Face tokenizer folder.

    folder/tokenizer.json           vocabulary and merges, read by the `tokenizers` library
    folder/tokenizer_config.json    which tokens begin, end and pad a text (or special_tokens_map.json)
    folder/chat_template.jinja      how a chat becomes text (or "chat_template" in the config)

Text never becomes control: a `<|im_end|>` that somebody typed is encoded as the seven signs it is.
Control tokens come only from the caller (`eos_id`) or from what the chat template itself wrote.
A folder with only a SentencePiece `tokenizer.model` is refused with the remedy.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import tokenizers

from danlu.base import paths
from danlu.base.errors import UserError
from danlu.tokenizer.decoding import StreamDecoder

STARTER = Path(__file__).parent / "starter"
FIRST_ONLY = '"prepend_scheme": "first"'  # how a tokenizer says that only a text's first piece gets a space
CHATML = Path(__file__).parent / "chatml.jinja"


class Tokenizer:
    """One vocabulary with its control tokens and chat template. Immutable; safe to share."""

    def __init__(
        self, json_text: str, settings: dict[str, Any], template: str | None = None, name: str = "tokenizer"
    ) -> None:
        self.name = name
        self._json = json_text
        self._settings = settings
        try:
            layout = json.loads(json_text)
            self._inner = _worker(layout, start=True)
            self._later = _worker(layout, start=False) if FIRST_ONLY in json_text else self._inner
        except Exception as error:  # the library raises bare Exception for every malformed file
            raise UserError(
                f"{name}: tokenizer.json cannot be read: {error}", "fetch or save it again"
            ) from None
        self.control = {t["content"]: t for t in layout["added_tokens"] if t["special"]}
        """The tokens that steer rather than say something, by their text, as tokenizer.json has them."""
        self.variables = {
            key: text
            for key, value in settings.items()
            if key.endswith("_token") and (text := _content(value))
        }
        """What a chat template may call bos_token, eos_token and so on."""
        self.size = 1 + max(self._inner.get_vocab(with_added_tokens=True).values())
        self.bos_id = self._id("bos_token", "cls_token")
        self.eos_id = self._required("eos_token", "sep_token")
        pad = self._id("pad_token")
        self.pad_id = self.eos_id if pad is None else pad
        self.template = template or (CHATML.read_text(encoding="utf-8") if self._speaks_chatml() else None)

    def __reduce__(self) -> tuple[Any, ...]:
        return Tokenizer, (self._json, self._settings, self.template, self.name)

    @property
    def layout(self) -> dict[str, Any]:
        """What tokenizer.json holds, parsed anew."""
        return dict(json.loads(self._json))

    @property
    def settings(self) -> dict[str, Any]:
        """What tokenizer_config.json holds, a copy."""
        return copy.deepcopy(self._settings)

    @classmethod
    def load(cls, source: str | Path = "starter") -> Tokenizer:
        """Return the tokenizer of a folder (or of its tokenizer.json); "starter" is the shipped one."""
        folder = STARTER if source == "starter" else Path(source)
        folder = folder.parent if folder.name == "tokenizer.json" else folder
        if not (folder / "tokenizer.json").is_file():
            raise _no_tokenizer(folder)
        settings = _read_json(folder / "special_tokens_map.json") | _read_json(
            folder / "tokenizer_config.json"
        )
        template = settings.get("chat_template")
        if isinstance(template, list):  # several, by name
            template = next((t["template"] for t in template if t["name"] == "default"), None)
        if (folder / "chat_template.jinja").is_file():
            template = (folder / "chat_template.jinja").read_text(encoding="utf-8")
        text = (folder / "tokenizer.json").read_text(encoding="utf-8")
        return cls(text, settings, template, name=str(source))

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, without begin or end; control tokens typed in it are text."""
        return self._inner.encode(text, add_special_tokens=False).ids

    def beginning(self) -> list[int]:
        """Return the ids every text begins with: the begin token, or none where there is none."""
        return [] if self.bos_id is None else [self.bos_id]

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of many texts, on all cores."""
        return [e.ids for e in self._inner.encode_batch_fast(list(texts), add_special_tokens=False)]

    def encode_pieces(self, pieces: Sequence[str], starts: Sequence[bool]) -> list[tokenizers.Encoding]:
        """Return ids and character offsets of pieces of chats; `starts` tells which begin their chat."""
        if self._later is self._inner:
            return self._inner.encode_batch(list(pieces), add_special_tokens=False)
        first = iter(
            self._inner.encode_batch([p for p, s in zip(pieces, starts) if s], add_special_tokens=False)
        )
        later = iter(
            self._later.encode_batch([p for p, s in zip(pieces, starts) if not s], add_special_tokens=False)
        )
        return [next(first) if start else next(later) for start in starts]

    def decode(self, ids: Iterable[int], control: bool = True) -> str:
        """Return the text of ids; control tokens are shown unless `control` is false."""
        return self._inner.decode(list(ids), skip_special_tokens=not control)

    def stream(self) -> StreamDecoder:
        """Return a decoder for ids that come one by one."""
        return StreamDecoder(self.decode)

    def token_id(self, text: str) -> int | None:
        """Return the id of a token by its text in the vocabulary, or None."""
        return self._inner.token_to_id(text)

    def token_text(self, number: int) -> str | None:
        """Return the text of a token in the vocabulary, in its own alphabet, or None."""
        return self._inner.id_to_token(number)

    def vocabulary(self, added: bool = True) -> dict[str, int]:
        """Return every token's id by its text; without the added ones, what only the model knows."""
        return self._inner.get_vocab(with_added_tokens=added)

    def normalised(self, text: str) -> str:
        """Return a text as it is before it is cut: most vocabularies leave it alone, some fold it."""
        normalizer = self._inner.normalizer
        return text if normalizer is None else str(normalizer.normalize_str(text))

    @property
    def chat_template(self) -> str:
        """The chat template, or an error where there is none."""
        if self.template is None:
            raise UserError(
                f"{self.name}: has no chat template", "put a chat_template.jinja beside its tokenizer.json"
            )
        return self.template

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the vocabulary and the choice of control tokens: equal means equal ids."""
        digest = hashlib.sha256(self._json.encode())
        digest.update(f"{self.bos_id} {self.eos_id} {self.pad_id}".encode())
        return digest.hexdigest()

    @functools.cached_property
    def byte_lengths(self) -> list[int]:
        """How many UTF-8 bytes of text each id stands for, 0 for control tokens; for bits per byte."""
        byte_level = '"ByteLevel"' in json.dumps(json.loads(self._json)["decoder"])
        control = {t["id"] for t in self.control.values()}
        added = set(self._inner.get_added_tokens_decoder())
        lengths = []
        for token in range(self.size):
            text = self._inner.id_to_token(token) or ""
            if byte_level and token not in added:
                lengths.append(len(text))  # one letter of the byte alphabet is one byte
            else:
                plain = 1 if re.fullmatch(r"<0x[0-9A-F]{2}>", text) else len(text.replace("▁", " ").encode())
                lengths.append(0 if token in control else plain)
        return lengths

    def save(self, folder: Path) -> None:
        """Write the three files, readable by transformers 4.57 and 5 and by every server built on them.

        Each is replaced in one step, the vocabulary last: until then an older one stays in place.
        """
        folder.mkdir(parents=True, exist_ok=True)
        settings = _portable(self._settings)
        if self.template is not None:
            settings["chat_template"] = self.template
            paths.write_text(folder / "chat_template.jinja", self.template)
        paths.write_text(
            folder / "tokenizer_config.json", json.dumps(settings, ensure_ascii=False, indent=2) + "\n"
        )
        paths.write_text(folder / "tokenizer.json", self._json)

    def _speaks_chatml(self) -> bool:
        return {"<|im_start|>", "<|im_end|>"} <= self.control.keys()

    def _id(self, *keys: str) -> int | None:
        """Return the id of the first of these variables that is set: BERT calls its own otherwise."""
        text = next((self.variables[key] for key in keys if key in self.variables), None)
        return None if text is None else self._inner.token_to_id(text)

    def _required(self, key: str, instead: str) -> int:
        found = self._id(key, instead)
        if found is None:
            raise UserError(
                f"{self.name}: tokenizer_config.json: {key}: no token {self.variables.get(key)!r}",
                f'add "{key}": the token that ends a text, such as "</s>"',
            )
        return found


def _worker(layout: dict[str, Any], start: bool) -> tokenizers.Tokenizer:
    """Return the library's tokenizer without truncation, padding or tokens added around a text.

    Its post-processor would also trim spaces off the offsets. Some SentencePiece-like tokenizers put
    a space before the first piece of a text only; `start=False` makes the one for later pieces.
    """
    changed = layout | {"truncation": None, "padding": None, "post_processor": None}
    text = json.dumps(changed, ensure_ascii=False)
    if not start:
        text = text.replace(FIRST_ONLY, FIRST_ONLY.replace("first", "never"))
    inner = tokenizers.Tokenizer.from_str(text)
    inner.encode_special_tokens = True
    return inner


def _content(token: Any) -> str | None:
    """Return a token's text from a config, where it stands alone or as a described token."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None


def _portable(settings: dict[str, Any]) -> dict[str, Any]:
    """Return a config that old and new transformers read without remote code."""
    settings = {key: value for key, value in settings.items() if key not in ("auto_map", "chat_template")}
    if settings.get("tokenizer_class") in (None, "TokenizersBackend") or "auto_map" in settings:
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"  # version 5's own name is unknown to 4.57
    extra = settings.pop("extra_special_tokens", None)
    if isinstance(extra, list):  # 4.57 wants a dictionary there and fails on a list
        settings.setdefault("additional_special_tokens", extra)
    elif extra is not None:
        settings["extra_special_tokens"] = extra
    return settings


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON: {error}", "fetch or save it again") from None
    return data if isinstance(data, dict) else {}


def _no_tokenizer(folder: Path) -> UserError:
    if (folder / "tokenizer.model").is_file():
        return UserError(
            f"{folder}: has tokenizer.model but no tokenizer.json",
            "load it once with transformers' AutoTokenizer(use_fast=True) and save_pretrained it there",
        )
    if not folder.exists():
        return UserError(
            f"tokenizer '{folder}': no such folder", "'starter', or a folder that holds tokenizer.json"
        )
    return UserError(f"{folder}: has no tokenizer.json", "'starter', or a folder that holds one")
