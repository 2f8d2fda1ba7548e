"""Images really built: they import, run as anybody with nothing writable; a changed source costs no packages.

Built where a container engine answers and the bases lie, real ones or stand-ins of their names: nothing is
downloaded for a test. CI builds them all on the real ones.
"""

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from images.dockerfiles import FILES, arguments
from shell import CLEAN, ROOT

pytestmark = [pytest.mark.slow, pytest.mark.images]
DOCKER = {name: value for name, value in os.environ.items() if name.startswith(("DOCKER_", "PIP_CERT"))}
ENGINE = os.environ.get("DANLU_CONTAINER_ENGINE", "docker")
# What the builds on stand-ins say besides: another torch, an index that is not there.
WORDS = os.environ.get("DANLU_TEST_BUILD", "").split()


def engine(*words: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    env = CLEAN | DOCKER | {"DOCKER_BUILDKIT": "1"}
    return subprocess.run([ENGINE, *words], cwd=cwd, env=env, capture_output=True, text=True)


@pytest.fixture(
    scope="module", params=[(file, target) for file in FILES for target in ("train", "serve")], ids=str
)
def built(request, tmp_path_factory):
    """A context with its image, and what the image is called."""
    file, target = request.param
    base = arguments(file)[f"{target.upper()}_BASE"]
    if engine("image", "inspect", base).returncode != 0:
        pytest.skip(f"no {base} on this host, and a test downloads none")
    context = tmp_path_factory.mktemp("context")
    for name in ("LICENSE", "configs", "convert", "launch", "src", "wheels", ".dockerignore", file.name):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, context / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif (ROOT / name).exists():
            shutil.copy2(ROOT / name, context)
    image = f"danlu-test-{target}:{file.suffix[1:]}"
    said = build(context, file, target, image)
    yield context, file, target, image, said
    engine("rmi", "--force", image)


def build(context: Path, file: Path, target: str, image: str) -> str:
    secret = ("--secret", f"id=ca,src={DOCKER['PIP_CERT']}") if "PIP_CERT" in DOCKER else ()
    words = (
        "--progress",
        "plain",
        "--network",
        "host",
        "--file",
        file.name,
        "--target",
        target,
        "--tag",
        image,
    )
    done = engine("build", *words, *secret, *WORDS, ".", cwd=context)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stderr


def test_it_runs_as_anybody_with_nothing_writable_and_no_network(built):
    *_, image, _ = built
    nothing = ("--read-only", "--tmpfs", "/tmp", "--network", "none", "--cap-drop", "ALL")
    done = engine("run", "--rm", *nothing, "--user", "4321:4321", image, "info")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("danlu ")
    who = ("-c", "import os; print(os.getuid(), os.access('/opt/danlu', os.W_OK))")
    assert engine("run", "--rm", *nothing, image, *who).stdout == "1000 False\n"


def test_its_history_holds_nothing_of_the_builder(built):
    _, file, target, image, _ = built

    def layers(name: str) -> list[str]:
        return engine("history", "--no-trunc", "--format", "{{.CreatedBy}}", name).stdout.splitlines()

    base = set(layers(arguments(file)[f"{target.upper()}_BASE"]))
    told = "\n".join(line for line in layers(image) if line not in base)
    assert "install.sh" in told
    told += engine("image", "inspect", image).stdout
    for name, value in os.environ.items():
        if re.search("(?i)proxy|index_url|token|key", name) and len(value) > 7:
            assert value not in told, name
    assert "/run/secrets" not in told


def test_a_change_of_source_installs_nothing_again(built):
    context, file, target, image, _ = built
    place = context / "src/danlu/__init__.py"
    place.write_text(place.read_text() + f"\nCHANGED = {time.time()}\n")
    said = build(context, file, target, image)
    steps = re.split(r"\n(?=#\d+ \[)", said)
    installing = [step for step in steps if "install.sh" in step or "compiler.sh" in step]
    assert installing and all("CACHED" in step for step in installing)
    done = engine("run", "--rm", image, "-c", "import danlu; print(danlu.CHANGED > 0)")
    assert done.stdout == "True\n", done.stderr
