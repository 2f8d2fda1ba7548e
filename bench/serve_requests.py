"""Requests as people send them: the chats that the starter set holds out, asked turn by turn.

Every turn of the assistant's is one request: all that was said before it, and as many tokens as it has.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from danlu.tokenizer.tokenizer import Tokenizer

CHATS = ("sft", "identity", "reason", "tools")


def write(place: Path) -> Path:
    """Write the requests of a starter set made in `place`, as ShareGPT's chats are told vLLM's benchmark."""
    from danlu.data.shapes import recognise
    from danlu.tokenizer.tokenizer import Tokenizer

    data, file = place / "data", place / "chats.json"
    make = [sys.executable, "-m", "danlu", "data", "starter", "--out", str(data)]
    subprocess.run(make, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    tokenizer = Tokenizer.load("starter")
    turns: list[dict[str, Any]] = []
    for name in CHATS:
        for line in (data / "heldout" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
            turns += requests(tokenizer, recognise(json.loads(line), "chat")[1])
    file.write_text(json.dumps(turns, ensure_ascii=False), encoding="utf-8")
    return file


def requests(tokenizer: Tokenizer, chat: Any) -> Iterator[dict[str, Any]]:
    """Yield what is asked and answered in each of the assistant's turns, as the template writes it."""
    from danlu.tokenizer.chat import encode_chat

    for turn, message in enumerate(chat.messages):
        if message["role"] == "assistant":
            asked = encode_chat(tokenizer, chat.messages[:turn], chat.tools, add_generation_prompt=True).ids
            whole = encode_chat(tokenizer, chat.messages[: turn + 1], chat.tools).ids
            told = (asked, whole[len(asked) :])
            yield {"conversations": [{"value": tokenizer.decode(ids, control=True)} for ids in told]}
