"""What a MiniMind model can be, in the words that families of models are described in."""

from __future__ import annotations

from convert.minimind_shape import YARN, stretches_alike
from danlu.base.errors import UserError, pick
from danlu.model.families.rules import LLAMA, Reason, asks
from danlu.model.shape import ModelConfig

ALL = ("has no biases", "rotates whole heads", *LLAMA)
DENSE = {
    "2": asks("has no head norms", "has heads that add up to the width", *ALL),
    "3": asks("has head norms", "wants heads that divide the width", *ALL),
}
EXPERTS = ("routes by softmax", "does not scale what experts answer", "has experts in every layer")
MIXTURE = {
    "2": asks("has shared experts as wide as the routed", *EXPERTS),
    "3": asks("has no shared experts", *EXPERTS),
}


def refuse(cfg: ModelConfig, generation: str) -> None:
    """Refuse a model that no MiniMind of this generation is, with the reasons."""
    if generation == "1":
        raise UserError("generation '1' is read, not written", "generation 2, which says the same")
    generation = pick("generation", generation, DENSE)
    reasons = DENSE[generation](cfg) + (MIXTURE[generation](cfg) if cfg.moe else []) + _own(cfg, generation)
    if reasons:
        words = " and ".join(dict.fromkeys(reason.problem for reason in reasons))
        remedies = " ".join(dict.fromkeys(reason.remedy for reason in reasons))
        raise UserError(
            f"MiniMind's generation {generation} {words}; this model does not",
            f"export it as safetensors instead, or train one with {remedies}",
        )


def _own(cfg: ModelConfig, generation: str) -> list[Reason]:
    """Return the reasons that only MiniMind has."""
    found = []
    if generation == "2" and not cfg.tie_word_embeddings:
        found.append(Reason("has the embedding for a head", "model.tie_word_embeddings=true"))
    if cfg.rope_scaling is not None and (cfg.rope_scaling != YARN or not stretches_alike(cfg)):
        found.append(Reason("stretches positions 16 times by YaRN or not at all", "model.rope_scaling unset"))
    if cfg.moe and cfg.moe.num_shared_experts and cfg.moe.shared_gated:
        found.append(Reason("has shared experts without a gate", "model.moe.shared_gated=false"))
    alone = cfg.moe and cfg.moe.num_experts_per_tok == 1 and cfg.moe.norm_topk_prob
    if generation == "2" and alone:
        found.append(
            Reason("leaves the share of one expert alone as it is", "model.moe.norm_topk_prob=false")
        )
    return found
