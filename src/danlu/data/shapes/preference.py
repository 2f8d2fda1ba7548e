"""Rows with a better and a worse answer, and what people said of a model's answers.

The better answer must say something; the worse one may be empty, for a model may well have said nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from danlu.data.messages import asked, dialogue
from danlu.data.records import Dialogue, Preference, Record
from danlu.data.rows import BadRow
from danlu.data.shapes import sharegpt
from danlu.data.shapes.instruction import together
from danlu.data.values import kind, optional, shown, string

Row = Mapping[str, Any]

TURN = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")
ROLES = {"Human": "user", "Assistant": "assistant"}
TRUTH = {True: True, False: False, "true": True, "false": False, "1": True, "0": False}


def chats(row: Row, purpose: str | None) -> Preference:
    """Return {"chosen": [messages], "rejected": [messages]}, with the messages of "prompt" before both."""
    before = row.get("prompt")
    chosen, rejected = (
        dialogue(_after(before, row[key]), key, row.get("tools"), may_end_empty=key == "rejected")
        for key in ("chosen", "rejected")
    )
    return _alike(chosen, rejected)


def _after(before: Any, given: Any) -> Any:
    """Return messages that begin with an answer after the question they answer."""
    first = given[0] if isinstance(given, list) and given else None
    if not before or not isinstance(first, dict) or first.get("role") != "assistant":
        return given
    question = [{"role": "user", "content": before}] if isinstance(before, str) else before
    return [*question, *given] if isinstance(question, list) else given


def are_chats(row: Row) -> bool:
    """Whether the answers are lists of messages; whatever is not text is taken for one, and checked."""
    return not isinstance(row["chosen"], str)


def are_texts(row: Row) -> bool:
    """Whether the answers are texts."""
    return isinstance(row["chosen"], str)


def are_answers(row: Row) -> bool:
    """Whether the answers are texts that do not repeat the chat before them."""
    return isinstance(row["chosen"], str) and not TURN.match(row["chosen"])


def answers(row: Row, purpose: str | None) -> Preference:
    """Return {"prompt": "...", "chosen": "...", "rejected": "..."}; or "instruction" for the prompt."""
    if row.get("prompt") is not None:
        question = string("prompt", row["prompt"])
    else:
        question = together(string("instruction", row["instruction"]), optional(row, "input"))
    system = optional(row, "system")
    worse = string("rejected", row["rejected"], empty=True)
    return Preference(
        asked(question, string("chosen", row["chosen"]), system), asked(question, worse, system)
    )


def turns_after(row: Row, purpose: str | None) -> Preference:
    """Return {"conversations": [...], "chosen": {"from", "value"}, "rejected": {...}}, one turn each."""
    before = row["conversations"]
    if not isinstance(before, list):
        raise BadRow("conversations", f"found {kind(before)}", "must be a list of at least one message")
    chosen, rejected = (
        sharegpt.chat({**row, "conversations": [*before, row[key]]}, "chat") for key in ("chosen", "rejected")
    )
    assert isinstance(chosen, Dialogue) and isinstance(rejected, Dialogue)
    return _alike(chosen, rejected)


def are_turns(row: Row) -> bool:
    """Whether the answers are one turn each, to follow what was said before."""
    return isinstance(row["chosen"], dict)


def transcripts(row: Row, purpose: str | None) -> Preference:
    r"""Return {"chosen": "\n\nHuman: ...\n\nAssistant: ...", "rejected": "..."}."""
    chosen, rejected = (
        dialogue(turns(key, string(key, row[key])), key, may_end_empty=key == "rejected")
        for key in ("chosen", "rejected")
    )
    return _alike(chosen, rejected)


def turns(field: str, transcript: str) -> list[dict[str, Any]]:
    r"""Return the messages of a transcript.

    A turn begins where a paragraph begins with "Human:" or "Assistant:", nowhere else; whoever speaks
    twice goes on speaking.

    >>> turns("chosen", "\n\nHuman: Who says Human: here?\n\nAssistant: You.\n\nAnd I.")[1]["content"]
    'You.\n\nAnd I.'
    """
    pieces = TURN.split(transcript)
    if pieces[0].strip() or len(pieces) < 3:
        raise BadRow(
            field, f"found {shown(transcript)}", "paragraphs that begin with 'Human:' or 'Assistant:'"
        )
    messages: list[dict[str, Any]] = []
    for speaker, said in zip(pieces[1::2], pieces[2::2]):
        if messages and messages[-1]["role"] == ROLES[speaker]:
            messages[-1]["content"] = f"{messages[-1]['content']}\n\n{said.strip()}".strip()
        else:
            messages.append({"role": ROLES[speaker], "content": said.strip()})
    return messages


def _alike(chosen: Dialogue, rejected: Dialogue) -> Preference:
    """Return both, once it is clear that they answer the same question."""
    if chosen.messages[0] != rejected.messages[0]:
        raise BadRow("rejected[0]", "is not the message that chosen begins with", "both answer one question")
    for key, chat in (("chosen", chosen), ("rejected", rejected)):
        if chat.messages[-1]["role"] != "assistant":
            raise BadRow(key, f"ends with a message of {chat.messages[-1]['role']}", "end with the answer")
    return Preference(chosen, rejected)


def feedback(row: Row, purpose: str | None) -> Record:
    """Return {"instruct", "input", "model_output", "human_feedback", "is_error"}.

    Where the model erred, what the person wrote is the better answer: a preference, or for a chat the
    answer to learn. Where it did not, the model's answer is good: a chat; there is nothing to prefer.
    """
    wrong = row["is_error"].strip().lower() if isinstance(row["is_error"], str) else row["is_error"]
    if not isinstance(wrong, (bool, int, str)) or wrong not in TRUTH:
        raise BadRow("is_error", f"found {shown(row['is_error'])}", "must be true or false")
    question = together(string("instruct", row["instruct"]), optional(row, "input"))
    if not TRUTH[wrong]:
        if purpose == "preference":
            raise BadRow(
                "is_error",
                "is false, so there is no better answer to prefer",
                "skip bad rows, or use it for chat",
            )
        return asked(question, string("model_output", row["model_output"]))
    better = asked(question, string("human_feedback", row.get("human_feedback")))
    if purpose in ("chat", "prompt"):
        return better
    return Preference(better, asked(question, string("model_output", row["model_output"], empty=True)))
