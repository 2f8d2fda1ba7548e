"""A crowd of clients of every manner, over plain sockets: what each did and what it got.

whole     waits for the answer                leaves    hangs up in the middle of a stream
stream    reads events to their end           flees     hangs up before anything is answered
slow      reads them a few bytes at a time    large     sends more than is allowed
several   wants three answers at once         broken    sends what is no JSON
                                              wrong     asks for what cannot be
"""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass
from typing import Any

MANNERS = ("whole", "stream", "slow", "several", "leaves", "flees", "large", "broken", "wrong")
TEXTS = ("tell me of the sea", "钢是什么？", "count", "sing " * 20, "a " * 60)


@dataclass(frozen=True)
class Got:
    """What came of one request."""

    manner: str
    status: int
    text: str


class Crowd:
    """Clients with one server in common."""

    def __init__(self, host: str, port: int, largest: int, seed: int = 0) -> None:
        self.host = host
        self.port = port
        self.largest = largest
        self.dice = random.Random(seed)

    async def come(self, many: int, together: int) -> list[Got]:
        """Let so many come, so many of them at a time; return what each got."""
        gate = asyncio.Semaphore(together)
        manners = [MANNERS[number % len(MANNERS)] for number in range(many)]
        self.dice.shuffle(manners)

        async def one(manner: str) -> Got:
            async with gate:
                return await self._ask(manner)

        return await asyncio.gather(*(one(manner) for manner in manners))

    def _body(self, manner: str) -> bytes:
        if manner == "large":
            return b"[" * (self.largest + 1000)
        if manner == "broken":
            return b'{"messages": [{"role": "us'
        text = self.dice.choice(TEXTS)
        body: dict[str, Any] = {
            "messages": [{"role": "user", "content": text}],
            "max_tokens": self.dice.randint(1, 40),
            "temperature": self.dice.choice([0, 1.0]),
            "stream": manner in ("stream", "slow", "leaves"),
        }
        if manner == "several":
            body["n"] = 3
        if manner in ("leaves", "flees"):
            body |= {"max_tokens": 300, "ignore_eos": True}
        if manner == "wrong":
            body["temperature"] = 99
        return json.dumps(body).encode()

    async def _ask(self, manner: str) -> Got:
        body = self._body(manner)
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            if manner == "flees":
                await asyncio.sleep(self.dice.random() / 20)
                return Got(manner, 0, "")
            return await self._read(manner, reader)
        except (ConnectionResetError, BrokenPipeError):
            return Got(manner, 413 if manner == "large" else -1, "")
        finally:
            writer.close()

    async def _read(self, manner: str, reader: asyncio.StreamReader) -> Got:
        status = int((await reader.readline()).split()[1])
        if manner == "leaves":
            await reader.read(self.dice.randint(1, 2000))
            return Got(manner, status, "")
        pieces = []
        while piece := await reader.read(300 if manner == "slow" else 65536):
            pieces.append(piece)
            if manner == "slow":
                await asyncio.sleep(0.002)
        return Got(manner, status, b"".join(pieces).decode())


def faults(got: list[Got]) -> list[Got]:
    """Return the clients who did not get what they should have."""
    return [each for each in got if not _right(each)]


def _right(got: Got) -> bool:
    if got.manner in ("large", "broken", "wrong"):
        return got.status == (413 if got.manner == "large" else 400)
    if got.manner == "flees":
        return True
    if got.status != 200 or got.manner == "leaves":
        return got.status == 200
    if got.manner in ("stream", "slow"):
        return (
            "data: [DONE]" in got.text
            and '"finish_reason":"' in got.text
            and 'data: {"error"' not in got.text
        )
    told = json.loads(got.text.split("\r\n\r\n", 1)[1])
    wanted = 3 if got.manner == "several" else 1
    return [bool(choice["finish_reason"]) for choice in told["choices"]] == [True] * wanted
