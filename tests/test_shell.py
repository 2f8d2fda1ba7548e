"""launch/lib.sh and launch/host.sh, function by function."""

import re
import subprocess

import pytest
import yaml

from danlu.stages import ALIASES
from shell import ROOT, bash, call, refused, said, small_clone

ZH = {"DANLU_LANG": "zh"}


def test_every_function_is_tested():
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("test_shell*.py"))
    for library in ("lib", "host", "steps", "venv"):
        source = (ROOT / f"launch/{library}.sh").read_text(encoding="utf-8")
        for function in re.findall(r"^(\w+)\(\) \{", source, re.MULTILINE):
            assert re.search(rf"\b{function}\b", tests), f"{library}.sh: {function}"


def test_an_old_bash_is_told_so_before_anything_else(tmp_path):
    source = (ROOT / "launch/lib.sh").read_text(encoding="utf-8")
    old = tmp_path / "lib.sh"
    old.write_text(source.replace("< 404", "< 9904"), encoding="utf-8")
    done = call("bash", old)
    assert done.returncode == 2
    assert "4.4 or newer" in done.stderr and "brew install bash" in done.stderr


@pytest.mark.parametrize(
    ("env", "language"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "zh_CN.UTF-8", "DANLU_LANG": "en"}, "en"),
    ],
)
def test_language_is_the_users(env, language):
    assert said("echo $DANLU_LANG", **env) == language


def test_language_can_be_chosen():
    assert said("language zh; t one 一") == "一"
    assert said("language en; t one 一", **ZH) == "one"


def test_say_and_warn_leave_standard_output_alone():
    done = bash("say hello; warn 'half of it' 'the rest'")
    assert (done.stdout, done.stderr) == ("", "==> hello\nnote: half of it\n  try: the rest\n")


def test_die_names_the_problem_then_the_remedy():
    assert refused("die 'no disk' 'buy one'") == "error: no disk\n  try: buy one"
    assert refused("die 没有磁盘 买一个", **ZH) == "错误: 没有磁盘\n  试试: 买一个"


def test_run_prints_what_would_paste_back():
    words = ["printf", "%s|", "a b", "c'd", "丹炉"]
    code = 'run printf "%s|" "a b" "c\'d" 丹炉'
    printed = said(code, DRY_RUN="1")
    assert said(code) == said(printed) == subprocess.check_output(words, text=True).strip()


def test_become_takes_the_shells_place():
    assert said("become echo here; echo never") == "here"
    assert said("become echo here; echo then", DRY_RUN="1").split("\n") == ["echo here ", "then"]


HEADER = """#!/usr/bin/env bash
# Do it.
# 做它。
#
#   it now            at once
#                     立刻
#
#   --fast            quickly
#                     快
#   --dtype NAME      number format
#   --set KEY=V...    again and again
#   ...               the rest
code --not-an-option
"""


@pytest.fixture
def launcher(tmp_path):
    path = tmp_path / "it.sh"
    path.write_text(HEADER, encoding="utf-8")
    return path


def test_header_is_the_comment_at_the_top(launcher):
    assert said(f"header '{launcher}'").splitlines()[0] == "Do it."
    assert "code" not in said(f"header '{launcher}'")


def test_summary_and_help_are_translated(launcher):
    assert said(f"summary '{launcher}'") == "Do it."
    assert said(f"summary '{launcher}'", **ZH) == "做它。"
    english, chinese = (said(f"header '{launcher}' | translated", **env) for env in ({}, ZH))
    assert english.isascii() and "  --fast            quickly\n" in english
    assert "  --fast            快\n" in chinese and "number format" in chinese and "quickly" not in chinese
    assert len(english.splitlines()) == len(chinese.splitlines())


def test_option_lines_are_the_documented_ones(launcher):
    lines = said(f"option_lines '{launcher}'").splitlines()
    assert [line.split() for line in lines] == [["fast"], ["dtype", "NAME"], ["set", "KEY=V..."], ["rest"]]


def options(launcher, words: str, print_out: str) -> str:
    return said(f"options '{launcher}' {words}; {print_out}")


def test_options_are_what_the_header_says(launcher):
    assert options(launcher, "--fast --dtype x", 'echo "${OPT[fast]} ${OPT[dtype]}"') == "1 x"
    assert options(launcher, "--dtype=x=y", 'echo "${OPT[dtype]}"') == "x=y"
    assert options(launcher, "--set a=1 --set 'b=2 3'", 'printf %s "${OPT[set]}"') == "a=1\nb=2 3"
    assert options(launcher, "one --fast -k 'two three' -- --dtype", 'printf "%s|" "${WORDS[@]}"') == (
        "one|-k|two three|--dtype|"
    )


def test_options_of_every_launcher_include_the_common_ones(launcher):
    assert "quickly" in said(f"options '{launcher}' --help")
    assert options(launcher, "--dry-run --lang zh", "run echo $DANLU_LANG") == "echo zh"


def test_options_refuse_what_no_header_says(tmp_path):
    strict = tmp_path / "strict.sh"
    strict.write_text(HEADER.replace("#   ...", "#"), encoding="utf-8")
    assert "'--fsat' means nothing here" in refused(f"options '{strict}' --fsat")
    assert "--dtype wants a value" in refused(f"options '{strict}' --dtype")


def test_matrix_agrees_with_a_yaml_reader():
    for section, values in yaml.safe_load((ROOT / "configs/matrix.yaml").read_text(encoding="utf-8")).items():
        lines = said(f"matrix {section}").splitlines()
        assert dict(line.split(" ", 1) for line in lines) == values
    assert said("matrix torch cpu") == "2.13.0"
    assert "no_such" in refused("matrix torch no_such")


def host(tmp_path, *nodes: str) -> dict[str, str]:
    """The environment in which the launchers see a host with these device files."""
    for node in nodes:
        (tmp_path / node).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / node).touch()
    return {"HOST_ROOT": str(tmp_path)}


@pytest.mark.parametrize(
    ("nodes", "kind", "number"),
    [
        ([], "cpu", 0),
        (["dev/davinci0", "dev/davinci1", "dev/davinci_manager"], "npu", 2),
        (["dev/davinci_manager"], "cpu", 0),
        (["dev/nvidia0", "dev/nvidiactl"], "cuda", 1),
        (["dev/nvidiactl"], "cpu", 0),
        (["dev/dxg", "usr/lib/wsl/lib/nvidia-smi"], "cuda", 1),
        (["dev/dxg"], "cpu", 0),
    ],
)
def test_accelerator_is_what_has_device_nodes(tmp_path, nodes, kind, number):
    env = host(tmp_path, *nodes)
    assert said("accelerator", **env) == kind
    assert len(said(f"device_nodes {kind} || :", **env).splitlines()) == number


def test_accelerator_can_be_chosen():
    assert said("accelerator", ACCELERATOR="ascend") == "npu"
    assert said("accelerator", ACCELERATOR="cuda") == "cuda"
    assert "unknown device 'tpu'" in refused("accelerator", ACCELERATOR="tpu")


@pytest.mark.parametrize(
    ("name", "release", "system"),
    [
        ("Linux", "6.1.0", "linux"),
        ("Linux", "5.15.90.1-microsoft-standard-WSL2", "wsl"),
        ("Darwin", "24.1.0", "macos"),
        ("MINGW64_NT-10.0", "3.4", "MINGW64_NT-10.0"),
    ],
)
def test_system(name, release, system):
    assert (
        said(f"uname() {{ case $1 in -s) echo '{name}' ;; -r) echo '{release}' ;; esac; }}; system") == system
    )


def test_device_ids():
    assert said("device_ids 0-2,6").split() == ["0", "1", "2", "6"]
    assert "'x'" in refused("device_ids 0,x")


def test_stages_are_the_configurations():
    names = said("stages").split()
    assert "pretrain" in names and "matrix" not in names
    for name in names:
        assert (ROOT / f"configs/{name}.yaml").exists()


def test_stage_knows_the_engines_aliases():
    for alias, name in ALIASES.items():
        assert said(f"stage {alias}") == name
    assert said("stage pretrain") == "pretrain"


@pytest.fixture
def clone(tmp_path):
    return small_clone(tmp_path)


def finish(clone, name: str) -> None:
    (clone / "out" / name).mkdir(parents=True)
    (clone / "out" / name / "config.json").touch()


def test_weights_are_found_by_name_size_and_age(clone):
    finish(clone, "pretrain_512")
    finish(clone, "full_sft_768_moe")
    assert said("weights pretrain", clone) == "out/pretrain_512"
    assert said("weights out/pretrain_512", clone) == "out/pretrain_512"
    assert said("OPT=([hidden_size]=768 [use_moe]=1); weights full_sft", clone) == "out/full_sft_768_moe"
    call("touch", "-d", "2020-01-01", clone / "out/full_sft_768_moe")
    assert said("weights", clone) == "out/pretrain_512"


def test_weights_that_are_missing_are_named_with_what_makes_them(clone):
    (clone / "out/full_sft_512").mkdir(parents=True)  # no config.json: not finished
    assert refused("weights full_sft", clone).endswith("try: bash run_all.sh train sft data.train=FILE.jsonl")


def test_ready_is_made_from_the_present_files(clone):
    python = clone / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.touch(mode=0o755)
    assert bash("ready .venv base", clone).returncode == 1
    said("KIND=cpu mark_ready .venv base", clone)
    assert bash("ready .venv base", clone).returncode == 0
    assert bash("ready .venv base test", clone).returncode == 1
    before = said("stamp base", clone)
    (clone / "configs/matrix.yaml").write_text("changed:\n", encoding="utf-8")
    assert said("stamp base", clone) != before
    assert bash("ready .venv base", clone).returncode == 1


def test_need_environment_makes_what_is_not_there(clone):
    (clone / "launch/setup.sh").write_text("echo setup $*", encoding="utf-8")
    assert said("need_environment base test", clone) == "setup --extra test"
    (clone / ".venv/bin").mkdir(parents=True)
    (clone / ".venv/bin/python").touch(mode=0o755)
    said("KIND=cpu mark_ready .venv base; KIND=cpu mark_ready .venv test", clone)
    assert said("need_environment base test", clone) == ""
