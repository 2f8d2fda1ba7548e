"""An export holds the source to the bit, in every number format, and is whole or absent, come what may."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import exports
from conversions import once
from convert.export import environment, export
from danlu.base.errors import UserError
from danlu.checkpoint.state import model_state
from danlu.checkpoint.store import Store
from danlu.model import weights
from danlu.model.disk import INDEX, Disk
from danlu.model.shape import ModelConfig
from model_shapes import model
from ranks import run_ranks

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")

SHAPES = {"dense": "qwen3", "MoE": "qwen3_moe", "MoE, shared": "qwen2_moe from an ungated shared expert"}
FORMATS = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


def contents(folder: Path) -> dict[str, torch.Tensor]:
    disk = Disk(folder)
    return {name: disk.get(name) for name in disk}


def same(found: Path, wanted: dict[str, torch.Tensor], dtype: torch.dtype) -> None:
    """Assert that a folder holds such tensors, cast, bit for bit."""
    tensors = contents(found)
    assert tensors.keys() == wanted.keys()
    for name, tensor in tensors.items():
        assert tensor.dtype == dtype and torch.equal(tensor, wanted[name].to(dtype)), name


def plain(folder: Path, cfg: ModelConfig, seed: int) -> dict[str, torch.Tensor]:
    """Return a model's tensors as `weights.save` writes them."""
    folder.mkdir()
    weights.save(model(cfg, seed).state_dict(), cfg, folder)
    return load_file(folder / "model.safetensors")


def sharded(rank: int, ranks: int, folder: Path, shape: str) -> None:
    """Save a model that two ranks share, layer by layer, stacks of experts by experts."""
    made = model(exports.speaking(shape), seed=2)
    mesh = init_device_mesh("cpu", (ranks,))
    for layer in (*made.model.layers, made):
        fully_shard(layer, mesh=mesh)
    Store(folder).save(2, {"model": model_state(made)}, {"rank": rank}, wait=True)


@pytest.mark.parametrize("kind", SHAPES)
def test_runs_steps_and_shards_of_ranks_leave_as_finished_weights_do(tmp_path, kind):
    cfg = exports.speaking(SHAPES[kind])
    wanted = {seed: plain(tmp_path / f"plain{seed}", cfg, seed) for seed in (1, 2)}
    run = exports.run(tmp_path / "run", cfg)
    exports.described(tmp_path / "ranks", cfg)
    run_ranks(sharded, 2, tmp_path / "ranks", SHAPES[kind])
    assert len(list((tmp_path / "ranks/step-000002").glob("*.safetensors"))) == 2
    sources = {
        "run": (run, 2),
        "step": (run / "step-000001", 1),
        "ranks": (tmp_path / "ranks", 2),
        "weights": (exports.finished(tmp_path / "finished", cfg, seed=1), 1),
    }
    for name, (source, seed) in sources.items():
        out = exports.exported(source, tmp_path / f"{name}-hf")
        same(out, wanted[seed], torch.bfloat16)
        assert exports.faults(out, source, "tensors") == []
        assert (out / "tokenizer.json").read_bytes() == (tmp_path / "finished/tokenizer.json").read_bytes()
        told = json.loads((out / "manifest.json").read_text())["source"]
        assert told["path"] == str(source) and told["stage"] in ("sft", "pretrain")
        assert told["step"] == {"run": 2, "step": 1, "ranks": 2, "weights": 7}[name]


@pytest.mark.parametrize("number", FORMATS)
@pytest.mark.parametrize("shape", ["qwen3", "glm4_moe", "phi3"])
def test_every_number_format_is_the_source_rounded_once(tmp_path, shape, number):
    cfg = exports.speaking(shape)
    wanted = plain(tmp_path / "plain", cfg, 0)
    source = exports.finished(tmp_path / "source", cfg)
    out = exports.exported(source, tmp_path / "hf", FORMATS[number])
    for name, tensor in once(contents(out)).items():
        dtype = torch.float32 if name.endswith("e_score_correction_bias") else FORMATS[number]
        assert tensor.dtype == dtype and torch.equal(tensor, wanted[name].to(dtype)), name
    described = json.loads((out / "config.json").read_text())
    assert described["dtype"] == described["torch_dtype"] == number
    assert exports.faults(out, source) == []


def test_rounded_weights_leave_in_a_wider_format_as_they_are(tmp_path):
    cfg = exports.speaking()
    source = exports.finished(tmp_path / "source", cfg)
    exports.tensors(lambda state: state.update({k: v.bfloat16() for k, v in state.items()}))(source)
    out = exports.exported(source, tmp_path / "hf", torch.float32)
    same(out, load_file(source / "model.safetensors"), torch.float32)
    assert exports.faults(out, source) == []


def test_every_file_and_every_trap_of_config_json(tmp_path):
    cfg = exports.speaking("qwen3_moe", rope_scaling={"rope_type": "linear", "factor": 2.0})
    source = exports.finished(tmp_path / "source", cfg)
    out = exports.exported(source, tmp_path / "hf", check="tensors")
    assert {path.name for path in out.iterdir()} == {
        *("config.json", "generation_config.json", "model.safetensors", "README.md", "serve.json"),
        *("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "manifest.json"),
    }
    config = json.loads((out / "config.json").read_text())
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == cfg.rope_theta
    assert config["rope_scaling"]["factor"] == config["rope_parameters"]["factor"] == 2.0
    assert config["num_experts"] == config["num_local_experts"] == 5
    assert config["dtype"] == config["torch_dtype"] == "bfloat16"
    words = json.loads((out / "tokenizer_config.json").read_text())
    assert words["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert not isinstance(words.get("extra_special_tokens"), list)
    assert words["chat_template"] == (out / "chat_template.jinja").read_text() == exports.WORDS.template
    names = list(Disk(out))
    for kind in ("gate_proj", "up_proj", "down_proj"):
        assert [f"model.layers.0.mlp.experts.{n}.{kind}.weight" in names for n in range(6)] == [True] * 5 + [
            False
        ]
    serve = json.loads((out / "serve.json").read_text())
    assert (serve["tool_parser"], serve["architecture"]) == ("hermes", "Qwen3MoeForCausalLM")
    generation = json.loads((out / "generation_config.json").read_text())
    assert generation["eos_token_id"] == serve["stop_token_ids"] == config["eos_token_id"]
    assert "vllm serve" in (out / "README.md").read_text()


def test_the_manifest_says_from_what_as_what_why_and_proves_every_file(tmp_path):
    source = exports.finished(tmp_path / "source", exports.speaking())
    out = exports.exported(source, tmp_path / "hf", check="logits")
    told = json.loads((out / "manifest.json").read_text())
    assert told["architecture"] == "Qwen3ForCausalLM" and told["why"].startswith("Qwen3: ")
    assert told["source"] == {"path": str(source), "kind": "finished weights", "stage": "sft", "step": 7}
    assert told["parity"]["tensors"] == {"compared": 35, "equal": 35}
    assert told["parity"]["logits"]["largest_difference"] < 1e-4
    assert told["parity"]["greedy"]["equal"] == "3 of 3"
    assert told["files"].keys() == {path.name for path in out.iterdir()} - {"manifest.json"}
    for name, file in told["files"].items():
        data = (out / name).read_bytes()
        assert file == {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}, name


def test_an_export_can_be_exported_again(tmp_path):
    source = exports.finished(tmp_path / "source", exports.speaking("glm4_moe"))
    once = exports.exported(source, tmp_path / "once")
    twice = exports.exported(once, tmp_path / "twice")
    for name in ("config.json", "model.safetensors", "tokenizer.json", "serve.json"):
        assert (once / name).read_bytes() == (twice / name).read_bytes(), name
    assert exports.faults(twice, once) == []


def test_shards_are_as_small_as_asked_and_the_index_tells_where_everything_is(tmp_path):
    cfg = exports.speaking("qwen3_moe")
    source = exports.finished(tmp_path / "source", cfg)
    out = exports.exported(source, tmp_path / "hf", shard_size=30_000)
    files = sorted(out.glob("model-*.safetensors"))
    assert len(files) > 6 and files[-1].name == f"model-{len(files):05d}-of-{len(files):05d}.safetensors"
    index = json.loads((out / INDEX).read_text())
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in contents(out).values())
    for file in files:
        inside = load_file(file)
        assert {name for name, where in index["weight_map"].items() if where == file.name} == inside.keys()
        assert sum(tensor.nbytes for tensor in inside.values()) <= 30_000 or len(inside) == 1
    same(out, plain(tmp_path / "plain", cfg, 0), torch.bfloat16)


ARCHES = [
    ("llama", "mistral", "MistralForCausalLM"),
    ("llama", "MistralForCausalLM", "MistralForCausalLM"),
    ("mistral", "phi3", "Phi3ForCausalLM"),
    ("qwen3_moe", "qwen3_moe", "Qwen3MoeForCausalLM"),
]


@pytest.mark.parametrize("shape, asked, architecture", ARCHES)
def test_an_architecture_can_be_chosen(tmp_path, shape, asked, architecture):
    changes = {"head_dim": 8} if asked == "phi3" else {}
    source = exports.finished(tmp_path / "source", exports.speaking(shape, **changes))
    out = exports.exported(source, tmp_path / "hf", arch=asked)
    assert json.loads((out / "config.json").read_text())["architectures"] == [architecture]
    assert exports.faults(out, source) == []


REFUSED = [
    ("llama", "qwen3", "--arch: Qwen3ForCausalLM has head norms"),
    ("llama", "mixtral", "--arch: mixtral is a mixture of experts, the model is not"),
    ("llama", "lama", "--arch: there is no architecture 'lama'"),
    ("llama", "internlm", "--arch: InternLMForCausalLM "),
]


@pytest.mark.parametrize("shape, asked, problem", REFUSED)
def test_an_architecture_that_cannot_be_is_refused(tmp_path, shape, asked, problem):
    source = exports.finished(tmp_path / "source", exports.speaking(shape))
    with pytest.raises(UserError, match=re.escape(problem)):
        exports.exported(source, tmp_path / "hf", arch=asked)
    assert not (tmp_path / "hf").exists()


def test_an_older_export_is_replaced_and_nothing_else_is(tmp_path):
    source = exports.finished(tmp_path / "source", exports.speaking())
    out = exports.exported(source, tmp_path / "hf")
    (out / "old").touch()
    exports.exported(source, out, torch.float32)
    assert not (out / "old").exists() and Disk(out).dtypes().keys() == {torch.float32}
    (tmp_path / "empty").mkdir()
    exports.exported(source, tmp_path / "empty")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").touch()
    (tmp_path / "file").touch()
    kept = sorted(path for path in tmp_path.rglob("*"))
    for place, problem in {
        tmp_path / "full": "holds something else already",
        tmp_path / "file": "is a file",
        source: "is what is being read",
        tmp_path: "is what is being read",
        tmp_path / "file/hf": "is not a folder",
        source / "hf": "lies in what is being read",
    }.items():
        with pytest.raises(UserError, match=problem):
            exports.exported(source, place)
    with pytest.raises(UserError, match="is what is being read"):
        exports.exported(out, out)
    link = tmp_path / "link"
    link.symlink_to(source)
    with pytest.raises(UserError, match="is what is being read"):
        exports.exported(source, link)
    link.unlink()
    assert sorted(path for path in tmp_path.rglob("*")) == kept


def test_a_run_is_not_overwritten_by_the_export_of_its_step(tmp_path):
    run = exports.run(tmp_path / "run", exports.speaking())
    steps = ("step-000001", "step-000002", "step-000002/hf", "step-000003")
    for place in (run, *(run / step for step in steps)):
        with pytest.raises(UserError, match="--out: .*(is what|lies in what|checkpoints)"):
            exports.exported(run, place)
    assert Store(run).newest() == run / "step-000002"


def test_a_full_disk_is_told_before_and_leaves_nothing_when_it_fills_meanwhile(tmp_path, monkeypatch):
    source = exports.finished(tmp_path / "source", exports.speaking())
    room = namedtuple("usage", "total used free")(10**9, 10**9 - 1000, 1000)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: room)
        with pytest.raises(UserError, match=r"hf: .* MB to write, 0\.0 MB free"):
            exports.exported(source, tmp_path / "hf")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_disk_that_fills_meanwhile_gives_two_clear_lines_and_leaves_nothing(
    small_disk, tmp_path, monkeypatch
):
    source = exports.finished(tmp_path / "source", exports.speaking(hidden_size=192))
    room = namedtuple("usage", "total used free")(10**9, 0, 10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: room)
    with pytest.raises(UserError, match="No space left on device"):
        exports.exported(source, small_disk / "hf", torch.float32)
    assert list(small_disk.iterdir()) == []


KILLED = """
import sys, time
from convert import export as module
def wait(*given):
    print("written", flush=True)
    time.sleep(60)
setattr(module, sys.argv[1], wait)
from convert.__main__ import cli
cli(["to-hf", sys.argv[2], "--out", sys.argv[3]])
"""


@pytest.mark.parametrize("moment", ["write_beside", "checked"])
def test_kill_9_leaves_nothing_or_what_was_there_before(tmp_path, moment):
    source = exports.finished(tmp_path / "source", exports.speaking())
    out = tmp_path / "hf"
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, moment, source, out], stdout=subprocess.PIPE, env=environment()
    )
    assert child.stdout.readline() == b"written\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not out.exists()
    exports.exported(source, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hf", "source"]


def test_where_the_check_finds_a_fault_nothing_appears(tmp_path, monkeypatch, capfd):
    source = exports.finished(tmp_path / "source", exports.speaking())
    spoil = exports.put("config.json", "rms_norm_eps", 1.0)
    before = export.__globals__["write_beside"]

    def write_beside(order, recipe, folder):
        before(order, recipe, folder)
        spoil(folder)

    monkeypatch.setitem(export.__globals__, "write_beside", write_beside)
    with pytest.raises(UserError, match="was not written"):
        exports.exported(source, tmp_path / "hf", check="tensors")
    assert "fault: config.json: rms_norm_eps: is 1.0, 1e-06 was to be written" in capfd.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_unchecked_is_said(tmp_path, capsys):
    source = exports.finished(tmp_path / "source", exports.speaking())
    out = exports.exported(source, tmp_path / "hf")
    told = json.loads((out / "manifest.json").read_text())
    assert told["check"] == "none" and told["parity"] is None
    assert "not checked" in capsys.readouterr().err
