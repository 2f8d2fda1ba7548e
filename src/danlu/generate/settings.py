"""What a request may ask of its answer. Knows no torch, so that `--help` and servers read it at once.

The meaning of each value, and the order in which they act, is told in `sample.py`.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from danlu.base import config
from danlu.base.config import Section
from danlu.base.errors import UserError

GREEDY_BELOW = 1e-5
LOGPROBS = 20
"""Most alternatives told of each token, as OpenAI and vLLM have it."""
OF_PROGRAMS = ("logit_bias", "min_tokens", "ignore_eos", "stop_token_ids")
"""What only programs ask for: no option of a command."""


class Sampling(Section):
    """How one request wants its tokens chosen, and when it has enough of them."""

    temperature: float = Field(default=1.0, ge=0.0, le=2.0, allow_inf_nan=False)
    """Above 1 more varied, below 1 more certain, 0 always the likeliest token."""
    top_k: int = Field(default=0, ge=0)
    """Keep only this many of the likeliest tokens; 0 keeps all."""
    top_p: float = Field(default=1.0, gt=0.0, le=1.0, allow_inf_nan=False)
    """Keep the fewest likeliest tokens that hold this much probability together."""
    min_p: float = Field(default=0.0, ge=0.0, le=1.0, allow_inf_nan=False)
    """Keep tokens at least this fraction as probable as the likeliest one."""
    repetition_penalty: float = Field(default=1.0, gt=0.0, le=2.0, allow_inf_nan=False)
    """Above 1 makes every token of the prompt and the answer so far less likely."""
    presence_penalty: float = Field(default=0.0, ge=-2.0, le=2.0, allow_inf_nan=False)
    """Taken from the logit of each token the answer already has."""
    frequency_penalty: float = Field(default=0.0, ge=-2.0, le=2.0, allow_inf_nan=False)
    """Taken from a token's logit once for each time the answer has it."""
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = Field(default=(), max_length=16)
    """Texts that end the answer; they are not part of it."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Most tokens of an answer; none means until the model's context is full."""
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    """The same seed, prompt and settings give the same answer; none draws a fresh seed."""
    logit_bias: dict[
        Annotated[int, Field(ge=0)], Annotated[float, Field(ge=-100.0, le=100.0, allow_inf_nan=False)]
    ] = Field(default_factory=dict, max_length=1024)
    """Added to the logits of these tokens: -100 all but forbids one, 100 all but demands it."""
    min_tokens: int = Field(default=0, ge=0)
    """Neither an end token nor a stop string ends the answer before it has this many tokens."""
    ignore_eos: bool = False
    """An end token is a token like any other; for measurements."""
    stop_token_ids: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(), max_length=128)
    """More tokens that end the answer; they are not part of its text."""

    @model_validator(mode="after")
    def _fits(self) -> Sampling:
        if self.max_tokens is not None and self.min_tokens > self.max_tokens:
            raise ValueError(f"min_tokens is {self.min_tokens}, max_tokens {self.max_tokens}: lower one")
        return self

    @property
    def greedy(self) -> bool:
        """Say whether the likeliest token is always taken."""
        return self.temperature < GREEDY_BELOW

    @property
    def penalises(self) -> bool:
        """Say whether earlier tokens change the choice."""
        return self.repetition_penalty != 1.0 or self.presence_penalty != 0.0 or self.frequency_penalty != 0.0


def checked(values: dict[str, Any], source: str, where_to_read: str) -> Sampling:
    """Return settings, or refuse the first one out of its bounds, saying where to read about it."""
    try:
        return config.check(Sampling, values, source)
    except UserError as error:
        hint = error.hint if "unknown key" in error.problem else where_to_read
        raise UserError(error.problem, hint) from None
