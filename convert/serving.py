"""What serve.json says of an export; `danlu.generate.profile` tells what it is for."""

from __future__ import annotations

from convert.recipe import Recipe
from convert.served import limits
from danlu.generate import profile as profiles
from danlu.generate.profile import FILE, Profile

__all__ = ["FILE", "profile", "warnings"]


def profile(recipe: Recipe) -> Profile:
    """Return how an export is to be served."""
    source = recipe.source
    return profiles.of(
        source.tokenizer,
        architecture=recipe.family.architecture,
        dtype=str(recipe.dtype or source.dtype).removeprefix("torch."),
        max_model_len=source.cfg.max_position_embeddings,
        stop_token_ids=source.ends(),
        provenance=source.provenance,
        vllm_differs=warnings(recipe),
    )


def warnings(recipe: Recipe) -> list[str]:
    """Return what the pinned vLLM is known not to do as training did with a model like this."""
    found = limits(recipe.family.model_type, recipe.source.cfg)
    refuses = {True: "and says so", False: "and says nothing: serve it by other means"}
    return [f"vLLM differs here, {refuses[limit.says_so]}: {limit.words}" for limit in found]
