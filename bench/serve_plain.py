"""Asks as `serve_client.py` does where vLLM, whose benchmark that is, cannot be installed.

    python -m bench.serve_plain TOKENIZER < REQUESTS

The same requests and answers, line by line; the same lengths, arrivals (Poisson's) and measures. Only the
random prompts differ, drawn from another stream of numbers.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from bench.serve_client import SPREAD
from danlu.tokenizer.tokenizer import Tokenizer


class Wish(NamedTuple):
    """A prompt, and how many tokens are wanted after it."""

    prompt: str
    count: int


class Took(NamedTuple):
    """Seconds until the first token came and until the last, and how many there were."""

    first: float
    last: float
    count: int


def wishes(tokenizer: Tokenizer, asked: dict[str, Any]) -> list[Wish]:
    """Return what is asked for: random words, or chats of a file."""
    dice = random.Random(asked["seed"])
    if asked["file"]:
        chats = [row["conversations"] for row in json.loads(Path(asked["file"]).read_text(encoding="utf-8"))]
        dice.shuffle(chats)
        pairs = [(chat[0]["value"], chat[1]["value"]) for chat in chats[: asked["prompts"]]]
        return [Wish(prompt, len(tokenizer.encode(answer))) for prompt, answer in pairs]

    def about(length: int) -> int:
        return round(length * dice.uniform(1 - SPREAD, 1 + SPREAD))

    return [
        Wish(
            tokenizer.decode([dice.randrange(3, tokenizer.size) for _ in range(about(asked["input"]))]),
            about(asked["output"]),
        )
        for _ in range(asked["prompts"])
    ]


async def ask(url: str, model: str, wish: Wish) -> Took:
    """Ask once, and return when what came."""
    body = {
        "model": model, "prompt": wish.prompt, "max_tokens": wish.count, "temperature": 0, "stream": True,
        "ignore_eos": True, "return_token_ids": True, "stream_options": {"include_usage": True},
    }  # fmt: skip
    sent = json.dumps(body).encode()
    place = urlsplit(url)
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection(place.hostname, place.port, limit=2**20)
    head = (
        "POST /v1/completions HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nConnection: close"
    )
    writer.write(f"{head}\r\nContent-Length: {len(sent)}\r\n\r\n".encode() + sent)
    first = last = 0.0
    count = 0
    assert b" 200 " in await reader.readline()
    while line := await reader.readline():
        if not line.startswith(b"data: {"):
            continue
        told = json.loads(line[6:])
        if told["choices"]:
            last = time.perf_counter() - began
            first = first or last
        count = (told.get("usage") or {}).get("completion_tokens", count)
    writer.close()
    assert count == wish.count, (count, wish.count)
    return Took(first, last, count)


async def measured(tokenizer: Tokenizer, asked: dict[str, Any]) -> dict[str, float]:
    """Return what one round took."""
    dice, room = random.Random(asked["seed"]), asyncio.Semaphore(asked["concurrency"])

    async def one(wish: Wish) -> Took:
        async with room:
            return await ask(asked["url"], asked["model"], wish)

    wanted = wishes(tokenizer, asked)
    began, tasks, due = time.perf_counter(), [], 0.0
    for wish in wanted:
        if asked["rate"]:
            await asyncio.sleep(max(0.0, began + due - time.perf_counter()))
            due += dice.expovariate(asked["rate"])
        tasks.append(asyncio.create_task(one(wish)))
    took = await asyncio.gather(*tasks)
    seconds = time.perf_counter() - began
    between = [(each.last - each.first) / (each.count - 1) for each in took if each.count > 1]
    return {
        "duration": seconds,
        "completed": len(took),
        "output_throughput": sum(each.count for each in took) / seconds,
        "median_ttft_ms": 1000 * statistics.median(each.first for each in took),
        "median_tpot_ms": 1000 * statistics.median(between),
    }


def main() -> None:
    tokenizer = Tokenizer.load(sys.argv[1])
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(asyncio.run(measured(tokenizer, json.loads(line)))), flush=True)


if __name__ == "__main__":
    main()
