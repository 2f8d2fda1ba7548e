"""launch/doctor.sh on hosts made of files: healthy ones, and each with faults of its own; what it finds is just that."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from launch import hosts
from launch.hosts import HERE, OPERATORS, TOOLKIT, X86_FLAGS, Host, build
from shell import ROOT

SITE = f"{HERE}/.venv/lib/python3.11/site-packages"
EVERYWHERE = "system release glibc python bash memory processor disk port clone locale venv docker network registry"
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


@dataclass(frozen=True)
class Fault:
    """Something wrong with a host, what the doctor then finds beside a healthy host's, and what it finds no more."""

    host: str
    change: Callable[[Host], object]
    adds: str
    loses: str = ""
    says: str = ""
    """What the first of these says, or its remedy."""
    words: tuple[str, ...] = ()


def smi(host: Host, kind: str, text: str, status: int = 0) -> None:
    """Let npu-smi print another text."""
    host.prints(f"usr/local/{'s' if kind == '910a' else ''}bin/npu-smi", text, status)


def table(kind: str, processes=(), **changes: dict) -> Callable[[Host], None]:
    """Other chips or processes in npu-smi's table."""
    card = hosts.CARDS[kind]
    text = hosts.npu_smi(card, hosts.by_chip(card.chips, **changes), processes)
    return lambda host: smi(host, kind, text)


def fails(kind: str, words: str) -> Callable[[Host], None]:
    return lambda host: smi(host, kind, words, 255)


def removes(*paths: str) -> Callable[[Host], None]:
    return lambda host: host.remove(*paths)


def renamed(kind: str, name: str) -> Callable[[Host], None]:
    """Another chip's name in npu-smi's table."""
    card = hosts.CARDS[kind]
    fresh = hosts.Card(name, card.layout, card.operators, card.pci, card.chips)
    return lambda host: smi(host, kind, hosts.npu_smi(fresh, card.chips))


def sets(**env: str) -> Callable[[Host], None]:
    return lambda host: host.env.update(env)


def old_driver(version: str, firmware: str = "[7.0.0,7.8.99]") -> Callable[[Host], None]:
    return lambda host: hosts.driver(host, version, firmware)


def undriven(host: Host) -> None:
    """The cards are in the machine, and no driver was ever installed."""
    host.remove(*(f"dev/davinci{n}" for n in range(8)), "usr/local/Ascend/driver", "usr/local/bin/npu-smi")


def forbidden(host: Host) -> None:
    """Device files of the driver's group, and a user who is not in it."""
    for n in range(8):
        (host.root / f"dev/davinci{n}").chmod(0o660)
    host.command("usr/bin/id", "case $1 in -un) echo dan ;; -u) echo 54321 ;; *) echo 54321 100 ;; esac")


def holds_file(host: Host) -> None:
    """A container's process that npu-smi does not list has a card open."""
    host.write("proc/4242/comm", "python3.11\n")
    host.write("proc/4242/cgroup", "0::/system.slice/docker-0123456789abcdef0123.scope\n")
    host.link("proc/4242/fd/7", "/dev/davinci5")
    host.link("proc/4242/fd/8", "/dev/davinci_manager")


def listens(host: Host) -> None:
    """Somebody serves on port 8000."""
    row = "   1: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 99123 1 0 100\n"
    host.write("proc/net/tcp", hosts.NET_TCP + row)
    host.write("proc/777/comm", "uvicorn\n")
    host.link("proc/777/fd/6", "socket:[99123]")
    host.link("proc/777/fd/7", "socket:[199123]")


def environment(
    torch: str, npu: str = "", kind: str = "", requires: str = "filelock"
) -> Callable[[Host], None]:
    """An environment in the clone with that torch, and that torch_npu."""

    def change(host: Host) -> None:
        host.write(f"{SITE}/torch-{torch}.dist-info/METADATA", f"Name: torch\nRequires-Dist: {requires}\n")
        if npu:
            host.write(f"{SITE}/torch_npu-{npu}.dist-info/METADATA", "Name: torch_npu\n")
        host.write(f"{HERE}/.venv/bin/python")
        host.write(f"{HERE}/.venv/ready-base")
        host.write(f"{HERE}/.venv/clone", f"{ROOT}\n")
        host.write(f"{HERE}/.venv/kind", f"{kind}\n")

    return change


def moved(host: Host) -> None:
    environment("2.13.0+cpu", kind="cpu")(host)
    host.write(f"{HERE}/.venv/clone", "/home/dan/old\n")


def broken(host: Host) -> None:
    environment("2.13.0+cpu", kind="cpu")(host)
    host.remove(f"{HERE}/.venv/bin/python")
    host.link(f"{HERE}/.venv/bin/python", "/no/such/python3")


def unreachable(*names: str, wheels: bool = False) -> Callable[[Host], None]:
    """A network in which addresses with these words do not answer."""

    def change(host: Host) -> None:
        arms = "\n".join(f"*{name}*) exit 28 ;;" for name in names)
        host.command("usr/bin/curl", f'case "$*" in\n{arms}\nesac')
        if wheels:
            host.write(f"{HERE}/wheels/torch-2.13.0+cpu-cp311-none-any.whl")

    return change


def docker_says(text: str, status: int = 0) -> Callable[[Host], None]:
    return lambda host: host.prints("usr/bin/docker", text, status)


def daemon(default: str, path: str) -> Callable[[Host], None]:
    text = json.dumps(
        {"runtimes": {default: {"path": path, "runtimeArgs": []}}, "default-runtime": default}, indent=1
    )
    return lambda host: host.write("etc/docker/daemon.json", text)


def podman(host: Host) -> None:
    """Podman in Docker's place."""
    host.remove("usr/bin/docker")
    host.prints("usr/bin/podman", "4.9.4|/var/lib/containers|rootless=false")


def rootless(host: Host) -> None:
    docker_says("27.3.1|/home/dan/.local/share/docker|[name=seccomp,profile=builtin name=rootless name=cgroupns]")(host)
    host.command("usr/bin/id", "case $1 in -un) echo dan ;; *) echo 54321 ;; esac")


def no_mig(host: Host) -> None:
    """An NVSwitch without what makes it known to the cards."""
    host.write("dev/nvidia-nvswitchctl")


def nvidia_card(host: Host) -> None:
    """A laptop with an NVIDIA card nobody installed a driver for."""
    host.write("sys/bus/pci/devices/0000:01:00.0/vendor", "0x10de\n")
    host.write("sys/bus/pci/devices/0000:01:00.0/device", "0x1f99\n")
    host.write("sys/bus/pci/devices/0000:01:00.0/class", "0x030000\n")


def nvidia(**what) -> Callable[[Host], None]:
    return lambda host: hosts.nvidia_smi(host, **what)


def mounts(row: str) -> Callable[[Host], None]:
    """One more file system."""
    return lambda host: host.write(
        "proc/mounts", (host.root / "proc/mounts").read_text(encoding="utf-8") + row + "\n"
    )


def both(*changes: Callable[[Host], object]) -> Callable[[Host], None]:
    def change(host: Host) -> None:
        for one in changes:
            one(host)

    return change


EIGHT = tuple((n, 900 + n, "python3", 30000) for n in range(8))
HELD = ((0, 632268, "python3.1", 30197), (2, 632269, "python3.1", 30198))
DCMI = "DrvMngGetConsoleLogLevel failed. (g_conLogLevel=3)\ndcmi module initialize failed. ret is -8005"
NO_LIBRARY = "npu-smi: error while loading shared libraries: libc_sec.so: cannot open shared object file: No such file"
NO_NVML = "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.126"
NO_DRIVER = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."
NO_DAEMON = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
NOT_IN = "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock"

FAULTS = {
    # the driver
    "no driver": Fault("a2", undriven, "devices-missing npu-smi-missing driver-missing", "devices npu-smi chip cards driver firmware image", "Atlas A2"),
    "its version gone": Fault("a3", removes("usr/local/Ascend/driver/version.info"), "driver-missing", "driver firmware"),
    "driver too old for CANN 9.1": Fault("a2", old_driver("25.0.rc1.1"), "cann-too-new image-too-new", "cann image", "25.2"),
    "driver too old for any image": Fault("310p", old_driver("23.0.0"), "cann-too-new image-none", "cann image"),
    "an older image for an old driver": Fault("a3", both(old_driver("24.1.0"), lambda h: hosts.cann(h, "8.3.RC1")), "image-too-new cann-other", "cann image", "v0.11.0-a3"),
    "npu-smi of another release": Fault("310p", lambda h: h.replace("usr/local/bin/npu-smi", "25.5.0", "25.2.1"), "driver-two", "driver", "25.2.1"),
    "driver without its library": Fault("a2", removes("usr/local/Ascend/driver/lib64"), "driver-library", "driver"),
    "firmware newer than the driver": Fault("a2", lambda h: h.replace("usr/local/Ascend/firmware/version.info", "7.8.0.5.216", "8.1.0.0.1"), "firmware-other", "firmware", "7.8.99"),
    # npu-smi
    "no npu-smi": Fault("a3", removes("usr/local/bin/npu-smi"), "npu-smi-missing", "npu-smi chip cards image"),
    "npu-smi off the path": Fault("910a", sets(PATH="/usr/bin:/bin"), "npu-smi-path", "npu-smi", "/usr/local/sbin"),
    "held by a container": Fault("a2", fails("a2", DCMI), "npu-smi-held", "npu-smi chip cards image", "-8005"),
    "no driver libraries": Fault("310p", fails("310p", NO_LIBRARY), "npu-smi-libraries", "npu-smi chip cards image", "LD_LIBRARY_PATH"),
    "npu-smi breaks": Fault("910a", fails("910a", "Segmentation fault"), "npu-smi-fails", "npu-smi chip cards", "Segmentation"),
    "a chip of tomorrow": Fault("a3", renamed("a3", "Ascend999"), "chip-unknown", "chip image", "Ascend999"),
    # cards
    "no device file of the manager": Fault("a2", removes("dev/devmm_svm"), "devices-incomplete", "devices", "/dev/devmm_svm"),
    "a card's file is missing": Fault("a2", removes("dev/davinci3"), "devices-differ", "", "7 device file(s)"),
    "files of another group": Fault("a2", forbidden, "devices-forbidden", "", "HwHiAiUser"),
    "a card is ill": Fault("910a", table("910a", health={5: "Warning"}), "card-unwell", "", "5: Warning"),
    "two processes on A3": Fault("a3", table("a3", HELD), "cards-held", "cards", "0: PID 632268"),
    "numbers of 310P": Fault("310p", table("310p", HELD), "cards-held", "cards", "2: PID 632269"),
    "every card is taken": Fault("a2", table("a2", EIGHT), "cards-all-held", "cards", "7: PID 907"),
    "memory of nobody": Fault("910a", table("910a", used={1: 26838}), "cards-memory", "cards", "1: 26838 / 32768 MB"),
    "a file held open": Fault("a2", holds_file, "cards-held", "cards", "5: PID 4242 python3.11 (docker 0123456789ab)"),
    "hidden cards": Fault("a3", sets(ASCEND_RT_VISIBLE_DEVICES=""), "visible-none"),
    "cards that are not here": Fault("310p", sets(ASCEND_RT_VISIBLE_DEVICES="1,7"), "visible-wrong", "", "7"),
    "some cards chosen": Fault("a2", sets(ASCEND_RT_VISIBLE_DEVICES="4,5"), "visible"),
    # CANN
    "CANN not sourced": Fault("a2", lambda h: h.env.pop("ASCEND_HOME_PATH"), "cann-not-sourced", "", "source /usr/local/Ascend/cann/set_env.sh"),
    "CANN of another release": Fault("910a", lambda h: hosts.cann(h, "8.5.1"), "cann-other", "cann"),
    "CANN named where it is not": Fault("kylin", sets(ASCEND_HOME_PATH="/opt/cann"), "cann-path", "cann", "/opt/cann"),
    "no CANN, but images": Fault("a3", both(removes(TOOLKIT), lambda h: h.env.clear(), sets(HOME="/root")), "cann-in-images", "cann"),
    "neither CANN nor images": Fault("a2", both(removes(TOOLKIT, "usr/bin/docker"), lambda h: h.env.clear(), sets(HOME="/root")), "cann-missing docker-missing", "cann docker image registry"),
    "no operators": Fault("910a", removes(f"{OPERATORS}/ascend910"), "cann-operators", "", "ascend910"),
    # NVIDIA
    "no nvidia-smi": Fault("cuda", removes("usr/bin/nvidia-smi"), "nvidia-smi-missing", "nvidia-smi driver chip cards"),
    "driver upgraded in use": Fault("cuda", lambda h: h.prints("usr/bin/nvidia-smi", NO_NVML, 18), "nvidia-two-versions", "nvidia-smi driver chip cards"),
    "driver not loaded": Fault("cuda", lambda h: h.prints("usr/bin/nvidia-smi", NO_DRIVER, 9), "nvidia-smi-fails", "nvidia-smi driver chip cards"),
    "driver too old for CUDA 13": Fault("cuda", nvidia(driver="550.54.14"), "driver-old", "driver", "580"),
    "driver of another age": Fault("cuda", lambda h: h.prints("usr/bin/nvidia-smi", 'Field "compute_cap" is not a valid field to query.', 2), "driver-old", "nvidia-smi driver chip cards"),
    "a card too old": Fault("cuda", nvidia(name="Tesla V100-SXM2-32GB", capability="7.0"), "card-old", "chip", "7.0"),
    "no unified memory": Fault("cuda", removes("dev/nvidia-uvm"), "devices-incomplete", "devices", "/dev/nvidia-uvm"),
    "a process on one card": Fault("cuda", nvidia(used=("4", "20480"), apps="00000000:1C:00.0, 31337, 20470"), "cards-held", "cards", "1: PID 31337"),
    "a card in error": Fault("cuda", nvidia(used=("[Unknown Error]", "4")), "card-unwell", "", "0: [Unknown Error]"),
    "no container toolkit": Fault("cuda", removes("usr/bin/nvidia-ctk"), "nvidia-toolkit-missing", "nvidia-toolkit"),
    "Podman without a list": Fault("cuda", podman, "podman-cards", "nvidia-toolkit"),
    "no fabric manager": Fault("cuda", no_mig, "fabric-manager"),
    "CUDA cards not here": Fault("cuda", sets(CUDA_VISIBLE_DEVICES="0,2"), "visible-wrong"),
    # WSL
    "WSL 1": Fault("wsl", lambda h: hosts.uname(h, "x86_64", "4.4.0-19041-Microsoft"), "wsl-1"),
    "on a Windows disk": Fault("wsl", mounts(f"C:\\134 /{HERE} 9p rw,noatime,aname=drvfs 0 0"), "wsl-windows-disk"),
    "a Linux driver in WSL": Fault("wsl", lambda h: h.write("usr/lib/x86_64-linux-gnu/libcuda.so.1"), "wsl-linux-driver"),
    "half of a small memory": Fault("wsl", lambda h: h.write("proc/meminfo", "MemTotal:        3145728 kB\n"), "memory-small", "memory", "3.0 GB"),
    "the only card is busy": Fault("wsl", nvidia(path="usr/lib/wsl/lib/nvidia-smi", count=1, used=("70000",)), "cards-all-held cards-memory", "cards"),
    # Kylin
    "Docker of 2018": Fault("kylin", docker_says("18.09.0|/var/lib/docker|[name=seccomp,profile=default]"), "docker-old", "docker", "20.10.10"),
    "only the system's Python": Fault("kylin", removes("usr/local/bin/python3.11"), "python-old", "python", "3.7.9"),
    "a locale of before UTF-8": Fault("kylin", sets(LANG="zh_CN.GB18030"), "locale-not-utf8", "locale"),
    "no C++ compiler": Fault("kylin", removes("usr/bin/g++", "usr/bin/c++"), "compiler-missing", "", "sudo dnf install gcc-c++"),
    "the registry is far": Fault("kylin", unreachable("quay.io/v2"), "registry-mirror", "registry", "m.daocloud.io"),
    "a default runtime that left": Fault("kylin", daemon("ascend", "/usr/local/Ascend/Ascend-Docker-Runtime/ascend-docker-runtime"), "docker-runtime", "", "ascend-docker-runtime"),
    # every host
    "shm of a container": Fault("a3", lambda h: h.command("usr/bin/df", 'echo head\ncase "$2" in */dev/shm) echo shm 65536 0 65536 0% /dev/shm ;; *) echo /dev/x 9000000000 1 900000000 1% / ;; esac'), "shm-small", "shm", "0.0 GB"),
    "CUDA torch beside torch_npu": Fault("a2", environment("2.10.0", "2.10.0.post4", "npu", "nvidia-cublas==13; extra"), "torch-two-devices", "", "--device ascend"),
    "torch_npu of another torch": Fault("910a", environment("2.9.0+cpu", "2.10.0.post4", "npu"), "torch-npu-pair", "", "2.10.0"),
    "torch_npu without an NPU": Fault("cpu", environment("2.10.0+cpu", "2.10.0.post4", "cpu"), "torch-npu-alone"),
    "set up for the processor": Fault("cuda", environment("2.13.0+cpu", kind="cpu"), "venv-device", "venv"),
    "the clone moved": Fault("cpu", moved, "venv-moved", "venv", "/home/dan/old"),
    "its Python is gone": Fault("cpu", broken, "venv-broken", "venv"),
    "one setting by two names": Fault("a2", sets(PYTORCH_ALLOC_CONF="x", PYTORCH_NPU_ALLOC_CONF="x"), "allocator-twice"),
    "a card without a driver": Fault("cpu", nvidia_card, "card-unused", "device"),
    "cards that were asked for": Fault("cpu", lambda h: None, "devices-missing nvidia-smi-missing nvidia-toolkit-missing shm", "device", words=("--device", "cuda")),
    "a processor of nobody": Fault("cpu", lambda h: hosts.uname(h, "riscv64", "6.1.0"), "machine-unsupported", "system", "riscv64"),
    "a system of nobody": Fault("cpu", lambda h: hosts.uname(h, "x86_64", "3.4", "MINGW64_NT-10.0"), "system-unsupported", "system"),
    "an old glibc": Fault("cpu", lambda h: h.prints("usr/bin/getconf", "glibc 2.17"), "glibc-old", "glibc", "2.28"),
    "no glibc": Fault("cpu", lambda h: h.prints("usr/bin/getconf", "getconf: GNU_LIBC_VERSION: unknown variable", 1), "glibc-missing", "glibc"),
    "no Python": Fault("cpu", removes("usr/bin/python3"), "python-missing", "python", "sudo apt-get install python3"),
    "no venv module": Fault("cpu", removes("usr/lib/python3.11/ensurepip"), "python-no-venv", "python", "python3.11-venv"),
    "no git": Fault("cpu", removes("usr/bin/git"), "git-missing"),
    "no AVX2": Fault("cpu", lambda h: h.replace("proc/cpuinfo", X86_FLAGS, "fpu sse sse2 avx"), "processor-no-avx2", "processor", "AVX2"),
    "a limit of memory": Fault("cpu", lambda h: h.write("sys/fs/cgroup/memory.max", "8589934592\n"), "memory-limit", "", "8.0 GB"),
    "a limit of memory, the old way": Fault("cpu", both(removes("sys/fs/cgroup/memory.max"), lambda h: h.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "8589934592\n")), "memory-limit"),
    "a limit of processors": Fault("cpu", lambda h: h.write("sys/fs/cgroup/cpu.max", "150000 100000\n"), "processors-limit", "", "OMP_NUM_THREADS=2"),
    "a full disk": Fault("cpu", lambda h: hosts.df(h, clone=0), "disk-full", "disk"),
    "a small disk": Fault("cpu", lambda h: hosts.df(h, clone=3), "disk-small", "disk", "5 GB"),
    "no room for images": Fault("cpu", lambda h: hosts.df(h, images=12), "images-room", "", "/var/lib/docker"),
    "the port is taken": Fault("cpu", listens, "port-taken", "port", "PID 777 uvicorn"),
    "a disk mounted to be read": Fault("cpu", mounts(f"/dev/sdb1 /{HERE} ext4 ro,relatime 0 0"), "clone-read-only", "clone"),
    "a proxy for everything": Fault("cpu", sets(http_proxy="http://10.0.0.1:3128"), "proxy-localhost"),
    "no home": Fault("cpu", sets(HOME="/nonexistent"), "home-missing"),
    "only mirrors answer": Fault("cpu", unreachable("pypi.org", "download.pytorch"), "network-mirror", "network", "--mirror"),
    "no network": Fault("cpu", unreachable("http"), "network-none registry-none", "network registry", "wheels/"),
    "no network, but wheels": Fault("cpu", unreachable("http", wheels=True), "network-away registry-none", "network registry", "--offline"),
    "offline, as asked": Fault("cpu", unreachable("http"), "", "network registry", words=("--offline",)),
    "no Docker": Fault("cpu", removes("usr/bin/docker"), "docker-missing", "docker registry"),
    "Docker is not running": Fault("cpu", docker_says(f"||[]\n{NO_DAEMON}", 1), "docker-silent", "docker", "Cannot connect"),
    "Docker lets nobody in": Fault("cpu", docker_says(f"||[]\n{NOT_IN}", 1), "docker-forbidden", "docker", "usermod -aG docker"),
    "rootless without ids": Fault("cpu", rootless, "rootless-ids", "", "dan"),
}  # fmt: skip


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


def test_dry_run_looks_at_nothing(tmp_path):
    done = build("cpu", tmp_path).run("--dry-run", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["bash", "launch/doctor.sh", "--dry-run", "--json"]
