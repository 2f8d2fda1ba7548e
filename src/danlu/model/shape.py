"""What a decoder is: its keys, each a Hugging Face name where there is one, checked together."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from danlu.base.config import Section


class RopeScaling(Section):
    """Stretching rotary positions beyond the trained length, by one of the published ways."""

    rope_type: Literal["linear", "dynamic", "yarn", "llama3", "longrope"]
    """Position interpolation, dynamic NTK, YaRN, Llama 3.1's or LongRoPE."""
    factor: float | None = Field(default=None, gt=0)
    """How many times longer; unset (yarn, longrope): max_position_embeddings over the original."""
    original_max_position_embeddings: int | None = Field(default=None, ge=1)
    """Length the model was first trained on (yarn, llama3, longrope)."""
    attention_factor: float | None = None
    """Multiplies the rotary tables; unset: the paper's formula (yarn, longrope)."""
    beta_fast: float | None = None
    """Rotations over the original length above which a dimension is left alone (yarn; 32)."""
    beta_slow: float | None = None
    """Rotations below which it is fully interpolated (yarn; 1)."""
    mscale: float | None = None
    """Numerator's slope of the attention factor (yarn of DeepSeek)."""
    mscale_all_dim: float | None = None
    """Its denominator's slope (yarn of DeepSeek)."""
    truncate: bool | None = None
    """Round the borders of the ramp to whole dimensions (yarn; true)."""
    low_freq_factor: float | None = None
    """Wavelengths over original / this are divided by `factor` (llama3)."""
    high_freq_factor: float | None = None
    """Wavelengths under original / this are left alone (llama3)."""
    short_factor: tuple[float, ...] | None = None
    """Divisor of each frequency up to the original length (longrope)."""
    long_factor: tuple[float, ...] | None = None
    """Divisor of each frequency beyond it (longrope)."""

    @model_validator(mode="after")
    def _complete(self) -> RopeScaling:
        for key in NEEDED[self.rope_type]:
            if getattr(self, key) is None:
                raise ValueError(
                    f"{key}: is required by rope_type {self.rope_type}; try: rope_scaling.{key}=VALUE"
                )
        return self


NEEDED = {
    "linear": ("factor",),
    "dynamic": ("factor",),
    "yarn": ("original_max_position_embeddings",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    "longrope": ("short_factor", "long_factor", "original_max_position_embeddings"),
}


class Latent(Section):
    """Attention whose keys and values are told from one narrow vector a token (DeepSeek-V2)."""

    q_lora_rank: int | None = Field(default=None, ge=1)
    """Width of the narrow vector that queries are told from; unset: from the stream itself."""
    kv_lora_rank: int = Field(ge=2, multiple_of=2)
    """Width of the narrow vector that keys and values are told from."""
    qk_nope_head_dim: int = Field(ge=2, multiple_of=2)
    """Width of the part of a head that is not turned."""
    qk_rope_head_dim: int = Field(ge=2, multiple_of=2)
    """Width of the part that is turned; its key is shared by all heads."""
    v_head_dim: int = Field(ge=1)
    """Width of a value."""


class MoE(Section):
    """A mixture of experts in place of the MLP."""

    num_experts: int = Field(ge=2)
    """Experts a router chooses among."""
    num_experts_per_tok: int = Field(ge=1)
    """Experts that each token goes to."""
    moe_intermediate_size: int = Field(ge=1)
    """Width of one expert."""
    router: Literal["softmax", "sigmoid"] = "softmax"
    """How scores become probabilities: among all experts, or each by itself (DeepSeek-V3)."""
    norm_topk_prob: bool = True
    """Let the chosen experts' shares add up to one."""
    routed_scaling_factor: float = 1.0
    """Multiplies what the routed experts answer (sigmoid routers)."""
    n_group: int = Field(default=1, ge=1)
    """Groups the experts form (DeepSeek)."""
    topk_group: int = Field(default=1, ge=1)
    """Groups a token may find its experts in."""
    num_shared_experts: int = Field(default=0, ge=0)
    """Experts every token goes to besides."""
    shared_intermediate_size: int = Field(default=0, ge=0)
    """Width of the shared experts together; 0: num_shared_experts times the routed width."""
    shared_gated: bool = False
    """Weigh the shared experts' answer by a sigmoid gate (Qwen2-MoE)."""
    first_dense_layers: int = Field(default=0, ge=0)
    """Leading layers that keep a plain MLP."""
    balance: Literal["sequence", "token", "bias", "none"] = "sequence"
    """What keeps experts busy alike: a loss per sample or micro-batch, a bias on the choice, or nothing."""
    balance_coef: float = Field(default=0.01, ge=0)
    """Weight of the balance loss: a perfectly balanced layer contributes exactly this."""
    bias_update_speed: float = Field(default=0.001, ge=0)
    """Step of the bias after each optimiser step (balance=bias)."""

    @model_validator(mode="after")
    def _consistent(self) -> MoE:
        if self.num_experts_per_tok > self.num_experts:
            raise ValueError(
                f"num_experts_per_tok: {self.num_experts_per_tok} of {self.num_experts} experts"
                f"; try: moe.num_experts_per_tok={self.num_experts} or less"
            )
        if self.num_experts % self.n_group or self.topk_group > self.n_group:
            raise ValueError(
                f"n_group: {self.num_experts} experts in {self.n_group} groups, {self.topk_group} used"
                "; try: a divisor of num_experts, and a topk_group up to it"
            )
        if self.balance == "bias" and self.router != "sigmoid":
            raise ValueError(
                "balance: a bias needs a sigmoid router; try: moe.router=sigmoid, or moe.balance=sequence"
            )
        return self

    @property
    def shared_width(self) -> int:
        """Width of the shared experts together."""
        return self.shared_intermediate_size or self.num_shared_experts * self.moe_intermediate_size


class ModelConfig(Section):
    """One decoder."""

    vocab_size: int = Field(ge=1)
    """Words the model knows; at least the tokenizer's."""
    hidden_size: int = Field(ge=1)
    """Width of the residual stream."""
    intermediate_size: int = Field(ge=1)
    """Width of the MLP."""
    num_hidden_layers: int = Field(ge=1)
    """Blocks."""
    num_attention_heads: int = Field(ge=1)
    """Query heads."""
    num_key_value_heads: int = Field(ge=1)
    """Key and value heads, each shared by a group of query heads; unset: as many as query heads."""
    head_dim: int = Field(ge=2)
    """Width of a head; unset: hidden_size over num_attention_heads."""
    max_position_embeddings: int = Field(default=32768, ge=1)
    """Longest sequence."""
    position: Literal["rotary", "learned", "alibi", "rounded alibi"] = "rotary"
    """How a token knows its place: turned heads, an embedding, slopes (ALiBi), or Falcon's rounded ones."""
    rope_theta: float = Field(default=1e6, gt=1)
    """Base of the rotary wavelengths."""
    partial_rotary_factor: float = Field(default=1.0, gt=0, le=1)
    """Part of each head that is rotated."""
    rope_scaling: RopeScaling | None = None
    """Reading further than trained; unset: not."""
    sliding_window: int | None = Field(default=None, ge=1)
    """Keys a query of a windowed layer sees, itself included; unset: no layer has windows."""
    layer_types: tuple[Literal["full_attention", "sliding_attention"], ...] = ()
    """Which layers are windowed, one word a layer; empty: all, where sliding_window is set."""
    window_rope_theta: float | None = Field(default=None, gt=1)
    """Base of wavelengths in windowed layers, never stretched there (Gemma 3); unset: as elsewhere."""
    attention_scale: float | None = Field(default=None, gt=0)
    """Multiplies attention's scores; unset: one over the root of head_dim."""
    attention_softcap: float | None = Field(default=None, gt=0)
    """Bends attention's scores to at most this (Gemma 2)."""
    logit_softcap: float | None = Field(default=None, gt=0)
    """Bends the words' scores to at most this (Gemma 2)."""
    embedding_scale: float | None = Field(default=None, gt=0)
    """Multiplies the embeddings (Gemma: the root of hidden_size); unset: 1."""
    embedding_norm: bool = False
    """Normalise the embeddings (Bloom)."""
    norm: Literal["rms", "layer"] = "rms"
    """RMSNorm or LayerNorm."""
    norm_offset: bool = False
    """RMSNorm's weights count from one: x times 1 + weight (Gemma)."""
    parallel: Literal["no", "one norm", "two norms"] = "no"
    """Attention and the MLP read the same stream, through one norm or through two (Phi-2, GPT-NeoX)."""
    sandwich: bool = False
    """Normalise what attention and the MLP answer as well (Gemma 2)."""
    norm_eps: float = Field(default=1e-6, gt=0)
    """Added to the variance under the root."""
    qk_norm: bool | Literal["all heads"] = False
    """RMSNorm on each query and key head (Qwen3), or on all heads together (OLMoE)."""
    qkv_bias: bool = False
    """Biases on queries, keys and values."""
    output_bias: bool = False
    """A bias on attention's output."""
    mlp_bias: bool = False
    """Biases in the MLP."""
    activation: Literal["silu", "gelu", "gelu_tanh", "relu"] = "silu"
    """Nonlinearity of the MLP."""
    gated: bool = True
    """Multiply the activation by a second projection (SwiGLU when silu)."""
    head_bias: bool = False
    """A bias on the words' scores (Phi-2)."""
    tie_word_embeddings: bool = True
    """The head is the embedding."""
    initializer_range: float = Field(default=0.02, gt=0)
    """Standard deviation of the first weights."""
    latent: Latent | None = None
    """Keys and values told from a narrow vector; unset: from the stream."""
    moe: MoE | None = None
    """A mixture of experts; unset: dense."""
    may_stay: bool = False
    """Train it although no published architecture is like it; it can then never be exported."""

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        heads, hidden = data.get("num_attention_heads"), data.get("hidden_size")
        if isinstance(latent := data.get("latent"), dict) and data.get("head_dim") is None:
            widths = (latent.get("qk_nope_head_dim", 0), latent.get("qk_rope_head_dim", 0))
            if all(isinstance(width, int) for width in widths):
                data = data | {"head_dim": sum(widths)}
        if heads and data.get("num_key_value_heads") is None:
            data = data | {"num_key_value_heads": heads}
        if isinstance(heads, int) and isinstance(hidden, int) and heads > 0 and data.get("head_dim") is None:
            data = data | {"head_dim": hidden // heads}
        return data

    @model_validator(mode="after")
    def _consistent(self) -> ModelConfig:
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_key_value_heads: {self.num_attention_heads} query heads cannot share"
                f" {self.num_key_value_heads} evenly; try: a divisor of {self.num_attention_heads}"
            )
        if self.rotary_dim % 2:
            raise ValueError(f"head_dim: {self.rotary_dim} rotated dimensions; try: an even number")
        if self.layer_types and len(self.layer_types) != self.num_hidden_layers:
            raise ValueError(
                f"layer_types: {len(self.layer_types)} words for {self.num_hidden_layers} layers"
                "; try: one word a layer"
            )
        if self.moe and self.moe.first_dense_layers >= self.num_hidden_layers:
            raise ValueError(
                f"moe.first_dense_layers: leaves no layer of {self.num_hidden_layers} to the experts"
                "; try: a smaller number, or no moe section"
            )
        return self

    @property
    def rotary_dim(self) -> int:
        """Width of the rotated part of a head."""
        if self.latent:
            return self.latent.qk_rope_head_dim
        return int(self.head_dim * self.partial_rotary_factor)

    @property
    def windowed(self) -> tuple[bool, ...]:
        """Whether each layer has windows."""
        if self.sliding_window is None:
            return (False,) * self.num_hidden_layers
        kinds = self.layer_types or ("sliding_attention",) * self.num_hidden_layers
        return tuple(kind == "sliding_attention" for kind in kinds)

    def is_moe_layer(self, layer: int) -> bool:
        """Return whether a layer has experts."""
        return self.moe is not None and layer >= self.moe.first_dense_layers
