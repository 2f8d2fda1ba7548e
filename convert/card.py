"""The model card of an export: a page for whoever opens the folder."""

from __future__ import annotations

import json

from convert.recipe import Recipe
from danlu.generate.profile import Profile, vllm_options
from danlu.model.size import active, count

TEXT = """\
---
library_name: transformers
pipeline_tag: text-generation
---

# {name}

{architecture}, {size}, {dtype}; context {context:,} tokens.

| | |
|---|---|
| hidden size, layers | {hidden}, {layers} |
| attention | {heads} query heads, {keys} key heads, {head} wide |
| vocabulary | {words:,} |
{experts}{story}
Start a server with it:

```bash
vllm serve . {options}
```

`serve.json` says the same to a program; `manifest.json` says what this was made from, how exactly it answers
like the model that was trained, and the SHA-256 of every file.
"""


def card(recipe: Recipe, name: str, profile: Profile) -> str:
    """Return README.md."""
    cfg = recipe.source.cfg
    size = f"{count(cfg) / 1e6:,.1f} M parameters"
    if cfg.moe:
        size += f", {active(cfg) / 1e6:,.1f} M active"
    return TEXT.format(
        name=name,
        architecture=recipe.family.architecture,
        size=size,
        dtype=profile.dtype,
        context=cfg.max_position_embeddings,
        hidden=cfg.hidden_size,
        layers=cfg.num_hidden_layers,
        heads=cfg.num_attention_heads,
        keys=cfg.num_key_value_heads,
        head=cfg.head_dim,
        words=cfg.vocab_size,
        experts=_experts(recipe),
        story=_story(recipe),
        options=" ".join(vllm_options(profile)),
    )


def _experts(recipe: Recipe) -> str:
    moe = recipe.source.cfg.moe
    if moe is None:
        return ""
    shared = f", {moe.num_shared_experts} shared" if moe.num_shared_experts else ""
    return f"| experts | {moe.num_experts}, {moe.num_experts_per_tok} a token{shared} |\n"


def _story(recipe: Recipe) -> str:
    told = recipe.source.provenance
    rows = {"stage": told.get("stage"), "step": told.get("step"), "measured": told.get("measured")}
    if recipe.adapter:
        rows["adapter merged"] = recipe.adapter.folder.name
    return "".join(
        f"| {key} | {value if isinstance(value, (str, int)) else json.dumps(value)} |\n"
        for key, value in rows.items()
        if value
    )
