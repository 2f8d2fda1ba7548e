"""Build the stand-in for CANN and say how a child process is put on it.

    stand_in = build.standing_in("910B3")        the environment of a child, or a word on why there is none
    subprocess.run([sys.executable, "-m", "danlu", "info"], env=os.environ | stand_in)

The real torch_npu lies in .venv-npu; what it loads of CANN is made here from the C and C++ beside this file,
once for each state of these sources, into .venv-npu too. Nothing is loaded into this process: a child finds
torch_npu by PYTHONPATH and the libraries by LD_LIBRARY_PATH, as on a host with CANN, and torch's own loading
of back-ends (the entry points `torch.backends`) brings the kernels after it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PRIVATE = ROOT / ".venv-npu"
CHIPS = ("910A", "910B3", "910_93", "310P")

C = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Wno-missing-field-initializers"]
EMPTY = ("acl_op_compiler", "ge_runner", "graph", "acl_tdt_channel")  # torch_npu wants them to be there
ENTRY = "[torch.backends]\nstandin = standin.child:load\n"


def why_not() -> str | None:
    """Return why the stand-in cannot run here, or None."""
    if platform.system() != "Linux":
        return "torch_npu is published for Linux alone: on this host there is no stand-in"
    if not (PRIVATE / "ready-npu").exists():
        return "no .venv-npu: bash run_all.sh setup --with npu"
    for program in (cc(), cxx()):
        if shutil.which(program) is None:
            return f"no C++ compiler ({program}): sudo apt-get install g++, or CC and CXX"
    return None


def standing_in(chip: str, **more: str) -> dict[str, str]:
    """Return what a child's environment says to run on a chip of this kind."""
    built, packages = build(), PRIVATE / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    paths = [built, HERE.parent, ROOT / "src", ROOT, packages / "site-packages"]
    home = built / "cann"
    return {
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "LD_LIBRARY_PATH": str(built),
        "STANDIN": str(built),
        "STANDIN_SOC": chip,
        "ASCEND_HOME_PATH": str(home),
        "ASCEND_OPP_PATH": str(home / "opp"),
        "TORCH_NPU_FALLBACK_CPU_DISABLE": "1",
    } | more


def build() -> Path:
    """Return the folder of the libraries, made if these sources were not built yet."""
    made = PRIVATE / f"standin-{fingerprint()}"
    with open(PRIVATE / "standin.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            for old in PRIVATE.glob("standin-*"):
                shutil.rmtree(old)
            aside = PRIVATE / "standin-unfinished"
            aside.mkdir()
            compile_all(aside)
            aside.rename(made)
    return made


def fingerprint() -> str:
    """Return a name for what is built: the sources, the compiler's words, the release of torch."""
    told = hashlib.sha256(version("torch").encode())
    for path in sorted(HERE.glob("*.[ch]*")) + [Path(__file__)]:
        told.update(path.read_bytes())
    return told.hexdigest()[:12]


def compile_all(folder: Path) -> None:
    """Make every library: those in C in a second, those on torch's headers both at a time."""
    library(folder, "ascendcl", [cc(), *C], "chip.c", "acl.c", "acl_ops.c", "acl_settings.c")
    library(folder, "hccl", [cc(), *C], "hccl.c", "hccl_pairs.c", links=["-lascendcl", "-lrt"])
    for name in EMPTY:  # linked so that a search by name goes on to where the names are
        library(
            folder,
            name,
            [cc(), "-x", "c", "/dev/null", "-x", "none", "-Wl,--no-as-needed"],
            links=["-lascendcl"],
        )
    spec = find_spec("torch")
    assert spec is not None and spec.submodule_search_locations
    torch = Path(spec.submodule_search_locations[0])
    torch_words = ["-std=c++20", "-O1", "-Wall", f"-I{torch}/include", f"-L{torch}/lib"]
    torch_links = ["-ltorch_cpu", "-lc10", "-lascendcl"]
    processes = [
        subprocess.Popen(words(folder, name, [cxx(), *torch_words], f"{name}.cpp", links=torch_links))
        for name in ("kernels", "opapi")
    ]
    codes = [process.wait() for process in processes]
    assert codes == [0, 0], "the stand-in does not compile"
    for part in ("runtime", "compiler", "opp"):
        (folder / "cann" / part).mkdir(parents=True)
    info = folder / "standin-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: standin\nVersion: 1\n")
    (info / "entry_points.txt").write_text(ENTRY)


def library(
    folder: Path, name: str, command: list[str], *sources: str, links: list[str] | None = None
) -> None:
    subprocess.run(words(folder, name, command, *sources, links=links or []), check=True)


def words(folder: Path, name: str, command: list[str], *sources: str, links: list[str]) -> list[str]:
    """Return the compiler's command for one shared library."""
    file = f"lib{name}.so"
    shared = ["-shared", "-fPIC", f"-I{HERE}", f"-Wl,-soname,{file}", "-o", str(folder / file)]
    return [*command, *shared, *(str(HERE / source) for source in sources), f"-L{folder}", *links]


def cc() -> str:
    return os.environ.get("CC", "gcc")


def cxx() -> str:
    return os.environ.get("CXX", "g++")
