"""What many people serve with: `transformers`' batched generate behind HTTP, written fairly.

    python -m bench.serve_transformers FOLDER --port 8000

A loop takes all that has arrived, up to `--slots`, left-padded to the longest, generates as many tokens as
the longest answer asks for, answers each, and begins again. What arrives meanwhile waits for the next batch:
that is what a batch is. Each answer is sent as soon as its batch is done, cut to its own length.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import torch
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse


class Waiting(NamedTuple):
    """A request that has arrived."""

    ids: list[int]
    most: int
    answer: asyncio.Future[list[int]]


class Batches:
    """The model, and the loop over what has arrived."""

    def __init__(self, folder: str, dtype: str, device: str, slots: int) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        torch.backends.cuda.enable_cudnn_sdp(False)  # else it plans for each length anew: 50 ms a token
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
        self.model = model.to(device).eval()
        self.slots = slots
        self.waiting: asyncio.Queue[Waiting] = asyncio.Queue()

    async def run(self) -> None:
        """Answer batch after batch."""
        while True:
            batch = [await self.waiting.get()]
            while len(batch) < self.slots and not self.waiting.empty():
                batch.append(self.waiting.get_nowait())
            answers = await asyncio.to_thread(self.generate, batch)
            for each, answer in zip(batch, answers):
                each.answer.set_result(answer[: each.most])

    @torch.inference_mode()
    def generate(self, batch: list[Waiting]) -> list[list[int]]:
        """Return the tokens after each prompt."""
        longest, most = max(len(each.ids) for each in batch), max(each.most for each in batch)
        padded = [[0] * (longest - len(each.ids)) + each.ids for each in batch]
        mask = [[0] * (longest - len(each.ids)) + [1] * len(each.ids) for each in batch]
        out = self.model.generate(
            input_ids=torch.tensor(padded, device=self.model.device),
            attention_mask=torch.tensor(mask, device=self.model.device),
            max_new_tokens=most,
            min_new_tokens=most,
            do_sample=False,
            pad_token_id=0,
        )
        return [row[longest:].tolist() for row in out]


def build(folder: str, dtype: str, device: str, slots: int) -> FastAPI:
    """Return the application."""
    batches = Batches(folder, dtype, device, slots)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        loop = asyncio.create_task(batches.run())
        yield
        loop.cancel()

    app = FastAPI(lifespan=life)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/v1/completions")
    async def completions(request: Request) -> StreamingResponse:
        asked: dict[str, Any] = await request.json()
        ids = batches.tokenizer(asked["prompt"])["input_ids"]
        answer: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        await batches.waiting.put(Waiting(ids, asked["max_tokens"], answer))

        async def said() -> AsyncIterator[str]:
            tokens = await answer
            choice = {"index": 0, "text": batches.tokenizer.decode(tokens), "finish_reason": "length"}
            usage = {"prompt_tokens": len(ids), "completion_tokens": len(tokens)}
            for told in ({"choices": [choice]}, {"choices": [], "usage": usage}):
                yield f"data: {json.dumps(told)}\n\n"
            yield "data: [DONE]\n\n"

        return StreamingResponse(said(), media_type="text/event-stream")

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--slots", type=int, default=16)
    args = parser.parse_args()
    app = build(args.folder, args.dtype, args.device, args.slots)
    uvicorn.run(app, host="127.0.0.1", port=args.port, log_level="warning")


if __name__ == "__main__":
    main()
