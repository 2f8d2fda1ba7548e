"""configs/failures.yaml as bash and Python read it, and `explained`, which tells of it on a failure."""

import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from danlu.base import config, log
from danlu.cli import COMMANDS
from danlu.device import failures
from danlu.stages import find, load_stage
from shell import CLEAN, ROOT, bash, said, small_clone

KEYS = {"pattern", "sample", "cause", "cause_zh", "next", "next_zh", "from"}
MAKERS = {
    "cann",
    "hccl",
    "torch_npu",
    "nccl",
    "cuda",
    "torch",
    "vllm",
    "docker",
    "hub",
    "network",
    "cluster",
    "host",
}
TEXT = (ROOT / "configs/failures.yaml").read_text(encoding="utf-8")
SECTIONS = yaml.safe_load(TEXT)
SAMPLES = {name: texts["sample"] for name, texts in SECTIONS.items()}
INNOCENT = (ROOT / "tests/launch/innocent.txt").read_text(encoding="utf-8").splitlines()
LIBRARIES = "set -Eeuo pipefail; source launch/lib.sh; source launch/explain.sh"
PATIENCE = 30.0


def explain_in_bash(
    tmp_path: Path, text: str | bytes, language: str = "en"
) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "a log.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return bash(f"source launch/explain.sh; explain {shlex.quote(str(path))}", DANLU_LANG=language)


def told(text: str, language: str = "en") -> str:
    """What Python finds in a log, as bash says it."""
    note, attempt, times = (
        ("提示", "试试", "（{} 次）") if language == "zh" else ("note", "try", " ({} times)")
    )
    said = ""
    for found in failures.explain(failures.lines(text)):
        often = times.format(found.count) if found.count > 1 else ""
        said += f"{note}: {found.failure.cause(language)} [{found.failure.name}]{often}\n"
        said += f"  | {found.line[:200]}\n  {attempt}: {found.failure.next(language)}\n"
    return said


def test_there_are_many_from_everywhere():
    assert len(SECTIONS) >= 60
    assert {texts["from"] for texts in SECTIONS.values()} == MAKERS


def test_each_says_everything_in_both_languages():
    for name, texts in SECTIONS.items():
        assert set(texts) - {"vague"} == KEYS, name
        for key in ("cause", "next"):
            assert texts[key].isascii(), name
            chinese = texts[f"{key}_zh"]
            assert re.search(r"[\u4e00-\u9fff]", chinese) or chinese == texts[key], name


def test_bash_reads_what_yaml_reads():
    lines = said(
        "source launch/explain.sh; read_failures; printf '%s\\n' \"${FAILURES[@]}\"; echo --"
        '; for key in "${!FAILURE[@]}"; do printf "%s=%s\\n" "$key" "${FAILURE[$key]}"; done'
    )
    names, _, pairs = lines.partition("\n--\n")
    assert names.splitlines() == list(SECTIONS)
    expected = {f"{name} {key}": text for name, texts in SECTIONS.items() for key, text in texts.items()}
    assert dict(line.split("=", 1) for line in pairs.splitlines()) == expected


def test_a_sample_is_matched_by_its_own_pattern_alone():
    matched = {
        name: [other for other, texts in SECTIONS.items() if re.search(texts["pattern"], sample)]
        for name, sample in SAMPLES.items()
    }
    assert matched == {name: [name] for name in SECTIONS}


def test_patterns_mean_the_same_to_grep_bash_and_python():
    """A class that POSIX does not know; a backslash inside brackets, itself to POSIX; Python's own forms."""
    elsewhere = re.compile(r"\\[A-Za-z0-9]|(?<!\\)\[[^]]*\\|\{\d|\(\?|[*+?]\?")
    assert [name for name, texts in SECTIONS.items() if elsewhere.search(texts["pattern"])] == []


def test_bash_and_python_find_the_same_as_often_in_the_same_order(tmp_path):
    samples = [SAMPLES[name] for name in sorted(SAMPLES)]
    text = "\n".join([*INNOCENT, *samples, *INNOCENT, *samples[::3], "  1%\r 50%\rCUDA out of memory"])
    found = failures.explain(failures.lines(text))
    assert sum(one.count for one in found) == len(samples) + len(samples[::3]) + 1
    assert [one.failure.vague for one in found] == sorted(one.failure.vague for one in found)
    for language in ("en", "zh"):
        done = explain_in_bash(tmp_path, text, language)
        assert (done.returncode, done.stdout) == (0, "")
        assert done.stderr == told(text, language)


def test_ordinary_logs_tell_of_no_failure(tmp_path):
    assert len(INNOCENT) > 80
    assert [(found.failure.name, found.line) for found in failures.explain(INNOCENT)] == []
    done = explain_in_bash(tmp_path, "\n".join(INNOCENT))
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_the_reason_is_told_before_that_there_was_one(tmp_path):
    lines = [SAMPLES["torch_npu_err02200"], SAMPLES["hccl_ej0001"], SAMPLES["child_failed"]]
    names = [found.failure.name for found in failures.explain(lines)]
    assert names == ["hccl_ej0001", "torch_npu_err02200", "child_failed"]


REAL = {
    "address_in_use": "import socket as s; a = s.create_server(('', 0)); s.socket().bind(a.getsockname())",
    "cann_library_missing": "import ctypes; ctypes.CDLL('libhccl.so')",
    "network_name": "import socket; socket.create_connection(('no-such-host.invalid', 80))",
    "too_many_files": "import os; [os.dup(0) for _ in iter(int, 1)]",
    "weights_broken": "import safetensors.torch as s; s.load(b'version https://git-lfs.github.com/spec/v1')",
    "torch_npu_missing": "import torch_npu",
    "vllm_missing": "import vllm",
    "permission": "raise PermissionError(13, 'Permission denied', 'out')",
    "disk_full": "import os; os.write(os.open('/dev/full', os.O_WRONLY), b'x')",
}


@pytest.mark.parametrize("name", REAL)
def test_what_is_really_printed_here_is_known(name):
    done = subprocess.run([sys.executable, "-c", REAL[name]], capture_output=True, text=True)
    assert done.returncode == 1
    assert [one.failure.name for one in failures.explain(failures.lines(done.stderr))] == [name]


def test_a_log_need_not_be_text(tmp_path):
    text = (
        b"\xff\xfe\x00 \x1b[31mRuntimeError: No CUDA \x1b[0mGPUs are available\x1b[0m\x00\n\xe4\xb8\n"
        + b"x" * 100_000
    )
    done = explain_in_bash(tmp_path, text)
    assert done.returncode == 0
    assert done.stderr.startswith(f"note: {SECTIONS['cuda_no_device']['cause']} [cuda_no_device]\n")
    found = failures.explain(failures.lines(text.decode(errors="replace")))
    assert [(one.failure.name, one.number) for one in found] == [("cuda_no_device", 2)]


@pytest.mark.parametrize(("language", "name"), [("en", "failures.md"), ("zh", "failures.zh-CN.md")])
def test_all_are_documented(language, name):
    document = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert document.endswith(failures.table(language)), f"python -m danlu.device.failures {language}"


def remedies() -> list[str]:
    return [texts[key] for texts in SECTIONS.values() for key in ("next", "next_zh")]


def test_remedies_name_steps_and_options_that_are_there():
    shown = re.compile(r"bash run_all\.sh ([a-z_]+)((?: --[a-z-]+(?: [a-z]+)?)*)")
    named = {match.groups() for text in remedies() for match in shown.finditer(text)}
    assert ("setup", " --device ascend") in named and len(named) > 8
    tried = "".join(
        f"script=$(launcher {step}); [[ -n $script ]] || echo no {step}\n"
        + "".join(
            f"knows $script {option} || echo no {step} {option}\n" for option in re.findall(r"--\S+", words)
        )
        for step, words in named
    )
    assert said(tried) == ""


def test_remedies_name_commands_that_are_there():
    named = {word for text in remedies() for word in re.findall(r"(?<![\w./-])danlu ([a-z]+)", text)}
    assert named and named <= set(COMMANDS)


def test_remedies_name_settings_that_are_there():
    named = {setting for text in remedies() for setting in re.findall(r"--set ([a-z_.]+=\w+)", text)}
    assert named
    path, stage = find("pretrain")
    config.load(load_stage(stage).Config, path, sorted(named))


# `explained`: what it leaves as it is, and what it adds.


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    return small_clone(tmp_path_factory.mktemp("a clone"))


def explained(clone: Path, code: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """Run a piece of bash as a command that `explained` watches."""
    script = f"{LIBRARIES}; explained bash -c {shlex.quote(code)}"
    return subprocess.run(
        ["bash", "-c", script], cwd=clone, env=CLEAN | env, input=stdin, capture_output=True, text=True
    )


def test_a_command_that_succeeds_is_left_alone(clone, tmp_path):
    done = explained(clone, "cat; echo complaint >&2", "question", TMPDIR=str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "question", "complaint\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status", [1, 3, 7, 127, 255])
def test_the_status_of_a_failure_is_kept(clone, status):
    done = explained(clone, f"echo out; exit {status}")
    assert (done.returncode, done.stdout) == (status, "out\n")
    assert done.stderr.startswith(f"error: bash ended with {status}; its last lines:\n  | out\n")


@pytest.mark.parametrize("status", [2, 130, 143])
def test_what_has_been_told_or_was_wanted_is_not_explained(clone, status):
    done = explained(clone, f"echo 'CUDA out of memory' >&2; exit {status}")
    assert (done.returncode, done.stderr) == (status, "CUDA out of memory\n")


def test_known_words_on_either_stream_are_explained_once(clone):
    done = explained(clone, "echo 'EL0005: busy'; echo 'CUDA out of memory' >&2; exit 1", DANLU_LANG="zh")
    assert done.stdout == "EL0005: busy\n"
    assert done.stderr.startswith("CUDA out of memory\n错误: bash 以 1 结束")
    for name in ("cann_el0005", "device_out_of_memory"):
        assert done.stderr.count(f"提示: {SECTIONS[name]['cause_zh']} [{name}]\n") == 1


def test_a_signal_that_ended_it_is_explained(clone):
    done = explained(clone, "kill -KILL $$")
    assert done.returncode == 137
    assert f"{SECTIONS['killed']['cause']} [killed]" in done.stderr
    assert "Killed" not in done.stderr


def test_the_last_lines_are_kept_and_fewer_shown(clone):
    # All of it on one stream: two have no order between them.
    done = explained(clone, "seq 1 1000; echo '  leaked'; printf '%0300d\\n' 7; exit 1")
    shown = [line for line in done.stderr.splitlines() if line.startswith("  | ")]
    assert len(shown) == 15 and max(map(len, shown)) == 4 + 200
    assert not any("leaked" in line for line in shown)
    kept = (clone / "out/logs/failed.log").read_text(encoding="utf-8").splitlines()
    assert len(kept) == 201 and kept[-1] == "exit code 1" and "900" in kept


def test_where_nothing_can_be_kept_it_is_still_explained(clone, tmp_path):
    other = small_clone(tmp_path / "other")
    (other / "out").touch()  # no folder
    done = explained(other, "echo 'CUDA out of memory'; exit 1")
    assert "[device_out_of_memory]" in done.stderr and "failed.log" not in done.stderr


def test_what_it_leaves_running_is_not_waited_for(clone):
    began = time.monotonic()
    script = f"{LIBRARIES}; explained bash -c 'sleep 60 & echo $!; exit 3'"
    with subprocess.Popen(
        ["bash", "-c", script], cwd=clone, env=CLEAN, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        sleeper = int(process.stdout.readline())
        assert process.wait() == 3
        os.kill(sleeper, signal.SIGKILL)
    assert time.monotonic() - began < PATIENCE


def test_a_dry_run_runs_nothing(clone):
    done = explained(clone, "touch never", DRY_RUN="1")
    assert done.stdout.startswith("bash -c touch") and not (clone / "never").exists()


LISTENER = """
import os, signal, sys, time
heard = []
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, frame: heard.append(number))
print("ready", *map(os.isatty, range(3)), os.environ.get("DANLU_TERMINAL"), flush=True)
until = time.monotonic() + 20
while not heard and time.monotonic() < until:
    time.sleep(0.01)
time.sleep(0.2)
print("heard", heard, flush=True)
sys.exit(5)
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("whom", ["it alone", "its group"])
def test_a_signal_is_heard_once(clone, number, status, whom):
    script = f"{LIBRARIES}; explained {shlex.quote(sys.executable)} -c {shlex.quote(LISTENER)}"
    process = subprocess.Popen(
        ["bash", "-c", script],
        cwd=clone,
        env=CLEAN,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline() == "ready False False False None\n"
    (os.killpg if whom == "its group" else os.kill)(process.pid, number)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (status, f"heard [{int(number)}]\n", "")


def on_terminal(clone: Path, code: str, keys: bytes = b"") -> tuple[str, int]:
    """What is seen on a terminal where `code` runs, and its status; keys are pressed once it is ready."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(clone)
        os.execvpe("bash", ["bash", "-c", f"{LIBRARIES}; {code}"], CLEAN)
    seen = b""
    while True:
        try:
            piece = os.read(terminal, 4096)
        except OSError:
            break
        if not piece:
            break
        seen += piece
        if keys and re.search(rb"ready.*\n", seen):
            os.write(terminal, keys)
            keys = b""
    os.close(terminal)
    return seen.decode().replace("\r\n", "\n"), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_on_a_terminal_it_keeps_the_keyboard_and_the_screen(clone):
    code = f"explained {shlex.quote(sys.executable)} -c {shlex.quote(LISTENER)}"
    seen, status = on_terminal(clone, code, b"\x03")
    assert seen.startswith("ready True True False 1\n")
    assert "heard [2]\n" in seen
    assert status in (5, 130)  # the terminal told it, not we


def test_on_a_terminal_bars_are_drawn_through_it(clone):
    draw = r"""printf '1%%\r2%%\r' >&2; read -r word; echo "$word" >&2"""
    code = f"explained bash -c {shlex.quote(draw)}"
    seen, status = on_terminal(clone, f"echo ready; {code}", b"typed\n")
    assert status == 0 and "1%\r2%\r" in seen and seen.endswith("typed\n")


def test_whether_somebody_sees_what_is_drawn(monkeypatch, capsys):
    assert not log.attended()
    monkeypatch.setenv("DANLU_TERMINAL", "1")
    assert log.attended() and not log.attended(sys.stdout)


ENGINE = f"""#!/usr/bin/env bash
case $1 in
  --version) echo 'Docker version 28.2.2, build 0' ;;
  run) echo '{SAMPLES["docker_no_gpu_runtime"]}' >&2 && exit 125 ;;
esac
"""


def test_a_container_that_fails_is_explained_on_a_terminal_too(clone, tmp_path, monkeypatch):
    engine = tmp_path / "docker"
    engine.write_text(ENGINE, encoding="utf-8")
    engine.chmod(0o755)
    monkeypatch.setitem(CLEAN, "DANLU_CONTAINER_ENGINE", str(engine))
    monkeypatch.setitem(CLEAN, "DANLU_IMAGE", "an/image")
    code = "source launch/engine.sh; OPT[runtime]=docker OPT[device]=cpu; engine base -m danlu train pretrain"
    piped = subprocess.run(
        ["bash", "-c", f"{LIBRARIES}; {code}"], cwd=clone, env=CLEAN, capture_output=True, text=True
    )
    seen, status = on_terminal(clone, code)
    assert piped.returncode == status == 125
    for text in (piped.stderr, seen):
        assert f"note: {SECTIONS['docker_no_gpu_runtime']['cause']} [docker_no_gpu_runtime]\n" in text
