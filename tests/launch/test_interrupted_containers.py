"""A step in a container that is interrupted: the container is gone, and the next run goes on.

The image is a bare Debian; what the engine needs lies in it through the launchers' own mounts: this clone's
environment, and the Python that was made of.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from launch.bare_host import make_base, why_not
from launch.clones import copy_clone, small_starter, working_clone
from launch.interrupting import Command, made, running
from launch.test_interrupted import ENDED, PATIENCE, SIGNALS
from made_once import made_once
from shell import ROOT

ENGINE = os.environ.get("DANLU_CONTAINER_ENGINE", "docker")
IMAGE = "danlu-stand-in:cpu"
STEPS = {
    "data": "data --runtime docker",
    "pretrain": "--use-moe pretrain --runtime docker",
    "convert": "convert --runtime docker",
    "eval": "eval perplexity --data data/starter/heldout/pretrain.jsonl --runtime docker",
}

pytestmark = [pytest.mark.slow, pytest.mark.images, pytest.mark.skipif(bool(why_not()), reason=why_not())]


def engine(*words: str) -> str:
    return subprocess.check_output([ENGINE, *words], text=True, stderr=subprocess.DEVNULL).strip()


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """An image whose Python is this clone's, once it is mounted."""
    base = made_once(tmp_path_factory, "debian", make_base)
    path = f"ENV PATH={ROOT}/.venv/bin:/usr/bin:/bin"
    with subprocess.Popen(["tar", "-C", base, "-c", "."], stdout=subprocess.PIPE) as files:
        words = [ENGINE, "import", "--change", path, "-", IMAGE]
        subprocess.run(words, stdin=files.stdout, check=True, capture_output=True)
    yield IMAGE
    engine("image", "rm", "--force", IMAGE)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    def make(folder: Path) -> None:
        clone = working_clone(folder / "clone")
        small_starter(clone)
        words = ["bash", "run_all.sh", "pretrain"]
        with running(words, clone, OMP_NUM_THREADS="1") as command:
            assert command.ends_within(600) == 0, command.said()

    return made_once(tmp_path_factory, "clone-container", make) / "clone"


def begun(words: str, clone: Path, whom: str = "") -> AbstractContextManager[Command]:
    mounts = f"{ROOT} {Path(sys.base_prefix)}"
    env = {
        "DANLU_IMAGE": IMAGE,
        "DANLU_MOUNTS": mounts,
        "DANLU_CONTAINER_ENGINE": ENGINE,
        "OMP_NUM_THREADS": "1",
    }
    return running(["bash", "run_all.sh", *words.split()], clone, whom == "terminal", **env)


def containers() -> set[str]:
    return set(engine("ps", "--all", "--filter", "label=danlu=1", "--format", "{{.Names}}").split())


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", STEPS)
def test_no_container_is_left_of_an_interrupted_step(image, trained, tmp_path, name, seed):
    place = copy_clone(trained, tmp_path / "clone")
    if name == "data":
        shutil.rmtree(place / "data")
    chance = random.Random(f"{name} {seed}")
    before = containers()
    for number, whom in chance.sample(SIGNALS, 2):
        with begun(STEPS[name], place, whom) as command:
            if command.goes_on_for(chance.uniform(0.2, 8)):
                command.signal(number, whom)
                assert command.ends_within(PATIENCE) in ENDED, command.said()
            assert command.left() == []
        assert containers() == before, command.said()
    with begun(STEPS[name], place) as command:
        assert command.ends_within(600) == 0, command.said()
    assert containers() == before
    if name == "pretrain":
        assert json.dumps(made(place / "out")).count("model.safetensors") == 2
