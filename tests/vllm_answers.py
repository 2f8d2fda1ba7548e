"""Comparing a real vLLM with our own decoder, on any folder of finished weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from convert.vllm_side import Answer
from danlu.generate.engine import complete
from danlu.generate.load import load_model
from danlu.generate.sample import Sampling
from danlu.model import weights
from danlu.model.config import ModelConfig
from danlu.model.decoder import Decoder
from danlu.tokenizer.tokenizer import Tokenizer
from model_shapes import SHAPES, config, model

TOKENIZER = Tokenizer.load("starter")
# Its attention for CPUs has kernels for these widths of heads, none smaller.
ROOM: dict[str, Any] = {
    "hidden_size": 128,
    "num_attention_heads": 4,
    "head_dim": 32,
    "initializer_range": 0.2,
}
LATENT = {"kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128}


def shaped(name: str, **changes: Any) -> ModelConfig:
    """Return a shape of `model_shapes` in a size that vLLM's kernels know."""
    shape = SHAPES[name]
    keys = {**ROOM, "vocab_size": TOKENIZER.size}
    keys["num_key_value_heads"] = min(shape.get("num_key_value_heads", 2), keys["num_attention_heads"])
    if "latent" in shape:
        keys |= {"latent": shape["latent"] | LATENT, "head_dim": None}
    if "embedding_scale" in shape:
        keys["embedding_scale"] = keys["hidden_size"] ** 0.5
    if shape.get("attention_scale", 1.0) != 1.0:
        keys["attention_scale"] = 24**-0.5
    if name.startswith(("bloom", "falcon")):
        keys["intermediate_size"] = 4 * keys["hidden_size"]
    return config(name, **(keys | changes))


def write(cfg: ModelConfig, folder: Path) -> Path:
    """Write a random model and the starter tokenizer, as an export would."""
    folder.mkdir(parents=True)
    weights.save(model(cfg).state_dict(), cfg, folder)
    TOKENIZER.save(folder)
    return folder


def random_prompts(*lengths: int, seed: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, TOKENIZER.size, (length,), generator=generator).tolist() for length in lengths]


class Own(NamedTuple):
    """What our decoder says: greedy tokens, and the log-probability of every token but a row's first."""

    tokens: list[list[int]]
    logprobs: list[list[float]]


@torch.no_grad()
def own(folder: str | Path, prompts: Sequence[Sequence[int]], max_tokens: int) -> Own:
    """Return what our decoder answers in fp32, no answer ending early."""
    made, tokenizer = load_model(folder, "cpu", "float32")
    answers = complete(made, tokenizer, prompts, Sampling(temperature=0.0, max_tokens=max_tokens), ends=())
    tokens = [answer.tokens for answer in answers]
    return Own(tokens, [logprobs(made, [*read, *said]) for read, said in zip(prompts, tokens)])


def logprobs(made: Decoder, row: Sequence[int]) -> list[float]:
    """Return the log-probability of each token after those before it."""
    tokens_1T = torch.tensor([row])
    all_1TV = made.logits(made(tokens_1T).hidden).log_softmax(-1)
    return all_1TV[0, :-1].gather(-1, tokens_1T[0, 1:, None])[:, 0].tolist()


def furthest(answer: Answer, ours: Own) -> float:
    """Return how far log-probabilities are apart, as a part of the largest (or of one) of ours.

    Where answers part, each goes on from tokens of its own, so only what was read counts.
    """
    pairs = [pair for read, row in zip(answer.prompt_logprobs, ours.logprobs) for pair in zip(read, row)]
    if answer.tokens == ours.tokens:
        for said, row in zip(answer.logprobs, ours.logprobs):
            pairs += zip(said, row[-len(said) :])
    return max(abs(a - b) for a, b in pairs) / max(1.0, *(abs(b) for _, b in pairs))


def adapted(folder: Path, place: Path) -> tuple[Path, Path]:
    """Give a model a random LoRA adapter with PEFT; return the adapter's folder, and the merged model's."""
    import peft
    import transformers

    torch.manual_seed(0)
    base = transformers.AutoModelForCausalLM.from_pretrained(folder)
    linear = [f"{letter}_proj" for letter in ("q", "k", "v", "o", "gate", "up", "down")]
    made = peft.get_peft_model(base, peft.LoraConfig(r=4, lora_alpha=8, target_modules=linear))
    for name, weight in made.named_parameters():
        if "lora_B" in name:  # zero at first, which would change nothing
            torch.nn.init.normal_(weight, std=0.1)
    made.save_pretrained(place / "adapter")
    made.merge_and_unload().save_pretrained(place / "merged")
    TOKENIZER.save(place / "merged")
    return place / "adapter", place / "merged"
