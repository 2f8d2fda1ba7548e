"""From the settings of a request to what the engine is asked for: one job an answer.

Answer k of `n` draws with seed + k where a seed is given, so that the first is the answer of `n` = 1 and all
can be had again.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from pydantic import ValidationError

from danlu.generate.settings import Sampling
from danlu.serve.asking import too_long
from danlu.serve.fields import Settings
from danlu.serve.flight import Job
from danlu.serve.problems import Refusal, wrong
from danlu.serve.schema import ChatRequest
from danlu.serve.served import Served

PLAIN = (
    "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty",
    "seed", "min_tokens", "ignore_eos",
)  # fmt: skip


OF_TEXTS = 16
"""Tokens by which a text is continued where nothing is said, as OpenAI and vLLM have it."""


def most_tokens(given: Settings) -> tuple[int | None, str]:
    """Return how long an answer may be, if that is said, and the name of the parameter that says so."""
    if isinstance(given, ChatRequest) and given.max_completion_tokens is not None:
        return given.max_completion_tokens, "max_completion_tokens"
    return given.max_tokens, "max_tokens"


def sampling(served: Served, given: Settings) -> Sampling:
    """Return a request's settings as the engine has them."""
    said = {name: value for name in PLAIN if (value := getattr(given, name)) is not None}
    if said.get("top_k") == -1:
        said["top_k"] = 0
    stop = given.stop or []
    usual = None if isinstance(given, ChatRequest) else OF_TEXTS
    values: dict[str, Any] = {**served.advised, **said, "max_tokens": most_tokens(given)[0] or usual}
    values["stop"] = (stop,) if isinstance(stop, str) else tuple(stop)
    values["stop_token_ids"] = tuple(given.stop_token_ids or ())
    values["logit_bias"] = _bias(given.logit_bias or {})
    try:
        return Sampling.model_validate(
            {name: float(value) if name in FLOATS else value for name, value in values.items()}
        )
    except ValidationError as error:
        fault = error.errors()[0]
        name = str(fault["loc"][0]) if fault["loc"] else "max_tokens"
        raise Refusal(400, f"{name}: {fault['msg']}".replace("Value error, ", ""), param=name) from None


FLOATS = frozenset(name for name, field in Sampling.model_fields.items() if field.annotation is float)


def _bias(given: dict[str, float]) -> dict[int, float]:
    found = {}
    for name, value in given.items():
        if not (name.isascii() and name.isdigit() and len(name) < 12):
            raise wrong("logit_bias", f"found {name[:40]!r} as a token", 'token ids, such as {"42": -100}')
        found[int(name)] = float(value)
    return found


def jobs(
    served: Served,
    given: Settings,
    prompts: Sequence[Sequence[int]],
    grammar: Any = None,
    **options: Any,
) -> list[Job]:
    """Return what is to be written: `n` answers to each prompt."""
    asked = sampling(served, given)
    most, name = most_tokens(given)
    adapter = served.adapter(given.model)
    param = "messages" if isinstance(given, ChatRequest) else "prompt"
    for prompt in prompts:
        check(served, prompt)
        if problem := too_long(prompt, served.max_len, most, name, param):
            raise problem
    for token in (*asked.logit_bias, *asked.stop_token_ids):
        if token >= served.vocabulary:
            raise wrong(
                "logit_bias" if token in asked.logit_bias else "stop_token_ids",
                f"there is no token {token}",
                f"tokens are 0 to {served.vocabulary - 1}",
            )
    if given.skip_special_tokens is False:
        options["show_control"] = True
    if adapter:
        options["adapter"] = adapter
    found = []
    for prompt in prompts:
        room = min(asked.max_tokens or served.max_len, served.max_len - len(prompt))
        if grammar and room < grammar.least:
            raise Refusal(
                400,
                f"{name}: {room} tokens are left, the shortest answer that is asked for has {grammar.least};"
                f" let it have {grammar.least} or more",
                param=name,
            )
        for number in range(given.n or 1):
            seed = None if asked.seed is None else _next(asked.seed, number)
            own = asked if not number else asked.model_copy(update={"seed": seed})
            found.append(Job(prompt, own, options, grammar and partial(grammar.begin, room)))
    return found


def check(served: Served, prompt: Sequence[int], param: str = "prompt") -> None:
    """Refuse a prompt that is empty or of another tokenizer."""
    if not prompt:
        raise wrong(param, "is empty", "give at least one token")
    if max(prompt) >= served.vocabulary:
        raise wrong(param, f"there is no token {max(prompt)}", f"tokens are 0 to {served.vocabulary - 1}")


def _next(seed: int, number: int) -> int:
    """Return the seed after this one, in the same 64 bits."""
    return (seed + number + 2**63) % 2**64 - 2**63
