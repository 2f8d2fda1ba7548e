"""Rows that are computed, not listed: sums, comparisons, counting, and what takes several steps.

Each function returns all rows of one section; numbers are strings, as every field of a row is. Rows of
two languages are parallel: the same number in the list means the same thing.
"""

from __future__ import annotations

from collections.abc import Callable

Row = dict[str, str]
Rows = dict[str, list[Row]]


def row(**fields: object) -> Row:
    return {key: str(value) for key, value in fields.items()}


def sums(_: Rows, __: str) -> list[Row]:
    return [row(a=a, b=b, c=a + b) for a in range(11) for b in range(11)]


def differences(_: Rows, __: str) -> list[Row]:
    return [row(a=a, b=b, c=a - b) for a in range(11) for b in range(a + 1)]


def numbers(_: Rows, __: str) -> list[Row]:
    return [row(a=a, b=a + 1) for a in range(100)]


def pairs(_: Rows, __: str) -> list[Row]:
    return [row(a=a, b=b, more=max(a, b), less=min(a, b)) for a in range(100) for b in range(100) if a != b]


def opposites(words: Rows, _: str) -> list[Row]:
    """Return every pair both ways round."""
    there = words["opposite"]
    return [*there, *(row(word=each["other"], other=each["word"]) for each in there)]


def spellings(words: Rows, _: str) -> list[Row]:
    """Return short English words letter by letter."""
    short = [each["en"] for each in words["word"] if len(each["en"]) <= 5]
    return [row(en=word, letters="-".join(word)) for word in short]


def counts(words: Rows, comma: str) -> list[Row]:
    return [
        row(**each, n=n, shown=comma.join([each["object"]] * n))
        for each in words["object"]
        for n in range(2, 6)
    ]


def two_people(words: Rows) -> list[Row]:
    people = [each["person"] for each in words["person"]]
    return [row(one=one, two=two) for one in people for two in people if one != two]


def holders(words: Rows, _: str) -> list[Row]:
    """Return who has which of two objects, one of them asked for."""
    objects = [each["object"] for each in words["object"]]
    return [
        row(**who, x=x, y=y, asked=(x, y)[second], who=who[("one", "two")[second]])
        for who in two_people(words)
        for x in objects
        for y in objects
        if x != y
        for second in (0, 1)
    ]


def long_sums(_: Rows, __: str) -> list[Row]:
    """Return sums of two-digit numbers with their ones and tens."""
    rows = []
    for a in range(11, 80):
        for b in range(11, 80):
            p, q = a % 10, b % 10
            ones, tens = p + q, a + b - p - q
            rows.append(row(a=a, b=b, c=a + b, p=p, q=q, ones=ones, s=a - p, t=b - q, tens=tens))
    return rows


def chains(_: Rows, __: str, most: int = 21) -> list[Row]:
    """Return what is left of a + b when d is taken away."""
    return [
        row(a=a, b=b, c=a + b, d=d, e=a + b - d)
        for a in range(2, most)
        for b in range(2, most)
        for d in range(2, a + b + 1)
    ]


def shops(words: Rows, comma: str) -> list[Row]:
    """Return chains of small numbers as stories of two people and an object."""
    people, objects = two_people(words), words["object"]
    return [
        {**each, **people[(5 * number + 7 * more) % len(people)], **objects[(number + more) % len(objects)]}
        for number, each in enumerate(chains(words, comma, 11))
        for more in range(4)
    ]


def weighings(_: Rows, __: str) -> list[Row]:
    """Return a sum and a number near it that differs from it."""
    return [
        row(a=a, b=b, c=a + b, k=k, more=max(a + b, k), less=min(a + b, k))
        for a in range(2, 21)
        for b in range(2, 21)
        for k in range(max(1, a + b - 9), a + b + 10)
        if k != a + b
    ]


def two_days(words: Rows, _: str) -> list[Row]:
    """Return a day and the two after it."""
    following = {each["day"]: each["after"] for each in words["day"]}
    return [{**each, "third": following[each["after"]]} for each in words["day"]]


# section: all its rows, from the listed ones and what stands between the parts of a list
COMPUTED: dict[str, Callable[[Rows, str], list[Row]]] = {
    "opposite": opposites,
    "spelling": spellings,
    "sum": sums,
    "difference": differences,
    "number": numbers,
    "pair": pairs,
    "count": counts,
    "holder": holders,
    "long_sum": long_sums,
    "chain": chains,
    "shop": shops,
    "weighing": weighings,
    "two_days": two_days,
}
