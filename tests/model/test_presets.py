"""The shipped models: exactly as large as they say, and as active as their twins."""

import re
import zlib

import pytest
import torch

from danlu.base import paths
from danlu.base.errors import UserError
from danlu.model import config
from danlu.model.build import build
from danlu.model.config import active, architecture, count, describe, preset, resolve
from danlu.model.decoder import Decoder

COUNTS = {
    "minimind": 25_829_888,
    "minimind-104m": 104_030_976,
    "minimind-moe": 145_029_760,
    "minimind-moe-406m": 406_070_016,
    "tiny": 1_049_984,
    "26m": 25_830_912,
    "64m": 63_912_192,
    "104m": 104_034_048,
    "1b": 1_010_916_352,
    "tiny-moe": 1_641_856,
    "26m-moe": 43_148_800,
    "64m-moe": 108_763_392,
    "104m-moe": 179_580_672,
    "1b-moe": 3_087_424_512,
}
TWINS = ["tiny", "26m", "64m", "104m", "1b"]


def test_every_preset_is_listed_here():
    assert sorted(COUNTS) == config.presets()


@pytest.mark.parametrize("name", COUNTS)
def test_a_preset_has_exactly_this_many_parameters(name):
    cfg = resolve(name)
    with torch.device("meta"):
        built = Decoder(cfg)
    assert sum(weight.numel() for weight in built.parameters()) == count(cfg) == COUNTS[name]
    told = re.search(r"([\d,]+) parameters", (paths.configs() / "model" / f"{name}.yaml").read_text())
    assert told and int(told[1].replace(",", "")) == COUNTS[name]


@pytest.mark.parametrize("name", TWINS)
def test_twins_are_as_active_but_for_their_routers(name):
    dense, moe = resolve(name), resolve(f"{name}-moe")
    routers = moe.num_hidden_layers * moe.moe.num_experts * moe.hidden_size
    assert active(moe) == count(dense) + routers
    assert architecture(dense) == "Qwen3ForCausalLM"
    assert architecture(moe) == "Qwen3MoeForCausalLM"


def test_minimind_leaves_as_llama_and_qwen2_moe():
    assert architecture(resolve("minimind")) == "LlamaForCausalLM"
    assert architecture(resolve("minimind-moe")) == "Qwen2MoeForCausalLM"


def test_counted_flops_are_six_a_weight_and_attention():
    cfg = resolve("minimind")
    assert config.flops_per_token(cfg, 0) == 6 * 25_829_888
    assert config.flops_per_token(cfg, 100) - config.flops_per_token(cfg, 0) == 12 * 8 * 512 * 100
    untied = resolve({"preset": "minimind", "tie_word_embeddings": False})
    assert config.flops_per_token(untied, 0) == 6 * 25_829_888


def test_a_preset_with_changes():
    cfg = resolve({"preset": "26m-moe", "hidden_size": 640, "moe": {"num_experts": 8}})
    assert (cfg.hidden_size, cfg.head_dim, cfg.num_hidden_layers) == (640, 80, 8)
    assert (cfg.moe.num_experts, cfg.moe.num_experts_per_tok) == (8, 2)


def test_a_resolved_configuration_resolves_to_itself():
    for name in COUNTS:
        cfg = resolve(name)
        assert resolve(cfg.model_dump(mode="json")) == cfg


def test_unknown_names_and_keys_say_what_there_is():
    with pytest.raises(UserError, match="no preset '25m'") as caught:
        resolve("25m")
    assert "26m" in caught.value.hint
    with pytest.raises(UserError, match="hiden_size: unknown key"):
        resolve(preset("tiny") | {"hiden_size": 3})
    with pytest.raises(UserError, match="4 query heads cannot share 3"):
        resolve({"preset": "tiny", "num_key_value_heads": 3})
    with pytest.raises(UserError, match="rope_scaling.*original_max_position_embeddings"):
        resolve({"preset": "tiny", "rope_scaling": {"rope_type": "yarn", "factor": 2.0}})


def test_one_line_about_a_model():
    assert describe(resolve("26m-moe")) == (
        "Qwen3MoeForCausalLM, 512 wide, 8 layers, 43.1 M parameters, 25.8 M active"
    )


def test_the_same_seed_is_the_same_model_in_any_process():
    cfg = resolve("tiny-moe")
    first, second, other = build(cfg, seed=1), build(cfg, seed=1), build(cfg, seed=2)
    for name, weight in first.named_parameters():
        assert torch.equal(weight, second.get_parameter(name)), name
        assert name.endswith("norm.weight") or not torch.equal(weight, other.get_parameter(name)), name
    deeper = build(cfg.model_copy(update={"num_hidden_layers": 6}), seed=1)
    for name, weight in first.named_parameters():
        assert torch.equal(weight, deeper.get_parameter(name)), name
    # What it is does not depend on when or where: the value itself is pinned by its definition.
    name = "model.layers.0.self_attn.q_proj.weight"
    generator = torch.Generator().manual_seed(zlib.crc32(f"1 {name}".encode()))
    drawn = torch.empty(128 * 128).normal_(0.0, 0.02, generator=generator).view(128, 128)
    assert torch.equal(first.get_parameter(name), drawn)
    assert float(first.head_weight.detach().std()) == pytest.approx(0.02, rel=0.01)
