"""Train a byte-level BPE tokenizer.

Text is cut as Qwen's tokenizers cut it: words with one leading space or sign, every digit by
itself, runs of signs, runs of line ends. All 256 bytes are in the vocabulary, so nothing is ever
unknown. `<think>`, `<tool_call>` and their like stay ordinary text: three or four tokens each,
and whoever types one has typed text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import tokenizers
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers

from danlu.base.errors import UserError
from danlu.tokenizer.tokenizer import Tokenizer

SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")  # ids 0, 1, 2: padding, begin, end
SIZE = 2048
LONGEST = 12  # bytes of one token: four Chinese characters, or an English word
CUT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SETTINGS = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": "<|im_start|>",
    "eos_token": "<|im_end|>",
    "pad_token": "<|endoftext|>",
    "unk_token": "<|endoftext|>",
    "add_bos_token": False,
    "add_eos_token": False,
    "clean_up_tokenization_spaces": False,
    "model_max_length": 131072,
}


def train(texts: Iterable[str], size: int = SIZE) -> Tokenizer:
    """Return a tokenizer of exactly `size` tokens, the same for the same texts."""
    inner = tokenizers.Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CUT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=list(SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        max_token_length=LONGEST,
        show_progress=False,
    )
    inner.train_from_iterator(texts, trainer)
    if inner.get_vocab_size() != size:
        raise UserError(
            f"the texts give {inner.get_vocab_size()} tokens, {size} were asked for",
            "train on more text, or ask for fewer tokens",
        )
    return Tokenizer(readable(inner.to_str()), SETTINGS)


def readable(text: str) -> str:
    """Return a tokenizer's JSON with one token or merge a line, so that a change of it can be read."""
    return json.dumps(json.loads(text), ensure_ascii=False, indent=1) + "\n"


def lines(paths: list[Path]) -> Iterator[str]:
    """Yield the lines of text files, each with its line end, which BPE should see too."""
    for path in paths:
        with path.open(encoding="utf-8") as file:
            yield from file
