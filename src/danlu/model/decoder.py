"""The one decoder, dense or mixture of experts, under Hugging Face's parameter names.

    tokens -> embedding -> [ + attention(norm) , + mlp(norm) ] x layers -> norm -> hidden

It ends at the hidden states: the head is a matrix (`head_weight`) that the loss multiplies in pieces,
and `logits` multiplies whole. Weights stay as they were built; under autocast the residual stream runs
in the autocast's number format.

`samples_BT` numbers the samples of a micro-batch from 0, -1 for padding; from it, or from a ready
`Layout`, follows what each token may see. The model knows no ranks and no optimiser.

Letters: B rows, T tokens, N = B T, C residual width, V words, E experts, L layers with experts,
S samples, D rotated width.
"""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from danlu.device import ops
from danlu.model import balance, rope
from danlu.model.attention import Attention
from danlu.model.latent import LatentAttention
from danlu.model.mlp import Mlp
from danlu.model.moe import MoeMlp, Routing
from danlu.model.norm import build_norm
from danlu.model.shape import ModelConfig

KEPT = 64
"""Lengths of texts whose frequencies are kept, where the length decides them."""


class Output(NamedTuple):
    """What a forward pass gives."""

    hidden: Tensor
    """[B, T, C], after the last norm."""
    balance: Tensor | None
    """The experts' balance loss over all layers, already weighed: [S] a sample, [] for all, or None."""


class Block(nn.Module):
    """Attention, then the MLP or the experts, each on a normalised copy of the stream."""

    def __init__(self, cfg: ModelConfig, layer: int) -> None:
        super().__init__()
        self.self_attn = LatentAttention(cfg, layer) if cfg.latent else Attention(cfg, layer)
        is_moe = cfg.is_moe_layer(layer)
        self.mlp = MoeMlp(cfg) if is_moe else Mlp(cfg, cfg.intermediate_size, cfg.mlp_bias)
        self.parallel = cfg.parallel != "no"
        self.input_layernorm = build_norm(cfg)
        self.post_attention_layernorm = build_norm(cfg) if cfg.parallel != "one norm" else None
        self.attention_answer_layernorm = build_norm(cfg) if cfg.sandwich else nn.Identity()
        self.mlp_answer_layernorm = build_norm(cfg) if cfg.sandwich else nn.Identity()

    def forward(
        self, x_BTC: Tensor, turn: tuple[Tensor, Tensor] | None, layout: ops.Layout, cache: Any = None
    ) -> tuple[Tensor, Routing | None]:
        read_BTC = self.input_layernorm(x_BTC)
        y_BTC = self.attention_answer_layernorm(self.self_attn(read_BTC, turn, layout, cache))
        after_BTC = x_BTC + y_BTC
        if self.post_attention_layernorm is not None:
            read_BTC = self.post_attention_layernorm(x_BTC if self.parallel else after_BTC)
        y = self.mlp(read_BTC)
        y_BTC, routing = y if isinstance(y, tuple) else (y, None)
        return after_BTC + self.mlp_answer_layernorm(y_BTC), routing


def table(rows: int, width: int) -> nn.Embedding:
    """Return an embedding that holds anything: torch's first numbers, on no device, take it half a second."""
    return nn.Embedding(rows, width, _weight=torch.empty(rows, width))


class Trunk(nn.Module):
    """Everything but the head."""

    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__()
        self.embed_tokens = table(cfg.vocab_size, cfg.hidden_size)
        learned = cfg.position == "learned"
        self.embed_positions = table(cfg.max_position_embeddings, cfg.hidden_size) if learned else None
        self.embed_norm = build_norm(cfg) if cfg.embedding_norm else None
        self.layers = nn.ModuleList(Block(cfg, layer) for layer in range(cfg.num_hidden_layers))
        self.norm = build_norm(cfg)


class Decoder(nn.Module):
    """A language model up to its head."""

    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__()
        self.cfg = cfg
        self.model = Trunk(cfg)
        self.lm_head = (
            None if cfg.tie_word_embeddings else nn.Linear(cfg.hidden_size, cfg.vocab_size, bias=False)
        )
        self.head_bias = nn.Parameter(torch.empty(cfg.vocab_size)) if cfg.head_bias else None
        self.compiled = False
        """Blocks are compiled: shapes that differ from batch to batch are announced to the compiler."""
        self._loads_LE: Tensor | None = None
        self._frequencies: dict[tuple[torch.device, int, bool], tuple[Tensor, float]] = {}

    def forward(
        self,
        tokens_BT: Tensor,
        positions_BT: Tensor | None = None,
        samples_BT: Tensor | None = None,
        layout: ops.Layout | None = None,
        cache: Any = None,
    ) -> Output:
        """Return hidden states and balance. Without positions each row counts from 0 in each sample."""
        if layout is None:
            layout = (
                layout_of(samples_BT) if samples_BT is not None else ops.Layout(longest=tokens_BT.shape[1])
            )
        if positions_BT is None:
            positions_BT = _positions(tokens_BT, samples_BT)
        if self.compiled and layout.bounds is not None:
            torch._dynamo.maybe_mark_dynamic(layout.bounds, 0)
        turns = self._turns(positions_BT, layout.lengths)
        x_BTC = self._embed(tokens_BT, positions_BT)
        routings = []
        # A cache grows with every call; compiling for each of its shapes would cost more than it saves.
        eagerly = self.compiled and cache is not None
        with torch.compiler.set_stance("force_eager") if eagerly else contextlib.nullcontext():
            for block, windowed in zip(self.model.layers, self.cfg.windowed):
                x_BTC, routing = block(x_BTC, turns[windowed], layout, cache)
                if routing is not None:
                    routings.append(routing)
        return Output(self.model.norm(x_BTC), self._balance(routings, samples_BT, tokens_BT, cache))

    def _embed(self, tokens_BT: Tensor, positions_BT: Tensor) -> Tensor:
        trunk = self.model
        x_BTC = in_working_dtype(trunk.embed_tokens(tokens_BT))
        if trunk.embed_positions is not None:
            x_BTC = x_BTC + in_working_dtype(trunk.embed_positions(positions_BT))
        if self.cfg.embedding_scale is not None:
            x_BTC = x_BTC * torch.tensor(self.cfg.embedding_scale, dtype=x_BTC.dtype)  # rounded as published
        return x_BTC if trunk.embed_norm is None else trunk.embed_norm(x_BTC)

    @property
    def head_weight(self) -> Tensor:
        """The head [V, C], which is the embedding where they are tied."""
        return self.model.embed_tokens.weight if self.lm_head is None else self.lm_head.weight

    def scored(self, hidden_NC: Tensor) -> tuple[Tensor, Tensor]:
        """Return (hidden, head) whose product is the scores before any cap: a bias is one more column."""
        if self.head_bias is None:
            return hidden_NC, self.head_weight
        ones_N1 = hidden_NC.new_ones(len(hidden_NC), 1)
        return torch.cat((hidden_NC, ones_N1), 1), torch.cat((self.head_weight, self.head_bias[:, None]), 1)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return every word's score."""
        return self.bend(F.linear(hidden, self.head_weight.to(hidden.dtype)))

    def bend(self, logits: Tensor) -> Tensor:
        """Return scores with their bias, kept within the cap, where there are such."""
        if self.head_bias is not None:
            logits = logits + self.head_bias.to(logits.dtype)
        cap = self.cfg.logit_softcap
        return logits if cap is None else cap * torch.tanh(logits / cap)

    def router_loads(self) -> Tensor | None:
        """Return how many tokens chose each expert since the last update [L, E], or None without biases."""
        return self._loads_LE if self._has_bias else None

    def apply_router_loads(self, loads_LE: Tensor) -> None:
        """Move the routers' biases by the loads of all ranks, and count from zero again."""
        moe = self.cfg.moe
        assert moe
        for gate, loads_E in zip(self._routers(), loads_LE):
            bias_E = gate.e_score_correction_bias
            bias_E.copy_(balance.moved(bias_E, loads_E.to(bias_E), moe.bias_update_speed))
        self._loads_LE = None

    @property
    def _has_bias(self) -> bool:
        return self.cfg.moe is not None and self.cfg.moe.balance == "bias"

    def _routers(self) -> list[Any]:
        return [block.mlp.gate for block in self.model.layers if isinstance(block.mlp, MoeMlp)]

    def _balance(
        self, routings: list[Routing], samples_BT: Tensor | None, tokens_BT: Tensor, cache: Any
    ) -> Tensor | None:
        moe = self.cfg.moe
        if not routings or moe is None or cache is not None:
            return None
        if samples_BT is None:
            samples_BT = torch.arange(len(tokens_BT), device=tokens_BT.device)[:, None].expand_as(tokens_BT)
        samples_N = samples_BT.flatten()
        if self._has_bias and self.training and torch.is_grad_enabled():
            loads_LE = torch.stack([balance.loads(routing, samples_N) for routing in routings])
            self._loads_LE = loads_LE if self._loads_LE is None else self._loads_LE + loads_LE
        if moe.balance not in ("sequence", "token") or moe.balance_coef == 0:
            return None
        S = int(samples_N.max()) + 1 if moe.balance == "sequence" else 1
        return torch.stack([balance.balance_loss(moe, routing, samples_N, S) for routing in routings]).sum(0)

    def _turns(self, positions_BT: Tensor, lengths: list[int] | None) -> tuple[Any, Any]:
        """Return the rotary tables of these positions, for layers without and with windows, if any turn."""
        if self.cfg.position != "rotary":
            return None, None
        whole = self._turn(positions_BT, lengths, windowed=False)
        apart = self.cfg.window_rope_theta is not None and any(self.cfg.windowed)
        return whole, self._turn(positions_BT, None, windowed=True) if apart else whole

    def _turn(self, positions_BT: Tensor, lengths: list[int] | None, windowed: bool) -> tuple[Tensor, Tensor]:
        scaling = None if windowed else self.cfg.rope_scaling
        if scaling is None or scaling.rope_type not in rope.LENGTH_DECIDES:
            return rope.tables(*self._frequency(positions_BT.device, 0, windowed), positions_BT)
        lengths = lengths or [int(positions_BT.max()) + 1]
        found = [self._frequency(positions_BT.device, length, windowed) for length in lengths]
        frequencies_B1P = torch.stack([frequencies_P for frequencies_P, _ in found]).unsqueeze(1)
        return rope.tables(frequencies_B1P, found[0][1], positions_BT)

    def _frequency(self, device: torch.device, length: int, windowed: bool) -> tuple[Tensor, float]:
        key = (device, length, windowed)
        if key not in self._frequencies:
            if len(self._frequencies) > KEPT:  # a text that grows has another length each time
                self._frequencies.clear()
            with torch.inference_mode(False):  # else what generation leaves here could not be trained with
                frequencies_P, factor = rope.frequencies(self.cfg, length, windowed)
                self._frequencies[key] = frequencies_P.to(device), factor
        return self._frequencies[key]


def layout_of(samples_BT: Tensor) -> ops.Layout:
    """Return the layout of numbered samples; a run of padding is a sample of its own.

    >>> layout_of(torch.tensor([[0, 0, 1, -1], [2, 2, 2, 2]])).bounds
    tensor([0, 2, 3, 4, 8], dtype=torch.int32)
    """
    starts_BT = torch.ones_like(samples_BT, dtype=torch.bool)
    starts_BT[:, 1:] = samples_BT[:, 1:] != samples_BT[:, :-1]
    bounds = F.pad(starts_BT.flatten().nonzero().squeeze(1), (0, 1), value=samples_BT.numel()).to(torch.int32)
    return ops.Layout(bounds, samples_BT.shape[1])


def _positions(tokens_BT: Tensor, samples_BT: Tensor | None) -> Tensor:
    """Return each token's place in its sample."""
    place_T = torch.arange(tokens_BT.shape[1], device=tokens_BT.device)
    if samples_BT is None:
        return place_T.expand_as(tokens_BT)
    starts_BT = torch.ones_like(samples_BT, dtype=torch.bool)
    starts_BT[:, 1:] = samples_BT[:, 1:] != samples_BT[:, :-1]
    return place_T - torch.where(starts_BT, place_T, 0).cummax(dim=1)[0]


def in_working_dtype(x: Tensor) -> Tensor:
    """Return `x` in autocast's number format, or as it is where there is no autocast."""
    device = x.device.type
    return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x
