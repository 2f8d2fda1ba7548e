"""Each shape of row becomes its record; other keys change nothing; what fits twice is never guessed."""

from __future__ import annotations

import itertools
import json
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from danlu.data.canonical import row_of
from danlu.data.records import (
    PURPOSES,
    Caption,
    Dialogue,
    Label,
    PictureDialogue,
    Preference,
    Prompt,
    Relevance,
    Text,
    Tokens,
    recognise,
)
from danlu.data.rows import BadRow
from danlu.data.shapes import SHAPES
from danlu.data.shapes.preference import turns
from shape_examples import CALL, EXAMPLES, NAMED, qa, says, speaks

MENTIONED = {key for _, _, row, _ in EXAMPLES for key in row} | {
    key for s in SHAPES.values() for key in s.keys
}
others = st.dictionaries(
    st.text(min_size=1, max_size=8).filter(
        lambda key: key not in MENTIONED and key not in ("role", "question")
    ),
    st.none() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=2),
    max_size=4,
)


@pytest.mark.parametrize(("name", "purpose", "row", "record"), NAMED)
def test_a_row_becomes_its_record(name, purpose, row, record):
    before = json.dumps(row)
    assert recognise(row, purpose) == (name, record)
    assert json.dumps(row) == before, "the row is left as it was"


def test_every_shape_and_every_purpose_has_an_example():
    """Names told from the record stand for the shape that they refine."""
    refined = {"rlaif", "reason", "tool sft", "glaive raw"}
    assert {name for name, *_ in EXAMPLES} == set(SHAPES) | refined
    assert {purpose for _, purpose, *_ in EXAMPLES} == set(PURPOSES)


@given(st.sampled_from(EXAMPLES), others, st.randoms(use_true_random=False))
def test_other_keys_and_their_order_change_nothing(example, more, random):
    name, purpose, row, record = example
    keys = [*row.items(), *more.items()]
    random.shuffle(keys)
    assert recognise(dict(keys), purpose) == (name, record)


@pytest.mark.parametrize(("name", "purpose", "row", "record"), NAMED)
def test_keys_that_hold_nothing_count_as_absent(name, purpose, row, record):
    empty = dict.fromkeys((key for shape in SHAPES.values() for key in shape.keys), None)
    assert recognise({**empty, **row}, purpose) == (name, record)


@pytest.mark.parametrize(("name", "purpose", "row", "record"), NAMED)
def test_a_shape_that_does_not_serve_is_named_with_what_is_wanted(name, purpose, row, record):
    for other in PURPOSES:
        try:
            _, found = recognise(row, other)
        except BadRow as bad:
            assert bad.hint and "\n" not in f"{bad}{bad.hint}"
            if other not in ("prompt", "chat", purpose):
                assert re.search(rf"this is for \w+, not for {other}|is missing|no better answer", str(bad))
        else:
            allowed = {
                "pretrain": (Text, Tokens),
                "chat": Dialogue,
                "prompt": Prompt,
                "preference": Preference,
                "classify": Label,
                "caption": Caption,
                "picture": PictureDialogue,
                "retrieval": Relevance,
            }
            assert isinstance(found, allowed[other])


@pytest.mark.parametrize(
    ("row", "purpose", "message"),
    [
        (
            {"conversations": qa("a", "b"), "messages": qa("a", "b")},
            "chat",
            "both 'conversations' and 'messages'",
        ),
        ({"text": "a", "messages": qa("a", "b")}, None, "both 'text' and 'messages'"),
        (
            {"instruction": "a", "output": "b", "input": "c", "target": "d"},
            "chat",
            r"both 'instruction'\+'output' and 'input'\+'target'",
        ),
        (
            {"text": "a", "content": "b", "input_ids": [1, 2]},
            "pretrain",
            "'text' and 'content' and 'input_ids'",
        ),
    ],
)
def test_a_row_with_two_shapes_names_both(row, purpose, message):
    with pytest.raises(BadRow, match=message) as error:
        recognise(row, purpose)
    assert error.value.hint == "keep the one that is meant"


@pytest.mark.parametrize(
    ("row", "purpose", "name"),
    [
        ({"text": "a", "messages": qa("a", "b")}, "chat", "sft messages"),
        ({"text": "a", "messages": qa("a", "b")}, "pretrain", "pretrain"),
        ({"text": "a", "label": 1}, None, "classification"),
        ({"text": "a", "label": 1}, "pretrain", "pretrain"),
        ({"text_id": 1, "text": "a", "image_ids": [2]}, None, "chinese-clip"),
        ({"content": "a", "summary": "b"}, None, "adgen"),
        ({"conversations": qa("a", "b"), "gt": "b"}, None, "agent rl"),
        ({"conversations": qa("a", "b"), "gt": "b"}, "chat", "sft chat"),
        ({"conversations": qa("a", "b"), "gt": None}, "prompt", "rlaif"),
        ({"prompt": "q", "chosen": qa("q", "a"), "rejected": qa("q", "b")}, None, "dpo chat"),
        ({"prompt": "q", "chosen": "Human: q\n\nAssistant: a", "rejected": "b"}, None, None),
    ],
)
def test_the_purpose_decides_and_else_the_shape_that_asks_for_more(row, purpose, name):
    if name:
        assert recognise(row, purpose)[0] == name
    else:
        with pytest.raises(BadRow, match="paragraphs that begin|rejected: found"):
            recognise(row, purpose)


@pytest.mark.parametrize(
    ("row", "purpose", "message"),
    [
        ({"content": "a", "summary": "b"}, "pretrain", "content: this is for chat, not for pretrain"),
        ({"image": "1.jpg", "conversations": []}, "chat", "image: this is for picture, not for chat"),
        ({"instruction": "a"}, "chat", "output: is missing; the row has 'instruction'"),
        ({"chosen": qa("q", "a")}, "preference", "rejected: is missing"),
        ({"chosen": 3, "rejected": 4}, "preference", "chosen: found a number"),
        ({"chosen": qa("q", ""), "rejected": qa("q", "b")}, "preference", r"chosen\[1\].content: is empty"),
        (
            {"chosen": qa("q", "a"), "rejected": qa("p", "b")},
            "preference",
            r"rejected\[0\]: is not the message",
        ),
        (
            {"chosen": qa("q", "a"), "rejected": [*qa("q", "b"), says("user", "c")]},
            "preference",
            "rejected: ends with a message of user",
        ),
        ({"chosen": "a", "rejected": "b"}, "preference", 'chosen: found "a"'),
        ({"prompt": "", "chosen": "a", "rejected": "b"}, "preference", "prompt: is empty"),
        ({"input_ids": []}, "pretrain", "input_ids: found an empty list"),
        ({"input_ids": [1]}, "pretrain", "input_ids: found one id"),
        ({"input_ids": [1, -1]}, "pretrain", r"input_ids\[1\]: found -1"),
        ({"input_ids": [1, True]}, "pretrain", r"input_ids\[1\]: found true"),
        ({"input_ids": [1, 2], "seq_len": 3}, "pretrain", "seq_len: found 3"),
        ({"text": "a", "label": None}, "classify", "label: found null"),
        ({"text": "a", "label": " "}, "classify", "label: is empty"),
        ({"text": "a", "label": [1]}, "classify", "label: found a list"),
        ({"conversations": [says("assistant", "空")]}, "prompt", "conversations: nothing is asked"),
        ({"conversations": []}, "prompt", "conversations: found an empty list"),
        ({"query": "q", "answers": "[]"}, "chat", "answers: found an empty list"),
        ({"query": "q", "answers": "{"}, "chat", "answers: holds text that is not JSON"),
        (
            {"query": "q", "answers": [{"name": "f", "arguments": "3"}]},
            "chat",
            r"answers\[0\].arguments: found a",
        ),
        ({"query": "q", "answers": [CALL], "tools": "f"}, "chat", "tools: holds text that is not JSON"),
        ({"conversations": speaks(("alien", "a"))}, "chat", r'conversations\[0\].from: found "alien"'),
        ({"conversations": [*speaks(("human", "a")), 3]}, "chat", r"conversations\[1\]: found a number"),
        (
            {"conversations": speaks(("human", ""), ("gpt", "b"))},
            "chat",
            r"conversations\[0\].value: is empty",
        ),
        (
            {"conversations": speaks(("human", "a"), ("function_call", "f()"))},
            "chat",
            r"conversations\[1\].value: holds text that is not JSON",
        ),
        ({"instruction": "a", "output": "b", "history": [["c"]]}, "chat", r"history\[0\]: found a list"),
        (
            {"instruct": "i", "model_output": "m", "human_feedback": "h", "is_error": False},
            "preference",
            "is_error: is false, so there is no better answer",
        ),
        ({"instruct": "i", "model_output": "m", "is_error": True}, "chat", "human_feedback: found null"),
        ({"instruct": "i", "model_output": "m", "is_error": "maybe"}, "chat", 'is_error: found "maybe"'),
        ({"file_path": "a.jpg", "prompt": ""}, "caption", "prompt: is empty"),
        ({"text_id": True, "image_ids": [1]}, "retrieval", "text_id: found true"),
        ({"text_id": 1, "image_ids": 3}, "retrieval", "image_ids: found a number"),
        (
            {"image": "1.jpg", "conversations": qa("what?", "kite")},
            "picture",
            "'<image>' stands in it 0 times",
        ),
        ({"image": "1.jpg", "conversations": 3}, "picture", "conversations: found a number"),
    ],
)
def test_what_is_wrong_is_named_by_field(row, purpose, message):
    with pytest.raises(BadRow, match=message) as error:
        recognise(row, purpose)
    assert error.value.hint


said = st.text("ab:\n 你HumanAssistant", min_size=1, max_size=30).map(str.strip).filter(bool)
one_turn = said.filter(lambda text: not re.search(r"(\A|\n\n)(Human|Assistant):", text))


@given(st.lists(one_turn, min_size=2, max_size=6))
@settings(deadline=None)
def test_a_transcript_is_read_back_turn_by_turn(spoken):
    speakers = itertools.cycle(["Human", "Assistant"])
    transcript = "".join(f"\n\n{speaker}: {text}" for speaker, text in zip(speakers, spoken))
    roles = itertools.cycle(["user", "assistant"])
    assert turns("chosen", transcript) == [says(role, text) for role, text in zip(roles, spoken)]


def test_a_transcript_is_cut_only_where_a_paragraph_begins_with_a_speaker():
    text = "\n\nHuman: Say Human: twice\nHuman: like so\n\nHumans: no\n\nAssistant: ok Assistant: ok"
    assert turns("chosen", text) == qa("Say Human: twice\nHuman: like so\n\nHumans: no", "ok Assistant: ok")


def test_who_speaks_twice_in_a_transcript_goes_on_speaking():
    text = "Human: a\n\nHuman: b\n\nAssistant: c\n\nAssistant: d"
    assert turns("chosen", text) == qa("a\n\nb", "c\n\nd")


@given(one_turn, one_turn, one_turn)
def test_alpaca_and_its_written_out_form_are_one_record(instruction, given_, output):
    framed = f"Instruction: {instruction}\nInput: {given_}\nAnswer: "
    _, alpaca = recognise({"instruction": instruction, "input": given_, "output": output}, "chat")
    _, context = recognise({"context": framed, "target": output}, "chat")
    assert alpaca == context


scraps = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 9)
    | st.floats(allow_nan=False)
    | st.sampled_from(
        ["", "a", "user", "assistant", "human", "gpt", "function_call", "tool", "[]", "{", "\ud800"]
    )
    | st.sampled_from(
        ["\n\nHuman: a", "<tools>{}</tools>", '<tool_call>{"name": "f"}</tool_call>', "<image>"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["role", "content", "from", "value", "name", "arguments", "function", "tool_calls"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)
damaged = st.sampled_from(EXAMPLES).flatmap(
    lambda example: st.tuples(
        st.just(example[2]), st.dictionaries(st.sampled_from(sorted(MENTIONED)), scraps, max_size=3)
    ).map(lambda parts: {**parts[0], **parts[1]})
)


@given(damaged, st.sampled_from([None, *PURPOSES]))
@example({"conversations": None, "gt": None}, None)
@settings(max_examples=1500, deadline=None)
def test_whatever_a_row_holds_it_is_a_record_or_a_bad_row(row, purpose):
    try:
        name, record = recognise(row, purpose)
    except BadRow as bad:
        assert bad.problem and bad.hint
    else:
        assert name
        if "\ud800" not in repr(record):
            assert recognise(json.loads(json.dumps(row_of(record))), _purpose(record))[1] == record


def _purpose(record):
    """Return a purpose that the record's own row serves."""
    kinds = {
        Dialogue: "chat",
        Prompt: "prompt",
        Preference: "preference",
        Label: "classify",
        Caption: "caption",
    }
    kinds |= {PictureDialogue: "picture", Relevance: "retrieval", Text: "pretrain", Tokens: "pretrain"}
    return kinds[type(record)]
