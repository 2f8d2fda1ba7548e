"""Where a prompt begins, how long it may be, and which tokens end its answer."""

from __future__ import annotations

from collections.abc import Sequence

from danlu.base.errors import UserError
from danlu.generate.settings import LOGPROBS, Sampling
from danlu.model.decoder import Decoder
from danlu.tokenizer.tokenizer import Tokenizer


def context(model: Decoder) -> int:
    """Return how many tokens the model reads at most, prompt and answer together."""
    scaling = model.cfg.rope_scaling
    longer = scaling.factor if scaling and scaling.rope_type == "dynamic" and scaling.factor else 1.0
    return int(model.cfg.max_position_embeddings * longer)  # here it is the length of training alone


def end_tokens(tokenizer: Tokenizer) -> set[int]:
    """Return the tokens that end an answer: the end of a turn and, where it differs, of a text."""
    return {token for token in (tokenizer.eos_id, tokenizer.pad_id) if token is not None}


def raw_prompt(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return a text to be continued as it stands, begun as every text of pretraining is."""
    return tokenizer.beginning() + tokenizer.encode(text) or [tokenizer.eos_id]


def check_prompt(
    prompt: Sequence[int], max_len: int, vocabulary: int, index: int = 0, answered: bool = True
) -> None:
    """Refuse a prompt that is empty, leaves no room for a token of answer, or is of another tokenizer."""
    if not prompt:
        raise UserError(
            f"prompt {index} is empty", "give at least one token, the beginning-of-text one for instance"
        )
    over = len(prompt) + answered - max_len
    if over > 0:
        raise UserError(
            f"prompt {index} has {len(prompt)} tokens, {over} too many: the context holds {max_len}"
            + (", answer included" if answered else ""),
            "shorten it, or keep less history",
        )
    unknown = next((token for token in (min(prompt), max(prompt)) if not 0 <= token < vocabulary), None)
    if unknown is not None:
        raise UserError(
            f"prompt {index} has token {unknown}, the model knows {vocabulary}", "use its own tokenizer"
        )


def check_sampling(
    sampling: Sampling, vocabulary: int, logprobs: int | None = None, prompt_logprobs: int | None = None
) -> None:
    """Refuse settings that name tokens the model does not know, or ask for too many alternatives."""
    for key, tokens in (("logit_bias", sampling.logit_bias), ("stop_token_ids", sampling.stop_token_ids)):
        if tokens and max(tokens) >= vocabulary:
            raise UserError(
                f"{key}: there is no token {max(tokens)}, the model knows {vocabulary}",
                f"0 to {vocabulary - 1}",
            )
    for key, most in (("logprobs", logprobs), ("prompt_logprobs", prompt_logprobs)):
        if most is not None and not 0 <= most <= LOGPROBS:
            raise UserError(f"{key}: is {most}", f"0 to {LOGPROBS}")
