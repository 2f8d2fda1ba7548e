"""What every step would run on an Ascend, a CUDA and a plain host, in a container and not, written down.

    python tests/launch/dry_runs.py      writes tests/launch/dry_runs.txt anew, to be read before it is kept

A clone that looks set up, with a few finished weights, runs each step with `--dry-run`; what it prints goes
into the file, with CLONE, UID and the like for what differs between two machines. What containers of a kind
are told alike is written once, under `# containers`: elsewhere it is [common], [all cuda], [cuda python].
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "src")]

from launch import roots
from shell import CLEAN, ROOT, call, said, small_clone

GOLDEN = Path(__file__).with_suffix(".txt")
# By kind: a host's root, and what `--device` calls it.
HOSTS: dict[str, Callable[[Path], dict[str, str]]] = {
    "ascend": lambda root: roots.ascend(root, 8, "910B3"),
    "cuda": lambda root: roots.nvidia(root, 4),
    "cpu": roots.plain,
}
RUNTIMES = ("host", "docker")
# A step's words where it wants some or where some show more; a step that is not here is run by its name.
WORDS = {
    "bench": "bench moe --json",
    "bundle": "bundle verify dist/bundle",
    "clean": "clean caches --yes",
    "convert": "convert --weight pretrain",
    "data": "data check corpus.jsonl",
    "eval": "eval --weight full_sft tools --limit 4",
    "logs": "logs out/logs/failed.log",
    "chat": "chat --weight full_sft --prompt hi",
    "pretrain": "pretrain --devices 0-1 --set data.train=corpus.jsonl",
    "sft": "sft --use-moe --set data.train=chats.jsonl",
    "train": "train pretrain data.train=corpus.jsonl --dtype float32",
    "serve": "serve --weight full_sft --port 9000",
    "vllm": "vllm --weight full_sft --max-model-len 512",
    "shell": "shell danlu info",
    "test": "test tests/base -k paths",
    "tokenizer": "tokenizer report my-words",
}
WIDTH = 116
# Steps that know no container, or no device: the word would be refused.
NOT_KNOWN = re.compile(r"(--\w+) means nothing to")
# It prints what it finds, not what it would run; tests/launch/test_doctor.py shows that.
LEFT_OUT = {"doctor"}


def steps() -> list[str]:
    """Every launcher and every stage, in the order of the alphabet."""
    launchers = {path.stem for path in ROOT.glob("launch/*.sh") if path.stat().st_mode & 0o100}
    return sorted((launchers | set(said("stages").split())) - LEFT_OUT)


def make_clone(folder: Path) -> Path:
    """A clone that looks set up, with finished weights and an export."""
    clone = small_clone(folder)
    python = clone / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.symlink_to(shutil.which("python3") or sys.executable)
    (clone / ".venv/clone").write_text(f"{clone}\n", encoding="utf-8")
    parts = "base convert data serve test"
    said(f"for part in {parts}; do KIND=cpu mark_ready .venv $part; done", clone)
    for name in ("pretrain_512", "full_sft_512", "pretrain_512_moe"):
        (clone / "out" / name).mkdir(parents=True)
        (clone / "out" / name / "config.json").write_text("{}")
    for name in ("corpus.jsonl", "chats.jsonl"):
        (clone / name).touch()
    (clone / "out/logs").mkdir()
    (clone / "out/logs/failed.log").write_text("it ended\n", encoding="utf-8")
    for path in ROOT.glob("Dockerfile.*"):
        shutil.copy2(path, clone)
    shutil.copytree(ROOT / "bench", clone / "bench", ignore=shutil.ignore_patterns("__pycache__"))
    return clone


def dry_run(clone: Path, root: Path, names: dict[str, str], step: str, device: str, runtime: str) -> str:
    """What a step would run on such a host; nothing where it knows no containers and is asked for one."""
    env = {"HOST_ROOT": str(root), "DANLU_STATE": f"{root}/state", "DANLU_CONTAINER_ENGINE": "docker"}
    (clone / ".venv/kind").write_text({"ascend": "npu"}.get(device, device) + "\n", encoding="utf-8")
    words = f"run_all.sh --dry-run --device {device} --runtime {runtime} {WORDS.get(step, step)}"
    if device == "cpu":
        words = re.sub(r" --devices \S+", "", words)
    while True:
        done = call("env", *unset(), "bash", *words.split(), cwd=clone, **env)
        refused = NOT_KNOWN.search(done.stderr)
        if done.returncode != 2 or refused is None:
            break
        if refused[1] == "--runtime" and runtime == "docker":
            return ""
        words = re.sub(rf" {refused[1]} \S+", "", words)
    assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
    if "--device" not in words and device != "cpu":
        return ""  # alike everywhere
    shown = words.removeprefix("run_all.sh --dry-run ")
    lines = shortened(neutral(done.stdout, clone, root), names).splitlines() or ["(nothing)"]
    return f"## {shown}\n" + "".join(f"{folded(line)}\n" for line in lines)


def unset() -> list[str]:
    """What keeps settings of whoever runs this from containers, as words of env."""
    passed = tuple(said("matrix container pass").split())
    return [word for name in CLEAN if name.startswith(passed) for word in ("-u", name)]


def neutral(text: str, clone: Path, root: Path) -> str:
    """The same text on whatever machine it was said."""
    changes = [
        (re.escape(str(clone)), "CLONE"),
        (re.escape(str(root)), "ROOT"),
        (r"danlu-([a-z]+)-\d+", r"danlu-\1-PID"),
        (rf"--user {os.getuid()}:{os.getgid()}\b", "--user UID:GID"),
        (r"PATH=CLONE/.venv/bin:\S+", "PATH=CLONE/.venv/bin:PATH"),
        (r" +$", ""),
    ]
    for pattern, word in changes:
        text = re.sub(pattern, word, text, flags=re.MULTILINE)
    return text


def blocks(clone: Path, hosts: dict[str, Path]) -> dict[str, str]:
    """What containers are told alike: all of them, those with devices, and how Python begins in each kind."""
    found: dict[str, str] = {}
    for device in ("cpu", "ascend", "cuda"):
        env = {"HOST_ROOT": str(hosts[device]), "DANLU_CONTAINER_ENGINE": "docker", "DRY_RUN": "1"}
        code = "source launch/lib.sh; source launch/engine.sh; OPT[runtime]=docker; engine base PYTHON"
        done = call("env", *unset(), "bash", "-c", code, cwd=clone, **env)
        line = neutral(done.stdout, clone, hosts[device]).strip()
        inside = re.fullmatch(r"docker run .* --label danlu=1 (.*) --network host (.*) PYTHON", line)
        assert inside, line
        common = found.setdefault("[common]", inside[1])
        if device != "cpu":
            found[f"[all {device}]"] = inside[1].removeprefix(common).strip()
        found[f"[{device} python]"] = inside[2]
    driver = re.search(r"--device /dev/davinci_manager .* --volume \S+", found["[all ascend]"])
    assert driver
    return found | {"[ascend driver]": driver[0]}


def shortened(text: str, names: dict[str, str]) -> str:
    """The text with names for blocks."""
    for name, block in names.items():
        text = text.replace(block, name)
    return text


def expanded(text: str, names: dict[str, str]) -> str:
    """The text with blocks for names, each command on one line again."""
    text = text.replace(" \\\n   ", "")
    for name, block in names.items():
        text = text.replace(name, block)
    return text


def folded(line: str) -> str:
    """A long command over several lines, broken before options."""
    lines = [""]
    for word in re.split(r" (?=--|-m |-c |\[)", line):
        if lines[-1] and len(lines[-1]) + len(word) > WIDTH:
            lines.append("   ")
        lines[-1] += f" {word}" if lines[-1] else word
    return " \\\n".join(lines)


def golden() -> dict[str, str]:
    """The text of the golden file, by step."""
    parts = re.split(r"^# (\w+)\n", GOLDEN.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {step: text.rstrip("\n") + "\n" for step, text in zip(parts[1::2], parts[2::2])}


def of_containers(names: dict[str, str]) -> str:
    """What is written down of containers."""
    return "\n".join(f"{name}\n{folded(block)}\n" for name, block in names.items())


def named_blocks() -> dict[str, str]:
    """The blocks as the golden file has them."""
    found = re.findall(r"^(\[[a-z ]+\])\n((?:.+\n)+)", golden()["containers"], re.MULTILINE)
    return {name: expanded(block.rstrip("\n"), {}) for name, block in found}


def of_step(clone: Path, hosts: dict[str, Path], names: dict[str, str], step: str) -> str:
    """All that is written down of a step."""
    runs = [
        dry_run(clone, hosts[device], names, step, device, runtime)
        for device in HOSTS
        for runtime in RUNTIMES
    ]
    return "\n".join(run for run in runs if run)


def make_hosts(folder: Path) -> dict[str, Path]:
    """The hosts' roots."""
    for device, make in HOSTS.items():
        make(folder / device)
    return {device: folder / device for device in HOSTS}


def write() -> None:
    """Write the golden file."""
    with tempfile.TemporaryDirectory() as made:
        clone, hosts = make_clone(Path(made) / "clone"), make_hosts(Path(made) / "hosts")
        names = blocks(clone, hosts)
        told = {"containers": of_containers(names)}
        told |= {step: of_step(clone, hosts, names, step) for step in steps()}
    GOLDEN.write_text("\n".join(f"# {step}\n{text}" for step, text in told.items()), encoding="utf-8")


if __name__ == "__main__":
    write()
