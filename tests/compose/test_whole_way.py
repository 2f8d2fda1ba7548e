"""`docker compose up` really run on the CPU images that are here: trained, exported, served, asked, gone."""

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import openai
import pytest

from compose.files import FOLDER
from compose.nginx import free_port
from launch.clones import LINKED, small_starter, working_clone
from shell import CLEAN, ROOT

pytestmark = [pytest.mark.slow, pytest.mark.images]
IMAGES = {"train": "danlu-train:cpu", "serve": "danlu-serve:cpu"}
SOMEBODY = 4321
TOOL = {
    "name": "get_weather",
    "description": "The weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Beijing", "Hangzhou"]}},
        "required": ["city"],
    },
}


def docker(*words, **env):
    return subprocess.run(["docker", *words], env=os.environ | env, capture_output=True, text=True)


def composes():
    """The compose of this host: the newer, else the older."""
    if docker("compose", "version").returncode == 0:
        return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else None


def here(image):
    return docker("image", "inspect", image).returncode == 0


@pytest.fixture
def clone():
    """A clone of somebody's, who is not root, whose starter is learned in seconds."""
    with tempfile.TemporaryDirectory(prefix="danlu-") as name:
        Path(name).chmod(0o755)
        clone = working_clone(Path(name) / "danlu")
        small_starter(clone)
        for link in LINKED:
            (clone / link).unlink()
            if link in ("src", "convert"):
                shutil.copytree(ROOT / link, clone / link, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.rmtree(clone / ".venv")
        shutil.copytree(FOLDER, clone / "compose")
        shutil.copy2(ROOT / "compose.yaml", clone / "compose.yaml")
        subprocess.run(["chown", "-R", f"{SOMEBODY}:{SOMEBODY}", clone], check=True)
        yield clone


@pytest.fixture
def project(clone):
    """How compose is called there, on images that are here; taken down in the end."""
    if (compose := composes()) is None:
        pytest.skip("no compose on this host")
    if not here(IMAGES["train"]):
        pytest.skip(f"no image {IMAGES['train']} on this host")
    name = f"danlu-test-{os.getpid()}"
    env = CLEAN | {key: value for key, value in os.environ.items() if key.startswith("DOCKER")}
    env |= {"COMPOSE_PROJECT_NAME": name, "DANLU_UID": f"{SOMEBODY}", "DANLU_GID": f"{SOMEBODY}"}
    env |= {"DANLU_PORT": f"{free_port()}", "DANLU_WEB_PORT": f"{free_port()}", "OMP_NUM_THREADS": "1"}
    if not here(IMAGES["serve"]):  # the trainer's holds the built-in server too
        env["DANLU_SERVE_IMAGE"] = IMAGES["train"]

    def call(*words):
        return subprocess.run([*compose, *words], cwd=clone, env=env, capture_output=True, text=True)

    call.env, call.name = env, name
    try:
        yield call
    finally:
        print(call("--profile", "web", "logs", "--no-color").stdout[-9000:])  # shown if the test fails
        call("--profile", "web", "--profile", "train", "down", "--volumes")


def containers(name, *words):
    found = docker("ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={name}", *words)
    return found.stdout.split()


def reached(port, seconds=300):
    """Wait until a server answers there."""
    end = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=10) as answer:
                return json.load(answer)["data"][0]["id"]
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.5)


def ask(port, model):
    """One answer in words, and one that must be a call."""
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0, timeout=120)
    chat = client.chat.completions
    question = [{"role": "user", "content": "How is the weather in Hangzhou?"}]
    said = chat.create(model=model, messages=question, max_tokens=8)
    assert said.usage.completion_tokens > 0
    tools = [{"type": "function", "function": TOOL}]
    called = chat.create(model=model, messages=question, tools=tools, tool_choice="required", max_tokens=100)
    call, *_ = called.choices[0].message.tool_calls
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments)["city"] in ("Beijing", "Hangzhou")


def test_from_nothing_to_a_tool_call_and_nothing_stays(clone, project):
    up = project("up", "--detach", "--no-build")
    assert up.returncode == 0, up.stderr + project("logs").stdout[-3000:]
    port = project.env["DANLU_PORT"]
    model = reached(port)
    assert model == "tool_sft_128-hf"
    ask(port, model)

    # Whose everything is, and what a container may.
    made = [*clone.glob("out/**/*"), *clone.glob("runs/**/*"), clone / "out/.serving"]
    assert len(made) > 10 and {path.lstat().st_uid for path in made} == {SOMEBODY}
    for container in containers(project.name):
        (about,) = json.loads(docker("inspect", container).stdout)
        assert about["Config"]["User"] == f"{SOMEBODY}:{SOMEBODY}"
        assert about["HostConfig"]["ReadonlyRootfs"] and about["HostConfig"]["CapDrop"] == ["ALL"]
        assert not about["HostConfig"]["Privileged"] and about["HostConfig"]["Memory"] > 0
        ports = about["HostConfig"]["PortBindings"] or {}
        assert all(place["HostIp"] == "127.0.0.1" for places in ports.values() for place in places)
    serving = containers(project.name, "--filter", "label=com.docker.compose.service=serve")
    for path in ("/usr/bin/x", "/danlu/out/x", "/etc/x"):
        assert docker("exec", serving[0], "touch", path).returncode != 0

    down = project("down")
    assert down.returncode == 0, down.stderr
    assert not containers(project.name)
    assert project.name not in docker("network", "ls").stdout + docker("volume", "ls").stdout


def test_two_replicas_stand_behind_one_door(clone, project):
    if not here(re.findall(r"WEB_IMAGE:-([^}]*)}", (FOLDER / "compose.yaml").read_text())[-1]):
        pytest.skip("no image of the gateway on this host")
    first = free_port()
    project.env["DANLU_PORT"], project.env["DANLU_REPLICAS"] = f"{first}-{first + 1}", "2"
    up = project("--profile", "web", "up", "--detach", "--no-build")
    assert up.returncode == 0, up.stderr + project("logs").stdout[-3000:]
    door = project.env["DANLU_WEB_PORT"]
    model = reached(door)
    for _ in range(4):
        ask(door, model)
    serving = containers(project.name, "--filter", "label=com.docker.compose.service=serve")
    assert len(serving) == 2
    docker("kill", serving[0])
    for _ in range(6):
        ask(door, model)
    assert docker("start", serving[0]).returncode == 0
    docker("kill", serving[1])
    reached(door)
    ask(door, model)
