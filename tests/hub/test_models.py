"""Models of both hubs by name, through their real clients: what is fetched, and what never is."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
import torch

from danlu import cli
from danlu.base.errors import UserError
from danlu.hub import models
from danlu.model import weights
from danlu.model.config import resolve, weights_of
from danlu.tokenizer.tokenizer import Tokenizer
from hub.server import Host
from model_shapes import config, model

CFG = config("llama", vocab_size=2048)
OTHERS = {
    "README.md": b"#",
    ".gitattributes": b"",
    "modeling_llama.py": b"raise SystemExit",
    "consolidated.00.pth": b"x",
    "llama.Q4_K_M.gguf": b"x",
    "onnx/model.onnx": b"x",
    "flax_model.msgpack": b"x",
    "tf_model.h5": b"x",
    "training_args.bin": b"x",
    "original/model.safetensors": b"x",
}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def shelves(tmp_path_factory) -> dict[str, dict[str, bytes]]:
    """The same model as one file, in pieces, and as torch's own; and what is no model."""
    made, home = model(CFG), tmp_path_factory.mktemp("shelves")
    single, pieces = home / "single", home / "pieces"
    for folder, size in ((single, 1 << 30), (pieces, 100_000)):
        folder.mkdir()
        weights.save(made.state_dict(), CFG, folder, shard_size=size)
        described = json.loads((folder / "config.json").read_text())
        del described["danlu"]
        (folder / "config.json").write_text(json.dumps(described))
        Tokenizer.load("starter").save(folder)
    torch.save(weights.read_state(single), home / "pytorch_model.bin")
    pickled = contents(single) | {"pytorch_model.bin": (home / "pytorch_model.bin").read_bytes()}
    pickled.pop("model.safetensors")
    twice = {"pytorch_model.bin": b"x", "pytorch_model.bin.index.json": b"{}"}
    quantised = contents(single)
    quantised["config.json"] = json.dumps(
        described | {"quantization_config": {"quant_method": "fp8"}}
    ).encode()
    return {
        "me/single": contents(single) | OTHERS | twice | {"consolidated.safetensors": b"x"},
        "me/pieces": contents(pieces) | OTHERS | twice | {"model.safetensors": b"x"},
        "me/pickled": pickled | OTHERS,
        "me/quantised": quantised,
        "me/quants": {"config.json": pickled["config.json"], "model.gguf": b"x"},
        "me/adapter": {"adapter_config.json": b"{}", "adapter_model.safetensors": b"x"},
    }


@pytest.fixture
def host(tmp_path, monkeypatch, shelves):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DANLU_CACHE", str(tmp_path / "cache"))
    for name in ("HF_HUB_OFFLINE", "DANLU_OFFLINE", "DANLU_HUB", "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("MODELSCOPE_HOME", str(tmp_path / "ms"))
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "ms-cache"))
    with Host(shelves).open() as host:
        monkeypatch.setenv("HF_ENDPOINT", host.url)
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", host.url)
        yield host


def fetched(text: str) -> Path:
    name = models.named(text)
    assert name
    return models.whole(name)


def seen(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


@pytest.mark.parametrize("hub", ["hf", "ms"])
@pytest.mark.parametrize("name", ["single", "pieces", "pickled"])
def test_one_set_of_weights_is_fetched_with_its_tokenizer_and_no_code(host, shelves, hub, name):
    folder = fetched(f"{hub}://me/{name}")
    expected = set(shelves[f"me/{name}"]) - OTHERS.keys() - {"consolidated.safetensors"}
    if name != "pickled":
        expected -= {"pytorch_model.bin", "pytorch_model.bin.index.json"}
    if name == "pieces":
        expected -= {"model.safetensors"}
    assert seen(folder) == expected
    for key, tensor in model(CFG).state_dict().items():
        assert torch.equal(tensor, weights.read_state(folder)[key]), key


@pytest.mark.parametrize("hub", ["hf", "ms"])
def test_a_run_takes_its_model_from_a_hub_and_goes_on_without_one(host, hub, monkeypatch):
    Path("corpus.jsonl").write_text('{"text": "the small model learns"}\n' * 4)
    words = ["train", "pretrain", f"model={hub}://me/single", "data.train=corpus.jsonl", "seq_len=64",
             "batch_tokens=64", "device=cpu", "dtype=float32", "compile=false", "steps=2"]  # fmt: skip
    cli.cli.main(args=[*words, "save_every=1", "run_dir=a"], standalone_mode=False)
    ran = Path("a/config.yaml").read_text()
    revision = {"hf": "main", "ms": "master"}[hub]
    assert f"from: {hub}://me/single@{revision}\ntokenizer: {hub}://me/single@{revision}\n" in ran
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a connection was tried"))
    cli.cli.main(args=[*words, "resume=a/step-000001", "run_dir=b", "save_every=1"], standalone_mode=False)
    lines = [Path(run, "metrics.jsonl").read_text().splitlines()[-1] for run in "ab"]
    assert json.loads(lines[0])["loss"] == json.loads(lines[1])["loss"]


def test_a_plain_name_is_of_the_hub_that_is_asked_for_unless_a_path_has_it(host, monkeypatch):
    assert resolve("me/single") == resolve("hf://me/single")
    assert {path.split("/")[2] for _, path, _ in host.asked} >= {"models"}
    monkeypatch.setenv("DANLU_HUB", "ms")
    assert str(models.named("me/single@v1")) == "ms://me/single@v1"
    monkeypatch.setenv("DANLU_HUB", "huggingface")
    with pytest.raises(UserError, match="DANLU_HUB: there is no hub 'huggingface'"):
        models.named("me/single")
    Path("me/single").mkdir(parents=True)
    assert models.named("me/single") is None


@pytest.mark.parametrize(
    "text",
    [
        "26m",
        "./a",
        "a/b/c",
        "my/model.yaml",
        "my/config.json",
        "out/pretrain_512",
        "runs/x",
        "/a/b",
        "../b",
        "a/",
        "",
    ],
)
def test_what_is_no_name_of_a_hub_asks_none(text):
    assert models.named(text) is None and models.folder(text) == text


def test_the_shape_of_a_hub_s_model_can_be_had_alone(host):
    assert resolve("hf://me/single:config.json") == resolve("me/single:config.json")
    assert weights_of("hf://me/single:config.json") == "" and weights_of("me/single") == "me/single"
    assert not [path for _, path, _ in host.asked if "model.safetensors" in path]
    with pytest.raises(UserError, match="a model is taken whole, or by its config.json"):
        resolve("hf://me/single:model.safetensors")


def test_what_cannot_be_used_is_refused_before_its_weights_are_fetched(host):
    with pytest.raises(UserError, match="weights are quantised .fp8"):
        resolve("me/quantised")
    assert not [path for _, path, _ in host.asked if path.endswith(".safetensors")]


@pytest.mark.parametrize("hub", ["hf", "ms"])
def test_what_is_no_model_is_said(host, hub):
    with pytest.raises(UserError, match="has no weights that are read here") as error:
        fetched(f"{hub}://me/quants")
    assert "model.gguf" in error.value.hint
    with pytest.raises(UserError, match="there is no config.json in it"):
        fetched(f"{hub}://me/adapter")
    with pytest.raises(UserError, match="there is no such model"):
        fetched(f"{hub}://me/none")


def test_a_name_found_nowhere_says_where_it_was_looked_for(host):
    with pytest.raises(
        UserError, match="'me/none': no such folder here, and hf://me/none@main:.*no such model"
    ) as e:
        resolve("me/none")
    assert "presets: 104m" in e.value.hint and len(str(e.value).splitlines()) == 2
    with pytest.raises(UserError, match="no preset '25m', and no file or folder of that name"):
        resolve("25m")


@pytest.mark.parametrize("hub", ["hf", "ms"])
def test_wrong_bytes_are_refused_and_a_network_is_needed_once(host, hub, monkeypatch):
    host.wrong.add("model.safetensors")
    with pytest.raises(UserError, match="other bytes than the hub has"):
        fetched(f"{hub}://me/single")
    host.wrong.clear()
    fetched(f"{hub}://me/single")
    monkeypatch.setenv("DANLU_OFFLINE", "1")
    fetched(f"{hub}://me/single")
    with pytest.raises(UserError, match="is not in the cache, and DANLU_OFFLINE is set"):
        fetched(f"{hub}://me/pieces")


def test_torch_s_own_files_are_taken_by_their_index_whatever_lies_in_subfolders(host, tmp_path):
    there = dict(host.sets["me/pickled"])
    whole = there.pop("pytorch_model.bin")
    index = {"weight_map": dict.fromkeys(model(CFG).state_dict(), "pytorch_model-1.bin")}
    there |= {"pytorch_model-1.bin": whole, models.INDEXES[1]: json.dumps(index).encode(), "old.bin": b"x"}
    host.sets = host.sets | {"me/indexed": there}
    folder = fetched("me/indexed")
    assert {"pytorch_model-1.bin", models.INDEXES[1]} < seen(folder) and "old.bin" not in seen(folder)
    assert weights.read_state(folder).keys() == model(CFG).state_dict().keys()


def test_processes_that_want_the_same_model_fetch_it_once(host):
    import multiprocessing

    with multiprocessing.get_context("fork").Pool(3) as pool:
        folders = pool.map(fetched, ["hf://me/pieces"] * 3)
    assert len(set(folders)) == 1
    asked = [path for command, path, _ in host.asked if command == "GET" and "/resolve/" in path]
    assert len(asked) == len(set(asked))
