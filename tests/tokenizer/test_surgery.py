"""Larger and smaller vocabularies: what was said before still means the same."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

import tokenizer_kinds as kinds
from danlu.base.errors import UserError
from danlu.starter import corpus
from danlu.tokenizer import surgery
from danlu.tokenizer.merges import joined, learn

OWN = [
    "炼丹炉里炼丹，丹炉旁炼丹。hello hello world worlds tests\n",
    "The alchemists' furnace: naïve café cafés 世界世界\n\n",
    "    return furnace.alchemy(42)  # 炼丹炉\n",
] * 4
PARTS = [
    "炼",
    "丹",
    "炉",
    "世界",
    "furnace",
    "alchem",
    "ists",
    " ",
    "  ",
    "\n",
    "hello",
    "é",
    "1",
    "<tool_call>",
    "👩‍👧",
]
text = st.one_of(
    st.lists(st.sampled_from(PARTS), max_size=12).map("".join),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
)
MORE = 24
LEARNED = {
    name: (old := make(), surgery.learn_tokens(old, OWN, old.size + MORE)) for name, make in kinds.BPE.items()
}


def expanded(ids, size, pieces):
    """Ids with every new one replaced by the old ones it stands for."""
    return list(itertools.chain.from_iterable(pieces[i - size] if i >= size else [i] for i in ids))


@pytest.mark.parametrize("name", LEARNED)
@given(sample=text)
@settings(max_examples=150, deadline=None)
def test_new_tokens_stand_exactly_for_the_old_ones_they_replace(name, sample):
    old, extended = LEARNED[name]
    new = extended.tokenizer
    assert expanded(new.encode(sample), old.size, extended.pieces) == old.encode(sample)
    assert new.decode(old.encode(sample)) == old.decode(old.encode(sample))
    assert new.decode(new.encode(sample)) == old.decode(old.encode(sample))


@pytest.mark.parametrize("name", LEARNED)
def test_own_text_becomes_shorter_and_every_new_token_can_be_said(name):
    old, extended = LEARNED[name]
    new = extended.tokenizer
    assert new.size == old.size + MORE
    assert sum(map(len, new.encode_many(OWN))) < sum(map(len, old.encode_many(OWN)))
    for number in range(old.size, new.size):
        said = new.decode([number])
        if "sentencepiece" not in name and "\ufffd" not in said:
            assert new.encode(said) == [number], "a token that no text leads to"
    assert {new.control[text]["id"] for text in new.control} == {
        old.control[text]["id"] for text in old.control
    }


@given(
    st.dictionaries(
        st.lists(st.integers(0, 3), min_size=2, max_size=8).map(tuple), st.integers(1, 5), max_size=6
    )
)
@settings(max_examples=200, deadline=None)
def test_what_is_learned_is_the_commonest_pair_counted_anew_each_time(words):
    texts = ["a", "b", "c", "d"]
    pairs = learn(words, texts, 5, lambda text: len(text) < 6)
    names, rest = ["a", "b", "c", "d"], {word: list(word) for word in words}
    for made, pair in enumerate(pairs, 4):
        counted = Counter()
        for word, parts in rest.items():
            counted.update(dict.fromkeys(zip(parts, parts[1:]), 0))
            for p in zip(parts, parts[1:]):
                counted[p] += words[word]
        able = {
            p: c
            for p, c in counted.items()
            if c >= 2 and len(t := names[p[0]] + names[p[1]]) < 6 and t not in names
        }
        assert pair == min(able, key=lambda p: (-able[p], p))
        names.append(names[pair[0]] + names[pair[1]])
        rest = {word: joined(parts, pair, made) for word, parts in rest.items()}
    assert names == texts


@pytest.mark.parametrize("name", LEARNED)
def test_transformers_reads_the_larger_tokenizer_and_gives_the_same_ids(name, tmp_path):
    _, extended = LEARNED[name]
    extended.tokenizer.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    for sample in [*OWN[:3], "furnace世界", "plain"]:
        assert theirs.encode(sample, add_special_tokens=False) == extended.tokenizer.encode(sample)
    assert theirs.eos_token_id == extended.tokenizer.eos_id


@pytest.mark.parametrize("name", kinds.ALL)
def test_words_of_a_list_and_control_tokens_are_added_to_any_kind(name):
    old = kinds.ALL[name]()
    words = ["furnaces", "丹炉鼎"] if name != "wordpiece" else ["furnaces", "worldly"]
    extended = surgery.add_tokens(old, [*words, words[0], "a"], ["<|tool|>"])
    new = extended.tokenizer
    assert new.size == old.size + 3 and len(extended.pieces) == 3
    for number, word in enumerate(words, old.size):
        assert new.decode([number]) == word
        assert number in new.encode(f"a {word}")
    assert new.control["<|tool|>"]["id"] == old.size + 2
    assert old.size + 2 not in new.encode("<|tool|>")
    for number, ids in enumerate(extended.pieces[:2]):
        assert old.decode(ids).strip() == words[number] or name == "wordpiece"
    for sample in ("hello world", "a test"):
        assert new.encode(sample) == old.encode(sample)


def test_a_word_that_would_be_shown_as_another_is_refused():
    with pytest.raises(UserError, match="'café': would be shown as"):
        surgery.add_tokens(kinds.starter(), ["café"])


@pytest.mark.parametrize("make", [kinds.unigram, kinds.wordpiece])
def test_only_byte_pairs_can_learn_on_top(make):
    with pytest.raises(UserError, match="cannot learn on top") as error:
        surgery.learn_tokens(make(), OWN, 1000)
    assert "--tokens" in error.value.hint


@pytest.mark.parametrize(("size", "problem"), [(2048, "has 2048 tokens already"), (9000, "were asked for")])
def test_sizes_that_cannot_be_are_said(size, problem):
    with pytest.raises(UserError, match=problem):
        surgery.learn_tokens(kinds.starter(), OWN, size)


TEXTS = {name: [*kinds.WORDS[1:3], *OWN[: 4 * ("sentence" not in name)]] for name in kinds.ALL}
TRIMMED = {
    name: (old := make(), surgery.trim(old, surgery.uses(old, TEXTS[name])))
    for name, make in kinds.ALL.items()
}


def strings(tokenizer, ids):
    return [tokenizer._inner.id_to_token(number) for number in ids]


@pytest.mark.parametrize("name", TRIMMED)
@given(sample=st.one_of(text, st.permutations(list("".join(OWN[:3]).split())).map(" ".join)))
@settings(max_examples=100, deadline=None)
def test_text_of_kept_tokens_is_cut_as_before(name, sample):
    old, trimmed = TRIMMED[name]
    before, after = old.encode(sample), trimmed.tokenizer.encode(sample)
    if set(before) <= set(trimmed.kept):
        assert strings(trimmed.tokenizer, after) == strings(old, before)
        assert [trimmed.kept[number] for number in after] == before
    if name not in ("wordpiece",):
        assert trimmed.tokenizer.decode(after) == old.decode(before)


@pytest.mark.parametrize("name", TRIMMED)
def test_a_trimmed_tokenizer_keeps_what_it_must_and_no_more(name, tmp_path):
    old, trimmed = TRIMMED[name]
    new = trimmed.tokenizer
    assert new.size < old.size
    assert list(new.control) == list(old.control)
    assert trimmed.kept == sorted(trimmed.kept)
    assert strings(new, [new.eos_id, new.pad_id]) == strings(old, [old.eos_id, old.pad_id])
    for sample in TEXTS[name]:
        assert [trimmed.kept[number] for number in new.encode(sample)] == old.encode(sample)
    new.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    for sample in TEXTS[name]:
        assert theirs.encode(sample, add_special_tokens=False) == new.encode(sample)
        around = old._inner.__class__.from_str(old._json).encode(sample).ids
        assert [trimmed.kept[i] for i in theirs.encode(sample)] == around


@pytest.mark.parametrize("size", [400, 1000, 2000])
def test_a_trimmed_tokenizer_has_the_size_asked_for(size):
    old = kinds.starter()
    used = surgery.uses(old, itertools.islice(corpus.texts(), 500))
    trimmed = surgery.trim(old, used, size)
    assert size - 3 <= trimmed.tokenizer.size <= size
    for sample in ("今天天气很好", "👩‍👧 \x00", "def f(x): return x"):
        assert trimmed.tokenizer.decode(trimmed.tokenizer.encode(sample)) == sample


def test_too_few_tokens_to_keep_is_said():
    with pytest.raises(UserError, match="259 tokens cannot be left out"):
        surgery.trim(kinds.starter(), Counter(), 100)


def test_what_the_chat_template_writes_counts_as_used():
    old = kinds.starter()
    kept = surgery.trim(old, surgery.uses(old, surgery.template_texts(old))).kept
    assert set(old.encode("<tool_call>\n")) | set(old.encode("assistant\n")) <= set(kept)
