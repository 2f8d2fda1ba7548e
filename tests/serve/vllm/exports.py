"""Folders that look like exports to whoever starts a server: configuration and profile, no weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from danlu.generate.profile import Profile

CONFIG: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "hidden_size": 512,
    "intermediate_size": 1408,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "dtype": "bfloat16",
}
PROFILE = Profile(
    architecture="Qwen3ForCausalLM",
    dtype="bfloat16",
    max_model_len=4096,
    tool_parser="hermes",
    reasoning_parser="qwen3",
    chat_template="chat_template.jinja",
    stop_token_ids=(0, 2),
)
MOE = {"num_experts": 4, "moe_intermediate_size": 352, "architectures": ["Qwen3MoeForCausalLM"]}


def export(folder: Path, profile: dict[str, Any] | None = None, **config: Any) -> Path:
    """Write such a folder and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | config), encoding="utf-8")
    told = PROFILE.as_dict() | (profile or {})
    (folder / "serve.json").write_text(json.dumps(told), encoding="utf-8")
    (folder / "chat_template.jinja").write_text("{{ messages }}", encoding="utf-8")
    return folder


def option(command, name: str) -> str:
    """Return what a command's option says."""
    return command[command.index(name) + 1]
