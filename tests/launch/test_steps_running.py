"""What runs in a clone is found, shown and ended; what is removed was named: status, stop, logs, clean."""

import json
import os
import pty
import shutil
import signal
import socket
import subprocess

import pytest

from shell import CLEAN, ROOT, call, finish, plan, problem, ready_clone, said

# A command of ours that lives until it is told to end, and says on its way what told it.
LIVES = """
import signal, sys, time
def heard(number, frame):
    open("heard", "a").write(signal.Signals(number).name + "\\n")
    sys.exit()
signal.signal(signal.SIGINT, heard)
open("lives", "w").close()
print("step 1,001/9,000 (11%)", flush=True)
while True: time.sleep(0.02)
"""
# What `danlu vllm status --json` tells where nothing was started, and where something was.
SERVER = {
    "name": "smith",
    "url": "http://127.0.0.1:8123",
    "server": "danlu",
    "state": "answers",
    "folder": "/x",
    "pid": 999999,
    "since": "2026-11-21 09:30:00",
    "log": "",
    "command": ["python", "-m", "danlu"],
}


@pytest.fixture
def engine(clone):
    """A module `danlu` in the clone that lives, or tells of the servers given to it."""
    package = clone / "danlu_here/danlu"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    told = clone / "servers.json"
    told.write_text("[]")
    answers = f"import sys\nif 'status' in sys.argv: print(open({str(told)!r}).read())\nelse:"
    lives = "\n".join(" " + line for line in LIVES.splitlines())
    (package / "__main__.py").write_text(f"{answers}\n{lives}\n")
    return {"PYTHONPATH": str(package.parent), "PATH": f"{clone / 'bin'}:{os.environ['PATH']}"}


@pytest.fixture
def lives(clone, engine):
    """Begin commands of ours in the clone."""
    begun = []

    def begin(*words: str) -> subprocess.Popen[bytes]:
        (clone / "lives").unlink(missing_ok=True)
        process = subprocess.Popen(
            [".venv/bin/python", "-m", *words],
            cwd=clone,
            env=CLEAN | engine,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
        )
        begun.append(process)
        while not (clone / "lives").exists():
            assert process.poll() is None
        return process

    yield begin
    for process in begun:
        process.kill()
        process.wait()


def a_run(clone, name: str, step: int, holder: int = 0, host: str = "") -> None:
    folder = clone / "runs" / name
    folder.mkdir(parents=True)
    row = {"step": step, "loss": 3.25, "lr": 1e-3, "tokens": 9, "tokens_per_s": 1234.567, "time": 1.5}
    (folder / "metrics.jsonl").write_text(json.dumps({"step": 0}) + "\n" + json.dumps(row) + "\n")
    (folder / "log.txt").write_text(f"{name} says\nhello\n")
    if holder:
        (folder / ".lock").write_text(f"process {holder} on {host or socket.gethostname()}\n")


def run(clone, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return call("bash", "run_all.sh", *words, cwd=clone, **env)


def told(clone, *words: str, **env: str) -> str:
    done = run(clone, *words, **env)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_status_of_a_clone_in_which_nothing_runs(clone, engine):
    text = told(clone, "status", **engine)
    assert (
        "none in the background" in text and "Training runs\n  none" in text and "containers\n  none" in text
    )
    assert ".venv                  base convert serve test" in text
    shutil.rmtree(clone / ".venv")
    assert "none yet: bash run_all.sh setup" in told(clone, "status")
    assert "尚无：bash run_all.sh setup" in told(clone, "status", "--lang", "zh")


def test_status_tells_of_processes_runs_and_what_they_last_measured(clone, engine, lives):
    trains = lives("danlu", "train", "sft", "data.train=a b")
    a_run(clone, "sft_512/20261121-093000", 12, holder=trains.pid)
    a_run(clone, "elsewhere", 3, holder=trains.pid, host="another-host")
    a_run(clone, "mine", 40)
    finish(clone, "full_sft_512", run="runs/mine")
    later = {"run_dir": "runs/later", "from": {"run_dir": "runs/mine"}}
    (finish(clone, "dpo_512") / "run.json").write_text(json.dumps(later, indent=2))
    text = told(clone, "status", **engine)
    assert f"process   {trains.pid:<8} danlu train sft data.train=a b" in text
    assert (
        "runs/sft_512/20261121-093000                 trains\n    step 12  loss 3.25  tokens/s 1234.56"
        in text
    )
    assert "runs/mine                                    finished, in out/full_sft_512" in text
    assert "runs/elsewhere                               stopped" in text


def test_status_shows_the_newest_runs(clone, engine):
    for number in range(7):
        a_run(clone, f"run{number}", number)
        os.utime(clone / f"runs/run{number}/metrics.jsonl", (number, number))
    text = told(clone, "status", **engine)
    assert "runs/run6" in text and "runs/run1" not in text and "older ones: --all" in text
    assert "runs/run0" in told(clone, "status", "--all", **engine)


def test_a_process_of_another_clone_is_none_of_ours(clone, engine, lives, tmp_path):
    other = ready_clone(tmp_path / "other")
    process = lives("danlu", "train", "sft")
    assert "danlu train" not in told(other, "status", **engine)
    here = f"source launch/running.sh; works_here {process.pid} && echo yes || echo no"
    assert (said(here, clone), said(here, other)) == ("yes", "no")
    unseen = here.replace("works_here", "readlink() { return 1; }; works_here")
    assert said(unseen, clone) == "no"  # where it may not be looked into it is somebody else's
    (tmp_path / "link").symlink_to(clone)
    assert "danlu train sft" in told(tmp_path / "link", "status", **engine)


def test_an_environment_made_from_older_files_is_said_to_be(clone, engine):
    (clone / ".venv/ready-serve").write_text("0 0\n")
    assert "serve (to be brought up to date)" in told(clone, "status", **engine)
    (clone / ".venv-vllm").mkdir()
    assert ".venv-vllm             not whole" in told(clone, "status", **engine)


def test_stop_ends_the_only_thing_as_ctrl_c_would(clone, engine, lives):
    process = lives("danlu", "train", "sft")
    done = run(clone, "stop", **engine)
    assert done.returncode == 0 and f"stopping process {process.pid} danlu train sft" in done.stderr
    assert process.wait(30) == 0 and (clone / "heard").read_text() == "SIGINT\n"
    assert "nothing runs here" in run(clone, "stop", **engine).stderr


def test_stop_wants_to_know_which_and_takes_numbers_and_names(clone, engine, lives):
    first, second = lives("danlu", "train", "sft"), lives("danlu", "serve", "out/x")
    asked = run(clone, "stop", **engine)
    assert asked.returncode == 2 and "which of them?" in asked.stderr and str(second.pid) in asked.stderr
    assert "nothing here is called 'cake'" in run(clone, "stop", "cake", **engine).stderr
    assert run(clone, "stop", "serve", **engine).returncode == 0
    assert second.wait(30) == 0 and first.poll() is None
    assert run(clone, "stop", "--all", **engine).returncode == 0
    assert first.wait(30) == 0


def test_a_server_is_told_of_stopped_and_read_by_its_port_or_name(clone, engine):
    log = clone / "the log.txt"
    log.write_text("it answers\n")
    (clone / "servers.json").write_text(
        json.dumps([SERVER | {"log": str(log)}], indent=2, ensure_ascii=False)
    )
    assert "smith                      8123   answers" in told(clone, "status", **engine)
    for which in ("8123", "smith"):
        assert plan(clone, f"stop {which}", **engine) == ".venv/bin/python -m danlu vllm stop 8123"
        assert told(clone, "logs", which, **engine) == "it answers\n"
    (clone / "servers.json").write_text(json.dumps([SERVER | {"state": "has ended"}], indent=2))
    assert "nothing runs here" in run(clone, "stop", "--dry-run", **engine).stderr


DOCKER = """#!/bin/sh
echo "$@" >>"$(dirname "$0")/asked"
case "$1" in
  --version) echo Docker version 28.2.2 ;;
  ps) echo 'danlu-train-77 Up 3 minutes' ;;
  logs) echo 'torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB' ;;
esac
"""


def test_a_container_is_told_of_read_and_stopped(clone, engine):
    docker = clone / "bin/docker"
    docker.parent.mkdir()
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    assert "container danlu-train-77 Up 3 minutes" in told(clone, "status", **engine)
    assert "Tried to allocate" in told(clone, "logs", "danlu-train-77", **engine)
    assert run(clone, "stop", **engine).returncode == 0
    asked = (clone / "bin/asked").read_text()
    assert "label=danlu=1" in asked and "stop --time 60 danlu-train-77" in asked
    assert f"volume={clone}" in asked  # those of other clones are none of ours
    if (clone / "configs/failures.yaml").exists():
        done = run(clone, "logs", "danlu-train-77", "--explain", **engine)
        assert "Tried to allocate" in done.stderr and "try:" in done.stderr
        assert (clone / "out/logs/danlu-train-77.log").exists()


def test_logs_are_the_newest_or_those_of_a_run(clone, engine):
    assert "no log of 'anything' here" in problem(clone, "logs", **engine)
    for number, name in enumerate(("sft_512/20261121-093000", "sft_512/20261122-093000", "mine")):
        a_run(clone, name, 1)
        os.utime(clone / "runs" / name / "log.txt", (number, number))
    assert told(clone, "logs", **engine) == "mine says\nhello\n"
    assert told(clone, "logs", "sft_512", "--lines", "9", **engine) == "sft_512/20261122-093000 says\nhello\n"
    assert told(clone, "logs", "runs/sft_512/20261121-093000", **engine).startswith("sft_512/20261121-093000")
    assert told(clone, "logs", "runs/mine/log.txt", "--lines=1", **engine) == "hello\n"
    assert plan(clone, "logs --follow mine", **engine) == "tail -n 40 -f -- runs/mine/log.txt"
    assert "no log of 'cake' here" in problem(clone, "logs cake", **engine)
    assert "one at a time" in problem(clone, "logs a b", **engine)


def test_clean_alone_removes_nothing(clone, engine):
    finish(clone, "full_sft_512")
    text = told(clone, "clean", **engine)
    assert "outputs" in text and "environments" in text and "runs " not in text
    assert (clone / "out/full_sft_512/config.json").exists() and (clone / ".venv").exists()


def test_clean_removes_what_was_named_and_nothing_else(clone, engine):
    finish(clone, "full_sft_512")
    a_run(clone, "mine", 1)
    (clone / "data/starter").mkdir(parents=True)
    (clone / "data/mine.jsonl").touch()
    (clone / ".pytest_cache").mkdir()
    (clone / "src/__pycache__").mkdir(parents=True)
    assert run(clone, "clean", "caches", "--yes", **engine).returncode == 0
    gone = (".pytest_cache", "src/__pycache__", "data/starter")
    assert not any((clone / name).exists() for name in gone)
    assert run(clone, "clean", "runs", "environments", "--yes", **engine).returncode == 0
    assert not (clone / "runs").exists() and not (clone / ".venv").exists()
    assert (clone / "out/full_sft_512").exists() and (clone / "data/mine.jsonl").exists()
    assert "nothing of that is here" in run(clone, "clean", "runs", "--yes").stderr


def test_clean_finds_what_a_stopped_one_has_left(clone, engine):
    (clone / ".out.removing-77/half").mkdir(parents=True)
    assert "outputs" in told(clone, "clean", **engine)
    assert run(clone, "clean", "outputs", "--yes", **engine).returncode == 0
    assert not (clone / ".out.removing-77").exists()


def test_clean_asks_and_takes_no_for_an_answer(clone, engine):
    finish(clone, "full_sft_512")
    assert "nobody here to ask" in problem(clone, "clean outputs", **engine)
    assert "'cake' cannot be cleaned" in problem(clone, "clean cake --yes", **engine)
    aside, gone = plan(clone, "clean outputs", **engine).splitlines()
    assert aside.startswith("mv -- out ./.out.removing-") and gone == f"rm -rf -- {aside.split()[-1]}"
    for answer, kept in (("n", True), ("", True), ("y", False)):
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            ["bash", "run_all.sh", "clean", "outputs"], cwd=clone, env=CLEAN | engine, stdin=theirs,
            stdout=theirs, stderr=theirs,
        )  # fmt: skip
        os.write(ours, f"{answer}\n".encode())
        assert process.wait(60) == 0
        os.close(theirs)
        os.close(ours)
        assert (clone / "out").exists() == kept


def test_clean_waits_for_nobody_that_still_runs(clone, engine, lives):
    lives("danlu", "train", "sft")
    (clone / "runs").mkdir()
    assert "something of this clone runs: process" in problem(clone, "clean runs --yes", **engine)
    assert (clone / "runs").exists()


def test_shell_is_where_the_engine_runs(clone, tmp_path):
    (clone / ".venv/bin/which-python").write_text('#!/bin/sh\necho "$VIRTUAL_ENV"\n')
    (clone / ".venv/bin/which-python").chmod(0o755)
    assert told(clone, "shell", "which-python").strip() == f"{clone}/.venv"
    assert plan(clone, "shell", SHELL="/bin/zsh").endswith(" /bin/zsh")
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidia0").touch()
    (tmp_path / "dev/nvidia1").touch()
    host = {"HOST_ROOT": str(tmp_path)}
    assert " CUDA_VISIBLE_DEVICES=1 " in plan(clone, "shell --devices 1 env", **host)
    assert plan(clone, "shell --runtime docker --device cpu nproc").endswith(" nproc")


def test_processes_are_read_without_proc_too(clone, lives):
    process = lives("danlu", "train", "sft")
    code = "source launch/running.sh; all_processes() { ps -axo pid=,ppid=,command=; }; processes"
    if shutil.which("ps"):
        assert f"{process.pid} danlu train sft" in said(code, clone)


@pytest.mark.parametrize(
    "words",
    [
        "--detach --set data.train=a.jsonl pretrain serve",
        "train pretrain data.train=a.jsonl --detach",
        "--detach pretrain",
    ],
)
def test_a_detached_story_that_trains_goes_on_and_is_found_shown_and_ended(clone, engine, words):
    """With `stop`, training saves as after Ctrl-C, and nothing comes after it."""
    done = run(clone, *words.split(), **engine)
    assert done.returncode == 0 and "step 1,001/9,000 (11%)" in done.stderr, done.stderr
    number = done.stderr.split("run_all.sh stop ")[1].split()[0]
    story = next(line for line in told(clone, "status", **engine).splitlines() if "process" in line)
    assert story.split()[1:4] == [number, "run_all.sh", "--detached"]
    assert "step 1,001/9,000 (11%)" in told(clone, "logs", **engine)
    assert len(list((clone / "out/logs").glob("*.log"))) == 1
    told(clone, "stop", number, **engine)
    assert (clone / "heard").read_text().split() == ["SIGINT"]
    assert "containers\n  none" in told(clone, "status", **engine)


def test_what_does_not_end_is_killed_with_all_that_it_began(clone):
    code = "trap '' INT; bash -c 'trap \"\" INT; echo $$ >lives; while true; do sleep 0.1; done' & wait"
    story = subprocess.Popen(["bash", "-c", code], cwd=clone)
    while not (clone / "lives").exists():
        assert story.poll() is None
    said(f"set -Eeuo pipefail; source launch/running.sh; kill_tree {story.pid}", clone)
    assert story.wait(60) == -signal.SIGKILL
    said(f"set -Eeuo pipefail; source launch/running.sh; kill_tree {story.pid}", clone)  # gone is ended
    with pytest.raises(ProcessLookupError):
        while True:
            os.kill(int((clone / "lives").read_text()), 0)


def test_what_ends_before_it_trains_ends_here_as_it_did(clone, engine):
    done = run(clone, "--detach", "train", "nothing", **engine)
    assert done.returncode == 2 and "error: there is no stage 'nothing'" in done.stderr
    done = call("bash", "launch/train.sh", "nothing", "--detach", cwd=clone, **engine)
    assert done.returncode == 2 and "error: there is no stage 'nothing'" in done.stderr
    assert "goes on without this terminal" in done.stderr


def test_the_launchers_that_tell_and_end_need_no_environment():
    for name in ("status", "stop", "logs", "clean"):
        text = (ROOT / f"launch/{name}.sh").read_text(encoding="utf-8")
        assert "need_environment" not in text and "source launch/engine.sh" not in text
