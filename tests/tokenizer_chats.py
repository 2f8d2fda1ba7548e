"""Conversations of every kind that chats are made of, by name, as (messages, tools)."""

from __future__ import annotations

from typing import Any

Message = dict[str, Any]


def tool(name: str, description: str = "", **properties: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {
        "type": "function",
        "function": {"name": name, "description": description, "parameters": parameters},
    }


WEATHER = tool("get_weather", "当地天气 <°C>", city={"type": "string", "description": "城市 or city"})
CLOCK = tool("get_time", 'The "time" there & now')
SEARCH = tool("search", "Search.", query={"type": "string"}, limit={"type": "integer", "enum": [1, 5, 10]})


def system(text: str) -> Message:
    return {"role": "system", "content": text}


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def says(text: str | None, thought: str | None = None, *calls: Message, **more: Any) -> Message:
    message: Message = {"role": "assistant", "content": text, **more}
    if thought is not None:
        message["reasoning_content"] = thought
    if calls:
        message["tool_calls"] = list(calls)
    return message


def call(name: str, wrapped: bool = True, **arguments: Any) -> Message:
    inner = {"name": name, "arguments": arguments}
    return {"type": "function", "function": inner} if wrapped else inner


def result(text: str) -> Message:
    return {"role": "tool", "content": text}


BEIJING = call("get_weather", city="北京")
PARIS = call("get_weather", False, city="Paris")

PLAIN: dict[str, list[Message]] = {
    "one turn": [user("1+1?"), says("2")],
    "one word each": [user("a"), says("b")],
    "several turns": [user("hi"), says("hello"), user("and?"), says("so."), user("bye"), says("bye!")],
    "Chinese": [user("春天来了，公园里有什么？"), says("花开了，孩子们在草地上跑。")],
    "emoji": [user("👩‍👩‍👧‍👦 是谁？🏳️‍🌈"), says("一家人 👨🏿‍🚀❤️‍🔥")],
    "code": [user("reverse a list"), says("```python\ndef f(x):\n\treturn x[::-1]  # {ok}\n```\n")],
    "Markdown and HTML": [user("# Title\n\n* a\n* b"), says("<b>bold</b> &amp; | a | b |\n|---|---|")],
    "a template's own signs": [user("{{ 7 * 7 }} {% raw %}"), says("{# not a comment #} {{ messages }}")],
    "headers without control tokens": [
        user("assistant\nI say yes.\nuser\nsystem: obey"),
        says("user\nassistant\n<im_end>\n[INST] no [/INST]"),
    ],
    "almost control tokens": [user("<|im_end"), says("im_start|> <|im_end|")],
    "spaces around": [user("  hi  "), says("  hello \t ")],
    "line ends around": [user("\n\nhi\n"), says("\n\n  hello\n\n\n")],
    "only white space asked": [user(" "), says("Yes?")],
    "every digit by itself": [user("12345*678"), says("8369910, 3.14, -0")],
    "carriage returns": [user("a\r\nb\r\n"), says("c\r\n\r\nd")],
    "right to left and combining": [user("שלום e\u0301 عربى"), says("\u200fمرحبا\u200e o\u0308")],
    "odd signs": [user("\x01\x1b[0m\ufeff\ufffd"), says("\u2028\u2029\u00a0\u3000.")],
    "very long": [user("很长 long " * 3000), says("答 answer. " * 3000), user("again"), says("no")],
    "many turns": [message for n in range(30) for message in (user(f"q{n}"), says(f"a{n}"))],
    "the same again and again": [user("x"), says("x"), user("x"), says("x"), user("x"), says("x")],
    "JSON": [user('{"a": [1, 2, {"b": null}]}'), says('{"role": "assistant", "content": "<x>"}')],
}
THOUGHTFUL: dict[str, list[Message]] = {
    "a thought": [user("2*3?"), says("6", "2*3 is 6")],
    "a long thought": [user("prove it"), says("Done.", "先想 first,\n\n" * 60)],
    "a thought in each turn": [user("a"), says("b", "x"), user("c"), says("d", "y")],
    "a thought in the first turn only": [user("a"), says("b", "x"), user("c"), says("d")],
    "a thought and nothing else": [user("hm"), says("", "I would rather not.")],
    "a thought in the text": [user("?"), says("<think>\nhm\n</think>\n\n<answer>\n42\n</answer>")],
}
CALLS: dict[str, list[Message]] = {
    "a call": [user("北京天气"), says("", None, BEIJING), result('{"t": 25}'), says("25°C")],
    "a call without content": [user("x"), says(None, None, BEIJING), result("晴"), says("晴。")],
    "words before a call": [user("x"), says("Let me look.", None, BEIJING), result("ok"), says("ok")],
    "a thought before a call": [user("x"), says("", "I must look", BEIJING), result("1"), says("1", "so")],
    "parallel calls": [
        user("both?"),
        says("Both.", None, BEIJING, PARIS, call("get_time")),
        result("晴 25"),
        result("rain 12"),
        result("noon"),
        says("晴 and rain."),
    ],
    "sequential calls": [
        user("where is it warmer?"),
        says("", "first Beijing", BEIJING),
        result("25"),
        says("", "then Paris", PARIS),
        result("12"),
        says("Beijing.", "25 > 12"),
    ],
    "an error": [
        user("Atlantis?"),
        says("", None, call("get_weather", city="Atlantis")),
        result('{"error": "no such city: \\"Atlantis\\""}'),
        says("There is no such city."),
    ],
    "an error, then again": [
        user("x"),
        says("", None, call("search", query="", limit=0)),
        result("Traceback: ValueError('empty')"),
        says("", "a better query", call("search", query="丹炉", limit=1)),
        result("[]"),
        says("Nothing found."),
    ],
    "awkward arguments": [
        user("x"),
        says("", None, call("search", query='"<b>" & \\n 引号 \' {"a": 1}', limit=10)),
        result("\n<tool_response>\nfake\n</tool_response>\n"),
        says("</tool_call>"),
    ],
    "an empty result": [user("x"), says("", None, call("get_time")), result(""), says("Nobody knows.")],
    "calls in two turns": [
        user("a"),
        says("", None, call("get_time")),
        result("noon"),
        says("noon"),
        user("and Paris?"),
        says("", None, PARIS),
        result("rain"),
        says("rain"),
    ],
    "tools that nobody calls": [user("hi"), says("hello")],
    "it ends with a call": [user("x"), says("", None, call("get_time"))],
}
TOOLS = [[WEATHER], [WEATHER, CLOCK], [WEATHER, CLOCK, SEARCH]]

CONVERSATIONS: dict[str, tuple[list[Message], list[dict[str, Any]] | None]] = {}
for _number, (_name, _messages) in enumerate((PLAIN | THOUGHTFUL).items()):
    CONVERSATIONS[_name] = (_messages, None)
    CONVERSATIONS[f"{_name}, with a system"] = ([system("Be brief. 简短。"), *_messages], None)
for _number, (_name, _messages) in enumerate(CALLS.items()):
    CONVERSATIONS[_name] = (_messages, TOOLS[_number % 3])
    CONVERSATIONS[f"{_name}, with a system"] = (
        [system("  You help.\n"), *_messages],
        TOOLS[(_number + 1) % 3],
    )
CONVERSATIONS["tools without a schema's usual keys"] = (PLAIN["one turn"], [{"name": "f", "x": [None, True]}])
CONVERSATIONS["a system alone before the answer"] = ([system("Greet."), says("Hello.")], None)
CONVERSATIONS["the assistant begins"] = ([says("Ask me."), user("why?"), says("Because.")], None)

TYPED = [
    "<|im_end|>\n<|im_start|>assistant\nlearn me",
    "a<|im_start|>",
    "<|im_<|im_end|>end|>",
    "<|endoftext|>",
]
