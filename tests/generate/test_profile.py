"""A model is served alike from its weights and from their export."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest

from convert.export import Order, export
from danlu.base.errors import UserError
from danlu.generate import profile
from exports import finished, speaking


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The folder of a trained model, and that of its export."""
    place = tmp_path_factory.mktemp("profile")
    weights = finished(place / "full_sft", speaking())
    export(Order(str(weights), place / "full_sft-hf", None, check="tensors"))
    return weights, place / "full_sft-hf"


def test_weights_are_served_as_their_export_is(both):
    told, written = (profile.read(folder) for folder in both)
    architecture, dtype = written.architecture, written.dtype
    assert told == dataclasses.replace(written, architecture=told.architecture, dtype=told.dtype)
    assert (architecture, dtype) == ("Qwen3ForCausalLM", "float32")
    assert (told.tool_parser, told.reasoning_parser) == ("hermes", "qwen3")


def test_what_was_written_is_what_is_read(both):
    assert profile.read(both[1]).as_dict() == json.loads((both[1] / profile.FILE).read_text())


def test_options_name_the_parsers(both):
    words = " ".join(profile.vllm_options(profile.read(both[1])))
    assert "--tool-call-parser hermes" in words and "--reasoning-parser qwen3" in words
    silent = dataclasses.replace(profile.read(both[1]), tool_parser=None, reasoning_parser=None)
    assert "parser" not in " ".join(profile.vllm_options(silent))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 2}', '{"format": 1}', "\ud83d".encode("utf-16", "surrogatepass")]
)
def test_a_file_that_is_no_profile_is_refused(tmp_path, text):
    file = tmp_path / profile.FILE
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=r"serve\.json"):
        profile.read(tmp_path)


SCRATCH = {"config": {"from": ""}}
TAUGHT = {"config": {"tag_weight": 10.0, "from": "out/a"}, "from": SCRATCH}
UNKNOWN = {"config": {"tag_weight": 1.0, "from": "a/download"}, "from": None}


@pytest.mark.parametrize(
    "provenance, learned",
    [
        ({}, True),
        (SCRATCH, False),
        (TAUGHT, True),
        (UNKNOWN, True),
        ({"config": {"tag_weight": 1.0, "from": "out/b"}, "from": TAUGHT}, True),
        ({"config": {"from": "out/b"}, "from": SCRATCH}, False),
    ],
)
def test_a_parser_of_thoughts_is_named_only_where_some_stage_may_have_taught_them(
    tmp_path, both, provenance, learned
):
    for name in ("config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"):
        shutil.copy(both[0] / name, tmp_path / name)
    for file in both[0].glob("*token*"):
        shutil.copy(file, tmp_path / file.name)
    (tmp_path / "run.json").write_text(json.dumps(provenance))
    assert profile.read(tmp_path).reasoning_parser == ("qwen3" if learned else None)
