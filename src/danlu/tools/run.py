"""Tools that run: a toolbox tells a model what there is, and answers its calls.

    box = Toolbox([Tool(definition, function), ...])
    box.definitions()                                    what goes into a request's `tools`
    box.call("calculate", '{"expression": "6 * 7"}')     '{"result": "42"}'
    box.call("calculate", '{"sum": "6 * 7"}')            '{"error": "there is no argument \\'sum\\'; ..."}'

A call never raises. Whatever is wrong with it comes back as {"error": ...} in words that a model can
mend it by: the names that are known, the argument that is missing. Answers are cut where they get too
long, and not waited for too long.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from danlu.base.errors import nearest
from danlu.tools.definitions import function_of, misfits, openai_form
from danlu.tools.told import json_text

LONGEST = 8000  # letters of an answer
SECONDS = 10.0


class Runs(Protocol):
    """Whatever tools run in: a toolbox, several, or a server elsewhere."""

    def definitions(self) -> list[dict[str, Any]]:
        """Return the tools in OpenAI's form."""

    def call(self, name: str, arguments: str | Mapping[str, Any] | None) -> str:
        """Return what a tool answers, as JSON text; {"error": ...} if it cannot. Never raises."""


@dataclass(frozen=True)
class Tool:
    """A tool that runs here."""

    definition: Mapping[str, Any]
    run: Callable[..., Any]
    """Takes the arguments by name; returns what JSON can say."""

    @property
    def name(self) -> str:
        return str(function_of(self.definition)["name"])


class Toolbox:
    """Tools that run in this process."""

    def __init__(self, tools: Iterable[Tool], longest: int = LONGEST, seconds: float = SECONDS) -> None:
        self._tools: dict[str, Tool] = {}
        for tool in tools:
            self._tools.setdefault(tool.name, tool)  # of two with one name, the first
        self._longest = longest
        self._seconds = seconds

    def definitions(self) -> list[dict[str, Any]]:
        return [openai_form(tool.definition) for tool in self._tools.values()]

    def call(self, name: str, arguments: str | Mapping[str, Any] | None) -> str:
        if name not in self._tools:
            return failed(
                f"there is no tool '{name}'; {nearest(name, self._tools) if self._tools else 'none at all'}"
            )
        given = read(arguments)
        if isinstance(given, str):
            return failed(given)
        tool = self._tools[name]
        if wrong := misfits(given, tool.definition):
            return failed("; ".join(wrong))
        return self._within(lambda: tool.run(**given))

    def _within(self, work: Callable[[], Any]) -> str:
        """Return what some work answers, if it does so in time."""
        answers: list[str] = []

        def work_on() -> None:
            try:
                answers.append(written(work(), self._longest))
            except Exception as error:  # a tool's mistake is an answer, not the end of a dialogue
                answers.append(failed(f"the tool failed: {type(error).__name__}: {error}"))

        thread = threading.Thread(target=work_on, daemon=True)
        thread.start()
        thread.join(self._seconds)
        return answers[0] if answers else failed(f"the tool did not answer within {self._seconds:g} s")


class Toolboxes:
    """Several toolboxes as one. Of two tools with one name, that of the earlier box is meant."""

    def __init__(self, *boxes: Runs) -> None:
        self._boxes = boxes
        self._homes: dict[str, Runs] = {}
        self._definitions: list[dict[str, Any]] = []
        for box in boxes:
            for definition in box.definitions():
                name = definition["function"]["name"]
                if name not in self._homes:
                    self._homes[name] = box
                    self._definitions.append(definition)

    def definitions(self) -> list[dict[str, Any]]:
        return list(self._definitions)

    def call(self, name: str, arguments: str | Mapping[str, Any] | None) -> str:
        if name in self._homes:
            return self._homes[name].call(name, arguments)
        return failed(
            f"there is no tool '{name}'; {nearest(name, self._homes) if self._homes else 'none at all'}"
        )


def read(arguments: str | Mapping[str, Any] | None) -> dict[str, Any] | str:
    """Return a call's arguments as an object, or what is wrong with them, in words."""
    if arguments is None or (isinstance(arguments, str) and not arguments.strip()):
        return {}
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError as error:
            return f"the arguments are no JSON: {error}"
        except RecursionError:
            return "the arguments are nested too deep"
    if arguments is None:
        return {}
    if not isinstance(arguments, Mapping):
        return 'the arguments are not an object; write them as {"name": value}'
    return dict(arguments)


def written(answer: Any, longest: int = LONGEST) -> str:
    """Return an answer as JSON text, cut if it is too long."""
    text = json_text(answer, default=str)
    if len(text) <= longest:
        return text
    said = answer if isinstance(answer, str) else text
    return json_text({"result": said[:longest], "note": f"cut after {longest:,} of {len(said):,} letters"})


def failed(why: str) -> str:
    """Return an error as JSON text.

    >>> failed("unknown city")
    '{"error": "unknown city"}'
    """
    return json_text({"error": why})
