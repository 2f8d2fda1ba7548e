"""The oracle of every family: transformers' own model on the same weights, through the files we write."""

import json

import pytest
import torch

from danlu.model import weights
from danlu.model.config import architecture, read_hf, resolve
from danlu.model.families import choose, from_hf
from danlu.model.families.family import Part
from model_shapes import SHAPES, config, gradients, model

transformers = pytest.importorskip("transformers")

LIMIT = 1e-5


def theirs(folder):
    loaded, told = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(told[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), told
    loaded.get_input_embeddings().padding_idx = None  # else the padding token's row has no gradient
    return loaded.train()


@pytest.mark.parametrize("name", SHAPES)
def test_logits_and_gradients_are_transformers(name, tmp_path):
    cfg = config(name)
    ours = model(cfg)
    weights.save(ours.state_dict(), cfg, tmp_path)
    other = theirs(tmp_path)
    assert type(other).__name__ == architecture(cfg)
    for T in (1, 7, 61):  # 61 is beyond the original length of the stretched ones
        tokens_BT = torch.randint(0, cfg.vocab_size, (3, T), generator=torch.Generator().manual_seed(T))
        ours_BTV = ours.logits(ours(tokens_BT).hidden)
        theirs_BTV = other(tokens_BT).logits
        assert float((ours_BTV - theirs_BTV).detach().abs().max()) <= LIMIT
    own = gradients(ours_BTV.square().sum(), ours)
    theirs_BTV.square().sum().backward()
    weights_of = dict(other.named_parameters())
    for key, gradient in own.items():
        parts = list(choose(cfg).parts(key, cfg))
        if any(part.name not in weights_of for part in parts):
            parts = [Part(key)]  # transformers 5 names and stacks it as we do, 4 as it lies on disk
        for part in parts:
            whole, mine = weights_of[part.name].grad * part.factor, part.of(gradient)
            other = part.fused.of(whole).reshape(mine.shape) if part.fused else whole
            # Of a fused tensor's: a key's bias without rotary positions has no gradient but rounding.
            assert float((mine - other).abs().max()) <= LIMIT * float(whole.abs().max()), part.name


@pytest.mark.parametrize("name", SHAPES)
def test_what_is_written_reads_back_exactly(name, tmp_path):
    cfg = config(name)
    ours = model(cfg)
    weights.save(ours.state_dict(), cfg, tmp_path, shard_size=50_000)
    assert resolve(str(tmp_path)) == cfg
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    again = model(cfg, seed=1)
    weights.load(tmp_path, again)
    state = weights.read_state(tmp_path)
    for key, tensor in ours.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[key]), key
        assert torch.equal(tensor, state[key]), key


@pytest.mark.parametrize("name", SHAPES)
def test_a_foreign_config_describes_the_same_model(name, tmp_path):
    """Without our own section, what transformers would have written gives the same logits."""
    cfg = config(name)
    ours = model(cfg)
    weights.save(ours.state_dict(), cfg, tmp_path)
    described = json.loads((tmp_path / "config.json").read_text())
    del described["danlu"]
    foreign_cfg = from_hf(described)
    (tmp_path / "config.json").write_text(json.dumps(described))
    foreign = model(foreign_cfg, seed=1)
    weights.load(tmp_path, foreign)
    tokens_BT = torch.randint(0, cfg.vocab_size, (2, 40))
    a, b = (made.logits(made(tokens_BT).hidden) for made in (ours, foreign))
    assert float((a - b).detach().abs().max()) <= 1e-6


def test_what_transformers_writes_we_read(tmp_path):
    cfg = config("qwen3_moe")
    weights.save(model(cfg).state_dict(), cfg, tmp_path)
    other = theirs(tmp_path)
    other.save_pretrained(tmp_path / "theirs")
    again = model(read_hf(tmp_path / "theirs"), seed=1)
    weights.load(tmp_path / "theirs", again)
    for key, tensor in model(cfg).state_dict().items():
        assert torch.equal(tensor, again.state_dict()[key]), key
