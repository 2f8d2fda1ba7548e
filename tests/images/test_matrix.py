"""The matrix is the one truth: what follows from it follows, and a hand's edit is noticed."""

import re
import shutil
import subprocess
import sys

import pytest
import yaml
from packaging.requirements import Requirement

from images.dockerfiles import FILES, arguments
from shell import ROOT

SCRIPT = "launch/matrix.py"
MATRIX = yaml.safe_load((ROOT / "configs/matrix.yaml").read_text(encoding="utf-8"))
COPIED = ("configs", "launch", "compose", "docs", ".github", "pyproject.toml", "compose.yaml", ".env.example")


def matrix(clone, word):
    command = [sys.executable, "-S", SCRIPT, word]  # -S: it needs no package
    return subprocess.run(command, cwd=clone, capture_output=True, text=True)


@pytest.fixture
def clone(tmp_path):
    for path in [*(ROOT / name for name in COPIED), *FILES]:
        if path.is_dir():
            shutil.copytree(path, tmp_path / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.exists():
            shutil.copy2(path, tmp_path)
    return tmp_path


def test_everything_here_follows():
    done = matrix(ROOT, "check")
    assert (done.returncode, done.stdout) == (0, "all follows\n")


def test_a_version_changed_there_changes_wherever_it_stands(clone):
    old, new = MATRIX["ascend"]["cann"], "99.7.0"
    place = clone / "configs/matrix.yaml"
    place.write_text(place.read_text().replace(f'  cann: "{old}"', f'  cann: "{new}"', 1))
    assert matrix(clone, "check").returncode == 1
    written = set(matrix(clone, "write").stdout.split())
    assert {"Dockerfile.ascend", "docs/versions.md", "docs/versions.zh-CN.md"} <= written
    assert matrix(clone, "check").stdout == "all follows\n"
    for name in written:
        text = (clone / name).read_text()
        assert f":{new}-" in text and f":{old}-" not in text, name


def test_a_package_changed_there_is_another_constraint(clone):
    place = clone / "configs/matrix.yaml"
    old = MATRIX["packages"]["click"]
    place.write_text(place.read_text().replace(f'  click: "{old}"', '  click: "99.1"'))
    assert matrix(clone, "write").stdout.split() == ["configs/requirements/constraints.txt"]
    assert "\nclick==99.1\n" in (clone / "configs/requirements/constraints.txt").read_text()


@pytest.mark.parametrize(
    "name", ["Dockerfile.cuda", "docs/versions.md", "configs/requirements/serve.txt", "launch/image/enter.sh"]
)
def test_an_edit_by_hand_is_named_with_its_line(clone, name):
    place = clone / name
    lines = place.read_text().splitlines()
    number = next(n for n, line in enumerate(lines) if re.match(r"ARG TORCH=|\| cuda|uvicorn|toolkit=", line))
    lines[number] += "9"
    place.write_text("\n".join(lines) + "\n")
    done = matrix(clone, "check")
    assert done.returncode == 1
    assert done.stdout.startswith(f"{name}:{number + 1}: should be: ")


def test_a_template_the_matrix_does_not_know_is_refused(clone):
    with (clone / "Dockerfile.cpu").open("a") as file:
        file.write("# matrix: ARG X={torch.abacus}\nARG X=\n")
    done = matrix(clone, "write")
    assert done.returncode == 1 and "has no torch: abacus" in done.stderr


def test_a_requirement_nobody_asks_for_is_named(clone):
    (clone / "configs/requirements/old.txt").touch()
    assert matrix(clone, "check").stdout.startswith("configs/requirements/old.txt: nothing asks for it")


@pytest.mark.parametrize(
    "part", sorted({part for parts in MATRIX["image_parts"].values() for part in parts.split()})
)
def test_all_that_an_image_installs_has_its_version(part):
    pins = {}
    for line in (ROOT / "configs/requirements/constraints.txt").read_text().splitlines()[1:]:
        pin = Requirement(line)
        pins.setdefault(pin.name, []).append(pin)
    for line in (ROOT / f"configs/requirements/{part}.txt").read_text().splitlines()[1:]:
        name = Requirement(line).name.lower()
        assert name == "torch" or name in pins


def test_images_are_called_what_the_launchers_call_them():
    for kind, name in MATRIX["train_images"].items():
        assert MATRIX["serve_images"][kind] == name.replace("train", "serve")


def test_the_servers_base_is_the_image_the_engine_would_start():
    from danlu.device import hosting

    for file, kind, chip in zip(FILES, ("npu", "cpu", "cuda"), ("910B3", "", ""), strict=True):
        named = hosting.image(hosting.KINDS[kind], chip)
        assert named in (arguments(file)["SERVE_BASE"], arguments(file)["SERVE_BASE_ARM64"])
