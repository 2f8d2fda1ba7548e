"""Values that a question about a tool names: towns, people, dates, amounts, sums, things, all put together.

    values = Values(dice, "en", heldout=False)
    values.town()     "Lundaford"        values.date()       "2031-04-17"
    values.person()   "Benador"          values.quantity()   "350 km"

Each is a combination of parts that come again in hundreds of others, and its own text decides its side
(split.py): a held-out value is one that training never shows, made of signs that training shows often.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from danlu.starter.split import is_heldout, pick

TOWNS: dict[str, tuple[Sequence[str], ...]] = {
    "en": (
        "Bel Cor Dan Fen Gal Hol Lun Mar Nor Pel Ros Tal Ver Wil".split(),
        "a be da di lo mi na ra ro ta".split(),
        "burg dale field ford ham land mont port ton ville wick worth".split(),
    ),
    "zh": ("云青石白金东南北西长安平新大清", "山河江湖海林田石泉沙风花", "镇城村县市"),
}
PEOPLE: dict[str, tuple[Sequence[str], ...]] = {
    "en": (
        "Al Ben Cal Dor El Fin Jo Kar Len Mil Nel Os Ri Sam Ti".split(),
        "a be da di la le mi na ra vi".split(),
        "dan lin mar nor rick sen son ta vin ya".split(),
    ),
    "zh": ("李王张刘陈杨黄周吴林", "小明文安海春国天立新", "明华平光山花生星云月"),
}
COLOURS = {
    "en": "red blue green yellow white black brown old new big small".split(),
    "zh": "红 蓝 绿 黄 白 黑 棕 旧 新 大 小".split(),
}
THINGS = {
    "en": "lamp chair table book cup hat coat bag ship box door bell clock bed key map letter card".split(),
    "zh": "灯 椅子 桌子 书 杯子 帽子 外套 包 船 盒子 门 铃 钟 床 钥匙 地图 信 卡片".split(),
}
ROOMS = {
    "en": "garden kitchen school library shop station hotel museum bank park house office".split(),
    "zh": "花园 厨房 学校 图书馆 商店 车站 酒店 博物馆 银行 公园 房子 办公室".split(),
}
MEETINGS = {
    "en": "lunch dinner tea coffee meeting football chess music".split(),
    "zh": "吃饭 喝茶 开会 打球 下棋 唱歌 看书 跑步".split(),
}
DAYS = {"en": ("today", "tomorrow"), "zh": ("今天", "明天")}
UNITS = {  # by what is measured, the largest first: how many of the last it is
    "en": (
        {"km": "1000000", "m": "1000", "feet": "304.8", "inches": "25.4", "cm": "10", "mm": "1"},
        {"kg": "1000", "g": "1"},
        {"litres": "1000", "ml": "1"},
        {"days": "86400", "hours": "3600", "minutes": "60", "seconds": "1"},
    ),
    "zh": (
        {"公里": "1000000", "米": "1000", "英尺": "304.8", "英寸": "25.4", "厘米": "10", "毫米": "1"},
        {"公斤": "1000", "克": "1"},
        {"升": "1000", "毫升": "1"},
        {"天": "86400", "小时": "3600", "分钟": "60", "秒": "1"},
    ),
}
MONEY = {  # how many Chinese yuan; rates of no particular day
    "en": {"yuan": "1", "dollars": "7.2", "euros": "7.8", "pounds": "9.1", "yen": "0.05"},
    "zh": {"人民币": "1", "美元": "7.2", "欧元": "7.8", "英镑": "9.1", "日元": "0.05"},
}
OTHER = {"en": "zh", "zh": "en"}
OPERATORS = {
    "en": {"+": "plus", "-": "minus", "*": "times", "/": "divided by"},
    "zh": {"+": "加", "-": "减", "*": "乘以", "/": "除以"},
}
GAP = {"en": " ", "zh": ""}


@dataclass
class Values:
    """Values of one language and one side."""

    dice: random.Random
    language: str
    heldout: bool

    def town(self) -> str:
        return self._drawn(lambda: self._together(TOWNS))

    def person(self) -> str:
        return self._drawn(lambda: self._together(PEOPLE))

    def date(self, line: str = "-") -> str:
        """Return a date; with another line between its numbers than `-` no tool knows it."""
        return self._drawn(
            lambda: line.join(
                (f"20{self.below(20, 40)}", f"{self.below(1, 13):02}", f"{self.below(1, 29):02}")
            )
        )

    def number(self) -> str:
        """Return a number of two or three digits."""
        return str(self.below(10, 100) if self.dice.random() < 0.4 else self.below(100, 1000))

    def measure(self) -> tuple[str, str]:
        """Return two units of one kind, the larger first."""
        units = list(pick(self.dice, UNITS[self.language]))
        first = self.below(0, len(units) - 1)
        return units[first], units[self.below(first + 1, len(units))]

    def quantity(self, unit: str) -> str:
        return self._drawn(lambda: f"{self.number()}{GAP[self.language]}{unit}")

    def currencies(self) -> tuple[str, str]:
        known = list(MONEY[self.language])
        first = self.below(0, len(known))
        return known[first], known[(first + self.below(1, len(known))) % len(known)]

    def sum(self) -> tuple[str, str]:
        """Return a sum as a calculator reads it, and as one says it; its result is not negative."""
        sign = pick(self.dice, tuple(OPERATORS["en"]))
        while True:
            one, other = self.number(), self.number()
            if sign == "-":
                other, one = sorted((one, other), key=int)
            whole = str(int(one) * int(other)) if sign == "/" else one
            written = f"{whole} {sign} {other}"
            if is_heldout(written) == self.heldout:
                gap = GAP[self.language]
                return written, f"{whole}{gap}{OPERATORS[self.language][sign]}{gap}{other}"

    def impossible_sum(self) -> str:
        return self._drawn(lambda: f"{self.below(10, 10000)} / 0")

    def thing(self) -> str:
        """Return something to look for: "red lamp from Lundaford"."""
        return self._drawn(lambda: self._thing(self._together(TOWNS)))

    def appointment(self) -> str:
        """Return what may stand in a calendar: "lunch with Benador"."""
        with_whom = {"en": "{0} with {1}", "zh": "和{1}{0}"}[self.language]
        return self._drawn(
            lambda: with_whom.format(pick(self.dice, MEETINGS[self.language]), self._together(PEOPLE))
        )

    def phrase(self) -> tuple[str, str]:
        """Return a phrase in our language, and the same in the other; both are of our side."""
        while True:
            numbers = [
                int(self.dice.random() * len(words)) for words in (COLOURS["en"], THINGS["en"], ROOMS["en"])
            ]
            ours, theirs = phrase(numbers, self.language), phrase(numbers, OTHER[self.language])
            if is_heldout(ours) == is_heldout(theirs) == self.heldout:
                return ours, theirs

    def below(self, low: int, limit: int) -> int:
        return low + int(self.dice.random() * (limit - low))

    def _thing(self, town: str) -> str:
        colour, thing = pick(self.dice, COLOURS[self.language]), pick(self.dice, THINGS[self.language])
        return f"{colour} {thing} from {town}" if self.language == "en" else f"{town}的{colour}{thing}"

    def _together(self, parts: dict[str, tuple[Sequence[str], ...]]) -> str:
        return "".join(pick(self.dice, part) for part in parts[self.language])

    def _drawn(self, draw: Callable[[], str]) -> str:
        while is_heldout(value := draw()) != self.heldout:
            pass
        return value


def phrase(numbers: list[int], language: str) -> str:
    """Return a phrase by the numbers of its words.

    >>> phrase([0, 0, 0], "en"), phrase([0, 0, 0], "zh")
    ('red lamp in the garden', '花园里的红灯')
    """
    colour, thing, room = (
        words[language][number] for words, number in zip((COLOURS, THINGS, ROOMS), numbers)
    )
    return f"{colour} {thing} in the {room}" if language == "en" else f"{room}里的{colour}{thing}"


def phrases() -> Iterator[tuple[str, str]]:
    """Yield every phrase in English and in Chinese."""
    for colour in range(len(COLOURS["en"])):
        for thing in range(len(THINGS["en"])):
            for room in range(len(ROOMS["en"])):
                numbers = [colour, thing, room]
                yield phrase(numbers, "en"), phrase(numbers, "zh")
