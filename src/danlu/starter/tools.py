"""Dialogues in which an assistant calls tools, asks for what is missing, copes with errors, or needs none.

    for row in dialogues(random.Random(1), heldout=False, count=3000): ...
    {"messages": [{"role": "user", "content": "What time is it in Lundaford?"},
                  {"role": "assistant", "content": "",
                   "tool_calls": [{"name": "get_time", "arguments": {"city": "Lundaford"}}]},
                  {"role": "tool", "content": "{\\"time\\": \\"14:35\\"}"},
                  {"role": "assistant", "content": "It is 14:35 in Lundaford."}],
     "tools": [...]}

Chinese and English in turns. Arguments stand in the question as they are written in the call; results
are what the tools (tools_catalogue.py) really return, and answers repeat them, so that every row can be
reckoned again: `holds`. A held-out row's values are of the held-out side, one by one, so training has none
of its calls.
"""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from danlu.starter.split import chance, is_heldout, pick
from danlu.starter.tools_catalogue import PARAMETERS, call, is_known, run, schema
from danlu.starter.tools_talk import (
    ASK,
    CHAT,
    FACTS,
    MISSING,
    NO_TOOL,
    OTHER_TOWN,
    SEQUENCES,
    SORRY,
    SYSTEMS,
    TELL,
    UNFIT,
    WHEN,
)
from danlu.starter.tools_values import DAYS, GAP, OTHER, Values
from danlu.starter.world import World

Row = dict[str, Any]
Slots = dict[str, str]
SYSTEM = 0.3  # of dialogues begin with a system message
OFFERED = 4  # tools at most, where not more are needed
LONG = ("get_weather", "add_event", "list_events", "translate")  # dates are ten tokens, phrases are long
LANGUAGES = ("zh", "en")
TONGUES = {"en": {"en": "English", "zh": "Chinese"}, "zh": {"en": "英文", "zh": "中文"}}
CLOSED = ("to",)  # arguments that are one of a few words, the same on both sides


@dataclass
class Talk:
    """A dialogue being written, its values of one side."""

    values: Values
    messages: list[Row] = field(default_factory=list)
    needs: list[str] = field(default_factory=list)
    """Tools that must be offered."""
    lacks: list[str] = field(default_factory=list)
    """Tools that must not."""

    @property
    def dice(self) -> random.Random:
        return self.values.dice

    @property
    def language(self) -> str:
        return self.values.language

    def say(self, role: str, text: str) -> None:
        self.messages.append({"role": role, "content": text})

    def call(self, *calls: Row) -> list[Row]:
        """Add calls and what they return."""
        self.messages.append({"role": "assistant", "content": "", "tool_calls": list(calls)})
        results = [run(each["name"], each["arguments"]) for each in calls]
        for each, result in zip(calls, results):
            self.say("tool", json.dumps(result, ensure_ascii=False))
            self.needs.append(each["name"])
        return results


def told(language: str, made: Row, result: Row) -> str:
    """Return what the assistant says of a call's result."""
    outcome = {("translation" if key == "text" else key): str(value) for key, value in result.items()}
    failed = "error" in result
    words = SORRY[language].get(made["name"], UNFIT[language]) if failed else TELL[language][made["name"]]
    return words.format(**in_words(language, made["arguments"]), **outcome)


def in_words(language: str, arguments: Mapping[str, str]) -> Slots:
    """Return arguments with what wordings need beside them."""
    date = arguments.get("date", "")
    when = date if date in DAYS[language] else WHEN[language].format(date)
    return {**arguments, "when": when, "When": when[:1].upper() + when[1:]}


def request(talk: Talk, name: str) -> tuple[Row, Slots]:
    """Return a call that can be answered, and the slots of its wording."""
    made = ARGUMENTS[name](talk)
    more: Slots = {}
    if name == "calculate":
        made, more["said"] = made[:1], made[1]
    made = call(name, *made)
    return made, {**in_words(talk.language, made["arguments"]), **more}


def _city(talk: Talk, known: bool = True) -> str:
    while is_known(town := talk.values.town()) != known:
        pass
    return town


def _money(talk: Talk) -> tuple[str, str]:
    one, other = talk.values.currencies()
    return talk.values.quantity(one), other


def _measure(talk: Talk) -> tuple[str, str]:
    one, other = talk.values.measure()
    return talk.values.quantity(one), other


def _phrase(talk: Talk) -> tuple[str, str]:
    """Return a phrase and the tongue it is to be translated into."""
    ours, theirs = talk.values.phrase()
    into = OTHER[talk.language]
    if chance(talk.dice, 0.3):
        ours, into = theirs, talk.language
    return ours, TONGUES[talk.language][into]


def _day(talk: Talk) -> str:
    return pick(talk.dice, DAYS[talk.language]) if chance(talk.dice, 0.25) else talk.values.date()


ARGUMENTS: dict[str, Callable[[Talk], Any]] = {
    "get_weather": lambda talk: (_city(talk), _day(talk)),
    "get_time": lambda talk: (_city(talk),),
    "calculate": lambda talk: talk.values.sum(),
    "convert_unit": _measure,
    "convert_currency": _money,
    "add_event": lambda talk: (talk.values.appointment(), talk.values.date()),
    "list_events": lambda talk: (talk.values.person(), talk.values.date()),
    "search": lambda talk: (talk.values.thing(),),
    "translate": _phrase,
}


def one(talk: Talk) -> None:
    """One call."""
    several(talk, 1)


def parallel(talk: Talk) -> None:
    """Two or three calls in one turn."""
    several(talk, 2 + chance(talk.dice, 0.4))


def several(talk: Talk, count: int) -> None:
    requests = [request(talk, name) for name in _names(talk.dice, count)]
    asks = [pick(talk.dice, ASK[talk.language][made["name"]]).format(**slots) for made, slots in requests]
    talk.say("user", GAP[talk.language].join(asks))
    calls = [made for made, _ in requests]
    results = talk.call(*calls)
    talk.say("assistant", "\n".join(told(talk.language, *each) for each in zip(calls, results)))


def _names(dice: random.Random, count: int) -> list[str]:
    """Return tools; of three at most one is long to speak of, so that a chat stays below 512 tokens."""
    while True:
        names = [pick(dice, tuple(PARAMETERS)) for _ in range(count)]
        if count < 3 or sum(name in LONG for name in names) < 2:
            return names


def sequence(talk: Talk) -> None:
    """Two calls, the second of which takes the first one's result."""
    names = pick(talk.dice, tuple(SEQUENCES[talk.language]))
    first, second = names.split()
    made, slots = request(talk, first)
    if second.startswith("convert"):
        unit, to = talk.values.measure() if second == "convert_unit" else talk.values.currencies()
        slots |= {"unit": unit, "to": to}
    talk.say("user", pick(talk.dice, SEQUENCES[talk.language][names]).format(**slots))
    (result,) = talk.call(made)
    if first == "calculate":
        follow = call(second, result["result"] + GAP[talk.language] + slots["unit"], slots["to"])
    elif first == "list_events":
        follow = call(second, result["city"], made["arguments"]["date"])
    else:
        follow = call(second, result["text"])
    (outcome,) = talk.call(follow)
    talk.say("assistant", f"{told(talk.language, made, result)}\n{told(talk.language, follow, outcome)}")


def none(talk: Talk) -> None:
    """Tools are offered and none is needed."""
    if chance(talk.dice, 0.4):
        world = _world(talk.language)
        topics = [topic for topic in world.facts if topic.name in FACTS]
        asked = world.ask(talk.dice, talk.values.heldout, topics, short=False)
        talk.say("user", asked.question)
        talk.say("assistant", asked.answer)
    else:
        said, answer = pick(talk.dice, CHAT[talk.language])
        slots = {"me": talk.values.person(), "city": talk.values.town()}
        talk.say("user", said.format(**slots))
        talk.say("assistant", answer.format(**slots))


def missing(talk: Talk) -> None:
    """An argument is missing; the assistant asks for it, then calls."""
    (name, _), (asks, question, replies) = pick(talk.dice, tuple(MISSING[talk.language].items()))
    made, slots = request(talk, name)
    if "date" in made["arguments"]:
        made["arguments"]["date"] = talk.values.date()
        slots = in_words(talk.language, made["arguments"])
    slots["me"] = talk.values.person()
    talk.say("user", pick(talk.dice, asks).format(**slots))
    talk.say("assistant", question)
    talk.say("user", pick(talk.dice, replies).format(**slots))
    (result,) = talk.call(made)
    talk.say("assistant", told(talk.language, made, result))


def error(talk: Talk) -> None:
    """A tool answers with an error: the assistant apologises, asks again or mends the call."""
    pick(talk.dice, (_apologise, _ask_again, _mend))(talk)


def _apologise(talk: Talk) -> None:
    if chance(talk.dice, 0.5):
        made = call("get_time", _city(talk, known=False))
        asks = ASK[talk.language]["get_time"]
    else:
        made = call("calculate", talk.values.impossible_sum())
        asks = tuple(ask for ask in ASK[talk.language]["calculate"] if "{said}" not in ask)
    talk.say("user", pick(talk.dice, asks).format(**in_words(talk.language, made["arguments"])))
    (result,) = talk.call(made)
    talk.say("assistant", told(talk.language, made, result))


def _ask_again(talk: Talk) -> None:
    date = _day(talk)
    first, second = (call("get_weather", _city(talk, known), date) for known in (False, True))
    question, replies = OTHER_TOWN[talk.language]
    asks = ASK[talk.language]["get_weather"]
    talk.say("user", pick(talk.dice, asks).format(**in_words(talk.language, first["arguments"])))
    talk.call(first)
    talk.say("assistant", question.format(**first["arguments"]))
    talk.say("user", pick(talk.dice, replies).format(**second["arguments"]))
    (result,) = talk.call(second)
    talk.say("assistant", told(talk.language, second, result))


def _mend(talk: Talk) -> None:
    name = pick(talk.dice, ("get_weather", "add_event", "list_events"))
    made, _ = request(talk, name)
    date = talk.values.date(pick(talk.dice, ("/", ".")))
    wrong = {**made["arguments"], "date": date}
    right = {**wrong, "date": date.replace("/", "-").replace(".", "-")}
    talk.say("user", pick(talk.dice, ASK[talk.language][name]).format(**in_words(talk.language, wrong)))
    talk.call({"name": name, "arguments": wrong})
    made = {"name": name, "arguments": right}
    (result,) = talk.call(made)
    talk.say("assistant", told(talk.language, made, result))


def unfit(talk: Talk) -> None:
    """None of the offered tools fits."""
    slots = {"me": talk.values.person(), "city": talk.values.town(), "query": talk.values.thing()}
    ask = pick(talk.dice, NO_TOOL[talk.language])
    if chance(talk.dice, 0.5):
        made, slots = request(talk, pick(talk.dice, tuple(PARAMETERS)))
        talk.lacks.append(made["name"])
        ask = pick(talk.dice, ASK[talk.language][made["name"]])
    talk.say("user", ask.format(**slots))
    talk.say("assistant", UNFIT[talk.language])


KINDS: dict[str, tuple[Callable[[Talk], None], int]] = {
    "one call": (one, 8),
    "calls in parallel": (parallel, 3),
    "calls in sequence": (sequence, 2),
    "no call needed": (none, 2),
    "a missing argument": (missing, 2),
    "a tool's error": (error, 2),
    "no tool fits": (unfit, 1),
}
"""What a dialogue is, who writes it, and how often of twenty."""
TURNS = [name for name, (_, share) in KINDS.items() for _ in range(share)]


def dialogues(
    dice: random.Random,
    heldout: bool,
    count: int,
    languages: Sequence[str] = LANGUAGES,
    kinds: Sequence[str] = TURNS,
) -> Iterator[Row]:
    """Yield dialogues of some kinds, in some languages in turns; no two of them ask the same."""
    seen: set[str] = set()
    for number in range(count):
        kind = pick(dice, kinds)
        while True:
            row = dialogue(dice, heldout, kind, languages[number % len(languages)])
            said = "\n".join(message["content"] for message in row["messages"] if message["role"] == "user")
            if said not in seen:
                break
        seen.add(said)
        yield row


def dialogue(dice: random.Random, heldout: bool, kind: str, language: str) -> Row:
    """Return a dialogue of a kind, every value of its calls of the asked side."""
    while True:
        talk = Talk(Values(dice, language, heldout))
        if chance(dice, SYSTEM):
            talk.say("system", pick(dice, SYSTEMS[language]))
        KINDS[kind][0](talk)
        if all(_is_of(heldout, made) for made in calls(talk.messages)):
            return {"messages": talk.messages, "tools": _offered(talk)}


def calls(messages: Sequence[Row]) -> Iterator[Row]:
    """Yield every call of some messages."""
    for message in messages:
        yield from message.get("tool_calls", ())


def _is_of(heldout: bool, made: Row) -> bool:
    days = {day for listed in DAYS.values() for day in listed}
    return all(
        is_heldout(value) == heldout
        for key, value in made["arguments"].items()
        if key not in CLOSED and value not in days
    )


def _offered(talk: Talk) -> list[Row]:
    """Return the schemas of the tools that are needed and of some others, shuffled."""
    names = list(dict.fromkeys(talk.needs))
    others = [name for name in PARAMETERS if name not in (*names, *talk.lacks)]
    least = max(1, len(names))
    wanted = least + int(talk.dice.random() * (OFFERED - least + 1))
    while len(names) < wanted:
        names.append(others.pop(int(talk.dice.random() * len(others))))
    for last in range(len(names) - 1, 0, -1):
        other = int(talk.dice.random() * (last + 1))
        names[last], names[other] = names[other], names[last]
    return [schema(name) for name in names]


def holds(row: Row) -> bool:
    """Return whether a dialogue is right: tools offered, results reckoned again, told in the last answer."""
    offered = [tool["name"] for tool in row["tools"]]
    messages = iter(row["messages"])
    done: list[tuple[Row, Row]] = []
    for message in messages:
        for made in message.get("tool_calls", ()):
            if made["name"] not in offered or list(made["arguments"]) != list(PARAMETERS[made["name"]]):
                return False
            done.append((made, run(made["name"], made["arguments"])))
            if next(messages, {"content": ""})["content"] != json.dumps(done[-1][1], ensure_ascii=False):
                return False
    right = [each for each in done if "error" not in each[1]] or done
    answers = ("\n".join(told(language, *each) for each in right) for language in LANGUAGES)
    return not done or row["messages"][-1]["content"] in answers


def schema_texts() -> Iterator[str]:
    """Yield the schemas of all tools as a model reads them."""
    for name in PARAMETERS:
        yield json.dumps(schema(name), ensure_ascii=False)


def texts(seed: int = 0, count: int = 400) -> Iterator[str]:
    """Yield what a tokenizer should have seen of training dialogues: words, calls, results, schemas."""
    for row in dialogues(random.Random(seed), heldout=False, count=count):
        for message in row["messages"]:
            if message["content"]:
                yield message["content"]
        for made in calls(row["messages"]):
            yield f"<tool_call>\n{json.dumps(made, ensure_ascii=False)}\n</tool_call>"
    yield from schema_texts()


@functools.cache
def _world(language: str) -> World:
    return World(language)
