"""Finished weights, runs and checkpoints are found, and what is not is named beside what is."""

from __future__ import annotations

import pytest
import torch

from danlu.base import config
from danlu.base.errors import UserError
from danlu.checkpoint.store import Store
from danlu.evaluate.load import load_model, stage_of
from danlu.generate import load
from generate.models import TOKENIZER, finished, tiny, words


def run(folder, model, steps=(1, 2)):
    """Write what a training run leaves in runs/, each step with other weights."""
    folder.mkdir(parents=True)
    settings = {"stage": "pretrain", "model": model.cfg.model_dump(mode="json"), "tokenizer": "starter"}
    (folder / "config.yaml").write_text(config.yaml.safe_dump(settings))
    store = Store(folder)
    for step in steps:
        state = {name: tensor + step for name, tensor in model.state_dict().items()}
        store.save(step, {"model": state}, {"step": step}, wait=True)
    store.close()
    return folder


@pytest.mark.parametrize("kind", ["qk_norm", "moe"])
def test_finished_weights_come_back_as_they_were(tmp_path, kind):
    model = tiny(kind, qk_norm=True)
    loaded, tokenizer = load_model(finished(tmp_path / "out" / "full_sft_64", model), "cpu", "float32")
    tokens = torch.tensor(words(12))
    torch.testing.assert_close(loaded(tokens).hidden, model(tokens).hidden, rtol=0, atol=1e-4)
    assert tokenizer.fingerprint == TOKENIZER.fingerprint
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert stage_of(tmp_path / "out" / "full_sft_64") == "sft"


def test_a_run_gives_its_newest_whole_checkpoint_and_a_step_gives_itself(tmp_path, capsys):
    model = tiny()
    folder = run(tmp_path / "runs" / "mine", model)
    for path, step in ((folder, 2), (folder / "step-000001", 1), (folder / "step-000002", 2)):
        loaded, _ = load_model(path, "cpu", "float32")
        assert torch.equal(loaded.head_weight, model.head_weight + step)
        assert stage_of(path) == "pretrain"
    (file,) = (folder / "step-000002").glob("*.safetensors")
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    loaded, _ = load_model(folder, "cpu", "float32")
    assert torch.equal(loaded.head_weight, model.head_weight + 1)
    assert "step-000002: damaged and passed over" in capsys.readouterr().err
    with pytest.raises(UserError, match="damaged"):
        load_model(folder / "step-000002")


def test_a_wrong_path_is_answered_with_the_folders_there_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no such folder") as error:
        load_model("out/full_sft_512")
    assert error.value.hint.startswith("train some first")
    for name in ("full_sft_64", "pretrain_64"):
        finished(tmp_path / "out" / name, tiny())
    with pytest.raises(UserError, match="no such folder") as error:
        load_model("out/ful_sft_64")
    assert "out/full_sft_64" in error.value.hint
    with pytest.raises(UserError, match="no finished weights") as error:
        load_model("out")
    assert "out/full_sft_64" in error.value.hint and "out/pretrain_64" in error.value.hint
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.yaml").write_text("stage: pretrain\n")
    with pytest.raises(UserError, match="without a whole checkpoint"):
        load_model("empty")


def test_wrong_settings_are_refused(tmp_path):
    folder = finished(tmp_path / "model", tiny())
    with pytest.raises(UserError, match="no dtype 'bf16'"):
        load_model(folder, "cpu", "bf16")
    with pytest.raises(UserError, match="no device 'tpu'"):
        load_model(folder, "tpu")
    small = finished(tmp_path / "small", tiny(vocab_size=100))
    with pytest.raises(UserError, match=f"tokenizer has {TOKENIZER.size} tokens, the model 100"):
        load_model(small)


def test_more_ends_come_from_generation_config(tmp_path):
    folder = finished(tmp_path / "model", tiny())
    assert load.ends(folder, TOKENIZER) == {TOKENIZER.eos_id, TOKENIZER.pad_id}
    (folder / "generation_config.json").write_text('{"eos_token_id": [7, 9]}')
    assert load.ends(folder, TOKENIZER) == {TOKENIZER.eos_id, TOKENIZER.pad_id, 7, 9}
    (folder / "generation_config.json").write_text("{")
    with pytest.raises(UserError, match="generation_config.json: cannot be read"):
        load.ends(folder, TOKENIZER)
