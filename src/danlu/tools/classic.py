"""The four tools that every introduction to tool calling has, real and safe: nothing leaves this machine.

    get_weather(city)         from a table of cities, in the language of the question
    calculate(expression)     exact sums; see reckoning.py
    search(query)             a small bilingual encyclopedia
    get_time(timezone)        of a zone or a city; without one, of this machine

The tables are in world.json.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from danlu.tools.reckoning import Refused, reckon
from danlu.tools.run import Tool, Toolbox

Answer = dict[str, Any]
WORLD = Path(__file__).with_name("world.json")
FOUND = 3  # texts that a search returns
CHINESE = re.compile(r"[\u3400-\u9fff]")
OFFSET = re.compile(r"(?:utc|gmt)?\s*([+-])\s*(\d{1,2})(?::?(\d{2}))?", re.IGNORECASE)
DAYS = {"zh": "星期一 星期二 星期三 星期四 星期五 星期六 星期日".split()}
DAYS["en"] = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
COMMON = frozenset(
    "a an and are about at by do does for how i in is it me of on or tell the there to was what when where"
    " which who why 什么 是什 么是 怎么 介绍 一下 关于 搜索 查询 请问 告诉 有关 资料 信息".split()
)


def _definition(name: str, says: str, required: tuple[str, ...] = (), **parameters: str) -> dict[str, Any]:
    properties = {key: {"type": "string", "description": about} for key, about in parameters.items()}
    schema = {"type": "object", "properties": properties, "required": [*required]}
    return {"name": name, "description": says, "parameters": schema}


DEFINITIONS = {
    "get_weather": _definition(
        "get_weather",
        "Today's weather in a city. 查询城市天气。",
        ("city",),
        city="Name of the city, like 北京 or London",
    ),
    "calculate": _definition(
        "calculate", "Work out a sum. 计算算式。", ("expression",), expression="Like (3 + 4) * 5 or sqrt(2)"
    ),
    "search": _definition("search", "Look something up. 搜索资料。", ("query",), query="What to look for"),
    "get_time": _definition(
        "get_time",
        "The date and time now. 查询当前时间。",
        timezone="Like Asia/Shanghai, UTC+8 or a city; may be left out",
    ),
}


@functools.cache
def world() -> dict[str, list[dict[str, Any]]]:
    """Return the tables."""
    tables: dict[str, list[dict[str, Any]]] = json.loads(WORLD.read_text(encoding="utf-8"))
    return tables


def language_of(text: str) -> str:
    """Return the language that a text is answered in."""
    return "zh" if CHINESE.search(text) else "en"


def get_weather(city: str) -> Answer:
    language = language_of(city)
    found = _city(city)
    if found is None:
        known = "、".join if language == "zh" else ", ".join
        names = known(_names(each)[0 if language == "zh" else 1] for each in world()["cities"][:12])
        return {"error": f"no weather is known for '{city[:60]}'; some that are known: {names}"}
    name = found["zh"] if language == "zh" else found["en"][0]
    weather = found["weather"][language]
    return {
        "city": name,
        "weather": weather,
        "high": found["high"],
        "low": found["low"],
        "humidity": found["humidity"],
    }


def calculate(expression: str) -> Answer:
    try:
        return {"result": reckon(expression)}
    except Refused as refused:
        return {"error": str(refused)}


def search(query: str) -> Answer:
    """Return the texts that have most of the query's words, rare words counting more."""
    language, wanted = language_of(query), _words(query)
    if not wanted:
        return {"error": "the query is empty; say what to look for"}
    pages = _pages()
    weight = {
        word: 1 / sum(word in title or word in text for title, text in pages)
        for word in wanted
        if _known(word)
    }
    scores = [
        sum(weight.get(word, 0) * (3 * (word in title) + (word in text)) for word in wanted)
        for title, text in pages
    ]
    best = sorted(range(len(pages)), key=lambda page: -scores[page])[:FOUND]
    results = [world()["facts"][page][language] for page in best if scores[page] >= 0.5 * max(scores) > 0]
    if not results:
        return {"results": [], "note": f"nothing is known about '{query[:60]}'"}
    return {"results": [{"title": each["title"], "text": each["text"]} for each in results]}


def get_time(timezone: str = "", clock: Callable[[], datetime] | None = None) -> Answer:
    now = clock() if clock else datetime.now().astimezone()
    if timezone.strip():
        zone = _zone(timezone.strip())
        if zone is None:
            known = "write Asia/Shanghai, UTC+8 or a large city"
            return {"error": f"there is no time zone '{timezone[:60]}'; {known}"}
        now = now.astimezone(zone)
    return {
        "time": f"{now:%Y-%m-%d %H:%M:%S}",
        "weekday": DAYS[language_of(timezone)][now.weekday()],
        "timezone": str(now.tzinfo if timezone.strip() else now.strftime("UTC%z")),
    }


def toolbox(clock: Callable[[], datetime] | None = None) -> Toolbox:
    """Return the four tools; `clock` tells the time instead of the machine's own."""

    def get_time_now(timezone: str = "") -> Answer:
        return get_time(timezone, clock)

    runs: dict[str, Callable[..., Answer]] = {
        "get_weather": get_weather,
        "calculate": calculate,
        "search": search,
        "get_time": get_time_now,
    }
    return Toolbox(Tool(DEFINITIONS[name], run) for name, run in runs.items())


def _names(city: dict[str, Any]) -> list[str]:
    return [city["zh"], *city["en"]]


def _city(name: str) -> dict[str, Any] | None:
    """Return the city of that name, however it is written: 北京市, beijing, "Beijing, China"."""
    wanted = name.casefold().split(",")[0].split("，")[0].strip().removesuffix("市").removesuffix(" city")
    for city in world()["cities"]:
        if wanted in [each.casefold() for each in _names(city)]:
            return city
    return next((city for city in world()["cities"] if CHINESE.search(wanted) and city["zh"] in wanted), None)


def _zone(name: str) -> tzinfo | None:
    """Return the zone of a name, an offset, or a city."""
    if name.upper() in ("UTC", "GMT", "Z"):
        return timezone.utc
    if offset := OFFSET.fullmatch(name):
        hours, minutes = int(offset[2]), int(offset[3] or 0)
        if hours > 14 or minutes > 59:
            return None
        return timezone((1 if offset[1] == "+" else -1) * timedelta(hours=hours, minutes=minutes))
    if city := _city(name.rpartition("/")[2].replace("_", " ")) if "/" not in name else None:
        name = city["zone"]
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


@functools.cache
def _pages() -> list[tuple[frozenset[str], frozenset[str]]]:
    """Return each page's words, those of its title and those of its text, in both languages."""
    return [
        (
            frozenset(_words(" ".join([each["zh"]["title"], each["en"]["title"], *each["words"]]))),
            frozenset(_words(f"{each['zh']['text']} {each['en']['text']}")),
        )
        for each in world()["facts"]
    ]


def _known(word: str) -> bool:
    return any(word in title or word in text for title, text in _pages())


def _words(text: str) -> list[str]:
    """Return what a text is about: its words, and of Chinese every pair of letters.

    >>> _words("What is the Moon? 月球")
    ['moon', '月球']
    """
    found: list[str] = []
    for piece in re.findall(r"[\u3400-\u9fff]+|[^\W\u3400-\u9fff]+", text.casefold()):
        if CHINESE.match(piece):
            found += [piece[at : at + 2] for at in range(len(piece) - 1)] or [piece]
        else:
            found.append(piece)
    return [word for word in found if word not in COMMON]
