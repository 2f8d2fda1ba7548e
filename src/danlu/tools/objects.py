"""Calls that are written as JSON objects, read while they arrive: {"name": "f", "arguments": {...}}.

    name before arguments    the arguments are told as they come, letter by letter as the model wrote them
    arguments before name    they are kept until the name is known
    arguments a JSON string  the object inside it is told: {"arguments": "{\\"x\\": 1}"} says {"x": 1}
    no arguments             {}, where marks around the object leave no doubt that it is a call

Models write JSON that is none: a bracket too many, a quotation mark too few. A call that has begun stays
one, its arguments what was written; brackets and strings decide where they end. `stop` is the mark that
ends a call in its format. Outside a string it always ends the object; inside one only after a line end,
which no string of valid JSON contains, so that a string may speak of the mark and an unclosed string
cannot swallow the calls that follow.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator

from danlu.tools.tape import NoCall, Tape, Tell, Wait
from danlu.tools.told import Told

NAME, ARGUMENTS, BESIDE = "name", ("arguments", "parameters"), ("type", "id", "index")
OUTSIDE = re.compile(r'["{}\[\]<]')
INSIDE = re.compile(r'["\\\n]')
SCALAR = re.compile(r"[^,}\]\s<]*")


def call_object(tape: Tape, told: Told, stop: str = "", bare: bool = True) -> Wait:
    """Read an object that is a call, and tell it.

    Where no marks surround it, `bare` is False: without arguments, or with keys of its own, it is no call.
    """
    if (yield from tape.peek()) != "{":
        raise NoCall
    tape.take(1)
    name, early, begun = "", "", False

    def tell(piece: str) -> None:
        told.arguments(piece)
        tape.settle()

    while (key := (yield from _key(tape, stop))) is not None:
        if key == NAME and not name:
            name = yield from _name(tape, stop)
            if early:
                begun = _begin(tape, told, name)
                tell(early)
        elif key in ARGUMENTS and not begun and not early:
            if name and (yield from tape.peek()):
                begun = _begin(tape, told, name)
                yield from arguments(tape, tell, stop)
            else:
                pieces: list[str] = []
                yield from arguments(tape, pieces.append, stop)
                early = "".join(pieces)
        elif bare or key in BESIDE:
            yield from value(tape, lambda piece: None, stop)
        else:
            raise NoCall
    if not begun:
        if not name or not bare or (yield from tape.peek()) != "}":
            raise NoCall
        _begin(tape, told, name)
        tell("{}")
    yield from tape.word("}")
    tape.settle()


def call_list(tape: Tape, told: Told, stop: str = "") -> Wait:
    """Read what follows the opening bracket of a list of calls, up to the closing one."""
    while True:
        yield from tape.space()
        following = yield from tape.peek()
        if following == "{":
            yield from call_object(tape, told, stop)
        elif following == ",":
            tape.take(1)
        elif following == "]":
            tape.take(1)
            tape.settle()
            return
        else:
            raise NoCall


def _begin(tape: Tape, told: Told, name: str) -> bool:
    told.begin(name)
    tape.settle()
    return True


def _key(tape: Tape, stop: str) -> Generator[None, None, str | None]:
    """Read up to a member's value and return its key; None where there are no more members."""
    while True:
        yield from tape.space()
        if (yield from tape.peek()) != ",":
            break
        tape.take(1)
    if (yield from tape.peek()) != '"':
        return None
    key = yield from _string(tape, stop)
    yield from tape.space()
    if key is None or not (yield from tape.word(":")):
        return None
    yield from tape.space()
    return key


def _name(tape: Tape, stop: str) -> Generator[None, None, str]:
    if (yield from tape.peek()) != '"':
        raise NoCall
    name = yield from _string(tape, stop)
    if not name or not name.isprintable():
        raise NoCall
    return name


def _string(tape: Tape, stop: str) -> Generator[None, None, str | None]:
    """Read a JSON string and return what it says; None if it is none."""
    pieces: list[str] = []
    whole = yield from value(tape, pieces.append, stop)
    try:
        said = json.loads("".join(pieces), strict=False) if whole else None
    except ValueError:
        return None
    return said if isinstance(said, str) else None


def arguments(tape: Tape, tell: Tell, stop: str = "") -> Wait:
    """Tell a call's arguments as they come; those of a string that holds an object, once it is closed."""
    if (yield from tape.peek()) != '"':
        yield from value(tape, tell, stop)
        return
    pieces: list[str] = []
    yield from value(tape, pieces.append, stop)
    tell(_unwrapped("".join(pieces)))


def _unwrapped(written: str) -> str:
    r"""Return the object that a JSON string holds, or the string as it is written.

    >>> _unwrapped(r'"{\"x\": 1}"'), _unwrapped('"x"')
    ('{"x": 1}', '"x"')
    """
    try:
        held = json.loads(written, strict=False)
        held.encode()
        return held if isinstance(json.loads(held), dict) else written
    except (ValueError, RecursionError):
        return written


def value(tape: Tape, tell: Tell, stop: str = "") -> Generator[None, None, bool]:
    """Tell one value as it comes, as it is written; return whether it came to its end."""
    first = yield from tape.peek()
    if first in '{["' and first:
        return (yield from _nested(tape, tell, stop))
    scalar = yield from tape.match(SCALAR)
    tell(scalar)
    return bool(scalar)


def _nested(tape: Tape, tell: Tell, stop: str) -> Generator[None, None, bool]:
    """Tell a value of brackets or a string, up to what closes it, or to a mark that cuts it off."""
    depth, string, cut = 0, False, "\n" + stop
    while True:
        text, at = tape.text, tape.at
        while found := (INSIDE if string else OUTSIDE).search(text, at):
            letter, at = found.group(), found.end()
            if letter == "\\":
                if at >= len(text):
                    at -= 1
                    break
                at += 1
                continue
            if letter in "\n<":
                mark = cut if string else stop
                if stop and text.startswith(mark, at - 1):
                    _told(tape, at - 1, tell)
                    return False
                if stop and not tape.ended and mark.startswith(text[at - 1 : at + len(mark)]):
                    at -= 1
                    break
                continue
            if letter == '"':
                string = not string
            else:
                depth += 1 if letter in "{[" else -1
            if not depth and not string:
                _told(tape, at, tell)
                return True
        else:
            at = len(text)
        _told(tape, at, tell)
        if not (yield from tape.wait()):
            _told(tape, len(tape.text), tell)
            return False


def _told(tape: Tape, stop: int, tell: Tell) -> None:
    if stop > tape.at:
        tell(tape.take(stop - tape.at))
