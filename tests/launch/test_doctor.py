"""launch/doctor.sh on hosts made of files, healthy ones and some with a fault: it finds that, and no more."""

import re

import pytest

from danlu.base import matrix
from launch import faults, faults_ascend, hosts
from launch.changes import listens, old_driver, unreachable
from launch.hosts import build
from shell import ROOT, bash, said

PARTS = "source launch/doctor/parts.sh"
FAULTS = faults_ascend.FAULTS | faults.FAULTS
EVERYWHERE = (
    "system release glibc python bash memory processor disk port clone locale venv docker registry network"
)
ON_ASCEND = f"{EVERYWHERE} shm devices npu-smi chip cards driver firmware cann"
HEALTHY = {
    "a2": f"{ON_ASCEND} image",
    "a3": f"{ON_ASCEND} image",
    "310p": f"{ON_ASCEND} image",
    "910a": ON_ASCEND,
    "kylin": f"{ON_ASCEND} image kylin-images",
    "cuda": f"{EVERYWHERE} shm devices nvidia-smi driver chip cards nvidia-toolkit",
    "wsl": f"{EVERYWHERE} shm nvidia-smi driver chip cards nvidia-toolkit",
    "cpu": f"{EVERYWHERE} device",
}


def levels(found: dict[str, dict], level: str) -> set[str]:
    return {identity for identity, finding in found.items() if finding["level"] == level}


@pytest.mark.parametrize("kind", HEALTHY)
def test_a_healthy_host_has_nothing_wrong(kind, tmp_path):
    found = build(kind, tmp_path).doctor()
    assert set(found) == set(HEALTHY[kind].split())
    assert levels(found, "note") == ({"kylin-images"} if kind == "kylin" else set())
    assert not levels(found, "problem")


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_and_nothing_else(name, tmp_path):
    fault = FAULTS[name]
    host = build(fault.host, tmp_path)
    fault.change(host)
    found = host.doctor(*fault.words)
    healthy = set(HEALTHY[fault.host].split())
    assert set(fault.loses.split()) <= healthy
    assert set(found) == healthy - set(fault.loses.split()) | set(fault.adds.split())
    for identity in fault.adds.split():
        told = found[identity]
        assert told["text"]["zh"] and told["text"]["en"]
        if told["level"] != "ok":
            assert told["remedy"]["zh"] and told["remedy"]["en"]
    if fault.says:
        first = found[fault.adds.split()[0]]
        assert fault.says in f"{first['text']['en']} {first['remedy']['en']}"


def test_every_kind_of_host_has_faults_enough():
    for kind in HEALTHY:
        assert sum(fault.host == kind for fault in FAULTS.values()) >= 4, kind


SOURCE = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "launch/doctor").glob("*.sh")))
CALLS = re.findall(r"^ +(ok|note|problem|contained) ([a-z][a-z0-9-]+) ", SOURCE, re.MULTILINE)


def test_everything_it_can_find_is_found_on_some_host():
    found = " ".join([*HEALTHY.values(), *(fault.adds for fault in FAULTS.values())]).split()
    assert {identity for _, identity in CALLS} == set(found)


@pytest.mark.parametrize("document", ["docs/doctor.md", "docs/doctor.zh-CN.md"])
def test_everything_it_can_find_is_documented(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    words = {"ok": "ok", "note": "note", "problem": "problem", "contained": "note*"}
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| (\S+) \|", text, re.MULTILINE)
    assert sorted(rows) == sorted({(identity, words[level]) for level, identity in CALLS})


def chips(document: str) -> list[tuple[str, ...]]:
    """The rows of a document's table of chips: name, names in npu-smi, number formats, vLLM, image."""
    row = re.compile(r"^\| ([^|]+) \| ([^|`]+) \| ([^|]+) \| (\S+) \| `?([^|`]+)`? \|$", re.MULTILINE)
    return row.findall((ROOT / document).read_text(encoding="utf-8"))[1:]


def test_chips_are_documented_as_the_doctor_tells_them_apart():
    """Each name of the table makes the doctor say what the row says."""
    rows = chips("docs/doctor.md")
    assert {name for name, *_ in rows} == set(matrix.section("chip_name").values())
    expected = []
    for name, printed, numbers, served, tag in rows:
        server = "vLLM" if served == "yes" else "the built-in server"
        for chip in printed.split(", "):
            expected.append(("chip", f"{chip}: {name}; {numbers}; served by {server}"))
            if tag != "-":
                expected.append(("image", f"{matrix.section('images')['vllm_npu']}:{tag}"))
    names = " ".join(printed.replace(",", "") for _, printed, *_ in rows)
    code = f"for CHIP in {names}; do look_chip; look_vllm_image; done; report"
    told = re.findall(r"^ok +(\w+) +(.*?)(?: \(CANN .*)?$", said(f"{PARTS}; {code}"), re.MULTILINE)
    assert told == expected


def test_the_matrix_agrees_with_itself():
    images, drivers = matrix.section("vllm_ascend_cann"), matrix.section("drivers")
    pins = matrix.section("ascend")
    assert next(iter(images.items())) == (pins["vllm_ascend"], pins["cann"])
    for cann in images.values():
        assert f"cann_{cann[:3]}" in drivers
    for section in ("chip_name", "chip_numbers", "chip_operators"):
        assert set(matrix.section(section)) == set(matrix.section("chip"))


def test_chips_are_the_same_in_both_languages():
    words = {"是": "yes", "否": "no"}
    chinese = [tuple(words.get(cell, cell) for cell in row) for row in chips("docs/doctor.zh-CN.md")]
    assert chinese == chips("docs/doctor.md")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_table_says_what_the_json_says(language, tmp_path):
    host = build("a2", tmp_path)
    listens(host)
    old_driver("25.0.rc1.1")(host)
    names = {"正常": "ok", "提示": "note", "问题": "problem"}
    table = host.run("--lang", language).stdout
    rows = re.findall(r"^(\S+) +([a-z0-9-]+) +(\S.*)\n(?: +\S+: (.*)\n)?", table, re.MULTILINE)
    told = [
        (finding["level"], identity, finding["text"][language], (finding["remedy"] or {}).get(language, ""))
        for identity, finding in host.doctor().items()
    ]
    assert [(names.get(level, level), *row) for level, *row in rows] == told
    assert ("2 个问题，1 条提示" if language == "zh" else "2 problem(s), 1 note(s)") in table.splitlines()[-1]


def test_what_blocks_containers_is_a_problem_to_whoever_asks_for_them(tmp_path):
    host = build("kylin", tmp_path)
    FAULTS["Docker of 2018"].change(host)
    assert host.doctor()["docker-old"]["level"] == "note"
    assert host.doctor("--runtime", "docker")["docker-old"]["level"] == "problem"


def test_another_port_can_be_asked_for(tmp_path):
    host = build("cpu", tmp_path)
    listens(host)
    assert "port" in host.doctor("--port", "8001")


def test_a_tool_that_hangs_does_not_hang_the_doctor(tmp_path):
    """As npu-smi does on a wedged driver: its time is up, and the rest is told."""
    host = build("a2", tmp_path)
    host.command("usr/local/bin/npu-smi", "trap '' TERM; exec sleep 60")
    host.env["DANLU_PATIENCE"] = "1"
    assert levels(host.doctor(), "problem") == {"npu-smi-fails"}


def test_names_of_any_bytes_make_valid_json(tmp_path):
    host = build("cpu", tmp_path)
    listens(host)
    (tmp_path / "proc/777/comm").write_bytes(b'a"b\\c\x01\xff&\t\xe4\xb8\xb9\n')
    text = host.doctor()["port-taken"]["text"]["zh"]
    assert 'a"b\\c' in text and "丹" in text


@pytest.mark.parametrize("words", [("--port", "0"), ("--runtime", "moon"), ("--device", "tpu"), ("--jsno",)])
def test_what_it_does_not_know_it_refuses(words, tmp_path):
    done = build("cpu", tmp_path).run(*words)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and not done.stdout


def test_it_needs_no_python(tmp_path):
    """Neither on the host it looks at nor to run itself: every command of the kind ends it."""
    host = build("cpu", tmp_path / "host")
    tools = tmp_path / "tools"
    for name in ("python", "python3"):
        hosts.Host(tools).command(f"bin/{name}", "kill -9 $PPID")
    host.env["PATH"] = f"{tools}/bin:/usr/bin:/bin"
    assert not levels(host.doctor(), "problem")


def test_a_launcher_that_failed_can_ask_for_some_of_it(tmp_path):
    """As setup does where it found no torch: what is wrong, with remedies, to standard error."""
    host = build("cpu", tmp_path)
    unreachable("http")(host)
    host.remove("usr/bin/python3", "usr/bin/docker")
    code = f"{PARTS}; examine system network; report_faults; echo $(found problem)"
    done = bash(code, HOST_ROOT=str(tmp_path), HOME="/root")
    assert done.stdout == "2\n"
    words = [line.split()[:2] for line in done.stderr.splitlines()]
    assert words[::2] == [["problem", "python-missing"], ["problem", "network-none"]]
    assert all(word[0] == "try:" for word in words[1::2])


def test_dry_run_looks_at_nothing(tmp_path):
    done = build("cpu", tmp_path).run("--dry-run", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["bash", "launch/doctor.sh", "--dry-run", "--json"]
