"""Small tokenizers of every kind that downloaded folders hold, made on the spot."""

from __future__ import annotations

import json

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from danlu.tokenizer.tokenizer import Tokenizer

WORDS = ["hello world, this is a test of a model", "你好 世界 the model reads 世界", "a b c 1 2 3 ! ?"] * 3
ENDS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def starter() -> Tokenizer:
    """Byte-level, control tokens first."""
    return Tokenizer.load("starter")


def added_last() -> Tokenizer:
    """Byte-level with control and plain added tokens after the vocabulary and not in it, as Qwen has."""
    layout = json.loads(starter()._json)
    vocab = layout["model"]["vocab"]
    control = [token["content"] for token in layout["added_tokens"]]
    words = [text for text in sorted(vocab, key=vocab.__getitem__) if text not in control]
    layout["model"]["vocab"] = {text: number for number, text in enumerate(words)}
    plain = ["<tool_call>", "</tool_call>"]
    layout["added_tokens"] = [
        {**layout["added_tokens"][0], "id": number, "content": text, "special": text in control}
        for number, text in enumerate([*control, *plain], len(words))
    ]
    settings = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    settings["added_tokens_decoder"] = {str(t["id"]): dict(t) for t in layout["added_tokens"]}
    return Tokenizer(json.dumps(layout), settings, name="added last")


def whole_words_first() -> Tokenizer:
    """Byte-level that looks a word up before merging, as Llama 3 does, with merges as "a b"."""
    layout = json.loads(starter()._json)
    layout["model"]["ignore_merges"] = True
    layout["model"]["merges"] = [" ".join(pair) for pair in layout["model"]["merges"]]
    layout["normalizer"] = {"type": "NFC"}
    settings = {"eos_token": "<|im_end|>", "bos_token": "<|im_start|>"}
    return Tokenizer(json.dumps(layout), settings, name="whole words first")


def sentencepiece_like(scheme: str = "first") -> Tokenizer:
    """Leading-space pieces and byte fallback, as Llama 2 has."""
    inner = tokenizers.Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    inner.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    specials = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=specials, show_progress=False)
    inner.train_from_iterator(WORDS, trainer)
    layout = json.loads(inner.to_str())
    layout["added_tokens"] = layout["added_tokens"][:3]  # the bytes are ordinary tokens
    layout["post_processor"] = json.loads(
        processors.TemplateProcessing("<s> $A", "<s> $A $B", [("<s>", 1)]).__getstate__()
    )
    return Tokenizer(json.dumps(layout), dict(ENDS), name="sentencepiece")


def unigram() -> Tokenizer:
    """A Unigram model with byte fallback, as T5-like vocabularies are."""
    inner = tokenizers.Tokenizer(models.Unigram([("<unk>", 0.0)], 0, True))
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    trainer = trainers.UnigramTrainer(
        vocab_size=80, special_tokens=["<unk>", "<s>", "</s>"], unk_token="<unk>", show_progress=False
    )
    inner.train_from_iterator(WORDS, trainer)
    layout = json.loads(inner.to_str())
    layout["model"]["vocab"] += [[f"<0x{byte:02X}>", -50.0] for byte in range(256)]
    layout["model"]["byte_fallback"] = True
    return Tokenizer(json.dumps(layout), dict(ENDS), name="unigram")


def wordpiece() -> Tokenizer:
    """BERT's: lower case, word pieces, an unknown token; it ends a text with [SEP]."""
    inner = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer()
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.WordPiece()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    inner.train_from_iterator(
        WORDS, trainers.WordPieceTrainer(vocab_size=120, special_tokens=specials, show_progress=False)
    )
    inner.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    settings = {"sep_token": "[SEP]", "cls_token": "[CLS]", "pad_token": "[PAD]", "unk_token": "[UNK]"}
    return Tokenizer(inner.to_str(), settings, name="wordpiece")


BPE = {
    "starter": starter,
    "added last": added_last,
    "whole words first": whole_words_first,
    "sentencepiece, first": lambda: sentencepiece_like("first"),
    "sentencepiece, always": lambda: sentencepiece_like("always"),
}
ALL = BPE | {"unigram": unigram, "wordpiece": wordpiece}
