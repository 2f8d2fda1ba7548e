"""Real containers: who owns what they write, what reaches them, and that nothing of them stays.

The image holds nothing but links to this machine's own Python and libraries, so nothing is downloaded; the
daemon is one that answers here, else one of our own for as long as these tests run.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from corpus import texts
from launch.clones import working_clone
from shell import CLEAN, ROOT

IMAGE = "danlu-test-here"
# Read-only links of the image's root to what is mounted.
LINKS = {"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64"}
SOMEBODY = 4321
STORY = """
import os, pathlib, pwd
name = pwd.getpwuid(os.getuid()).pw_name
pathlib.Path("out.txt").write_text(f"{name} {os.environ['HOME']} {os.getcwd()}")
pathlib.Path(os.environ["HOME"], "cache").write_text("")
"""
WAIT = """
import os, signal, sys, time
def leave(number, frame):
    os.write(1, b"left\\n")  # a print may still be under way
    sys.exit(128 + number)
signal.signal(signal.SIGINT, leave)
signal.signal(signal.SIGTERM, leave)
os.write(1, b"here\\n")
time.sleep(120)
"""


def docker(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *words], env=os.environ | env, capture_output=True, text=True)


@contextlib.contextmanager
def own_daemon(folder: Path) -> Iterator[str]:
    """A daemon of our own, which touches no rules of the host's network."""
    address = f"unix://{folder}/docker.sock"
    words = ["dockerd", "--host", address, "--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec"]
    words += ["--pidfile", f"{folder}/pid", "--iptables=false", "--storage-driver", "vfs"]
    with (folder / "log").open("w") as log:
        daemon = subprocess.Popen(
            words, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
        )
    try:
        for _ in range(100):
            if docker("info", DOCKER_HOST=address).returncode == 0:
                yield address
                return
            if daemon.poll() is not None:
                break
            time.sleep(0.2)
        pytest.skip(f"no container engine starts here: {(folder / 'log').read_text()[-300:]}")
    finally:
        daemon.terminate()
        daemon.wait(timeout=30)
        subprocess.run(["umount", f"{folder}/exec/netns/default"], capture_output=True)  # it leaves that one


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder that others may come through to, unlike pytest's."""
    with tempfile.TemporaryDirectory(prefix="danlu-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def daemon(place):
    """Where a docker daemon answers whoever is not root."""
    if shutil.which("docker") is None:
        pytest.skip("no container engine")
    if subprocess.run(as_somebody("docker", "info"), capture_output=True).returncode == 0:
        yield os.environ.get("DOCKER_HOST", "")
    elif os.getuid() == 0 and shutil.which("dockerd"):
        (place / "docker").mkdir()
        with own_daemon(place / "docker") as address:
            Path(address.removeprefix("unix://")).chmod(0o666)
            yield address
    else:
        pytest.skip("no container engine answers, and only root can start one")


@pytest.fixture(scope="module")
def clone(daemon, place):
    """A clone with a space and Chinese in its path, an image to run it in, and how both are called."""
    folder = place
    archive, script = folder / "image.tar", folder / "python3"
    python, mounts = interpreter(folder)
    library = f"LD_LIBRARY_PATH={python.parents[1]}/lib"  # of this Python, and not another of its version
    script.write_text(f'#!/bin/sh\n{library} exec {python} "$@"\n')
    script.chmod(0o755)
    with tarfile.open(archive, "w") as image:
        for name, target in LINKS.items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            image.addfile(link)
        for name in ("usr", "etc", "tmp", "opt", "sbin"):
            place = tarfile.TarInfo(name)
            place.type, place.mode = tarfile.DIRTYPE, 0o1777
            image.addfile(place)
        image.add(script, "opt/python3")
    env = {"HOME": "/nonexistent"} | ({"DOCKER_HOST": daemon} if daemon else {})
    done = docker("import", "--change", "ENV PATH=/opt:/usr/bin:/bin", str(archive), IMAGE, **env)
    assert done.returncode == 0, done.stderr
    made = working_clone(folder / "some where 丹炉")
    (made / "src").unlink()  # a link, behind which the configurations are not this clone's
    shutil.copytree(ROOT / "src", made / "src", ignore=shutil.ignore_patterns("__pycache__"))
    if os.getuid() == 0:
        for path in [made, *made.rglob("*")]:
            os.lchown(path, SOMEBODY, SOMEBODY)
    yield (
        made,
        CLEAN
        | env
        | {"DANLU_IMAGE": IMAGE, "DANLU_MOUNTS": " ".join(sorted(mounts)), "OMP_NUM_THREADS": "1"},
    )
    left = docker("ps", "--all", "--quiet", "--filter", "label=danlu=1", **env).stdout
    docker("rmi", IMAGE, **env)
    assert left == "", "a container was left behind"


def interpreter(folder: Path) -> tuple[Path, set[str]]:
    """Our Python where somebody else may call it too, and the folders it lives in."""
    base, packages = Path(os.path.realpath(sys.base_prefix)), str(ROOT / ".venv")
    if os.getuid() != 0 or all(each.stat().st_mode & 0o001 for each in base.parents):
        return Path(sys.executable), {"/usr", str(base), packages}
    mine = folder / "python"
    ignored = shutil.ignore_patterns("test", "site-packages")
    shutil.copytree(base, mine, symlinks=True, copy_function=os.link, ignore=ignored)
    site = sysconfig.get_path("purelib").removeprefix(sys.prefix).lstrip("/")
    (mine / site).mkdir()
    (mine / site / "here.pth").write_text(f"{ROOT}/.venv/{site}\n")
    return mine / "bin/python3", {"/usr", str(mine), packages}


def as_somebody(*words: str) -> list[str]:
    """The words, run by who is not root, where we are root and can."""
    if os.getuid() != 0:
        return list(words)
    user = str(SOMEBODY)
    return ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", *words]


def launcher(*words: str) -> list[str]:
    """A launcher that runs Python with these words in a container."""
    code = (
        "set -Eeuo pipefail; source launch/lib.sh; source launch/engine.sh; OPT[runtime]=docker; engine base"
    )
    return as_somebody("bash", "-c", f'ACCELERATOR=cpu; {code} "$@"', "launch/story.sh", *words)


def test_what_is_written_belongs_to_whoever_calls(clone):
    folder, env = clone
    done = subprocess.run(launcher("-c", STORY), cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    written = folder / "out.txt"
    assert written.read_text() == f"danlu {folder}/.container {folder}"
    for path in (written, folder / ".container/cache", folder / ".container"):
        assert path.stat().st_uid == (SOMEBODY if os.getuid() == 0 else os.getuid())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_reach_it_and_it_is_gone(clone, number):
    folder, env = clone
    words = launcher("-c", WAIT)
    process = subprocess.Popen(
        words,
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "here\n"
    process.send_signal(number)
    assert process.communicate(timeout=30)[0] == "left\n"
    assert process.returncode == 128 + number
    assert docker("ps", "--quiet", "--filter", "label=danlu=1", **env).stdout == ""


def test_a_failure_is_explained_and_its_status_kept(clone):
    folder, env = clone
    code = "import sys; print('OSError: [Errno 28] No space left on device', file=sys.stderr); sys.exit(7)"
    done = subprocess.run(launcher("-c", code), cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 7
    assert "its last lines" in done.stderr and "try: " in done.stderr


def test_training_in_a_container_is_training(clone):
    folder, env = clone
    texts(folder / "corpus.jsonl", rows=100)
    losses = {}
    for runtime in ("docker", "host"):
        words = (
            f"run_all.sh --device cpu --runtime {runtime} train pretrain data.train=corpus.jsonl model=tiny"
        )
        settings = [
            "seq_len=64",
            "batch_tokens=512",
            "steps=3",
            "compile=false",
            f"run_dir=runs/{runtime}",
            f"out=out/{runtime}",
        ]
        command = ["bash", *words.split(), *settings]
        if runtime == "docker":
            command = as_somebody(*command)
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        rows = map(json.loads, (folder / f"runs/{runtime}/metrics.jsonl").read_text().splitlines())
        losses[runtime] = [row["loss"] for row in rows if "loss" in row]
    assert len(losses["docker"]) == 3 and losses["docker"] == losses["host"]


def test_a_servers_port_is_published_on_this_host_alone(clone):
    """Python's own server stands for ours: what is asked here is docker's doing."""
    folder, env = clone
    port = random.randint(21000, 29999)
    code = f"words=(-m danlu serve x --port {port}); reach; echo ${{network[*]}}"
    script = f"source launch/lib.sh; source launch/engine.sh; {code}"
    told = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=env, capture_output=True, text=True
    ).stdout.split()
    assert told[:2] == ["--publish", f"127.0.0.1:{port}:{port}"]
    mounts = [word for place in env["DANLU_MOUNTS"].split() for word in ("--volume", f"{place}:{place}")]
    name = f"danlu-test-{port}"
    words = [
        "run",
        "--rm",
        "--detach",
        "--name",
        name,
        *told[:2],
        *mounts,
        "--workdir",
        "/opt",
        "--entrypoint",
        "python3",
    ]
    done = docker(*words, IMAGE, "-m", "http.server", str(port), **env)
    assert done.returncode == 0, done.stderr
    try:
        for _ in range(100):
            with contextlib.suppress(OSError):
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                    assert answer.status == 200
                    break
            time.sleep(0.1)
        else:
            pytest.fail("it does not answer")
    finally:
        docker("rm", "--force", name, **env)
