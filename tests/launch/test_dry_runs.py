"""Every step on every kind of host, in a container and not: what it would run is written down and understood.

After a change: python tests/launch/dry_runs.py, then read the difference in tests/launch/dry_runs.txt.
"""

import re
import shlex
import shutil
from collections.abc import Sequence

import pytest

from danlu.serve.vllm.plan import Wish, plan
from launch import dry_runs
from launch.docker_parser import DockerParser, Misread
from serve.vllm.exports import export
from test_docs import UNDERSTOOD, convert, danlu, torchrun

GOLDEN = dry_runs.golden()
NAMES = dry_runs.named_blocks()
FOR_A_READER = {
    "CLONE": "/clone",
    "UID:GID": "0:0",
    "-PID": "-1",
    "PATH=/clone/.venv/bin:PATH": "PATH=/usr/bin",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A clone, the hosts, and what containers of each kind are told alike."""
    folder = tmp_path_factory.mktemp("dry")
    clone, hosts = dry_runs.make_clone(folder / "clone"), dry_runs.make_hosts(folder / "hosts")
    return clone, hosts, dry_runs.blocks(clone, hosts)


def test_every_step_is_written_down():
    assert list(GOLDEN) == ["containers", *dry_runs.steps()]


def test_containers_are_told_what_is_written_down(made):
    assert dry_runs.of_containers(made[2]) == GOLDEN["containers"]


@pytest.mark.parametrize("step", [step for step in GOLDEN if step != "containers"])
def test_a_step_would_run_what_is_written_down(made, step):
    assert dry_runs.of_step(*made, step) == GOLDEN[step]


def commands() -> list[str]:
    """Every command that is written down, whole, each once."""
    found = {}
    for step, text in GOLDEN.items():
        if step not in ("containers", "status"):
            lines = dry_runs.expanded(text, NAMES).splitlines()
            found |= dict.fromkeys(line for line in lines if line and line[0] not in "#(")
    for name, word in FOR_A_READER.items():
        found = {line.replace(name, word): None for line in found}
    return list(found)


COMMANDS = commands()
IN_CONTAINERS = [line for line in COMMANDS if line.startswith("docker run ")]


def python(words: Sequence[str]) -> None:
    """Have the words after Python understood by what they call, up to where it would do something."""
    if words[0] == "-c":
        compile(words[1], "-c", "exec")
        return
    assert words[0] == "-m"
    module, rest = words[1], words[2:]
    if module == "torch.distributed.run":
        torchrun(*rest)
    elif module == "danlu":
        danlu(*rest)
    elif module == "convert":
        convert(*rest)
    else:
        assert module == "pytest" or (dry_runs.ROOT / f"{module.replace('.', '/')}.py").is_file()


@pytest.mark.parametrize("line", COMMANDS)
def test_what_would_be_called_understands_its_words(line):
    words = shlex.split(line)
    while words[0] == "env" or re.match(r"[A-Z_]+=", words[0]):
        del words[0]
    if words[:2] == ["docker", "run"]:
        image = next(i for i, word in enumerate(words) if word.startswith("danlu-train:"))
        inside = words[image + 1 :]
        python(inside[inside.index("python3") + 1 :] if words[image - 1] == "bash" else inside)
    elif words[0] == ".venv/bin/python":
        python(words[1:])
    else:
        assert words[0] in {"sha256sum", "tail", *UNDERSTOOD}, words[0]


@pytest.fixture(scope="module")
def docker():
    """Docker's own parser."""
    if shutil.which("docker") is None:
        pytest.skip("no container engine: docker's client, which would read these words")
    parser = DockerParser()
    yield parser
    parser.close()


def test_docker_tells_what_it_does_not_understand(docker):
    assert docker(["docker", "run", "--shm-size", "1g", "image"])["HostConfig"]["ShmSize"] == 1 << 30
    for words, says in ((["--shm", "1g"], "unknown flag"), (["--shm-size", "much"], "invalid")):
        with pytest.raises(Misread, match=says):
            docker(["docker", "run", *words, "image"])


@pytest.mark.parametrize("line", IN_CONTAINERS)
def test_dockers_own_parser_understands_every_container(docker, line):
    asked = docker(shlex.split(line))
    host = asked["HostConfig"]
    assert host["AutoRemove"] and host["Init"] and not host["Privileged"] and not host["CapAdd"]
    assert (asked["User"], asked["WorkingDir"], host["ShmSize"]) == ("0:0", "/clone", 8000 << 20)
    # Each kind by its own way, and as many as its runtime is told.
    env = dict(each.split("=", 1) for each in asked["Env"] if "=" in each)
    files = [device["PathOnHost"] for device in host["Devices"] or ()]
    chips = [file.removeprefix("/dev/davinci") for file in files if file[-1].isdigit()]
    cards = [card for request in host["DeviceRequests"] or () for card in request["DeviceIDs"] or ()]
    assert ",".join(chips) == env.get("ASCEND_VISIBLE_DEVICES", "")
    assert ",".join(cards) == env.get("NVIDIA_VISIBLE_DEVICES", "")
    assert (bool(chips), bool(cards)) == ("danlu-train:ascend" in line, "danlu-train:cuda" in line)


@pytest.mark.parametrize("device", dry_runs.HOSTS)
def test_dockers_own_parser_understands_the_container_of_vllm(docker, tmp_path, monkeypatch, device):
    env = dry_runs.HOSTS[device](tmp_path / "root") | {"DANLU_CONTAINER_ENGINE": "docker"}
    (tmp_path / "root/proc/cpuinfo").write_text("flags : avx2\n")
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    folder = export(tmp_path / "x-hf")
    made = plan(Wish(str(folder), device=device, runtime="docker", key="secret"))
    host = docker(made.command)["HostConfig"]
    assert host["AutoRemove"] and not host["Privileged"] and f"{folder}:/model:ro" in host["Binds"]
    assert host["PortBindings"] == {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8000"}]}
