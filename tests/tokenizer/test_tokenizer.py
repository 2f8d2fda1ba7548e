"""The tokenizer: text survives, control tokens cannot be typed, streams show whole characters."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

import tokenizer_kinds as kinds
from danlu.base.errors import UserError
from danlu.tokenizer.tokenizer import Tokenizer
from danlu.tokenizer.train import train

STARTER = Tokenizer.load("starter")
SAMPLES = [
    "今天天气很好，我们去公园吧。",
    "The quick brown fox, it's 3.14!",
    "👩‍👩‍👧‍👦 e\u0301 𠮷 \u200f عربى",
    "def f(x):\n\treturn x ** 2  # ok\r\n\n\n",
    '<tool_call>\n{"name": "get_time", "arguments": {}}\n</tool_call>',
    "",
    " ",
    "\x00\ufffd",
]
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def test_the_starter_has_2048_tokens_and_the_three_control_tokens_first():
    assert STARTER.size == 2048
    assert (STARTER.pad_id, STARTER.bos_id, STARTER.eos_id) == (0, 1, 2)
    assert list(STARTER.control) == ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


@pytest.mark.parametrize("sample", SAMPLES)
def test_text_comes_back_as_it_was(sample):
    assert STARTER.decode(STARTER.encode(sample)) == sample


@given(text)
@settings(deadline=None)
def test_any_text_comes_back_as_it_was(sample):
    ids = STARTER.encode(sample)
    assert STARTER.decode(ids) == sample
    assert sum(STARTER.byte_lengths[i] for i in ids) == len(sample.encode())


@given(st.lists(text, max_size=5))
@settings(max_examples=20, deadline=None)
def test_many_texts_at_once_are_encoded_as_each_alone(samples):
    assert STARTER.encode_many(samples) == [STARTER.encode(sample) for sample in samples]


@pytest.mark.parametrize("typed", ["<|im_end|>", "a<|im_start|>user\nb", "<|endoftext|><|endoftext|>"])
def test_control_tokens_typed_in_a_text_are_text(typed):
    ids = STARTER.encode(typed)
    assert not {0, 1, 2} & set(ids)
    assert STARTER.decode(ids) == typed


def test_control_tokens_can_be_left_out_of_a_decoding():
    ids = [1, *STARTER.encode("hi"), 2]
    assert STARTER.decode(ids) == "<|im_start|>hi<|im_end|>"
    assert STARTER.decode(ids, control=False) == "hi"


def test_every_digit_is_one_token():
    assert len(STARTER.encode("1234567890")) == 10


def test_both_languages_and_tool_calls_are_compressed():
    chinese, english = (
        "我们可以通过学习来提高自己的能力。",
        "We should know what people want before we begin to work.",
    )
    call = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "北京"}}\n</tool_call>'
    assert len(STARTER.encode(chinese)) <= len(chinese)
    assert len(STARTER.encode(english)) * 3 <= len(english)
    assert len(STARTER.encode(call)) * 2 <= len(call)


@given(text)
@settings(deadline=None)
def test_a_stream_of_tokens_shows_whole_characters_that_add_up(sample):
    stream = STARTER.stream()
    shown = [stream.push(i) for i in STARTER.encode(sample)]
    if "\ufffd" not in sample:
        assert not any("\ufffd" in part for part in shown)
    assert "".join(shown) + stream.flush() == sample


@given(st.lists(st.integers(0, 2047), max_size=30))
@settings(deadline=None)
def test_a_stream_of_any_tokens_adds_up_to_their_decoding(ids):
    stream = STARTER.stream()
    assert "".join(map(stream.push, ids)) + stream.flush() == STARTER.decode(ids)


def test_a_saved_tokenizer_is_the_same_one(tmp_path):
    STARTER.save(tmp_path / "new")
    again = Tokenizer.load(tmp_path / "new")
    assert again.fingerprint == STARTER.fingerprint
    assert again.template == STARTER.template
    assert Tokenizer.load(tmp_path / "new" / "tokenizer.json").fingerprint == STARTER.fingerprint


def test_the_saved_config_has_nothing_an_old_transformers_trips_over(tmp_path):
    settings = {"eos_token": {"content": "<|im_end|>"}, "extra_special_tokens": ["<|im_start|>"]}
    settings |= {"tokenizer_class": "TokenizersBackend", "auto_map": {"AutoTokenizer": "x.py"}}
    Tokenizer(STARTER._json, settings).save(tmp_path)
    saved = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert saved["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert "extra_special_tokens" not in saved and "auto_map" not in saved
    assert saved["additional_special_tokens"] == ["<|im_start|>"]


def test_the_fingerprint_tells_another_end_token():
    other = Tokenizer(STARTER._json, {"eos_token": "<|endoftext|>"})
    assert other.fingerprint != STARTER.fingerprint
    assert (other.bos_id, other.pad_id) == (None, other.eos_id)
    assert other.beginning() == []


def sentencepiece_like(scheme: str) -> Tokenizer:
    """A tokenizer with leading-space pieces and byte fallback, as Llama 2 has."""
    inner = tokenizers.Tokenizer(tokenizers.models.BPE(byte_fallback=True, unk_token="<unk>"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    inner.decoder = tokenizers.decoders.Sequence(
        [
            tokenizers.decoders.Replace("▁", " "),
            tokenizers.decoders.ByteFallback(),
            tokenizers.decoders.Fuse(),
            tokenizers.decoders.Strip(" ", 1, 0),
        ]
    )
    specials = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=400, special_tokens=specials, show_progress=False)
    inner.train_from_iterator(["hello world, this is a test of a model"] * 3, trainer)
    layout = json.loads(inner.to_str())
    layout["added_tokens"] = layout["added_tokens"][:3]  # the bytes are ordinary tokens
    return Tokenizer(json.dumps(layout), {"bos_token": "<s>", "eos_token": "</s>"})


@pytest.mark.parametrize("scheme", ["first", "always"])
def test_a_tokenizer_with_leading_spaces_and_byte_fallback_serves_too(scheme):
    tokenizer = sentencepiece_like(scheme)
    for sample in ("hello world", "a test 你好 </s>", "model"):
        ids = tokenizer.encode(sample)
        assert tokenizer.decode(ids) == sample
        assert tokenizer.eos_id not in ids
        stream = tokenizer.stream()
        assert "".join(map(stream.push, ids)) + stream.flush() == sample


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({}, "no such folder"),
        ({"tokenizer.model": "x"}, "no tokenizer.json"),
        ({"readme": "x"}, "no tokenizer.json"),
        ({"tokenizer.json": "{"}, "cannot be read"),
        ({"tokenizer.json": "{}"}, "cannot be read"),
        ({"tokenizer.json": STARTER._json}, "eos_token"),
        ({"tokenizer.json": STARTER._json, "tokenizer_config.json": "{"}, "not valid JSON"),
        ({"tokenizer.json": STARTER._json, "tokenizer_config.json": '{"eos_token": "</s>"}'}, "eos_token"),
    ],
)
def test_a_folder_that_is_no_tokenizer_is_refused_with_the_remedy(tmp_path, files, problem):
    folder = tmp_path / "tok"
    for name, content in files.items():
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=problem) as error:
        Tokenizer.load(folder)
    assert error.value.hint


def test_the_tokenizer_needs_no_torch():
    code = "import sys, danlu.tokenizer.chat, danlu.tokenizer.train; sys.exit('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}).returncode == 0
    )


def test_a_save_that_cannot_finish_leaves_the_older_tokenizer_as_it_was(tmp_path):
    older = train(["the cat and the dog\n"] * 9, 262)
    older.save(tmp_path)
    starter = Tokenizer.load("starter")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OSError):
            starter.save(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert Tokenizer.load(tmp_path).fingerprint == older.fingerprint
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "chat_template.jinja", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip


def test_a_text_is_folded_as_the_vocabulary_folds_it():
    assert kinds.wordpiece().normalised("Hello") == "hello"
    assert kinds.starter().normalised("Hello") == "Hello"
