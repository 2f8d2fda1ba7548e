"""Answers with calls in all other formats."""

from __future__ import annotations

from tools.golden import AFTER, BEIJING, HALF_TOLD, TIME, Answer


def fenced(name: str, written: str) -> str:
    return f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>{name}\n```json\n{written}\n```<｜tool▁call▁end｜>"


ANSWERS = [
    Answer(
        "qwen3_coder",
        "Let me look.\n\n<tool_call>\n<function=get_weather>\n<parameter=city>\n北京\n</parameter>\n"
        "<parameter=days>\n3\n</parameter>"
        "\n</function>\n</tool_call>",
        "Let me look.",
        [("get_weather", {"city": "北京", "days": 3})],
    ),
    Answer("qwen3_coder", "<tool_call>\n<function=get_time>\n</function>\n</tool_call>", calls=[TIME]),
    Answer(
        "qwen3_coder",
        '<tool_call>\n<function=note>\n<parameter=text>\nline 1\n"line" 2\\\n</parameter>\n'
        '<parameter=tags>\n["a", 1]\n</parameter>\n'
        "<parameter=done>\ntrue\n</parameter>\n<parameter=at>\n1.5\n</parameter>\n</function>\n</tool_call>\n"
        "<tool_call>\n<function=get_time>\n</function>\n</tool_call>",
        calls=[("note", {"text": 'line 1\n"line" 2\\', "tags": ["a", 1], "done": True, "at": 1.5}), TIME],
    ),
    Answer(
        "qwen3_coder",
        "<tool_call>\n<function=get_weather>\n<parameter=city>\n3\n</parameter>\n<parameter=days>\nsoon\n</parameter>\n</function>\n</tool_call>",
        calls=[("get_weather", {"city": "3", "days": "soon"})],
    ),
    Answer(
        "qwen3_coder",
        "<function=get_weather>\n<parameter=city>\n北京\n</parameter>\n</function>",
        calls=[BEIJING],
    ),
    Answer(
        "qwen3_coder",
        "<tool_call>\n<function=get_weather>\n<parameter=city>\n北京\n<parameter=days>\n2\n</parameter>\n</function>\n</tool_call>",
        calls=[("get_weather", {"city": "北京", "days": 2})],
    ),
    Answer(
        "qwen3_coder",
        "<tool_call>\n<function=get_weather>\n<parameter=city>\n北",
        calls=[("get_weather", '{"city": "北')],
        whole="an argument that is cut off is dropped whole, and told when streamed",
    ),
    Answer(
        "qwen3_coder",
        "<tool_call>\n<function=get_time>\n</function>\n</tool_call>\nDone.",
        "\nDone.",
        [TIME],
        whole=AFTER,
    ),
    Answer(
        "qwen3_coder",
        "<tool_call>\nnothing\n</tool_call>",
        "<tool_call>\nnothing\n</tool_call>",
        whole=HALF_TOLD,
        streamed=HALF_TOLD,
    ),
    Answer(
        "glm45",
        "Let me look.\n<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>北京</arg_value>\n"
        "<arg_key>days</arg_key>\n"
        "<arg_value>3</arg_value>\n</tool_call>",
        "Let me look.",
        [("get_weather", {"city": "北京", "days": 3})],
    ),
    Answer(
        "glm45",
        "<tool_call>get_time</tool_call>\n<tool_call>get_weather<arg_key>city</arg_key><arg_value>北京</arg_value></tool_call>",
        calls=[TIME, BEIJING],
    ),
    Answer(
        "glm45",
        "<tool_call>not a name</tool_call>",
        "<tool_call>not a name</tool_call>",
        whole=HALF_TOLD,
        streamed=HALF_TOLD,
    ),
    Answer("glm45", "<tool_call>get_t", "<tool_call>get_t", whole=HALF_TOLD, streamed=HALF_TOLD),
    Answer(
        "mistral", '[TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "北京"}}]', calls=[BEIJING]
    ),
    Answer(
        "mistral",
        'Let me look. [TOOL_CALLS] [{"name": "get_weather", "arguments": {"city": "北京"}}, '
        '{"name": "get_time", "arguments": {}}]',
        "Let me look.",
        [BEIJING, TIME],
    ),
    Answer(
        "mistral",
        '[TOOL_CALLS][{"name": "get_weather", "arguments": "{\\"city\\": \\"北京\\"}"}]',
        calls=[BEIJING],
    ),
    Answer("mistral", '[TOOL_CALLS]{"name": "get_time", "arguments": {}}', calls=[TIME]),
    Answer(
        "mistral", '[TOOL_CALLS][{"name": "get_time", "arguments": {}}] Done.', " Done.", [TIME], whole=AFTER
    ),
    Answer(
        "mistral", "[TOOL_CALLS] what", "[TOOL_CALLS] what", whole="the mark is dropped", streamed=HALF_TOLD
    ),
    Answer("mistral", '[TOOL_CALLS]get_weather{"city": "北京"}', calls=[BEIJING], eleventh=True),
    Answer(
        "mistral",
        'Look. [TOOL_CALLS]get_weather[ARGS]{"city": "北京"}[TOOL_CALLS]get_time[ARGS]{}',
        "Look.",
        [BEIJING, TIME],
        eleventh=True,
    ),
    Answer(
        "deepseek_v3",
        "Let me look.<｜tool▁calls▁begin｜>"
        + fenced("get_weather", '{"city": "北京"}')
        + "\n"
        + fenced("get_time", "{}")
        + "<｜tool▁calls▁end｜>",
        "Let me look.",
        [BEIJING, TIME],
    ),
    Answer("deepseek_v3", "It is sunny.", "It is sunny."),
    Answer(
        "deepseek_v3",
        "<｜tool▁calls▁begin｜>"
        + fenced("note", '{\n  "text": "```json\\n{}\\n```",\n  "tags": []\n}')
        + "<｜tool▁calls▁end｜>",
        calls=[("note", {"text": "```json\n{}\n```", "tags": []})],
        whole="arguments of several lines are not found",
        streamed="arguments of several lines are not found",
    ),
    Answer(
        "internlm",
        'Let me look.<|action_start|><|plugin|>\n{"name": "get_weather", "parameters": {"city": "北京"}}\n'
        "<|action_end|>\n",
        "Let me look.",
        [BEIJING],
    ),
    Answer(
        "internlm",
        '<|action_start|><|plugin|>{"name": "get_weather", "arguments": {"city": "北京"}}<|action_end|>',
        calls=[BEIJING],
    ),
    Answer(
        "internlm",
        '<|action_start|><|plugin|>{"name": "get_time", "parameters": {}}<|action_end|>'
        '<|action_start|><|plugin|>{"name": "get_weather", "parameters": {"city": "北京"}}<|action_end|>',
        calls=[TIME, BEIJING],
        whole="a second call raises an error",
        streamed="a second call is not expected",
    ),
    Answer(
        "phi4_mini_json",
        'functools[{"name": "get_weather", "arguments": {"city": "北京"}}, '
        '{"name": "get_time", "arguments": {}}]',
        calls=[BEIJING, TIME],
        streamed="nothing is streamed",
    ),
    Answer(
        "phi4_mini_json",
        'functools[{"name": "note", "arguments": {"text": "a", "tags": ["b"]}}]',
        calls=[("note", {"text": "a", "tags": ["b"]})],
        whole="a list among the arguments ends the list of calls",
        streamed="nothing is streamed",
    ),
    Answer(
        "phi4_mini_json", "functools is a module.", "functools is a module.", streamed="nothing is streamed"
    ),
    Answer("llama3_json", '{"name": "get_weather", "parameters": {"city": "北京"}}', calls=[BEIJING]),
    Answer(
        "llama3_json", '<|python_tag|>{"name": "get_weather", "arguments": {"city": "北京"}}', calls=[BEIJING]
    ),
    Answer(
        "llama3_json",
        '{"name": "get_weather", "parameters": {"city": "北京"}}; '
        '{"name": "note", "parameters": {"text": "x"}}',
        calls=[BEIJING, ("note", {"text": "x"})],
    ),
    Answer("llama3_json", '{"answer": 42}', '{"answer": 42}', streamed=HALF_TOLD),
    Answer("llama3_json", "It is {sunny}.", "It is {sunny}."),
    Answer(
        "llama3_json",
        'Like {"name": "get_time", "parameters": {}}, say.',
        'Like {"name": "get_time", "parameters": {}}, say.',
        whole="an object in the middle of a text is a call, and the text is dropped; streamed it is text",
    ),
    Answer(
        "pythonic", "[get_weather(city='北京', days=3)]", calls=[("get_weather", {"city": "北京", "days": 3})]
    ),
    Answer(
        "pythonic",
        '[get_weather(city="北京"), note(text="a", tags=["b", {"c": None}], done=True, at=-1.5), get_time()]',
        calls=[BEIJING, ("note", {"text": "a", "tags": ["b", {"c": None}], "done": True, "at": -1.5}), TIME],
        whole="",
    ),
    Answer("pythonic", "[1, 2, 3]", "[1, 2, 3]", streamed=HALF_TOLD),
    Answer("pythonic", "[see](there)", "[see](there)", streamed=HALF_TOLD),
    Answer("pythonic", "It is [sunny].", "It is [sunny]."),
]
