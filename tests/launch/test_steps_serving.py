"""An export is made where it is missing or older, and served by what fits this host: launch/serving.sh."""

import socket
import sys

import pytest

from launch.steps import CPU, PYTHON, tell
from shell import call, export, finish, plan, problem


@pytest.mark.parametrize("step", ["serve", "vllm", "convert"])
def test_an_export_is_made_where_it_is_missing_or_older(clone, step):
    finish(clone, "full_sft_512")
    exports = f"{PYTHON} convert to-hf out/full_sft_512 --out out/full_sft_512-hf"
    assert exports in plan(clone, step, **CPU)
    export(clone, "full_sft_512")
    assert exports not in plan(clone, step, **CPU)
    finish(clone, "full_sft_512")
    assert exports in plan(clone, step, **CPU)


def test_an_export_asked_for_in_other_words_is_made(clone):
    finish(clone, "full_sft_512")
    export(clone, "full_sft_512")
    assert plan(clone, "convert --dtype float32", **CPU).endswith("--dtype float32")
    assert "exported already: out/full_sft_512-hf" in call("bash", "run_all.sh", "convert", cwd=clone).stderr


def test_an_export_without_its_weights_serves_by_itself(clone):
    export(clone, "full_sft_512")
    assert plan(clone, "serve", **CPU) == f"{PYTHON} danlu serve out/full_sft_512-hf --port 8000"
    finish(clone, "full_sft_512")
    assert "to-hf out/full_sft_512 " in plan(clone, "serve", **CPU)


def host(tmp_path, *nodes: str) -> dict[str, str]:
    (tmp_path / "host/dev").mkdir(parents=True)
    for node in nodes:
        (tmp_path / "host/dev" / node).touch()
    return {"HOST_ROOT": str(tmp_path / "host")}


@pytest.mark.parametrize(
    ("nodes", "words", "server"),
    [
        ([], "", "serve"),
        ([], "--backend vllm", "vllm"),
        (["nvidia0"], "", "vllm"),
        (["nvidia0"], "--backend builtin", "serve"),
        (["davinci0"], "", "vllm"),
        (["davinci0"], "--device cpu", "serve"),
    ],
)
def test_the_server_is_the_one_that_fits_the_host(clone, tmp_path, nodes, words, server):
    export(clone, "full_sft_512")
    last = plan(clone, f"serve {words}", **host(tmp_path, *nodes)).splitlines()[-1]
    assert f"danlu {server} out/full_sft_512-hf" in last


SERVED = "out/full_sft_512-hf"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("serve --port 0 --name smith", f"danlu serve {SERVED} --port 0 --name smith"),
        (
            "serve --max-model-len 99 --dtype float32 --port 9000 --device cpu",
            f"danlu serve {SERVED} --port 9000 --max-model-len 99 --dtype float32 --device cpu",
        ),
        (
            "serve --detach --port 9000",
            f"danlu vllm {SERVED} --port 9000 --backend builtin --device cpu --detach",
        ),
        (
            "vllm --port 9000 --max-model-len 99 --dtype float32 --vllm-image other --detach --runtime docker"
            " -- --enforce-eager",
            f"danlu vllm {SERVED} --device cpu --port 9000 --max-model-len 99 --dtype float32"
            " --runtime docker --image other --detach --enforce-eager",
        ),
        (
            "vllm --weight out/full_sft_512-hf",
            f"danlu vllm {SERVED} --device cpu --port 8000",
        ),
        (
            "vllm --weight full_sft --devices 0-3 --device cpu",
            f"danlu vllm {SERVED} --device cpu --port 8000 --devices 0-3",
        ),
        ("vllm status", "danlu vllm status"),
        ("vllm logs -f", "danlu vllm logs -f"),
        ("vllm stop 8000", "danlu vllm stop 8000"),
    ],
)
def test_options_of_serving_reach_the_server(clone, words, expected):
    export(clone, "full_sft_512")
    assert plan(clone, words, **CPU) == f"{PYTHON} {expected}"


def test_devices_reach_vllm_which_chooses_itself(clone, tmp_path):
    export(clone, "full_sft_512")
    cards = host(tmp_path, "nvidia0", "nvidia1")
    assert plan(clone, "vllm --devices 1", **cards) == (
        f"{PYTHON} danlu vllm {SERVED} --device cuda --port 8000 --devices 1"
    )


def test_a_port_that_is_taken_is_refused_before_anything_is_made(clone):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = problem(clone, f"serve --port {port}", **CPU)
    assert f"port {port} is taken" in told and "bash run_all.sh status" in told and "no weights" not in told
    tell(clone, f"OPT[port]={port}; need_port")


def test_words_the_server_would_not_take_are_refused_before_anything_is_made(clone):
    told = problem(clone, "--port 0 serve --frobnicate", **CPU, DANLU_PYTHON=sys.executable)
    assert "'--frobnicate'" in told and "no weights" not in told
    assert tell(clone, "WORDS=(--frobnicate); OPT[runtime]=docker; need_words builtin") == ""


def test_the_parts_of_an_environment_are_made_at_once(clone):
    (clone / ".venv/ready-convert").unlink()
    (clone / ".venv/ready-serve").unlink()
    (clone / "launch/setup.sh").write_text('echo "setup $*"\n')
    lines = plan(clone, "serve", **CPU).splitlines()
    assert [line for line in lines if line.startswith("setup")] == ["setup --extra serve --extra convert"]
    assert lines[0].startswith("setup")
    assert tell(clone, "OPT[runtime]=docker; host_parts base serve convert") == ""
