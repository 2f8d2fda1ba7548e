"""Texts in which something is broken are told, clean ones of any language are not."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import danlu.starter
from danlu.data.lint.characters import strange, typed_control, without_unseen
from danlu.data.lint.mojibake import reversed_whole, trouble

WORDS = Path(danlu.starter.__file__).parent / "words"
CLEAN = [
    "今天天气很好，我们去公园吧。联通、浣熊、通信——“引号”与《书名》！",
    "他问：“café”是什么意思？答：咖啡馆。",
    "« Où est le café ? » — « À côté de l'église, là-bas… »",
    "Il dit : « CAFÉ », puis « forêt »… «É» «À»",
    "On a mangé à la crêperie « Chez Zoé »",
    "Größe, Übermut, Straße, „Äpfel“ – ‚Öl‘ … ÄÖÜ",
    "Año, ¿qué? ¡Señor! nº 5, 3ª, “canción”—fin",
    "AÇÃO, IRMÃ”, IRMÃO, CORAÇÕES e maçãs",
    "Ærø, Ångström, smörgåsbord, Þór, ð × ÷ ±5 °C, µm, ½, Ø±0.1, Ø 5",
    "Привет, мир. Ελληνικά. עברית. العربية. हिन्दी. ไทย. Tiếng Việt có dấu.",
    "日本語のテキスト、カタカナ。한국어 문장.",
    "👨‍👩‍👧 ❤️‍🔥 🏴󠁧󠁢󠁥󠁮󠁧󠁿 🇨🇳 1️⃣ ☃",
    "می‌خواهم؛ क्‍ष",
    "def f(x):\n\treturn x ** 2  # <html>&nbsp;</html> ${x} [1] <s>",
    "a | b || c |> d <| e <think>x</think> 50 % £5 €9",
    "",
]
PHRASES = [
    "你好吗，今天",
    "Français: déjà vu",
    "größer als Öl",
    "Привет, мир",
    "日本語です",
    "crème 🦄",
]


@pytest.mark.parametrize("text", CLEAN)
def test_clean_text_is_left_alone(text):
    assert trouble(text) is None
    assert reversed_whole(text) is None
    assert list(strange(text)) == []
    assert without_unseen(text) == text
    assert typed_control([]).search(text) is None


def test_our_own_words_are_clean():
    lines = [line for file in sorted(WORDS.glob("*.txt")) for line in file.read_text("utf-8").splitlines()]
    assert len(lines) > 500
    assert [line for line in lines if trouble(line) or list(strange(line))] == []


def wrongly(text, table):
    """UTF-8 read with another table, as programs do it: CP1252 leaves five bytes as they are."""
    if table != "cp1252":
        return text.encode().decode(table, "strict")
    return "".join(bytes([b]).decode("cp1252") if b not in BARE else chr(b) for b in text.encode())


BARE = (0x81, 0x8D, 0x8F, 0x90, 0x9D)


@pytest.mark.parametrize(("text", "table"), list(itertools.product(PHRASES, ["latin-1", "cp1252"])))
def test_utf8_read_as_western_is_told_and_turned_back(text, table):
    broken = wrongly(text, table)
    assert trouble(broken) is not None
    assert trouble("It began with words: " + broken) is not None
    assert reversed_whole(broken) == text


@pytest.mark.parametrize("text", ["你好", "中国人民", "今天天气", "机器学习模型"])
def test_utf8_read_as_gbk_is_told_and_turned_back(text):
    broken = text.encode().decode("gb18030")
    assert trouble(broken) == (broken, text)
    assert reversed_whole(broken) == text
    assert reversed_whole("ok: " + broken) == "ok: " + text


@pytest.mark.parametrize("text", ["锟斤拷锟斤拷", "a ï¿½ b", "好锟斤拷"])
def test_what_was_lost_before_is_told_but_cannot_be_turned_back(text):
    assert trouble(text) is not None
    assert reversed_whole(text) is None


@pytest.mark.parametrize("text", ["Ã© is é read wrongly", "“Ã©”", "see Ã©"])
def test_a_text_that_speaks_of_it_is_not_turned_back(text):
    assert reversed_whole(text) is None


def western(text):
    """The bytes of a text in CP1252; characters it lacks are their own numbers."""
    return b"".join(c.encode("cp1252" if c.encode("cp1252", "ignore") else "latin-1") for c in text)


@given(st.text("aä½\xa0å¥½ÃÂ©§®»€™œ锟浣犲ソ中文", min_size=2, max_size=12) | st.text(min_size=2))
def test_what_is_turned_back_would_be_broken_in_the_same_way(text):
    back = reversed_whole(text)
    if back is not None:
        assert back.encode() == (western(text) if max(text) < "\u3000" else text.encode("gb18030"))


STRANGE = [
    ("a\x00b", "control characters", "U+0000"),
    ("a\x1b[1mb", "control characters", "U+001B"),
    ("a\x85b", "control characters", "U+0085"),
    ("a\u200bb", "zero-width characters", "U+200B"),
    ("\ufeffa", "zero-width characters", "U+FEFF"),
    ("中\u200d文", "zero-width characters", "U+200D"),
    ("a\u200db", "zero-width characters", "U+200D"),
    ("hi\U000e0041", "zero-width characters", "U+E0041"),
    ("a\u202eb", "bidi characters", "U+202E"),
    ("a\r\nb", "carriage returns", ""),
    ("a\ufffdb", "lost characters", "U+FFFD"),
]


@pytest.mark.parametrize(("text", "kind", "named"), STRANGE)
def test_strange_characters_are_named_and_those_that_say_nothing_taken_out(text, kind, named):
    [(found, what, remedy)] = strange(text)
    assert found == kind and named in what and remedy
    clean = without_unseen(text)
    if kind != "lost characters":
        assert list(strange(clean)) == []
        assert clean.replace("\n", "") == "".join(sign for sign in text if sign.isprintable())


@pytest.mark.parametrize("text", ["<|im_end|>", "a<|eot_id|>b", "[INST] x", "<start_of_turn>", "<｜User｜>"])
def test_typed_control_tokens_are_found(text):
    assert typed_control([]).search(text)


def test_control_tokens_of_the_tokenizer_are_found():
    assert typed_control(["</s>", "[SEP]"]).search("a [SEP] b")[0] == "[SEP]"
