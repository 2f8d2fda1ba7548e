"""Train a byte-level BPE tokenizer.

Text is cut as Qwen's tokenizers cut it: words with one leading space or sign, every digit by
itself, runs of signs, runs of line ends. All 256 bytes are in the vocabulary, so nothing is ever
unknown. `<think>`, `<tool_call>` and their like stay ordinary text: three or four tokens each,
and whoever types one has typed text.

    0 1 2          <|endoftext|> <|im_start|> <|im_end|>
    3 ...          control tokens of one's own, if any
    then           the 256 bytes, then what the merges make, the most frequent first

Texts are read once, one after the other; what is kept of them is each distinct word with its count.
Equal counts are decided by the tokens themselves, so the same texts give the same bytes whatever the
number of threads.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import tokenizers
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers

from danlu.base.errors import UserError
from danlu.tokenizer.tokenizer import Tokenizer

SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")  # ids 0, 1, 2: padding, begin, end
SIZE = 2048
BYTES = 256
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


def train(
    texts: Iterable[str], size: int = SIZE, specials: Sequence[str] = (), progress: bool = False
) -> Tokenizer:
    """Return a tokenizer of exactly `size` tokens, the same for the same texts.

    `specials` are control tokens beside the three that every tokenizer of ours has.
    """
    check(size, specials)
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
        special_tokens=[*SPECIALS, *specials],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        max_token_length=LONGEST,
        show_progress=progress,
    )
    inner.train_from_iterator(texts, trainer)
    found = inner.get_vocab_size()
    if found != size:
        raise UserError(
            f"the texts give {found} tokens, {size} were asked for",
            f"train on more text, or ask for {found} tokens or fewer",
        )
    made = Tokenizer(readable(inner.to_str()), SETTINGS)
    _refuse_typed(made)
    return made


def check(size: int, specials: Sequence[str] = ()) -> None:
    """Refuse a size that does not hold what every vocabulary has, and control tokens that cannot be."""
    least = len(SPECIALS) + len(specials) + BYTES
    if size < least:
        raise UserError(
            f"size {size}: a vocabulary has {BYTES} bytes and {least - BYTES} control tokens",
            f"{least} or more",
        )
    for number, special in enumerate(specials):
        if not special.strip():
            raise UserError(f"special token {special!r}: is empty", "a name such as '<|tool|>'")
        if special in SPECIALS or special in specials[:number]:
            raise UserError(f"special token {special!r}: is there already", "name each once")
        if special in pre_tokenizers.ByteLevel.alphabet():
            raise _typed(special)


def _refuse_typed(tokenizer: Tokenizer) -> None:
    """Refuse control tokens that ordinary text becomes: no merge may make one."""
    made = {left + right for left, right in tokenizer.layout["model"]["merges"]}
    for text, token in tokenizer.control.items():
        if text in made or token["id"] in tokenizer.encode(text):
            raise _typed(text)


def _typed(special: str) -> UserError:
    return UserError(
        f"special token {special!r}: whoever types it would steer", "a name with signs, such as '<|tool|>'"
    )


def readable(text: str) -> str:
    """Return a tokenizer's JSON with one token or merge a line, so that a change of it can be read."""
    return json.dumps(json.loads(text), ensure_ascii=False, indent=1) + "\n"
