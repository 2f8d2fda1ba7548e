"""The command that serves some weights on a host: what stands in it, for which host, and why."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from danlu.base.errors import UserError
from danlu.cli import main
from danlu.serve.vllm.plan import Wish, plan
from serve.vllm.exports import MOE, export, option
from shell import ROOT

pytestmark = pytest.mark.usefixtures("bare")


def test_parsers_template_format_and_length_are_the_profile_s(tmp_path, bare):
    folder = export(tmp_path / "out/sft_512-hf")
    made = plan(Wish(folder=str(folder)))
    assert made.server == "vllm"
    assert made.command[:3] == (str(bare), "-m", "vllm.entrypoints.openai.api_server")
    told = {
        name: option(made.command, name) for name in made.command if name.startswith("--") and name[2] != "e"
    }
    assert told == {
        "--model": str(folder),
        "--served-model-name": "sft_512-hf",
        "--host": "127.0.0.1",
        "--port": "8000",
        "--dtype": "bfloat16",
        "--max-model-len": "4096",
        "--tool-call-parser": "hermes",
        "--reasoning-parser": "qwen3",
        "--tensor-parallel-size": "1",
        "--chat-template": str(folder / "chat_template.jinja"),
        "--structured-outputs-config": '{"backend": "xgrammar", "disable_any_whitespace": true}',
    }
    assert "--enable-auto-tool-choice" in made.command
    assert int(made.environment["VLLM_CPU_KVCACHE_SPACE"]) >= 1
    assert made.remarks == ()


def test_weights_without_tools_thoughts_or_template_get_no_parser(tmp_path):
    nothing = {"tool_parser": None, "reasoning_parser": None, "chat_template": None}
    command = plan(Wish(folder=str(export(tmp_path / "x-hf", nothing)))).command
    assert not {
        "--tool-call-parser",
        "--reasoning-parser",
        "--chat-template",
        "--enable-auto-tool-choice",
    } & set(command)


def test_the_line_that_is_shown_is_the_command_and_tells_no_key(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    made = plan(Wish(folder=str(export(tmp_path / "a folder-hf")), key="secret", words=("--seed", "7")))
    words = shlex.split(made.shown())
    assert words[:3] == ["env", "-u", "PYTHONPATH"]
    assert tuple(words[-len(made.command) :]) == made.command
    assert "VLLM_API_KEY=$DANLU_API_KEY" in words and "secret" not in made.shown() + repr(made)
    assert made.command[-2:] == ("--seed", "7")


def test_four_cards_share_a_model_that_divides(tmp_path, nvidia):
    nvidia()
    made = plan(Wish(folder=str(export(tmp_path / "x-hf", **MOE))))
    assert option(made.command, "--tensor-parallel-size") == "4"
    assert made.environment["CUDA_VISIBLE_DEVICES"] == "0,1,2,3"
    assert made.remarks == ("4 devices share the model",)


def test_of_the_cards_chosen_only_those_that_are_used_are_shown(tmp_path, nvidia):
    nvidia(count=8)
    made = plan(
        Wish(
            folder=str(
                export(
                    tmp_path / "x-hf", num_attention_heads=6, num_key_value_heads=6, intermediate_size=1536
                )
            ),
            devices=(2, 3, 5, 7),
        )
    )
    assert made.environment["CUDA_VISIBLE_DEVICES"] == "2,3,5"
    assert made.remarks == ("3 of 4 devices: 6 heads do not divide by 4",)


def test_ascend_gets_its_container_with_its_devices(tmp_path, ascend, monkeypatch):
    ascend()
    monkeypatch.delenv("DANLU_VLLM_PYTHON")
    monkeypatch.setattr("danlu.serve.vllm.plan.find_python", lambda: None)
    folder = export(tmp_path / "x-hf")
    made = plan(Wish(folder=str(folder), devices=(4, 5), port=8100, key="secret"))
    command = list(made.command)
    image = next(word for word in command if word.startswith("quay.io/ascend/vllm-ascend:v"))
    assert command[: command.index(image)].count("--device") == 2 + 3
    assert {"/dev/davinci4", "/dev/davinci5", "/dev/davinci_manager"} <= set(command)
    assert "/dev/davinci0" not in command
    assert option(command, "--publish") == "127.0.0.1:8100:8100"
    assert f"{folder}:/model:ro" in command
    assert (
        option(command, "--model") == "/model"
        and option(command, "--chat-template") == "/model/chat_template.jinja"
    )
    assert option(command, "--tensor-parallel-size") == "2"
    assert "secret" not in " ".join(command) and made.container == option(command, "--name")


@pytest.mark.parametrize(("chip", "tag"), [("910B3", ""), ("Ascend910", "-a3"), ("310P3", "-310p")])
def test_each_generation_of_ascend_has_its_image(tmp_path, ascend, chip, tag):
    ascend(chip)
    command = plan(Wish(folder=str(export(tmp_path / "x-hf")), runtime="docker")).command
    image = next(word for word in command if "vllm-ascend:" in word)
    assert image.partition(":")[2].partition("-")[1:] == ("-" if tag else "", tag[1:])
    assert option(command, "--dtype") == ("float16" if chip == "310P3" else "bfloat16")


def test_other_containers_are_named_by_the_matrix(tmp_path, nvidia):
    folder = str(export(tmp_path / "x-hf"))
    assert any(
        word.startswith("vllm/vllm-openai-cpu:v") for word in plan(Wish(folder, runtime="docker")).command
    )
    nvidia()
    command = plan(Wish(folder, runtime="docker", devices=(1, 2))).command
    assert any(word.startswith("vllm/vllm-openai:v") for word in command)
    assert option(command, "--gpus") == '"device=1,2"'


def test_the_vllm_of_a_container_is_given_adapters_where_it_sees_them(tmp_path):
    adapter = tmp_path / "poet"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"r": 12}))
    wish = Wish(str(export(tmp_path / "x-hf")), adapters=(("poet", str(adapter)),))
    here = plan(wish).command
    assert option(here, "--lora-modules") == f"poet={adapter}"
    assert option(here, "--max-lora-rank") == "16"
    inside = plan(Wish(wish.folder, adapters=wish.adapters, runtime="docker")).command
    assert option(inside, "--lora-modules") == "poet=/adapters/poet"
    assert f"{adapter}:/adapters/poet:ro" in inside


# What the built-in server answers instead of, and the words that say why.
OLD_910 = ["910ProB", "910PremiumA", "910A", "910B", "910"]


@pytest.mark.parametrize("chip", OLD_910)
def test_on_a_910a_the_built_in_server_answers_on_the_same_device(tmp_path, ascend, chip):
    ascend(chip)
    made = plan(Wish(folder=str(export(tmp_path / "x-hf")), devices=(2, 3), port=8200))
    assert made.server == "danlu"
    assert made.command[:4] == (sys.executable, "-m", "danlu", "serve")
    assert (option(made.command, "--device"), option(made.command, "--port")) == ("npu", "8200")
    assert made.environment == {"ASCEND_RT_VISIBLE_DEVICES": "2"}
    assert chip in made.remarks[0] and "the built-in server answers instead" in made.remarks[0]
    assert made.remarks[1] == "it computes on one device: npu 2"


def test_the_built_in_server_can_be_asked_for(tmp_path, ascend):
    ascend("910B3")
    wish = Wish(folder=str(export(tmp_path / "x-hf")))
    assert plan(wish).server == "vllm"
    made = plan(replace(wish, backend="builtin"))
    assert made.server == "danlu" and option(made.command, "--device") == "npu"
    assert made.remarks[0] == "the built-in server, as asked"


@pytest.mark.parametrize(
    ("profile", "config", "says"),
    [
        ({}, {"head_dim": 16}, "vLLM's attention on cpu has no heads 16 wide"),
        ({"vllm_differs": ["vLLM differs here, and says nothing: a bias"]}, {}, "a bias"),
    ],
)
def test_what_vllm_does_otherwise_the_built_in_server_answers(tmp_path, profile, config, says):
    made = plan(Wish(folder=str(export(tmp_path / "x-hf", profile, **config)), dtype="float32", name="x"))
    assert made.server == "danlu" and says in made.remarks[0]
    assert option(made.command, "--dtype") == "float32" and option(made.command, "--name") == "x"


def test_an_old_processor_gets_the_built_in_server(tmp_path):
    (tmp_path / "host/proc/cpuinfo").write_text("flags : fpu sse4_2 avx")
    made = plan(Wish(folder=str(export(tmp_path / "x-hf"))))
    assert made.server == "danlu" and made.remarks[0].startswith("this processor lacks AVX2")


def test_an_old_card_gets_the_built_in_server(tmp_path, nvidia):
    nvidia("Tesla P100-PCIE-16GB, 6.0")
    assert plan(Wish(folder=str(export(tmp_path / "x-hf")))).server == "danlu"


def test_a_card_without_bfloat16_gets_another_format_and_says_so(tmp_path, nvidia):
    nvidia("Tesla T4, 7.5")
    folder = str(export(tmp_path / "x-hf"))
    made = plan(Wish(folder))
    assert option(made.command, "--dtype") == "float32" and "no bfloat16" in made.remarks[-1]
    assert option(plan(Wish(folder, dtype="float16")).command, "--dtype") == "float16"


@pytest.mark.parametrize(
    ("wish", "problem", "hint"),
    [
        ({"host": "0.0.0.0"}, "anybody who reaches this host could use the server", "--api-key"),
        ({"dtype": "int3"}, "--dtype int3: not a number format", "float32"),
        ({"max_model_len": 5000}, "--max-model-len 5000: the model reads 4096", "at most 4096"),
        ({"host": "a-name", "insecure": True, "runtime": "docker"}, "--host a-name: no IP", "127.0.0.1"),
        ({"device": "gpu"}, "there is no device 'gpu'", "did you mean"),
        ({"device": "cuda"}, "--device cuda: no /dev/nvidia", "auto"),
        ({"folder": "nowhere"}, "nowhere: no such folder", "export"),
        ({"adapters": (("a", "nowhere"),)}, "nowhere: no adapter_config.json", "NAME=DIR"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(tmp_path, wish, problem, hint):
    with pytest.raises(UserError) as error:
        plan(Wish(**({"folder": str(export(tmp_path / "x-hf"))} | wish)))
    assert problem in error.value.problem and hint in error.value.hint


def test_a_device_that_is_not_there_is_named(tmp_path, nvidia):
    nvidia(count=2)
    with pytest.raises(UserError, match="there is no cuda device 5") as error:
        plan(Wish(str(export(tmp_path / "x-hf")), devices=(0, 5)))
    assert error.value.hint == "this host has 0, 1"


def test_weights_that_were_not_exported_are_refused_with_the_command_that_does(tmp_path):
    folder = export(tmp_path / "sft_512")
    (folder / "serve.json").unlink()
    (folder / "run.json").write_text("{}")
    with pytest.raises(UserError, match="not exported yet") as error:
        plan(Wish(str(folder)))
    assert error.value.hint == f"python -m convert to-hf {folder} --out {folder}-hf"
    export(tmp_path / "sft_512-hf")
    with pytest.raises(UserError, match="vLLM reads exports") as error:
        plan(Wish(str(folder)))
    assert error.value.hint == f"danlu vllm {folder}-hf"


def test_without_vllm_it_is_said_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr("danlu.serve.vllm.plan.find_python", lambda: None)
    with pytest.raises(UserError, match="vLLM is not installed here") as error:
        plan(Wish(str(export(tmp_path / "x-hf"))))
    assert "setup --with vllm" in error.value.hint


@pytest.mark.parametrize(("asked", "found"), [("0-3,6", "0,1,2,3,6"), ("1", "1"), ("3,1", "1,3")])
def test_devices_are_written_as_ranges(tmp_path, nvidia, capsys, asked, found):
    nvidia(count=8)
    config = {"num_attention_heads": 60, "num_key_value_heads": 60, "intermediate_size": 960}
    main(["vllm", str(export(tmp_path / "x-hf", **config)), "--devices", asked, "--dry-run"])
    assert f"CUDA_VISIBLE_DEVICES={found} " in capsys.readouterr().out


def test_planning_imports_no_torch(tmp_path):
    folder = export(tmp_path / "x-hf")
    script = f"import sys; from danlu.cli import main; main(['vllm', {str(folder)!r}, '--dry-run']); "
    env = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    words = [sys.executable, "-c", script + "print('torch' in sys.modules)"]
    done = subprocess.run(words, capture_output=True, text=True, env=env)
    assert done.stdout.splitlines()[-1] == "False", done.stderr


PARSER = """
import json, sys
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = make_arg_parser(FlexibleArgumentParser())
read = [vars(parser.parse_args(line)) for line in json.load(sys.stdin)]
plain = (str, int, float, bool, list, type(None))
told = [{key: value for key, value in each.items() if type(value) in plain} for each in read]
print("READ" + json.dumps(told, default=str))
"""


@pytest.mark.vllm
def test_vllm_s_own_parser_understands_every_line(tmp_path, nvidia):
    adapter = tmp_path / "poet"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"r": 3}))
    folder = str(export(tmp_path / "x-hf", **MOE))
    bare = {"tool_parser": None, "reasoning_parser": None, "chat_template": None}
    wishes = [
        Wish(folder, port=9000),
        Wish(folder, adapters=(("poet", str(adapter)),), words=("--enforce-eager",)),
        Wish(str(export(tmp_path / "bare-hf", bare)), name="plain", max_model_len=256, runtime="docker"),
    ]
    plans = [plan(wish) for wish in wishes]
    nvidia()
    plans.append(plan(Wish(folder)))
    lines = [
        list(each.command[each.command.index("vllm.entrypoints.openai.api_server") + 1 :]) for each in plans
    ]
    done = subprocess.run(
        [ROOT / ".venv-vllm/bin/python", "-c", PARSER],
        input=json.dumps(lines),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
    )
    said = next((line for line in done.stdout.splitlines() if line.startswith("READ")), None)
    assert said, done.stderr[-2000:]
    first, adapted, plain, wide = json.loads(said.removeprefix("READ"))
    assert (first["port"], first["dtype"], first["max_model_len"]) == (9000, "bfloat16", 4096)
    assert (first["tool_call_parser"], first["reasoning_parser"], first["enable_auto_tool_choice"]) == (
        "hermes",
        "qwen3",
        True,
    )
    assert (adapted["enable_lora"], adapted["max_lora_rank"], adapted["max_num_seqs"]) == (True, 8, 1)
    assert (plain["served_model_name"], plain["max_model_len"], plain["enable_auto_tool_choice"]) == (
        ["plain"],
        256,
        False,
    )
    assert wide["tensor_parallel_size"] == 4
    assert Path(first["model"]).name == "x-hf"
