"""Every combination of features leaves as a published architecture, or is refused with the reason."""

import itertools
import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from danlu.base.errors import UserError
from danlu.model import weights
from danlu.model.config import ModelConfig, architecture, resolve
from danlu.model.families import FAMILIES, from_hf, get, to_hf
from model_shapes import BASE, EXPERTS, config, model

DENSE = {  # (qk_norm, qkv_bias, output_bias, mlp_bias): what it leaves as
    (True, False, False, False): "Qwen3ForCausalLM",
    (True, True, True, False): "Qwen3ForCausalLM",
    (False, False, False, False): "LlamaForCausalLM",
    (False, True, True, False): "LlamaForCausalLM",
    (False, False, False, True): "LlamaForCausalLM",
    (False, True, True, True): "LlamaForCausalLM",
    (False, True, False, False): "Qwen2ForCausalLM",
}


def wide(**changes):
    return ModelConfig(**BASE | {"num_attention_heads": 6, "head_dim": 8} | changes)


@pytest.mark.parametrize("flags", list(itertools.product([False, True], repeat=4)), ids=str)
def test_dense(flags):
    cfg = wide(**dict(zip(("qk_norm", "qkv_bias", "output_bias", "mlp_bias"), flags)))
    if flags in DENSE:
        assert architecture(cfg) == DENSE[flags]
    else:
        with pytest.raises(UserError, match="no published architecture"):
            architecture(cfg)


@pytest.mark.parametrize(
    "changes, problem, remedy",
    [
        ({"norm": "layer"}, "RMSNorm", "model.norm=rms"),
        ({"gated": False}, "gated MLP", "model.gated=true"),
        ({"activation": "gelu"}, "silu, not gelu", "model.activation=silu"),
        (
            {"partial_rotary_factor": 0.5, "qk_norm": True},
            "rotates whole heads",
            "model.partial_rotary_factor=1.0",
        ),
        (
            {"qk_norm": True, "moe": EXPERTS | {"num_shared_experts": 1}},
            "Qwen3MoeForCausalLM has no shared experts",
            "model.moe.num_shared_experts=0",
        ),
        (
            {"moe": EXPERTS | {"router": "sigmoid"}},
            "Glm4MoeForCausalLM has shared experts without a gate",
            "model.moe.num_shared_experts=1",
        ),
    ],
    ids=str,
)
def test_a_refusal_names_the_reason_and_the_way_out(changes, problem, remedy):
    with pytest.raises(UserError) as caught:
        resolve(BASE | changes)
    assert problem in caught.value.problem
    assert remedy in caught.value.hint


def test_config_json_speaks_to_old_and_new_readers():
    described = to_hf(config("llama, yarn"))
    assert described["rope_theta"] == described["rope_parameters"]["rope_theta"] == 1e6
    assert described["rope_scaling"]["rope_type"] == described["rope_parameters"]["rope_type"] == "yarn"
    assert to_hf(config("qwen3"))["rope_scaling"] is None
    moe = to_hf(config("qwen3_moe"))
    assert moe["num_experts"] == moe["num_local_experts"] == 5
    assert to_hf(config("glm4_moe"))["rope_parameters"]["partial_rotary_factor"] == 0.5


def test_a_config_changed_by_others_is_read_as_what_it_has_become():
    cfg = config("qwen3")
    described = to_hf(cfg) | {"vocab_size": 400}
    assert from_hf(described).vocab_size == 400
    assert from_hf(to_hf(cfg)) == cfg


def test_old_spellings_are_read():
    described = to_hf(config("llama"))
    for key in ("rope_parameters", "danlu", "head_dim"):
        del described[key]
    described |= {"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0}}
    cfg = from_hf(described)
    assert (cfg.rope_theta, cfg.rope_scaling.rope_type, cfg.head_dim) == (5e5, "linear", 8)


def test_unknown_and_broken_configs_are_refused(tmp_path):
    with pytest.raises(UserError, match="'gpt_oss' is not a family.*the nearest is 'gpt_neox?'") as caught:
        from_hf({"model_type": "gpt_oss"})
    assert all(model_type in caught.value.hint for model_type in FAMILIES)
    with pytest.raises(UserError, match="'None' is not a family"):
        from_hf({})
    with pytest.raises(UserError, match="rms_norm_eps: is missing"):
        from_hf(
            {
                key: value
                for key, value in to_hf(config("llama")).items()
                if key not in ("rms_norm_eps", "danlu")
            }
        )
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        resolve(str(tmp_path))


@pytest.mark.parametrize(
    "name, setting",
    [
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}),
        ("gpt2", {"scale_attn_weights": False}),
        ("bloom", {"apply_residual_connection_post_layernorm": True}),
        ("phi", {"qk_layernorm": True}),
        ("gemma", {"use_bidirectional_attention": True}),
        ("olmoe", {"clip_qkv": 8.0}),
        (
            "gemma3_text",
            {
                "rope_parameters": {
                    "full_attention": {"rope_theta": 1e6},
                    "sliding_attention": {"rope_type": "linear", "factor": 2.0},
                }
            },
        ),
        ("falcon, groups", {"parallel_attn": False}),
        ("qwen3_moe", {"mlp_only_layers": [1]}),
        ("qwen3_moe", {"decoder_sparse_step": 2}),
        ("deepseek_v2", {"norm_topk_prob": True}),
        ("deepseek_v3", {"rope_interleave": False}),
        ("deepseek_v3", {"moe_layer_freq": 2}),
    ],
    ids=str,
)
def test_a_setting_that_would_change_the_model_and_is_not_known_is_refused(name, setting):
    described = {key: value for key, value in to_hf(config(name)).items() if key != "danlu"}
    from_hf(described)
    with pytest.raises(UserError, match="known here") as caught:
        from_hf(described | setting)
    assert re.fullmatch(r"config\.json: (\w+).*", caught.value.problem)[1] in str(setting)


def test_families_are_named_after_themselves():
    for model_type in FAMILIES:
        assert get(model_type).model_type == model_type


class TestFiles:
    def test_what_is_missing_or_of_another_shape_is_named(self, tmp_path):
        cfg = config("qwen3")
        state = model(cfg).state_dict()
        lacking = {name: tensor for name, tensor in state.items() if "layers.1.mlp.up" not in name}
        missing = pytest.raises(UserError, match=r"layers\.1\.mlp\.up_proj\.weight: is missing")
        with missing:
            weights.save(lacking, cfg, tmp_path)
        weights.save(state, cfg, tmp_path)
        stored = load_file(tmp_path / "model.safetensors")
        save_file(stored | {"model.layers.3.extra": torch.ones(2)}, tmp_path / "model.safetensors")
        with pytest.raises(UserError, match=r"layers\.3\.extra: belongs to no part"):
            weights.load(tmp_path, model(cfg))
        del stored["model.layers.1.mlp.up_proj.weight"]
        save_file(stored, tmp_path / "model.safetensors")
        with missing:
            weights.load(tmp_path, model(cfg))
        weights.save(state, cfg, tmp_path)
        with pytest.raises(UserError, match=r"the model wants \(400, 48\)"):
            weights.load(tmp_path, model(config("qwen3", vocab_size=400)))
        (tmp_path / "model.safetensors").write_bytes(b"nonsense")
        with pytest.raises(UserError, match="cannot be read"):
            weights.load(tmp_path, model(cfg))

    def test_a_gate_trained_elsewhere_is_not_silently_dropped(self, tmp_path):
        cfg = config("qwen2_moe from an ungated shared expert")
        weights.save(model(cfg).state_dict(), cfg, tmp_path)
        state = load_file(tmp_path / "model.safetensors")
        state["model.layers.0.mlp.shared_expert_gate.weight"] += torch.ones(1, 48)
        save_file(state, tmp_path / "model.safetensors")
        with pytest.raises(UserError, match="shared_expert_gate.weight: is not zero"):
            weights.load(tmp_path, model(cfg))
        described = json.loads((tmp_path / "config.json").read_text())
        del described["danlu"]
        (tmp_path / "config.json").write_text(json.dumps(described))
        read = weights.read_config(tmp_path)
        assert read.moe.shared_gated and read.qkv_bias
        weights.load(tmp_path, model(read))

    def test_half_precision_and_special_tokens(self, tmp_path):
        cfg = config("glm4_moe")
        extra = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
        weights.save(model(cfg).state_dict(), cfg, tmp_path, dtype=torch.bfloat16, extra=extra)
        described = json.loads((tmp_path / "config.json").read_text())
        assert (described["dtype"], described["torch_dtype"], described["eos_token_id"]) == (
            "bfloat16",
            "bfloat16",
            2,
        )
        assert weights.read_config(tmp_path) == cfg
        state = weights.read_state(tmp_path)
        assert state["model.layers.1.mlp.experts.down_proj"].shape == (5, 48, 40)
