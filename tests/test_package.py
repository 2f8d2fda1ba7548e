"""What pip would install: the wheel has the source, the configurations, and all that is not Python."""

import os
import subprocess
import sys
import zipfile

import pytest

from shell import ROOT, call

ENGINE = ROOT / "src/danlu"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        archive.extractall(folder / "installed")
    return folder / "installed"


def test_it_holds_everything_and_nothing_else(wheel):
    def files(folder):
        found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        return {path.relative_to(folder).as_posix() for path in found}

    configs = {f"configs/{name}" for name in files(ROOT / "configs")}
    assert files(wheel / "danlu") == files(ENGINE) | configs


def test_it_works_away_from_the_clone(wheel, tmp_path):
    def python(*words: str) -> str:
        return call(sys.executable, *words, cwd=tmp_path, PYTHONPATH=str(wheel)).stdout

    assert str(wheel) in python("-c", "import danlu; print(danlu.__file__)")
    assert "batch_tokens = " in python("-m", "danlu", "config", "sft")


@pytest.mark.parametrize(("asked", "heard"), [({}, "5000"), ({"GOMP_SPINCOUNT": "7"}, "7")])
def test_a_training_s_threads_make_way_for_others_unless_told_otherwise(asked, heard):
    env = {key: value for key, value in os.environ.items() if key != "GOMP_SPINCOUNT"} | asked
    script = "import os, sys, danlu.training; print('torch' in sys.modules, os.environ['GOMP_SPINCOUNT'])"
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", heard]
