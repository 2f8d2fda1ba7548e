"""launch/lib.sh and launch/host.sh, function by function."""

import os
import re
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
import yaml

from danlu.stages import ALIASES
from shell import ROOT, bash, call, refused, said, small_clone

ZH = {"DANLU_LANG": "zh"}


def test_every_function_is_tested():
    files = [*(ROOT / "tests").glob("test_shell*.py"), *(ROOT / "tests/launch").glob("test_*.py")]
    tests = "".join(path.read_text(encoding="utf-8") for path in files)
    for library in ("lib", "options", "host", "steps", "venv"):
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


def test_lines_that_belong_together_are_translated_together(tmp_path):
    page = tmp_path / "page"
    lines = ["  it          one", "two", "一", "  so          three", "三", "四"]
    text = "\n".join(line if line[0] == " " else " " * 14 + line for line in lines)
    page.write_text(f"{text}\n", encoding="utf-8")
    assert said(f"translated <'{page}'").split() == ["it", "one", "two", "so", "three"]
    told = said(f"translated <'{page}'", **ZH)
    assert told.splitlines() == ["it          一", "  so          三", "              四"]


def test_a_launcher_has_the_options_of_its_parts_too(launcher, tmp_path):
    launcher.write_text(HEADER + "source launch/lib.sh\nsource launch/engine.sh\n", encoding="utf-8")
    assert said(f"parts '{launcher}'") == "launch/engine.sh"
    assert said(f"documented '{launcher}'").splitlines() == [
        "--fast            quickly",
        "                    快",
        "  --dtype NAME      number format",
        "  --set KEY=V...    again and again",
    ]
    assert "runtime WORD" in said(f"option_lines '{launcher}'")
    told = said(f"manual '{launcher}'")
    assert "at once" in told and "--runtime WORD" in told and "one process" not in told
    assert said(f"options '{launcher}' --runtime docker; echo ${{OPT[runtime]}}") == "docker"


def test_keep_option_heeds_what_every_launcher_has():
    assert said("keep_option lang zh WORD; keep_option a_b 7 N; echo $DANLU_LANG ${OPT[a_b]}") == "zh 7"
    assert said("keep_option offline 1 ''; echo ${OPT[offline]} $HF_HUB_OFFLINE") == "1 1"


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
    assert "--runtime moon?" in refused("check_option runtime moon")
    assert "unknown device 'tpu'" in refused("check_option device tpu")
    said("check_option runtime docker; check_option device auto")


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


def test_an_environment_is_as_it_was_when_no_package_of_it_has_changed(clone):
    matrix = clone / "configs/matrix.yaml"
    before = said("stamp base", clone)
    matrix.write_text(matrix.read_text(encoding="utf-8") + '\nmore:\n  key: "1"\n', encoding="utf-8")
    assert said("stamp base", clone) == before
    text = matrix.read_text(encoding="utf-8")
    matrix.write_text(text.replace('  click: "', '  click: "9'), encoding="utf-8")
    assert said("stamp base", clone) != before


def test_need_environment_makes_what_is_not_there(clone):
    (clone / "launch/setup.sh").write_text("echo setup $*", encoding="utf-8")
    assert said("need_environment base test", clone) == "setup --extra test"
    options = "OPT=([mirror]=1 [offline]=1 [device]=cpu)"
    assert said(f"{options}; need_environment base", clone) == "setup --mirror --offline --device cpu"
    (clone / ".venv/bin").mkdir(parents=True)
    (clone / ".venv/bin/python").touch(mode=0o755)
    said("KIND=cpu mark_ready .venv base; KIND=cpu mark_ready .venv test", clone)
    assert said("need_environment base test", clone) == ""


def test_times_are_kept_and_errors_end_what_is_timed():
    told = said("timed one true; took two $((SECONDS - 70)); echo $TIMES")
    assert re.fullmatch(r"one [01] s; two 7[01] s", told)
    assert said("duration 75; duration 754").splitlines() == ["75 s", "12:34 min"]
    fails = bash("both() { false; echo went on; }; timed one both; echo never")
    assert fails.returncode == 1 and not fails.stdout


def test_places_that_cannot_be_written_are_refused_with_their_owner(clone):
    assert said("need_writable runs/new/deep; echo yes", clone) == "yes"
    (clone / "runs").mkdir()
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    code = f"cd '{ROOT}'; source launch/lib.sh; cd '{clone}'; need_writable runs/new"
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        place = Path(folder) / "runs"
        place.mkdir(mode=0o555)
        done = call(*nobody, "bash", "-c", code.replace(str(clone), folder))
        place.chmod(0o755)
    assert done.returncode == 2 and "runs/new cannot be written" in done.stderr
    if nobody:
        assert "it belongs to root" in done.stderr and "sudo chown -R nobody runs" in done.stderr
    assert said(f"owner '{clone}'") == call("id", "-un").stdout.strip()
    assert said("need_writable /proc/none; echo shown", DRY_RUN="1") == "shown"


def test_a_dry_run_knows_what_would_be_there_by_then(tmp_path):
    code = "begin_plan; would_make a 'b c'; planned a 'b c' && ! planned d && echo yes"
    assert said(code, DRY_RUN="1", TMPDIR=str(tmp_path)) == "yes"
    assert said("begin_plan; would_make a; planned a || echo no", TMPDIR=str(tmp_path)) == "no"
    assert not list(tmp_path.iterdir())


# What is told to end, and whom it is told: it alone, or it and all of its group, as a terminal does.
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("tell", [os.kill, os.killpg])
def test_what_is_attended_hears_once_that_it_shall_end(tmp_path, number, status, tell):
    child = tmp_path / "child.sh"
    child.write_text(
        "trap 'echo heard >>told' INT TERM\n"
        "echo >begun\n"
        "while [[ ! -s told ]]; do sleep 0.01; done\nsleep 0.1\n"
    )
    libraries = f"cd {ROOT}; set -Eeuo pipefail; source launch/lib.sh; cd {tmp_path}"
    process = subprocess.Popen(
        ["bash", "-c", f"{libraries}; attended bash {child}; echo never"],
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )
    while not (tmp_path / "begun").exists():
        assert process.poll() is None
    tell(process.pid, number)
    assert process.wait(60) == status and not process.stdout.read()
    assert (tmp_path / "told").read_text() == "heard\n"


def test_what_works_in_the_background_goes_on_at_ctrl_c_and_ends_when_told_to(tmp_path):
    """As with `nohup` or `&`: SIGINT is ignored from the beginning, and again after one child is done."""
    code = f"cd {ROOT}; source launch/lib.sh; cd {tmp_path}; attended true; attended bash -c"
    code += " 'echo >begun; sleep 60'"
    process = subprocess.Popen(
        ["bash", "-c", code],
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN) and None,
    )
    while not (tmp_path / "begun").exists():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)
    process.terminate()
    assert process.wait(30) == 143


def test_hand_on_and_attended_keep_a_status():
    assert said("attended false || echo $?; attended true && echo well; hand_on INT 130; echo $STOPPED") == (
        "1\nwell\n130"
    )
