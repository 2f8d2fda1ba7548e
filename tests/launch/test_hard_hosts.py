"""Hard hosts: clones that cannot be written, no home, no terminal, no network, odd paths, what others left.

Whatever the host lacks, a step works or says so: `error:` and `try:`, exit code 2, nothing of bash's own.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from launch.clones import small_starter, working_clone
from launch.interrupting import made
from made_once import made_once
from shell import CLEAN, ROOT, call, said, small_clone

ODD = "some 'where' [丹炉] & $HOME"
# Root may write anywhere; without its powers it is a user like any other.
POWERLESS = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"] if os.geteuid() == 0 else []
NO_NETWORK = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--net", "--map-root-user"]
LAUNCHERS = [Path(line).stem for line in said("launchers").split()]
NOISE = re.compile(r"line \d+:|Traceback|command not found|unbound variable|Permission denied|No such file")

# How each step is asked for something real, on a starter of a few rows.
WORDS = {
    "bench": "bench nothing",
    "build": "build --dry-run",
    "bundle": "bundle verify nothing",
    "chat": "chat --prompt hello",
    "clean": "clean caches --yes",
    "convert": "convert",
    "data": "data check data/starter/sft.jsonl",
    "doctor": "doctor",
    "eval": "eval perplexity --data data/starter/heldout/pretrain.jsonl",
    "logs": "logs",
    "serve": "serve --port 0",
    "setup": "setup",
    "shell": "shell true",
    "status": "status",
    "stop": "stop",
    "test": "test tests/base",
    "tokenizer": "tokenizer train --text data/starter/pretrain.jsonl --size 1200 --out data/words",
    "train": "train pretrain",
    "vllm": "vllm --port 0",
}
MAKING = [
    "setup",
    "train",
    "data",
    "tokenizer",
    "serve",
    "vllm",
    "chat",
    "convert",
    "eval",
    "test",
]  # an environment


def has(*tools: str) -> bool:
    return all(shutil.which(tool) for tool in tools if tool)


needs_powers = pytest.mark.skipif(bool(POWERLESS) and not has("setpriv"), reason="no setpriv on this host")


def asked(clone: Path, words: str, *before: str, **env: str) -> subprocess.CompletedProcess[str]:
    return call(*before, "bash", "run_all.sh", *words.split(), cwd=clone, **env)


def in_two_lines(done: subprocess.CompletedProcess[str]) -> str:
    """The problem and the remedy with which it ended, and that nothing else complained."""
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    *_, problem, hint = done.stderr.strip().splitlines()
    assert problem.startswith(("error: ", "错误: ")) and hint.startswith(("  try: ", "  试试: ")), done.stderr
    assert not NOISE.search(done.stderr), done.stderr
    return f"{problem}\n{hint}"


def locked(folder: Path) -> None:
    """Take away the right to write in a folder and all below, links left alone."""
    for place, _, names in os.walk(folder, topdown=False):
        for name in names:
            if not os.path.islink(os.path.join(place, name)):
                os.chmod(os.path.join(place, name), os.stat(os.path.join(place, name)).st_mode & ~0o222)
        os.chmod(place, 0o555)


def unlocked(folder: Path) -> None:
    for place, _, _ in os.walk(folder):
        os.chmod(place, 0o755)


@pytest.fixture
def clone(tmp_path):
    """A clone that is not set up; to be locked at will."""
    folder = small_clone(tmp_path / "clone")
    for name in ("src", "convert", "tests", "bench"):
        (folder / name).mkdir()
    yield folder
    unlocked(folder)


@pytest.fixture
def trained(tmp_path_factory, tmp_path):
    """A clone that is set up and has learned the starter of a few rows, dense; in an odd place."""

    def make(folder: Path) -> None:
        place = working_clone(folder / ODD)
        small_starter(place)
        for recipe in (place / "configs/starter").glob("*.yaml"):
            with recipe.open("a") as file:
                file.write("steps: 3\n")
        for step in ("pretrain sft tool_sft", "convert"):
            done = asked(place, step, OMP_NUM_THREADS="1")
            assert done.returncode == 0, done.stderr

    yield made_once(tmp_path_factory, "trained", make) / ODD


def test_every_step_is_asked_for_here():
    assert set(LAUNCHERS) == set(WORDS)


@pytest.mark.parametrize("name", [*LAUNCHERS, "run_all"])
def test_an_old_bash_is_told_so_by_every_step_and_by_nothing_else(clone, name):
    library = clone / "launch/lib.sh"
    library.write_text(library.read_text(encoding="utf-8").replace("< 404", "< 9904"), encoding="utf-8")
    script = "run_all.sh" if name == "run_all" else f"launch/{name}.sh"
    done = call("bash", script, cwd=clone)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"error: this is bash .*\n  try: .*\n", done.stderr)


@needs_powers
@pytest.mark.parametrize("name", MAKING)
def test_a_clone_that_cannot_be_written_is_told_so_by_every_step_that_would(clone, name):
    locked(clone)
    told = in_two_lines(asked(clone, WORDS[name], *POWERLESS, ACCELERATOR="cpu"))
    assert "cannot be written" in told or "no finished weights" in told


@needs_powers
@pytest.mark.parametrize("name", ["doctor", "status", "logs", "stop", "clean"])
def test_steps_that_only_look_work_in_a_clone_that_cannot_be_written(clone, name):
    locked(clone)
    done = asked(clone, WORDS[name], *POWERLESS)
    assert not NOISE.search(done.stderr), done.stderr
    if done.returncode != 0 and name != "doctor":
        in_two_lines(done)


@pytest.mark.parametrize("gone", ["HOME", "TERM", "USER", "SHELL"])
@pytest.mark.parametrize(
    "name", ["doctor", "status", "stop", "setup --dry-run", "pretrain --dry-run", "--help"]
)
def test_what_the_environment_lacks_is_not_missed(clone, name, gone):
    done = asked(clone, name, "env", f"--unset={gone}", ACCELERATOR="cpu")
    assert done.returncode in ((0, 1, 2) if name == "doctor" else (0,)), done.stderr
    assert not NOISE.search(done.stderr), done.stderr


@pytest.mark.parametrize("name", ["--help", "doctor", "setup --dry-run", "pretrain --dry-run"])
def test_closed_ends_of_pipes_and_no_standard_input_are_borne(clone, name):
    code = f"exec 0<&-; bash run_all.sh {name}"
    done = call("bash", "-c", code, cwd=clone, ACCELERATOR="cpu")
    assert not NOISE.search(done.stderr), done.stderr
    assert done.returncode == asked(clone, name, ACCELERATOR="cpu").returncode


@pytest.mark.parametrize("locale", ["C", "POSIX", "zh_CN.UTF-8", "no_SUCH.locale"])
def test_any_locale_will_do(tmp_path, locale):
    place = small_clone(tmp_path / ODD)
    done = call("bash", "run_all.sh", "--dry-run", "setup", cwd=place, LANG=locale, ACCELERATOR="cpu")
    assert done.returncode == 0, done.stderr
    assert ("本机" in done.stderr) == locale.startswith("zh")


@pytest.mark.parametrize(
    "words",
    ["--help", "setup --dry-run", "serve --dry-run", "--use-moe pretrain sft --dry-run", "status", "doctor"],
)
def test_an_odd_path_changes_nothing(tmp_path, words):
    plain, odd = small_clone(tmp_path / "plain"), small_clone(tmp_path / ODD)
    there, here = (asked(place, words, ACCELERATOR="cpu") for place in (odd, plain))
    assert there.returncode == here.returncode
    if words not in ("doctor", "setup --dry-run"):  # which tell what a blank in a path costs
        assert there.stdout.replace(str(odd), str(plain)) == here.stdout


@needs_powers
def test_leftovers_of_somebody_else_are_told_with_what_removes_them(tmp_path):
    """Such as root's, of a container that once ran without a user of its own."""
    clone = working_clone(tmp_path / "clone")
    small_starter(clone)
    for name in ("out", "runs"):
        (clone / name).mkdir()
        locked(clone / name)
    told = in_two_lines(asked(clone, "pretrain", *POWERLESS, OMP_NUM_THREADS="1"))
    assert "runs" in told or "out" in told
    unlocked(clone)


@pytest.mark.slow
@needs_powers
@pytest.mark.parametrize(
    "name", sorted(set(WORDS) - {"setup", "serve", "vllm", "bench", "build", "bundle", "test"})
)
def test_what_is_trained_can_be_used_though_nothing_can_be_written(trained, name):
    locked(trained)
    try:
        done = asked(trained, WORDS[name], *POWERLESS, OMP_NUM_THREADS="1")
    finally:
        unlocked(trained)
    if name in ("chat", "eval", "shell", "status", "stop"):
        assert done.returncode == 0, done.stderr
    if done.returncode != 0 and name != "doctor":
        in_two_lines(done)


@pytest.mark.slow
@pytest.mark.parametrize("gone", ["HOME", "PATH_TO_NOWHERE"])
def test_training_and_talking_need_no_home(trained, tmp_path, gone):
    before = ["env", "--unset=HOME"] if gone == "HOME" else ["env", "HOME=/nonexistent"]
    run = f"run_dir={tmp_path}/run out={tmp_path}/out"
    data = "data.train=data/starter/pretrain.jsonl"
    for words in (f"train pretrain model=tiny steps=2 {data} {run} compile=true", WORDS["chat"]):
        done = asked(trained, words, *before)
        assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_files_with_odd_names_are_read(trained, tmp_path):
    folder = tmp_path / ODD
    folder.mkdir()
    shutil.copy(trained / "data/starter/pretrain.jsonl", folder / "语 料=1.jsonl")
    file = str(folder / "语 料=1.jsonl")
    weights = str(folder / "出 口/pretrain_128")
    settings = [f"data.train={file}", f"run_dir={folder}/运 行", f"out={folder}/出 口"]
    for words in (
        ["data", "check", file],
        ["tokenizer", "train", "--text", file, "--size", "1200", "--out", str(folder / "词 表")],
        ["train", "pretrain", "model=tiny", "steps=2", *settings],
        ["convert", "--weight", weights],
        ["eval", "--weight", weights, "perplexity", "--data", file],
    ):  # fmt: skip
        done = call("bash", "run_all.sh", *words, cwd=trained, OMP_NUM_THREADS="1")
        assert done.returncode == 0, done.stderr
    assert Path(f"{weights}-hf/serve.json").exists() and "词 表" in made(folder)


@pytest.mark.slow
@pytest.mark.skipif(not has("unshare"), reason="no unshare on this host")
def test_without_a_network_what_is_here_works_and_what_is_not_is_told(trained, tmp_path):
    for words in (
        "data check data/starter/sft.jsonl",
        "chat --prompt hello",
        "status",
        "eval tools --limit 2",
    ):
        done = asked(trained, words, *NO_NETWORK, OMP_NUM_THREADS="1")
        assert done.returncode == 0, done.stderr
    bare = small_clone(tmp_path / "bare")
    done = asked(
        bare, "setup", *NO_NETWORK, PIP_CONFIG_FILE="/dev/null", PIP_NO_CACHE_DIR="1", ACCELERATOR="cpu"
    )
    assert "--offline" in in_two_lines(done) or "--mirror" in done.stderr
    asked_again = asked(bare, "setup --offline", *NO_NETWORK, PIP_CONFIG_FILE="/dev/null", ACCELERATOR="cpu")
    assert "wheels/" in in_two_lines(asked_again)


FUNCTIONS = re.findall(r"^(\w+)\(\) \{", (ROOT / "launch/lib.sh").read_text(encoding="utf-8"), re.MULTILINE)


def failure(clone: Path) -> str:
    """What the tests of the shell say there when they fail; nothing when they pass."""
    tests = sorted(map(str, clone.glob("tests/test_shell*.py")))
    words = [sys.executable, "-m", "pytest", "-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(words, cwd=clone, env=CLEAN, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stdout
    return done.stdout if done.returncode else ""


@pytest.fixture(scope="module")
def copy():
    """All of this clone that git knows, elsewhere, where other users may look too."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.check_output(listed, cwd=ROOT, text=True).splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.slow
def test_every_function_of_the_library_is_tested(copy):
    """With any one of them doing nothing some test fails, and with none of them none does."""
    library = copy / "launch/lib.sh"
    text = library.read_text(encoding="utf-8")
    assert failure(copy) == ""
    untested = []
    for function in FUNCTIONS:
        library.write_text(f"{text}\n{function}() {{ :; }}\n", encoding="utf-8")
        if not failure(copy):
            untested.append(function)
    assert untested == []
