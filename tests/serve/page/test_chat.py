"""Talking with the page: what streams in, what is folded, stopped, kept, edited, refused."""

import json
import threading

import pytest

from scripted_peer import PAGE, Handler, event, refuse, told

pytestmark = pytest.mark.browser

CHINESE = "你好，世界！**粗体** 😀\n\n- 一\n- 二\n"


def cut(size: int, ends: str):
    """An answer whose bytes arrive `size` at a time, in the middle of letters too."""

    def give(handler: Handler) -> None:
        handler.head(200, "text/event-stream")
        events = b": a comment\n\n" + b"".join(event({"content": letter}) for letter in CHINESE)
        data = (events + event({}, "stop") + b"data: [DONE]\n\n").replace(b"\n", ends.encode())
        for at in range(0, len(data), size):
            handler.piece(data[at : at + size])
        handler.piece(b"")

    return give


@pytest.mark.parametrize(("size", "ends"), [(7, "\n"), (11, "\r\n"), (100_000, "\r")])
def test_an_answer_is_read_however_it_is_cut(page, peer, size, ends):
    peer.script(cut(size, ends))
    page.ask("hello")
    assert page("evaluate", "() => messages[1].content") == CHINESE
    assert page.texts(".prose li") == ["一", "二"] and page.texts(".prose strong") == ["粗体"]


def test_an_answer_in_one_document_is_read_too(page, peer):
    message = {"role": "assistant", "content": "whole", "reasoning_content": "first I thought"}
    answer = {"choices": [{"message": message, "finish_reason": "stop"}], "usage": {"completion_tokens": 2}}
    peer.script(lambda handler: handler.json(answer))
    page.ask("hello")
    assert page.texts(".prose") == ["whole"] and page.texts(".thought .inner") == ["first I thought"]


def test_text_appears_while_the_model_still_writes_and_a_stop_ends_it(page, peer):
    left = threading.Event()

    def endless(handler: Handler) -> None:
        handler.head(200, "text/event-stream")
        handler.piece(event({"content": "The first words. "}))
        try:
            while True:
                handler.piece(event({"content": "more "}))
                left.wait(0.02)
        except OSError:
            left.set()

    peer.script(endless)
    page("fill", "#input", "tell me")
    page("click", "#send")
    page.sees("The first words. more")
    assert page("is_visible", "#stop") and not page("is_visible", "#send")
    page("keyboard.press", "Escape")
    page.done()
    assert left.wait(20), "the server never learned that nobody listens"
    assert "Stopped." in page("inner_text", "#log") and page("is_visible", "#send")
    peer.script("Again.")
    page.ask("go on")
    said = [message["role"] for message in peer.asked[-1]["messages"]]
    assert said == ["user", "assistant", "user"]


def test_the_speed_of_an_answer_is_told(page, peer):
    peer.script([{"content": "a"}, {"content": "b"}])
    page.ask("hello")
    stats = page("inner_text", ".stats")
    assert "to first token" in stats and "10 tokens" in stats and "7 read" in stats
    assert peer.asked[0]["stream"] is True and peer.asked[0]["stream_options"] == {"include_usage": True}


def test_thoughts_show_while_they_are_thought_and_fold_when_the_answer_begins(page, peer):
    go_on = threading.Event()

    def give(handler: Handler) -> None:
        handler.head(200, "text/event-stream")
        handler.piece(event({"reasoning_content": "Let me see. "}))
        go_on.wait(60)
        handler.piece(event({"content": "It is so."}) + event({}, "stop") + b"data: [DONE]\n\n")
        handler.piece(b"")

    peer.script(give)
    page("fill", "#input", "why?")
    page("press", "#input", "Enter")
    page.sees("Let me see.")
    assert page("is_visible", ".thought .inner")
    go_on.set()
    page.done()
    assert not page("is_visible", ".thought .inner") and page.texts(".prose") == ["It is so."]
    page("click", ".thought summary")
    assert page("is_visible", ".thought .inner")


@pytest.mark.parametrize(
    ("pieces", "thought", "said"),
    [
        (["<th", "ink>\nHm", "m.\n</thi", "nk>\n\nYes."], "Hmm.", "Yes."),
        (["I wonder.\n</think", ">\n\nNo."], "I wonder.", "No."),
        (["a <think> is a tag"], None, "a <think> is a tag"),
        (["<think>cut off"], "cut off", ""),
        (["1 <", " 2"], None, "1 < 2"),
    ],
)
def test_thoughts_in_tags_are_told_apart(page, peer, pieces, thought, said):
    peer.script([{"content": piece} for piece in pieces])
    page.ask("why?")
    message = page("evaluate", "() => messages[1]")
    assert (message.get("reasoning_content"), message["content"]) == (thought, said)
    assert page.texts(".thought .inner") == ([thought] if thought else [])
    assert "".join(page.texts(".prose")) == said


def test_thoughts_of_earlier_answers_are_sent_back_only_if_wanted(page, peer):
    peer.script([{"reasoning_content": "hm"}, {"content": "one"}], "two", "three")
    page.ask("1")
    page.ask("2")
    page("click", "text=Send the thoughts of earlier answers back")
    page.ask("3")
    sent = [request["messages"][1] for request in peer.asked[1:]]
    assert [message.get("reasoning_content") for message in sent] == [None, "hm"]


def test_what_a_model_writes_stays_text(page, peer):
    evil = (
        "<img src=x onerror='window.hit=1'><script>window.hit=1</script> [x](javascript:window.hit=1) "
        "[ok](https://example.org/?a=1&b=2) `<b>` **<i>bold</i>**\n\n"
        "```html\n<script>window.hit=1</script>\n```\n"
    )
    peer.script([{"reasoning_content": evil}, {"content": evil}])
    page.ask(evil)
    assert page("evaluate", "() => window.hit") is None
    assert (
        page("evaluate", "() => document.querySelectorAll('#log img, #log script, #log i, #log b').length")
        == 0
    )
    assert page("evaluate", "() => [...document.querySelectorAll('#log a')].map(a => a.href)") == [
        "https://example.org/?a=1&b=2"
    ]
    assert page.texts(".user .said") == [evil] and page.texts(".thought .inner") == [evil]
    assert page.texts(".code code") == ["<script>window.hit=1</script>"]


MARKDOWN = [
    "# Title\ntext with `code`, **bold**, *slanted* and https://a.example/b.\nsecond line\n\nnext",
    "1. one\n   - inner\n   - two\n2. two\n\n> quoted\n> **more**\n\n---\n\n| a | b |\n"
    "|---|---|\n| 1 | 2 |\n",
    "```python\nx = 1\n\n\ny = '```'\n```\nafter\n\n~~~\nopen",
    "a ** b ** c * d\n\n* item\n* **item**\n\t* deep\n\n##no heading\n",
]


@pytest.mark.parametrize("text", MARKDOWN)
def test_prose_that_grows_ends_as_prose_that_came_at_once(page, text):
    drawn = """pieces => {
        const prose = new Prose(el("div"));
        for (const piece of pieces) { prose.tail += piece; prose.draw(false); }
        return prose.finish().root.outerHTML;
    }"""
    letters = page("evaluate", drawn, list(text))
    assert letters == page("evaluate", drawn, [text])
    assert letters == page("evaluate", drawn, [text[at : at + 5] for at in range(0, len(text), 5)])


def test_only_what_is_set_is_sent(page, peer):
    peer.script("one", "two")
    page.ask("hello")
    assert set(peer.asked[0]) == {"path", "headers", "model", "messages", "stream", "stream_options", "tools"}
    page("click", "#part-sampling summary")
    page("fill", "#sampling-temperature", "0.3")
    page("fill", "#sampling-seed", "42")
    page("fill", "#sampling-top_p", "7")  # out of its bounds: marked, not sent
    page("fill", "#extra", '{"logit_bias": {"5": -1}}')
    page("fill", "#system", "Be brief.")
    page("click", "#think-pill")
    page("select_option", "#model", "other")
    page.ask("again")
    sent = peer.asked[1]
    assert (sent["temperature"], sent["seed"], sent["logit_bias"], sent["model"]) == (
        0.3,
        42,
        {"5": -1},
        "other",
    )
    assert "top_p" not in sent and sent["chat_template_kwargs"] == {"enable_thinking": True}
    assert sent["messages"][0] == {"role": "system", "content": "Be brief."}
    assert page("get_attribute", "#sampling-top_p", "aria-invalid") == "true"


def test_the_request_can_be_taken_to_a_terminal(page, peer):
    page("fill", "#key", "secret-key")
    page("press", "#key", "Enter")
    peer.script("it's so")
    page.ask("it's what?")
    page("click", "[aria-label='The request as a command']")
    command = page.texts("dialog code")[0]
    assert command.startswith(f"curl {peer.url}/v1/chat/completions") and "secret-key" not in command
    assert "it'\\''s what?" in command


def test_a_key_is_sent_and_never_kept_on_disk(page, peer):
    peer.script("yes")
    page("fill", "#key", "secret-key")
    page("press", "#key", "Enter")
    page.ask("hello")
    assert peer.asked[0]["headers"]["Authorization"] == "Bearer secret-key"
    assert "secret-key" not in page("evaluate", "() => JSON.stringify(localStorage)")


@pytest.mark.parametrize(
    ("status", "said", "advice"),
    [
        (401, "no such key", "Enter the server's API key"),
        (404, "the model 'x' does not exist", "choose a model that the server has"),
        (
            400,
            '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser',
            "Turn the tools off",
        ),
        (400, "the prompt has 600 tokens, 88 more than the context of 512", "lower max_tokens"),
        (500, "out of memory", "the server's log says more"),
    ],
)
def test_a_refusal_says_what_to_do(page, peer, status, said, advice):
    peer.script(refuse(status, said))
    page.ask("hello")
    shown = page("inner_text", ".fault")
    assert str(status) in shown and said in shown and advice in shown


def test_after_a_refusal_one_tries_again(page, peer):
    peer.script(refuse(429, "the queue is full", Retry_After="3"), "Now.")
    page.ask("hello")
    assert "Try again in 3 s" in page("inner_text", ".fault")
    page("click", ".fault button")
    page.sees("Now.")
    page.done()
    assert [request["messages"] for request in peer.asked] == [[{"role": "user", "content": "hello"}]] * 2
    assert page.texts(".user .said") == ["hello"]


def test_a_stream_that_breaks_keeps_what_had_come(page, peer):
    def breaks(handler: Handler) -> None:
        handler.head(200, "text/event-stream")
        handler.piece(event({"content": "half of"}))
        handler.piece(b'data: {"error": {"message": "the engine is gone", "code": 500}}\n\n')
        handler.piece(b"")

    peer.script(breaks, told("cut", "length"))
    page.ask("hello")
    assert page.texts(".prose") == ["half of"] and "the engine is gone" in page("inner_text", ".fault")
    page.ask("more")
    assert "raise max_tokens" in page("inner_text", "#log")


def test_a_server_that_is_gone_is_said_to_be(page, peer):
    page("fill", "#endpoint", "http://127.0.0.1:9")
    page("press", "#endpoint", "Enter")
    page("wait_for_function", "() => server.state === 'down'")
    assert "Is the server running?" in page("inner_text", "#connection-said")
    page("click", ".preset >> nth=0")
    page("wait_for_function", "() => server.state === 'up'")


def test_a_message_can_be_edited_and_an_answer_had_again(page, peer):
    peer.script("one", "two", "three")
    page.ask("first")
    page("click", "[aria-label='Answer again']")
    page.sees("two")
    page.done()
    page("focus", "#input")
    page("press", "#input", "ArrowUp")
    page("fill", ".user textarea", "better")
    page("press", ".user textarea", "Enter")
    page.sees("three")
    page.done()
    assert [request["messages"][0]["content"] for request in peer.asked] == ["first", "first", "better"]
    assert page("evaluate", "() => messages.map(one => one.content)") == ["better", "three"]


def test_a_conversation_outlives_a_reload_and_travels_as_a_file(page, peer, tmp_path):
    peer.script([{"reasoning_content": "hm"}, {"content": "kept"}])
    page.ask("hello")
    page("reload")
    page.sees("kept")
    page("click", "#part-keep summary")
    row = json.loads(page("saved", "#export"))
    assert row["messages"] == [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "kept", "reasoning_content": "hm"},
    ]
    assert [tool["function"]["name"] for tool in row["tools"]] == [
        "get_weather",
        "calculate",
        "search",
        "get_time",
    ]
    page("keyboard.press", "Control+k")
    assert page.texts(".turn") == [] and page("is_visible", "#empty")
    page("click", ".toast button")
    assert len(page.texts(".turn")) == 2
    page("keyboard.press", "Control+k")
    file = tmp_path / "row.json"
    file.write_text(json.dumps(row), encoding="utf-8")
    page("set_input_files", "#import-file", str(file))
    page.sees("kept")
    file.write_text('{"messages": [{"role": "robot"}]}', encoding="utf-8")
    page("set_input_files", "#import-file", str(file))
    page.sees("No messages in row.json")


def test_from_disk_it_speaks_to_any_server(page, peer):
    page("open", PAGE.as_uri(), locale="en-GB")
    page("fill", "#endpoint", peer.url + "/v1/")
    page("press", "#endpoint", "Enter")
    page("wait_for_function", "() => server.state === 'up'")
    peer.script("from afar")
    page.ask("hello")
    assert page.texts(".prose") == ["from afar"] and page("errors") == []
    assert page.texts(".preset") == [":8000", ":8998"]
