"""What training has beside the dialogues of tools.py, so that a model reads which tools it is offered.

Some of those dialogues call their tools, or what the tools take, by other names; some offer them at more
length, with what is required and what they are for, as servers and other people's programs do. And some
are new, with tools of known names that take less:

    get_weather(city)         of today; tools.py has one that wants a date as well, and asks for it
    get_time(timezone)        here, if nothing is said of where

    What will the weather be in Lundaford?    {"name": "get_weather", "arguments": {"city": "Lundaford"}}

For training only: what is held out has the tools of tools.py, whose results can be reckoned again.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from danlu.starter.split import chance, pick
from danlu.starter.tools import TURNS, calls, dialogues
from danlu.starter.tools_catalogue import WEATHER, described
from danlu.starter.tools_talk import SYSTEMS
from danlu.starter.tools_values import Values

Row = dict[str, Any]
Asked = tuple[str, Row, Row, str]
"""A question, the arguments of its call, the result, and what is said of it."""

PARAMETERS: Mapping[str, Sequence[str]] = {"get_weather": ("city",), "get_time": ("timezone",)}
BESIDE = ("calculate", "search", "translate", "convert_unit")  # offered too, as they are elsewhere
NAMES: Mapping[str, Sequence[str]] = {
    "get_weather": ("weather", "query_weather", "forecast"),
    "get_time": ("time", "current_time", "clock"),
    "calculate": ("calculator", "compute", "work_out"),
    "convert_unit": ("unit_converter", "convert", "units"),
    "convert_currency": ("currency", "exchange", "change_money"),
    "add_event": ("create_event", "new_event", "note"),
    "list_events": ("get_events", "calendar", "show_plans"),
    "search": ("web_search", "find", "look_up"),
    "translate": ("translator", "translate_text", "say_in"),
}
"""What tools may be called as well."""
KEYS: Mapping[str, Sequence[str]] = {
    "city": ("town", "place", "location"),
    "date": ("day", "when"),
    "expression": ("sum", "formula"),
    "value": ("quantity", "measure"),
    "amount": ("money", "price"),
    "to": ("into", "target"),
    "title": ("what", "event"),
    "person": ("friend", "who"),
    "query": ("words", "about"),
    "text": ("phrase", "sentence"),
}
"""What their parameters may be called as well."""
WEATHER_ASKS = {
    "en": (
        "What will the weather be in {}?",
        "How is the weather in {} today?",
        "And how is the weather in {}?",
        "Weather in {}, please.",
    ),
    "zh": ("{}天气怎么样？", "{}今天天气怎么样？", "那{}的天气呢？", "查一下{}的天气。"),
}
WEATHER_TOLD = {
    "en": "The weather in {} today is {}, up to {} degrees.",
    "zh": "{}今天{}，最高{}度。",
}
TIME_ASKS = {
    "en": ("What time is it?", "What is the time now?", "Please tell me the time."),
    "zh": ("现在几点了？", "现在是几点钟？", "请告诉我时间。"),
}
TIME_IN = {
    "en": ("What time is it in {}?", "What is the time in {} now?", "Time in {}, please."),
    "zh": ("{}现在几点？", "现在{}是几点钟？", "查一下{}的时间。"),
}
TIME_TOLD = {"en": ("It is {}.", "It is {} in {}."), "zh": ("现在是{}。", "{1}现在是{0}。")}
POLITE = {"en": ("{}", "{}", "Hello! {}", "{} Thank you."), "zh": ("{}", "{}", "你好，{}", "{}谢谢。")}
TRAINED = [*TURNS[1:], "no tool fits"]  # one call less often, so that missing tools are seen more
OTHERS = 0.03  # of rows are new dialogues
RENAMED = 0.05  # of the rest call their tools by other names
AT_LENGTH = 0.08  # offer their tools at length; both only where a chat then stays below 512 tokens


def training(dice: random.Random, count: int, languages: Sequence[str]) -> Iterator[Row]:
    """Yield dialogues of the training side, in some languages in turns."""
    for number, row in enumerate(dialogues(dice, False, count, languages, TRAINED)):
        if chance(dice, OTHERS):
            yield dialogue(dice, languages[number % len(languages)])
            continue
        made = sum(1 for _ in calls(row["messages"]))
        if made + len(row["tools"]) < 6 and chance(dice, RENAMED):
            row = renamed(dice, row)
        elif (made < 2 or made + len(row["tools"]) < 5) and chance(dice, AT_LENGTH):
            full = chance(dice, 0.5)
            row["tools"] = [described(tool["name"], full=full) for tool in row["tools"]]
        yield row


def renamed(dice: random.Random, row: Row) -> Row:
    """Return a dialogue whose tools, and what they take, are called otherwise."""
    names = {name: pick(dice, also) for name, also in NAMES.items()}
    keys = {key: pick(dice, also) for key, also in KEYS.items()} if chance(dice, 0.5) else {}

    def other(key: str) -> str:
        return keys.get(key, key)

    tools = [
        {
            "name": names[tool["name"]],
            "parameters": {
                "properties": {other(key): told for key, told in tool["parameters"]["properties"].items()}
            },
        }
        for tool in row["tools"]
    ]
    for made in calls(row["messages"]):
        made["arguments"] = {other(key): value for key, value in made["arguments"].items()}
        made["name"] = names[made["name"]]
    return {"messages": row["messages"], "tools": tools}


def weather(values: Values) -> Asked:
    language, city = values.language, values.town()
    said = pick(values.dice, WEATHER[language])
    low = values.below(0, 20)
    high = low + values.below(1, 16)
    result = {"city": city, "weather": said, "high": high, "low": low, "humidity": values.below(20, 95)}
    told = WEATHER_TOLD[language].format(city, said, high)
    return pick(values.dice, WEATHER_ASKS[language]).format(city), {"city": city}, result, told


def time(values: Values) -> Asked:
    language = values.language
    clock = f"{values.date()} {values.below(0, 24):02}:{values.below(0, 60):02}:{values.below(0, 60):02}"
    if chance(values.dice, 0.5):
        return (
            pick(values.dice, TIME_ASKS[language]),
            {},
            {"time": clock},
            TIME_TOLD[language][0].format(clock),
        )
    city = values.town()
    told = TIME_TOLD[language][1].format(clock, city)
    return pick(values.dice, TIME_IN[language]).format(city), {"timezone": city}, {"time": clock}, told


KINDS: Mapping[str, Callable[[Values], Asked]] = {"get_weather": weather, "get_time": time}


def dialogue(dice: random.Random, language: str) -> Row:
    """Return a dialogue of the training side in which one such tool is called."""
    values = Values(dice, language, heldout=False)
    name = pick(dice, tuple(KINDS))
    question, arguments, result, told = KINDS[name](values)
    messages: list[Row] = []
    if chance(dice, 0.2):
        messages.append({"role": "system", "content": pick(dice, SYSTEMS[language])})
    messages += [
        {"role": "user", "content": pick(dice, POLITE[language]).format(question)},
        {"role": "assistant", "content": "", "tool_calls": [{"name": name, "arguments": arguments}]},
        {"role": "tool", "content": json.dumps(result, ensure_ascii=False)},
        {"role": "assistant", "content": told},
    ]
    return {"messages": messages, "tools": _offered(dice, name)}


def _offered(dice: random.Random, name: str) -> list[Row]:
    """Return the tool's definition among one to three others', in any order."""
    names = [name, *(other for other in PARAMETERS if other != name and chance(dice, 0.5))]
    names += [other for other in BESIDE if chance(dice, 0.4)][:2]
    full = chance(dice, 0.6)
    offered = [
        described(each, PARAMETERS.get(each), required=each != "get_time", full=full) for each in names
    ]
    for last in range(len(offered) - 1, 0, -1):
        other = int(dice.random() * (last + 1))
        offered[last], offered[other] = offered[other], offered[last]
    return offered
