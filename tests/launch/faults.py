"""What can be wrong with any other host, or with every one, and what the doctor then finds."""

from __future__ import annotations

from launch import hosts
from launch.changes import (
    Fault,
    both,
    broken,
    daemon,
    docker_says,
    environment,
    listens,
    mounts,
    moved,
    nvidia,
    nvidia_card,
    podman,
    removes,
    rootless,
    sets,
    unmanaged,
    unreachable,
)
from launch.hosts import HERE, X86_FLAGS

NO_NVML = "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.126"
NO_DRIVER = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."
NO_DAEMON = (
    "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
)
NOT_IN = (
    "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock"
)

FAULTS: dict[str, Fault] = {
    # NVIDIA
    "no nvidia-smi": Fault(
        "cuda", removes("usr/bin/nvidia-smi"), "nvidia-smi-missing", "nvidia-smi driver chip cards"
    ),
    "driver upgraded in use": Fault(
        "cuda",
        lambda h: h.prints("usr/bin/nvidia-smi", NO_NVML, 18),
        "nvidia-two-versions",
        "nvidia-smi driver chip cards",
    ),
    "driver not loaded": Fault(
        "cuda",
        lambda h: h.prints("usr/bin/nvidia-smi", NO_DRIVER, 9),
        "nvidia-smi-fails",
        "nvidia-smi driver chip cards",
    ),
    "driver too old for CUDA 13": Fault("cuda", nvidia(driver="550.54.14"), "driver-old", "driver", "580"),
    "driver of another age": Fault(
        "cuda",
        lambda h: h.prints("usr/bin/nvidia-smi", 'Field "compute_cap" is not a valid field to query.', 2),
        "driver-old",
        "nvidia-smi driver chip cards",
    ),
    "a card too old": Fault(
        "cuda", nvidia(name="Tesla V100-SXM2-32GB", capability="7.0"), "card-old", "chip", "7.0"
    ),
    "no unified memory": Fault(
        "cuda", removes("dev/nvidia-uvm"), "devices-incomplete", "devices", "/dev/nvidia-uvm"
    ),
    "a process on one card": Fault(
        "cuda",
        nvidia(used=("4", "20480"), apps="00000000:1C:00.0, 31337, 20470"),
        "cards-held",
        "cards",
        "1: PID 31337",
    ),
    "a card in error": Fault(
        "cuda", nvidia(used=("[Unknown Error]", "4")), "card-unwell", "", "0: [Unknown Error]"
    ),
    "no container toolkit": Fault(
        "cuda", removes("usr/bin/nvidia-ctk"), "nvidia-toolkit-missing", "nvidia-toolkit"
    ),
    "Podman without a list": Fault("cuda", podman, "podman-cards", "nvidia-toolkit"),
    "no fabric manager": Fault("cuda", unmanaged, "fabric-manager"),
    "CUDA cards not here": Fault("cuda", sets(CUDA_VISIBLE_DEVICES="0,2"), "visible-wrong"),
    # WSL
    "WSL 1": Fault("wsl", lambda h: hosts.uname(h, "x86_64", "4.4.0-19041-Microsoft"), "wsl-1"),
    "on a Windows disk": Fault(
        "wsl", mounts(f"C:\\134 /{HERE} 9p rw,noatime,aname=drvfs 0 0"), "wsl-windows-disk"
    ),
    "a Linux driver in WSL": Fault(
        "wsl", lambda h: h.write("usr/lib/x86_64-linux-gnu/libcuda.so.1"), "wsl-linux-driver"
    ),
    "half of a small memory": Fault(
        "wsl",
        lambda h: h.write("proc/meminfo", "MemTotal:        3145728 kB\n"),
        "memory-small",
        "memory",
        "3.0 GB",
    ),
    "the only card is busy": Fault(
        "wsl",
        nvidia(path="usr/lib/wsl/lib/nvidia-smi", count=1, used=("70000",)),
        "cards-memory",
        "cards",
    ),
    # Kylin
    "Docker of 2018": Fault(
        "kylin",
        docker_says("18.09.0|/var/lib/docker|[name=seccomp,profile=default]"),
        "docker-old",
        "docker",
        "20.10.10",
    ),
    "only the system's Python": Fault(
        "kylin", removes("usr/local/bin/python3.11"), "python-old", "python", "3.7.9"
    ),
    "a locale of before UTF-8": Fault("kylin", sets(LANG="zh_CN.GB18030"), "locale-not-utf8", "locale"),
    "no C++ compiler": Fault(
        "kylin", removes("usr/bin/g++", "usr/bin/c++"), "compiler-missing", "", "sudo dnf install gcc-c++"
    ),
    "the registry is far": Fault(
        "kylin", unreachable("quay.io/v2"), "registry-mirror", "registry", "m.daocloud.io"
    ),
    "a default runtime that left": Fault(
        "kylin",
        daemon("ascend", "/usr/local/Ascend/Ascend-Docker-Runtime/ascend-docker-runtime"),
        "docker-runtime",
        "",
        "ascend-docker-runtime",
    ),
    # every host
    "shm of a container": Fault(
        "a3",
        lambda h: h.replace("usr/bin/df", "dev/shm) kb=67108864", "dev/shm) kb=65536"),
        "shm-small",
        "shm",
        "0.0 GB",
    ),
    "CUDA torch beside torch_npu": Fault(
        "a2",
        environment("2.10.0", "2.10.0.post4", "npu", "nvidia-cublas==13; extra"),
        "torch-two-devices",
        "",
        "--device ascend",
    ),
    "torch_npu of another torch": Fault(
        "910a", environment("2.9.0+cpu", "2.10.0.post4", "npu"), "torch-npu-pair", "", "2.10.0"
    ),
    "torch_npu without an NPU": Fault(
        "cpu", environment("2.10.0+cpu", "2.10.0.post4", "cpu"), "torch-npu-alone"
    ),
    "set up for the processor": Fault("cuda", environment("2.13.0+cpu", kind="cpu"), "venv-device", "venv"),
    "the clone moved": Fault("cpu", moved, "venv-moved", "venv", "/home/dan/old"),
    "its Python is gone": Fault("cpu", broken, "venv-broken", "venv"),
    "one setting by two names": Fault(
        "a2", sets(PYTORCH_ALLOC_CONF="x", PYTORCH_NPU_ALLOC_CONF="x"), "allocator-twice"
    ),
    "a card without a driver": Fault("cpu", nvidia_card, "card-unused", "device"),
    "cards that were asked for": Fault(
        "cpu",
        lambda h: None,
        "devices-missing nvidia-smi-missing nvidia-toolkit-missing shm",
        "device",
        words=("--device", "cuda"),
    ),
    "a processor of nobody": Fault(
        "cpu", lambda h: hosts.uname(h, "riscv64", "6.1.0"), "machine-unsupported", "system", "riscv64"
    ),
    "a system of nobody": Fault(
        "cpu", lambda h: hosts.uname(h, "x86_64", "3.4", "MINGW64_NT-10.0"), "system-unsupported", "system"
    ),
    "an old glibc": Fault(
        "cpu", lambda h: h.prints("usr/bin/getconf", "glibc 2.17"), "glibc-old", "glibc", "2.28"
    ),
    "no glibc": Fault(
        "cpu",
        lambda h: h.prints("usr/bin/getconf", "getconf: GNU_LIBC_VERSION: unknown variable", 1),
        "glibc-missing",
        "glibc",
    ),
    "no Python": Fault(
        "cpu", removes("usr/bin/python3"), "python-missing", "python", "sudo apt-get install python3"
    ),
    "no venv module": Fault(
        "cpu", removes("usr/lib/python3.11/ensurepip"), "python-no-venv", "python", "python3.11-venv"
    ),
    "no git": Fault("cpu", removes("usr/bin/git"), "git-missing"),
    "no AVX2": Fault(
        "cpu",
        lambda h: h.replace("proc/cpuinfo", X86_FLAGS, "fpu sse sse2 avx"),
        "processor-no-avx2",
        "processor",
        "AVX2",
    ),
    "a limit of memory": Fault(
        "cpu", lambda h: h.write("sys/fs/cgroup/memory.max", "8589934592\n"), "memory-limit", "", "8.0 GB"
    ),
    "a limit of memory, the old way": Fault(
        "cpu",
        both(
            removes("sys/fs/cgroup/memory.max"),
            lambda h: h.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "8589934592\n"),
        ),
        "memory-limit",
    ),
    "a limit of processors": Fault(
        "cpu",
        lambda h: h.write("sys/fs/cgroup/cpu.max", "150000 100000\n"),
        "processors-limit",
        "",
        "OMP_NUM_THREADS=2",
    ),
    "a full disk": Fault("cpu", lambda h: hosts.df(h, clone=0), "disk-full", "disk"),
    "a small disk": Fault("cpu", lambda h: hosts.df(h, clone=3), "disk-small", "disk", "5 GB"),
    "no room for images": Fault(
        "cpu", lambda h: hosts.df(h, images=12), "images-room", "", "/var/lib/docker"
    ),
    "the port is taken": Fault("cpu", listens, "port-taken", "port", "PID 777 uvicorn"),
    "a disk mounted to be read": Fault(
        "cpu", mounts(f"/dev/sdb1 /{HERE} ext4 ro,relatime 0 0"), "clone-read-only", "clone"
    ),
    "a proxy for everything": Fault("cpu", sets(http_proxy="http://10.0.0.1:3128"), "proxy-localhost"),
    "no home": Fault("cpu", sets(HOME="/nonexistent"), "home-missing"),
    "only mirrors answer": Fault(
        "cpu", unreachable("pypi.org", "download.pytorch"), "network-mirror", "network", "--mirror"
    ),
    "no network": Fault(
        "cpu", unreachable("http"), "network-none registry-none", "network registry", "wheels/"
    ),
    "no network, but wheels": Fault(
        "cpu", unreachable("http", wheels=True), "network-away registry-none", "network registry", "--offline"
    ),
    "offline, as asked": Fault("cpu", unreachable("http"), "", "network registry", words=("--offline",)),
    "no Docker": Fault("cpu", removes("usr/bin/docker"), "docker-missing", "docker registry"),
    "Docker is not running": Fault(
        "cpu", docker_says(f"||[]\n{NO_DAEMON}", 1), "docker-silent", "docker", "Cannot connect"
    ),
    "Docker lets nobody in": Fault(
        "cpu", docker_says(f"||[]\n{NOT_IN}", 1), "docker-forbidden", "docker", "usermod -aG docker"
    ),
    "rootless without ids": Fault("cpu", rootless, "rootless-ids", "", "dan"),
}
