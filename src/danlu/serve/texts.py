"""Texts without an answer: their tokens, and their vectors."""

from __future__ import annotations

import base64
import math
import struct
from typing import Any

from starlette.requests import Request

from danlu.serve import asking, wishes
from danlu.serve.completions import prompts_of
from danlu.serve.house import House, beside
from danlu.serve.problems import Refusal, wrong
from danlu.serve.schema import DetokenizeRequest, EmbeddingRequest, TokenizeChat, TokenizeText
from danlu.serve.stream import while_here


async def embeddings(house: House, given: EmbeddingRequest, request: Request) -> dict[str, Any]:
    """Return a vector for each text: its last token after the final norm, of length 1."""
    served = house.served
    adapter = served.adapter(given.model)
    width = served.model.cfg.hidden_size
    if given.dimensions is not None and given.dimensions > width:
        raise wrong("dimensions", f"found {given.dimensions}", f"1 to {width}")
    with house.worker.room_for(1):
        prompts = await beside(request, lambda: prompts_of(served, given.input, True))
    for number, prompt in enumerate(prompts):
        wishes.check(served, prompt, "input")
        if len(prompt) > served.max_len:
            over = len(prompt) - served.max_len
            raise Refusal(
                400,
                f"input[{number}] has {len(prompt)} tokens, {over} more than the {served.max_len} of the"
                f" context; shorten it by {over}",
                param="input",
                code="context_length_exceeded",
            )
    vectors = await while_here(request, house.worker, house.worker.embed(prompts, adapter))
    data = []
    for number, vector in enumerate(vectors):
        kept = _kept(vector, given.dimensions or width)
        shape = _base64(kept) if given.encoding_format == "base64" else kept
        data.append({"object": "embedding", "index": number, "embedding": shape})
    tokens = sum(map(len, prompts))
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": given.model or served.name, "usage": usage}


def _kept(vector: list[float], dimensions: int) -> list[float]:
    if dimensions == len(vector):
        return vector
    kept = vector[:dimensions]
    length = math.sqrt(sum(value * value for value in kept)) or 1.0
    return [value / length for value in kept]


def _base64(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def tokenize(house: House, given: TokenizeText | TokenizeChat) -> dict[str, Any]:
    """Return the tokens of a text or a chat."""
    served = house.served
    served.adapter(given.model)
    if isinstance(given, TokenizeChat):
        ids = asking.asked(served.tokenizer, given).ids
    else:
        ids = asking.text_ids(served.tokenizer, given.prompt, given.add_special_tokens is not False)
    told: dict[str, Any] = {"count": len(ids), "max_model_len": served.max_len, "tokens": ids}
    words = [served.tokenizer.token_text(token) for token in ids] if given.return_token_strs else None
    return told | {"token_strs": words}


def detokenize(house: House, given: DetokenizeRequest) -> dict[str, Any]:
    """Return the text of tokens, control tokens too."""
    served = house.served
    served.adapter(given.model)
    if given.tokens:
        wishes.check(served, given.tokens, "tokens")
    return {"prompt": served.tokenizer.decode(given.tokens)}
