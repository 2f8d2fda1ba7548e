"""Cases: what a person asks, which calls that should lead to, and what the answer must hold.

One JSON object a line; only `id` and `questions` are needed:

    {"id": "weather-1", "lang": "en", "kind": "one call", "toolbox": "classic", "tools": ["get_weather"],
     "system": "Be brief.",
     "questions": [{"user": "How is the weather in Paris?",
                    "calls": [[{"name": "get_weather", "arguments": {"city": "Paris"}}]],
                    "answer": ["Paris"]}]}

A question is what a person says next, whatever was answered before; so a second one is the reply to a
model that asks for what is missing. `calls` are rounds: those inside one may come in any order, those
of a later one only after them. No calls means that none may be made. `may` lists calls that are no
mistake and not wanted either. Every text of `answer` must be in the last answer; of a list one is enough.

An argument is right if it equals the value given. {"any": [...]} takes each of several, {"has": "..."}
every text that holds this one, {"optional": [...]} each of several and that the argument is left out.

`toolbox` says who runs the tools: "classic", "starter" or "mcp"; `tools` which of them are offered, all
where it is left out. A tool of your own is its definition instead of its name, and `returns` what it
answers. `failing` lets a tool fail: {"get_weather": ["service unavailable"]} its first call, with this
error.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from danlu.base import config
from danlu.base.config import Section
from danlu.base.errors import UserError

TOOLBOXES = ("classic", "starter", "mcp")


class Expected(Section):
    """A call that should be made."""

    name: str
    arguments: dict[str, Any] = {}

    @property
    def needed(self) -> dict[str, Any]:
        """The arguments that must not be left out."""
        return {key: value for key, value in self.arguments.items() if not _is(value, "optional")}


class Question(Section):
    """What a person says, and what should come of it."""

    user: str
    calls: list[list[Expected]] = []
    """Rounds of calls."""
    may: list[Expected] = []
    """Calls that are neither wanted nor wrong."""
    answer: list[str | list[str]] = []
    """What the answer must hold."""

    @property
    def wanted(self) -> list[Expected]:
        """All calls, in order."""
        return [call for each in self.calls for call in each]


class Case(Section):
    """One talk with a model."""

    id: str
    lang: str = ""
    kind: str = "own"
    toolbox: str = ""
    tools: list[str | dict[str, Any]] = []
    system: str = ""
    questions: list[Question]
    returns: dict[str, Any] = {}
    failing: dict[str, list[str]] = {}

    @property
    def names(self) -> Iterator[tuple[str, str]]:
        """The tools that are spoken of, each with where."""
        for number, question in enumerate(self.questions):
            yield from ((f"questions.{number}.calls", call.name) for call in question.wanted)
            yield from ((f"questions.{number}.may", call.name) for call in question.may)
        yield from (("returns", name) for name in self.returns)
        yield from (("failing", name) for name in self.failing)


def read(path: str | Path, toolbox: str = "classic") -> list[Case]:
    """Return the cases of a file; those that name no toolbox have this one."""
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # a string may hold other ends of lines
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UserError(f"{path}: cannot be read: {reason}", "a file of JSON lines, one case each") from None
    cases = [case(line, f"{path}:{number}", toolbox) for number, line in enumerate(lines, 1) if line.strip()]
    if not cases:
        raise UserError(f"{path}: holds no case", "one JSON object a line")
    for number, name in _twice([each.id for each in cases]):
        raise UserError(f"{path}: case {number + 1}: the id '{name}' is taken", "give every case its own")
    return cases


def case(line: str, where: str, toolbox: str = "classic") -> Case:
    """Return the case a line holds, or say what is wrong with it."""
    try:
        row = json.loads(line)
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise UserError(f"{where}: holds half a character", "write the whole character") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not JSON: {error}", "one JSON object a line") from None
    if not isinstance(row, dict):
        raise UserError(f"{where}: {type(row).__name__}, not an object", '{"id": ..., "questions": [...]}')
    try:
        made = config.check(Case, {"toolbox": toolbox, **row}, where)
    except UserError as error:
        hint = error.hint if error.hint.startswith(("did", "one of")) else "see 'danlu eval tools --help'"
        raise UserError(error.problem, hint) from None
    for problem, hint in _faults(made):
        raise UserError(f"{where}: {problem}", hint)
    return made


def _faults(case: Case) -> Iterator[tuple[str, str]]:
    """Yield what no type can tell."""
    if not case.questions:
        yield "questions: none", 'at least one: {"user": "..."}'
    if case.toolbox not in TOOLBOXES:
        yield f"toolbox: there is no '{case.toolbox}'", "one of: " + ", ".join(TOOLBOXES)
    for number, tool in enumerate(case.tools):
        if isinstance(tool, dict) and not name_of(tool):
            yield f"tools.{number}: has no name", '{"name": "...", "parameters": {...}}'
    for number, question in enumerate(case.questions):
        if [] in question.answer:
            yield f"questions.{number}.answer: a list of no texts", "leave it out"
        if any(not each for each in question.calls):
            yield f"questions.{number}.calls: a round without a call", "leave it out"
        for call in (*question.wanted, *question.may):
            for key, value in call.arguments.items():
                for word in ("any", "optional"):
                    if _is(value, word) and not (isinstance(value[word], list) and value[word]):
                        yield f"questions.{number}: {key}: {word}: {value[word]!r}", "a list: [1, 2]"


def _is(value: Any, word: str) -> bool:
    """Say whether a value stands for several, in this way."""
    return isinstance(value, dict) and set(value) == {word}


def name_of(tool: dict[str, Any]) -> str:
    """Return the name in a definition of either form."""
    inner = tool.get("function", tool)
    name = inner.get("name") if isinstance(inner, dict) else None
    return name if isinstance(name, str) else ""


def _twice(names: list[str]) -> Iterator[tuple[int, str]]:
    seen: set[str] = set()
    for number, name in enumerate(names):
        if name in seen:
            yield number, name
        seen.add(name)
