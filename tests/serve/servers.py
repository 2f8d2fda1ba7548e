"""Real servers for tests: on a port the system chose, in a thread of this process, over a small model."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from danlu.generate.engine import Engine
from danlu.generate.profile import of
from danlu.model.decoder import Decoder
from danlu.serve import app, running
from danlu.serve.house import House, Rules
from danlu.serve.meters import Meters
from danlu.serve.port import listening
from danlu.serve.served import Served, engine_maker
from danlu.serve.worker import Worker
from danlu.tokenizer.tokenizer import Tokenizer
from generate.models import TOKENIZER, tiny

CONTEXT = 512
MODEL = tiny(max_position_embeddings=CONTEXT)


def endless() -> Decoder:
    """Return a model that never ends an answer of its own accord."""
    import torch

    model = tiny(max_position_embeddings=CONTEXT)
    with torch.no_grad():
        model.head_weight[[TOKENIZER.pad_id, TOKENIZER.eos_id]] = 0.0
    return model


def served(model: Decoder = MODEL, tokenizer: Tokenizer = TOKENIZER, **keys: Any) -> Served:
    """Return a model as a folder of it would be served."""
    ends = frozenset({tokenizer.eos_id, tokenizer.pad_id})
    profile = of(
        tokenizer,
        architecture="Qwen3ForCausalLM",
        dtype="float32",
        max_model_len=CONTEXT,
        stop_token_ids=sorted(ends),
        provenance={},
    )
    return Served("tiny", model, tokenizer, profile, ends, CONTEXT, **keys)


@dataclass
class Running:
    """A server that runs."""

    url: str
    house: House
    server: running.Server
    said: list[str] = field(default_factory=list)

    @property
    def worker(self) -> Worker:
        return self.house.worker

    @property
    def engine(self) -> Engine:
        return self.house.worker.engine


@contextlib.contextmanager
def serving(
    what: Served | None = None,
    rules: Rules | None = None,
    *,
    slots: int = 8,
    queue: int = 64,
    timeout: float = 120.0,
    grace: float = 10.0,
) -> Iterator[Running]:
    """Serve a model until the block ends."""
    what = what or served()
    meters = Meters()
    worker = Worker(engine_maker(what, slots), meters, queue, timeout)
    house = House(what, worker, meters, rules or Rules(quiet=True))
    up = threading.Event()
    server = running.Server(app.build(house), worker, grace, up.set)
    house.hang_up = server.hang_up
    with listening("127.0.0.1", 0) as sock:
        thread = threading.Thread(target=running.run, args=(server, sock))
        thread.start()
        assert up.wait(60), "the server did not come up"
        try:
            yield Running(running.place(sock), house, server)
        finally:
            server.leave()
            thread.join(60)
            assert not thread.is_alive(), "the server did not leave"


def messages(*texts: str) -> list[dict[str, str]]:
    """Return a chat of the user's and the assistant's words in turn."""
    return [
        {"role": "assistant" if number % 2 else "user", "content": text} for number, text in enumerate(texts)
    ]
