"""The documents tell the truth: what they show is understood, slowly run, and the same in both languages."""

import json
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import pytest

from convert.__main__ import cli as converter
from danlu.base import config
from danlu.base.errors import UserError
from danlu.cli import cli
from danlu.model.config import resolve
from danlu.model.families import choose
from danlu.stages import find, load_stage
from launch import roots
from shell import ROOT, call

DOCUMENTS = [*sorted(ROOT.glob("README*.md")), *sorted(ROOT.glob("docs/*.md"))]
ENGLISH = [path for path in DOCUMENTS if not path.name.endswith(".zh-CN.md")]


def commands(path: Path) -> list[str]:
    """Every line of the bash blocks of a document, those that go on in the next line joined."""
    blocks = re.findall(r"^```bash\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def in_configs() -> list[str]:
    """The command in the first line of every configuration of a stage."""
    files = sorted([*ROOT.glob("configs/*.yaml"), *ROOT.glob("configs/starter/*.yaml")])
    first = [path.read_text(encoding="utf-8").splitlines()[0] for path in files]
    return [match[0] for line in first if (match := re.search(r"danlu train .*", line))]


SHOWN = dict.fromkeys([line for path in DOCUMENTS for line in commands(path)] + in_configs())


def danlu(*words: str) -> None:
    """Let click parse a command and the stage's configuration its settings, without doing anything."""
    given = parsed(cli, words)
    if "settings" in given:
        configured(given["stage"], given["settings"])


def configured(name: str, settings: Sequence[str]) -> Any:
    path, stage = find(name)
    return config.load(load_stage(stage).Config, path, settings)


def parsed(program: click.Group, words: Sequence[str]) -> dict[str, Any]:
    """Let click parse a command, and return what it was given."""
    group: click.Command = program
    context = click.Context(program)
    rest = list(words)
    while isinstance(group, click.Group):
        name, found, rest = group.resolve_command(context, rest)
        assert found is not None
        group = found
        context = group.make_context(name or "", rest, parent=context)
        rest = words_left(context) if isinstance(group, click.Group) else []
    return context.params


def words_left(context: click.Context) -> list[str]:
    """What a group has not read: `args` alone from click 9 on, before that two lists."""
    first = context.__dict__.get("_protected_args", [])
    return [*first, *context.args]


def torchrun(*words: str) -> None:
    from torch.distributed.run import get_args_parser

    options = get_args_parser().parse_args(list(words))
    assert options.module and options.training_script == "danlu"
    danlu(*options.training_script_args)


def bash(*words: str, **env: str) -> None:
    with tempfile.TemporaryDirectory() as root:
        if "--devices" in words:
            env |= roots.nvidia(Path(root), 8)
        done = call("bash", words[0], "--dry-run", *words[1:], **env)
    assert done.returncode == 0, done.stderr


def sbatch(*words: str) -> None:
    script = words.index("launch/slurm.sh")
    assert all(word.startswith("--") for word in words[:script:2])
    bash("run_all.sh", *words[script + 1 :])


def kubectl(*words: str) -> None:
    assert words[:2] == ("apply", "-f") and all((ROOT / file).is_file() for file in words[1:] if file != "-f")


def docker(*words: str, **env: str) -> None:
    """Compose's words: profiles and a service that are there; `train` takes a stage and its settings."""
    import yaml

    there = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
    example = (ROOT / "compose/.env.example").read_text(encoding="utf-8")
    assert all(f"\n{name}=" in example for name in env)
    assert words[0] == "compose" and {"up", "down", "run"} & set(words)
    if "--profile" in words:
        assert [words[words.index("--profile") + 1]] in [
            service.get("profiles") for service in there.values()
        ]
    if "run" in words:
        bash("run_all.sh", *words[words.index("train") :])


def convert(*words: str) -> None:
    parsed(converter, words)


def python(*words: str) -> None:
    modules = {"danlu": danlu, "convert": convert}
    assert words[0] == "-m" and words[1] in modules, words
    modules[words[1]](*words[2:])


UNDERSTOOD = {
    "danlu": danlu,
    "torchrun": torchrun,
    "bash": bash,
    "python": python,
    "sbatch": sbatch,
    "kubectl": kubectl,
    "docker": docker,
}


@pytest.mark.parametrize("line", SHOWN)
def test_every_command_shown_is_understood(line, monkeypatch):
    monkeypatch.chdir(ROOT)
    first, *words = shlex.split(line)
    env = {}
    while re.fullmatch(r"[A-Z_]+=.*", first):  # settings before a command
        env |= [first.split("=", 1)]
        first, *words = words
    assert first in UNDERSTOOD, f"teach tests/test_docs.py to check '{first}'"
    UNDERSTOOD[first](*words, **env)


@pytest.mark.parametrize("english", ENGLISH, ids=lambda path: path.name)
def test_both_languages_say_the_same(english):
    chinese = english.with_name(f"{english.stem}.zh-CN.md")
    assert commands(english) == commands(chinese)
    assert shape(english) == shape(chinese)


def shape(path: Path) -> list[str]:
    """Headings, rows of tables, pictures and numbered points, in their order."""
    return re.findall(r"^(#+ |\||```|!\[|\d\. )", path.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_what_a_document_points_at_is_there(path):
    text = path.read_text(encoding="utf-8")
    links = {link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link}
    named = set(re.findall(r"`((?:tests|configs|docs|src|launch|bench)/[\w./-]+)`", text))
    named = {name for name in named if "NAME" not in name}
    missing = [link for link in links if not (path.parent / link).exists()]
    missing += [name for name in named if not (ROOT / name).exists()]
    assert not missing


def choices(path: Path) -> dict[str, str]:
    """What a document says a model leaves as, by its settings: an architecture, else the way out."""
    row = re.compile(r"^\| `(model=[^`]+)` \| (?:`(\w+)`|\w+) \|(?: `([^`]+)`)?", re.MULTILINE)
    found = row.findall(path.read_text(encoding="utf-8"))
    return {settings: architecture or remedy for settings, architecture, remedy in found}


CHOICES = choices(ROOT / "docs/convert.md")


@pytest.mark.parametrize("settings", CHOICES)
def test_a_model_leaves_as_what_the_table_says(settings):
    cfg = resolve(configured("pretrain", shlex.split(settings)).model, servable=False)
    try:
        found = choose(cfg).architecture
    except UserError as refusal:
        found = refusal.hint
    assert found == CHOICES[settings]


def test_the_table_is_the_same_in_both_languages():
    assert len(CHOICES) > 20
    assert choices(ROOT / "docs/convert.zh-CN.md") == CHOICES


TEXT = '{"text": "Tea is picked in spring, and the first leaves are the finest. 茶叶春天采摘。"}\n'
CHAT = '{"messages": [{"role": "user", "content": "When?"}, {"role": "assistant", "content": "Spring."}]}\n'
SHORT = {
    "train": "steps=2 batch_tokens=512 seq_len=128 device=cpu compile=false",
    "tools": "--limit 6 --max-tokens 24 --device cpu",
}


@pytest.mark.slow
def test_the_readme_works_as_a_story(tmp_path):
    """Its commands, one after the other as written, with only the length of training and answers cut."""
    (tmp_path / "corpus.jsonl").write_text(TEXT * 40, encoding="utf-8")
    (tmp_path / "heldout.jsonl").write_text(TEXT * 4, encoding="utf-8")
    (tmp_path / "chats.jsonl").write_text(CHAT * 40, encoding="utf-8")
    programs = {
        "danlu": [ROOT / "danlu"],
        "python": [sys.executable],
        "torchrun": [sys.executable, "-m", "torch.distributed.run"],
    }
    sources = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    for line in commands(ROOT / "README.md"):
        first, *words = shlex.split(line)
        if first not in programs:
            continue  # setting up and testing a clone is another test's story
        more = next((more.split() for word, more in SHORT.items() if word in words[:4]), [])
        done = call(*programs[first], *words, *more, cwd=tmp_path, PYTHONPATH=sources)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    assert (tmp_path / "run.png").stat().st_size > 1000
    assert (tmp_path / "out/full_sft_512/config.json").exists()
    assert json.loads((tmp_path / "out/full_sft_128-hf/manifest.json").read_text())["parity"]["logits"]
