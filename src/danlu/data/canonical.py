"""Records as rows of ours: one way to write each, read back as the same record.

    Text         {"text"}                     Label            {"text", "label"}
    Tokens       {"input_ids", "seq_len"}     Caption          {"file_path", "prompt", "zh_prompt"}
    Dialogue     {"messages", "tools"}        PictureDialogue  {"image", "conversations"}
    Preference   {"chosen", "rejected"}       Relevance        {"text_id", "text", "image_ids"}
    Prompt       {"messages", "tools", "gt"}

Flat rows, {"conversations": [{"role", "content"}]}, hold tools, thoughts and calls as the text that a
chat template writes for them, so that any trainer of chats can read them. Whether a template can be
written so is tried on every row: the ids must be those of the row with its tools.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from danlu.base.errors import UserError
from danlu.data.records import (
    Caption,
    Dialogue,
    Label,
    PictureDialogue,
    Preference,
    Prompt,
    Record,
    Relevance,
    Text,
    Tokens,
)
from danlu.data.rows import BadRow
from danlu.tokenizer.chat import Chat, encode_chat, render
from danlu.tokenizer.tokenizer import Tokenizer

Messages = list[dict[str, Any]]
FOLDED = {"tool_calls", "reasoning_content"}
"""What a message holds beside its content, and a template writes with it."""
MARK = "\u2063danlu\u2063"
"""A system text that nobody writes, to find what a template puts around it."""


def row_of(record: Record) -> dict[str, Any]:
    """Return a record as a row."""
    if isinstance(record, Text):
        return {"text": record.text}
    if isinstance(record, Tokens):
        return {"input_ids": record.ids, **({"seq_len": record.read} if record.read else {})}
    if isinstance(record, Dialogue):
        return {"messages": record.messages, **_tools(record.tools)}
    if isinstance(record, Preference):
        return _pair(record)
    if isinstance(record, Prompt):
        answer = {} if record.answer is None else {"gt": record.answer}
        return {"messages": record.messages, **_tools(record.tools), **answer}
    if isinstance(record, Label):
        return {"text": record.text, "label": record.label}
    if isinstance(record, Caption):
        return {"file_path": record.image, **dict(zip(("prompt", "zh_prompt"), record.texts))}
    if isinstance(record, PictureDialogue):
        return {"image": record.image, "conversations": record.messages}
    return _relevance(record)


def _tools(tools: Messages | None) -> dict[str, Any]:
    return {"tools": tools} if tools else {}


def _pair(record: Preference) -> dict[str, Any]:
    """Return a preference; tools that only one side has stand in its system message."""
    if record.chosen.tools == record.rejected.tools:
        sides = {"chosen": record.chosen.messages, "rejected": record.rejected.messages}
        return {**sides, **_tools(record.chosen.tools)}
    return {"chosen": _inside(record.chosen), "rejected": _inside(record.rejected)}


def _inside(chat: Dialogue) -> Messages:
    first, *rest = chat.messages
    return [{**first, **_tools(chat.tools)}, *rest]


def _relevance(record: Relevance) -> dict[str, Any]:
    said = {} if record.text is None else {"text": record.text}
    return {"text_id": record.text_id, **said, "image_ids": list(record.image_ids)}


def flat_row_of(record: Record, tokenizer: Tokenizer) -> dict[str, Any]:
    """Return a record as a row whose chats hold nothing but text."""
    if isinstance(record, Dialogue):
        return {"conversations": flat(record, tokenizer)}
    if isinstance(record, Preference):
        return {"chosen": flat(record.chosen, tokenizer), "rejected": flat(record.rejected, tokenizer)}
    if isinstance(record, Prompt):
        answer = {} if record.answer is None else {"gt": record.answer}
        return {"conversations": flat(Dialogue(record.messages, record.tools), tokenizer), **answer}
    return row_of(record)


def flat(chat: Dialogue, tokenizer: Tokenizer) -> Messages:
    """Return the messages of a chat without tools, thoughts and calls, read by a model exactly as before."""
    if not chat.tools and all(
        isinstance(m.get("content"), str) and not FOLDED & m.keys() for m in chat.messages
    ):
        return [_plain(message, None) for message in chat.messages]
    whole = encode_chat(tokenizer, chat.messages, chat.tools)
    said = {span.message: whole.text[span.start : span.end] for span in whole.spans}
    messages = [_plain(message, said.get(number)) for number, message in enumerate(chat.messages)]
    if chat.tools:
        first = messages.pop(0) if messages[0]["role"] == "system" else None
        messages.insert(0, {"role": "system", "content": written_out(first, chat.tools, tokenizer)})
    if not _same(whole, encode_chat(tokenizer, messages)):
        raise BadRow(
            "",
            f"cannot be written flat: the template of {tokenizer.name} reads it otherwise",
            "keep its tools",
        )
    return messages


def _plain(message: dict[str, Any], said: str | None) -> dict[str, Any]:
    kept: dict[str, Any] = {key: message[key] for key in ("loss_mask", "loss_weight") if key in message}
    content = message.get("content", "") if said is None else said
    return {"role": message["role"], "content": content, **kept}


def _same(one: Chat, other: Chat) -> bool:
    return one.ids == other.ids and one.weights == other.weights


def written_out(system: dict[str, Any] | None, tools: Sequence[dict[str, Any]], tokenizer: Tokenizer) -> str:
    """Return the system text that says these tools as the template would say them."""
    question = {"role": "user", "content": "?"}
    before, after = _frame(tokenizer)
    whole = render(tokenizer, [*([system] if system else []), question], tools)
    if not (whole.startswith(before) and whole.endswith(after)):
        raise UserError(
            f"the chat template of {tokenizer.name} does not write tools into the system text",
            "leave out --flat-tools, or use another tokenizer",
        )
    return whole[len(before) : len(whole) - len(after)]


def _frame(tokenizer: Tokenizer) -> tuple[str, str]:
    """Return what stands before and after a system text."""
    probe = [{"role": "system", "content": MARK}, {"role": "user", "content": "?"}]
    before, _, after = render(tokenizer, probe).partition(MARK)
    return before, after
