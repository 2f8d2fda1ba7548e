"""From a configuration to a model: built without memory, then filled from a seed.

Every weight is drawn by itself, on the processor, from the seed and its own name. So the same seed gives
the same model on every device and for any number of ranks, and adding a layer changes no other.
"""

from __future__ import annotations

import zlib

import torch
from torch import nn

from danlu.device import ops
from danlu.model.decoder import Decoder
from danlu.model.moe import Router
from danlu.model.norm import LayerNorm, RmsNorm
from danlu.model.shape import ModelConfig

PIECE = 1 << 24
"""Random numbers drawn at once."""
ALWAYS_WIDE = (RmsNorm, LayerNorm, Router)
"""What computes in float32 keeps its weights so: under autocast, training reads them unrounded."""


def build(
    cfg: ModelConfig,
    device: torch.device | str = "cpu",
    seed: int = 42,
    dtype: torch.dtype = torch.float32,
) -> Decoder:
    """Return a model with its first weights."""
    model = build_empty(cfg, device, dtype)
    init_weights(model, seed)
    return model


def build_empty(
    cfg: ModelConfig, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Decoder:
    """Return a model whose weights hold anything: to be loaded. Norms and routers stay float32."""
    ops.probe()
    with torch.device("meta"):
        model = Decoder(cfg).to(dtype)
    for module in model.modules():
        if isinstance(module, ALWAYS_WIDE):
            module.float()
    model.to_empty(device=device)
    for gate in model._routers():
        if hasattr(gate, "e_score_correction_bias"):
            gate.e_score_correction_bias = torch.zeros(gate.moe.num_experts, device=device)
    return model


@torch.no_grad()
def init_weights(model: Decoder, seed: int) -> None:
    """Fill every weight: norms so that they scale by one, biases with zero, the rest from a normal."""
    std = model.cfg.initializer_range
    norms = {id(module.weight) for module in model.modules() if isinstance(module, (RmsNorm, LayerNorm))}
    for name, weight in model.named_parameters():
        if id(weight) in norms:
            weight.fill_(0.0 if model.cfg.norm_offset else 1.0)
        elif name.endswith(".bias"):
            weight.zero_()
        else:
            _fill_normal(weight, std, torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode())))


def _fill_normal(weight: torch.Tensor, std: float, generator: torch.Generator) -> None:
    for piece in weight.view(-1).split(PIECE):
        piece.copy_(torch.empty(piece.numel()).normal_(0.0, std, generator=generator))


def compile_blocks(model: nn.Module) -> None:
    """Let torch.compile build one program that all blocks of a kind share."""
    decoder: Decoder = model  # type: ignore[assignment]
    ops.probe()
    for block in decoder.model.layers:
        block.compile()
    decoder.compiled = True
