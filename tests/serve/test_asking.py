"""What the model reads for the messages of a request: the tokens training makes of them, roles in order."""

import json

import pytest

from danlu.serve import asking
from danlu.serve.problems import Refusal
from danlu.serve.schema import Asking, Message
from danlu.tokenizer.chat import encode_chat
from danlu.tokenizer.tokenizer import Tokenizer
from generate.models import TOKENIZER

TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}


def user(text="a"):
    return {"role": "user", "content": text}


def called(*ids, content=None):
    calls = [
        {"id": name, "type": "function", "function": {"name": "add", "arguments": '{"x": 1, "y": "é"}'}}
        for name in ids
    ]
    return {"role": "assistant", "content": content, "tool_calls": calls}


def result(name, text="2"):
    return {"role": "tool", "tool_call_id": name, "content": text}


def read(*messages, **keys):
    return asking.asked(TOKENIZER, Asking.model_validate({"messages": messages, **keys}), True).ids


def trained(*messages, tools=None, **keys):
    return encode_chat(TOKENIZER, messages, tools, add_generation_prompt=True, **keys).ids


def test_a_request_is_read_as_training_reads_a_chat():
    chat = [{"role": "system", "content": "Be brief."}, user("1+1?")]
    assert read(*chat) == trained(*chat)
    assert read(*chat, tools=[TOOL]) == trained(*chat, tools=[TOOL])
    assert read({"role": "developer", "content": "Be brief."}, user("1+1?")) == trained(*chat)


def test_calls_come_as_text_and_are_read_as_the_objects_of_training():
    plain = {"name": "add", "arguments": {"x": 1, "y": "é"}}
    chat = [
        user(),
        {"role": "assistant", "content": "", "tool_calls": [plain]},
        {"role": "tool", "content": "2"},
    ]
    assert read(user(), called("c1"), result("c1"), tools=[TOOL]) == trained(*chat, tools=[TOOL])


def test_thoughts_are_read_under_both_their_names():
    chat = [user(), {"role": "assistant", "content": "b", "reasoning_content": "hm"}, user()]
    other = [user(), {"role": "assistant", "content": "b", "reasoning": "hm"}, user()]
    assert read(*chat) == read(*other) == trained(*chat)


def test_parts_are_lines_and_typed_control_tokens_are_text():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "<|im_end|>"}]
    assert read(user(parts)) == trained(user("a\n<|im_end|>"))
    assert read(user(parts)).count(TOKENIZER.eos_id) == 1


@pytest.mark.parametrize(
    "keys",
    [
        {"enable_thinking": False},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"reasoning_effort": "none"},
    ],
)
def test_thinking_is_asked_for_in_three_ways(keys):
    assert read(user(), **keys) == trained(user(), enable_thinking=False) != trained(user())


def test_other_variables_reach_the_template_and_control_tokens_in_them_are_text():
    template = (
        "{{ '<|im_start|>' + mood + reasoning_effort }}{% for m in messages %}{{ m.content }}{% endfor %}"
    )
    words = Tokenizer(TOKENIZER._json, TOKENIZER.settings, template)
    given = {
        "messages": [user("!")],
        "reasoning_effort": "low",
        "chat_template_kwargs": {"mood": "<|im_end|>"},
    }
    ids = asking.asked(words, Asking.model_validate(given)).ids
    assert words.decode(ids) == "<|im_start|><|im_end|>low!"
    assert ids.count(TOKENIZER.token_id("<|im_end|>")) == 0


@pytest.mark.parametrize(
    ("template", "kwargs"),
    [
        ("{{ raise_exception('no mood') }}", {}),
        ("{{ mood.x.y }}", {}),
        ("{{ 1 / mood }}", {"mood": 0}),
        ("{% for x in mood %}{% endfor %}", {"mood": 5}),
    ],
)
def test_a_template_that_fails_is_a_refusal_that_says_why(template, kwargs):
    words = Tokenizer(TOKENIZER._json, TOKENIZER.settings, template)
    with pytest.raises(
        Refusal, match="the chat template refuses this chat: .*; mend the messages"
    ) as refused:
        asking.asked(words, Asking(messages=[Message(role="user", content="a")], chat_template_kwargs=kwargs))
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("chat", "says"),
    [
        ([user(), {"role": "system", "content": "b"}], r"messages\[1\].role: a system message after user"),
        (
            [{"role": "system", "content": "b"}, {"role": "developer", "content": "b"}, user()],
            "a system message comes first, once",
        ),
        ([result("c1")], r"messages\[0\].role: a tool's result after nothing"),
        ([user(), result("c1")], "a tool's result after user; it follows the assistant's call"),
        ([user(), {"role": "assistant", "content": "b"}, result("c1")], "without a call"),
        ([user(), called("c1"), user()], "user before the results of 'c1'"),
        ([user(), called("c1", "c2"), result("c1"), user()], "before the results of 'c2'"),
        (
            [user(), called("c1"), result("c2")],
            r"messages\[2\].tool_call_id: found 'c2', which nobody called",
        ),
        ([user(), called("c1"), result("c1"), result("c1")], "without a call"),
        ([user(), called("c1")], "no result of 'c1'"),
        ([user(), called("c1", "c1")], "'c1' twice"),
        ([user(), {"role": "assistant", "content": "b"}], "the last one is the assistant's"),
        (
            [user(), {"role": "assistant", "content": "b"}, {"role": "assistant", "content": "b"}],
            "assistant twice in a row; join",
        ),
        ([{"role": "user", "content": None}], r"messages\[0\].content: is missing"),
        ([user(), {"role": "assistant", "content": None}, user()], "says something or calls a tool"),
    ],
)
def test_roles_out_of_order_are_refused_with_what_to_do(chat, says):
    with pytest.raises(Refusal, match=says) as refused:
        read(*chat)
    assert refused.value.status == 400 and ";" in refused.value.message
    assert str(refused.value.param).startswith("messages")


def test_what_clients_do_send_is_taken():
    assert read(user(), user()) and read({"role": "assistant", "content": "hello"}, user())
    echoed = {**called("c1", "c2", content=""), "refusal": None, "audio": None, "annotations": []}
    results = [result("c2"), {"role": "tool", "content": [{"type": "text", "text": "2"}]}]
    assert read(user(), echoed, *results)
    silent = read(user(), called("c1"), {"role": "tool", "tool_call_id": "c1", "content": None})
    assert silent == read(user(), called("c1"), result("c1", ""))


@pytest.mark.parametrize("broken", ["", "{", "[1]", "null", '"text"', "5", "[" * 100_000])
def test_arguments_a_model_wrote_wrong_do_not_end_the_conversation(broken):
    chat = called("c1")
    chat["tool_calls"][0]["function"]["arguments"] = broken
    empty = json.loads(json.dumps(chat))
    empty["tool_calls"][0]["function"]["arguments"] = "{}"
    assert read(user(), chat, result("c1")) == read(user(), empty, result("c1"))


def test_half_a_character_a_model_wrote_does_not_end_the_conversation():
    chat, other = called("c1"), called("c1")
    chat["tool_calls"][0]["function"]["arguments"] = '{"x": "a\\ud83d"}'
    other["tool_calls"][0]["function"]["arguments"] = '{"x": "a?"}'
    assert read(user(), chat, result("c1")) == read(user(), other, result("c1"))


def test_what_is_nested_too_deep_is_a_refusal():
    deep: list[object] = []
    for _ in range(100_000):  # deeper than any Python writes
        deep = [deep]
    with pytest.raises(Refusal, match="nested too deep; make it flatter") as refused:
        read(user(), chat_template_kwargs={"x": deep})
    assert refused.value.status == 400


def test_a_message_may_be_gone_on_with():
    chat = [user("tell me"), {"role": "assistant", "content": "Once upon"}]
    ids = read(*chat, continue_final_message=True)
    assert TOKENIZER.decode(ids).endswith("assistant\nOnce upon")
    with pytest.raises(Refusal, match="the last message is of user"):
        read(user(), continue_final_message=True)


def test_a_question_may_stand_without_the_invitation_to_answer():
    assert read(user(), add_generation_prompt=False) == encode_chat(TOKENIZER, [user()]).ids


def test_the_prompt_tells_where_thoughts_may_stand():
    def thoughts(words, reasoning=True, **keys):
        given = Asking.model_validate({"messages": [user()], **keys})
        return asking.asked(words, given, reasoning).thoughts

    opening = Tokenizer(TOKENIZER._json, TOKENIZER.settings, "a{{ '<think>\\n' }}")
    assert thoughts(TOKENIZER) == "may" and thoughts(opening) == "opened"
    assert thoughts(TOKENIZER, enable_thinking=False) == "" and thoughts(TOKENIZER, False) == ""


def test_control_tokens_written_in_a_raw_text_are_control_tokens():
    text = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert asking.text_ids(TOKENIZER, text, begin=False) == trained(user("hi"))
    plain = "no token in here, 一个也没有"
    assert asking.text_ids(TOKENIZER, plain) == TOKENIZER.beginning() + TOKENIZER.encode(plain)
    assert asking.text_ids(TOKENIZER, "", begin=False) == []
