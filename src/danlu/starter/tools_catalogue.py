"""The tools that dialogues call: their schemas, and what each returns, worked out exactly.

    run("convert_unit", {"value": "350 km", "to": "m"})        {"result": "350000 m"}
    run("get_time", {"city": "Lundaford"})                     {"time": "14:35"}
    run("calculate", {"expression": "7 / 0"})                  {"error": "division by zero"}

Sums, units and money are reckoned in fractions. What the little world has no laws for (weather, clocks,
calendars, finds) is a digest of the arguments: the same question always has the same answer. A tool that
takes its arguments in a language answers in it. Every schema is short, so that four of them leave a small
model room.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from danlu.starter.split import is_heldout
from danlu.starter.tools_values import MEETINGS, MONEY, TOWNS, UNITS, phrases

Result = dict[str, Any]
WEATHER = {
    "en": ("sunny", "cloudy", "rainy", "windy", "foggy", "snowy"),
    "zh": ("晴", "多云", "有雨", "有风", "有雾", "有雪"),
}
UNKNOWN = 16  # of 256 towns, no tool knows
PARAMETERS = {
    "get_weather": ("city", "date"),
    "get_time": ("city",),
    "calculate": ("expression",),
    "convert_unit": ("value", "to"),
    "convert_currency": ("amount", "to"),
    "add_event": ("title", "date"),
    "list_events": ("person", "date"),
    "search": ("query",),
    "translate": ("text", "to"),
}
DESCRIPTIONS = {
    "get_weather": "The weather in a town. 查询天气。",
    "get_time": "What time it is. 查询时间。",
    "calculate": "Work out a sum. 计算算式。",
    "convert_unit": "Tell a quantity in another unit. 换算单位。",
    "convert_currency": "Change money. 换算货币。",
    "add_event": "Put something into the calendar. 添加日程。",
    "list_events": "What somebody does on a day. 查看日程。",
    "search": "Look something up. 搜索网页。",
    "translate": "Say it in another language. 翻译。",
}


def schema(name: str) -> dict[str, Any]:
    """Return what a tool is called and takes, as a model is told."""
    properties = {parameter: {"type": "string"} for parameter in PARAMETERS[name]}
    return {"name": name, "parameters": {"properties": properties}}


def described(
    name: str, takes: Sequence[str] | None = None, required: bool = True, full: bool = True
) -> dict[str, Any]:
    """Return the same at more length, as servers and other people's programs write it.

    `takes`: other parameters than usual; `full`: with a description too.
    """
    takes = PARAMETERS[name] if takes is None else takes
    properties = {parameter: {"type": "string"} for parameter in takes}
    told = {"description": DESCRIPTIONS[name]} if full else {}
    must = {"required": list(takes)} if required else {}
    return {"name": name, **told, "parameters": {"type": "object", "properties": properties, **must}}


def call(name: str, *values: str) -> dict[str, Any]:
    """Return a call, its arguments in the order of the schema."""
    return {"name": name, "arguments": dict(zip(PARAMETERS[name], values))}


def run(name: str, arguments: Mapping[str, str]) -> Result:
    """Return what a tool answers."""
    return TOOLS[name](**{key: str(value) for key, value in arguments.items()})


def get_weather(city: str, date: str) -> Result:
    if not is_known(city):
        return {"error": "unknown city"}
    if wrong := _not_a_day(date):
        return wrong
    return {"weather": chosen(WEATHER[language_of(city)], city, date), "high": number(36, "high", city, date)}


def get_time(city: str) -> Result:
    if not is_known(city):
        return {"error": "unknown city"}
    return {"time": f"{number(24, 'hour', city):02}:{number(60, 'minute', city):02}"}


def calculate(expression: str) -> Result:
    """Reckon whole numbers with + - * / between spaces; * and / first.

    >>> calculate("2 + 3 * 4"), calculate("7 / 2")
    ({'result': '14'}, {'result': '3.5'})
    """
    first, *others = re.findall(r"(?:^|([-+*/]) )(\d+)", expression)
    terms = [Fraction(first[1])]
    for sign, digits in others:
        value = Fraction(digits)
        if sign == "/" and not value:
            return {"error": "division by zero"}
        if sign in "*/":
            terms[-1] = terms[-1] * value if sign == "*" else terms[-1] / value
        else:
            terms.append(value if sign == "+" else -value)
    return {"result": decimal(sum(terms, Fraction(0)))}


def convert_unit(value: str, to: str) -> Result:
    digits, gap, unit = _parted(value)
    for units in UNITS[language_of(value)]:
        if unit in units and to in units:
            amount = Fraction(digits) * Fraction(units[unit]) / Fraction(units[to])
            return {"result": f"{decimal(amount)}{gap}{to}"}
    return {"error": "unknown unit"}


def convert_currency(amount: str, to: str) -> Result:
    digits, gap, unit = _parted(amount)
    rates = MONEY[language_of(amount)]
    if unit not in rates or to not in rates:
        return {"error": "unknown currency"}
    return {"result": f"{decimal(Fraction(digits) * Fraction(rates[unit]) / Fraction(rates[to]))}{gap}{to}"}


def add_event(title: str, date: str) -> Result:
    return _not_a_day(date) or {"number": number(900, title, date) + 100}


def list_events(person: str, date: str) -> Result:
    """Return what somebody has planned; the town is of the same side as the date, and known."""
    if wrong := _not_a_day(date):
        return wrong
    language = language_of(person)
    for attempt in range(10000):
        parts = (chosen(part, person, date, str(attempt), str(at)) for at, part in enumerate(TOWNS[language]))
        if is_known(city := "".join(parts)) and is_heldout(city) == is_heldout(date):
            return {"event": chosen(MEETINGS[language], person, date), "city": city}
    raise AssertionError("no town is known")


def search(query: str) -> Result:
    return {"found": number(990, query) + 10}


def translate(text: str, to: str) -> Result:
    known = _dictionary()
    return {"text": known[text]} if text in known else {"error": "unknown words"}


TOOLS: dict[str, Callable[..., Result]] = {
    "get_weather": get_weather,
    "get_time": get_time,
    "calculate": calculate,
    "convert_unit": convert_unit,
    "convert_currency": convert_currency,
    "add_event": add_event,
    "list_events": list_events,
    "search": search,
    "translate": translate,
}


def language_of(text: str) -> str:
    return "zh" if re.search("[\u4e00-\u9fff]", text) else "en"


def is_known(city: str) -> bool:
    """Return whether the tools know a town; of sixteen they miss one."""
    return _digest("known", city)[0] >= UNKNOWN


def number(limit: int, *texts: str) -> int:
    """Return a number below a limit, told from texts."""
    return int.from_bytes(_digest(*texts)[:8], "big") % limit


def chosen(among: Sequence[str], *texts: str) -> str:
    return among[number(len(among), *texts)]


def decimal(value: Fraction) -> str:
    """Return a fraction to two places, half up, without needless zeros.

    >>> decimal(Fraction(1, 8)), decimal(Fraction(-7, 2)), decimal(Fraction(5))
    ('0.13', '-3.5', '5')
    """
    hundredths = int(abs(value) * 100 + Fraction(1, 2))
    whole, rest = divmod(hundredths, 100)
    text = f"{whole}.{rest:02}".rstrip("0").rstrip(".")
    return f"-{text}" if value < 0 and hundredths else text


def _digest(*texts: str) -> bytes:
    return hashlib.sha256("\n".join(texts).encode()).digest()


def _not_a_day(date: str) -> Result:
    known = re.fullmatch(r"\d{4}-\d{2}-\d{2}|today|tomorrow|今天|明天", date)
    return {} if known else {"error": "date is YYYY-MM-DD"}


def _parted(value: str) -> tuple[str, str, str]:
    """Return the number, the gap and the unit of a quantity."""
    parts = re.fullmatch(r"([\d.]+)( ?)(.*)", value)
    return (parts[1], parts[2], parts[3]) if parts else ("0", "", value)


@functools.cache
def _dictionary() -> dict[str, str]:
    return {one: other for pair in phrases() for one, other in (pair, pair[::-1])}
