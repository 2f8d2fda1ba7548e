"""What torch and the accelerator say of themselves, asked in a process of its own.

On an odd host `import torch` may raise, or end the process: a vendor's plug-in without its libraries, a
wheel for another processor, a driver that hangs. So a child process asks and prints one JSON object a
line as it gets on; whatever happens to it, the parent has the lines before and a word for the end.

    python -m danlu.device.report        the child
    gather()                             the parent: the lines as one dictionary, never an exception
"""

from __future__ import annotations

import glob
import importlib.metadata
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from typing import Any

from danlu.device import autoload, host
from danlu.device.autoload import AUTOLOAD

MARK = "danlu says "  # begins the child's lines; vendors' packages print too
PATIENCE = 120.0  # seconds; a first import from a slow disk can take half of that

PACKAGES = (
    "torch", "torch_npu", "triton", "transformers", "accelerate", "safetensors", "tokenizers", "numpy",
    "pydantic", "matplotlib", "rich", "tensorboard", "wandb", "swanlab", "vllm",
)  # fmt: skip

# What the end of a failed import says: what it means, what to do.
KNOWN = (
    (
        r"Failed to load the backend extension: (\w+)",
        "'import torch' fails, because {0} is installed and cannot load its own libraries",
        "source /usr/local/Ascend/ascend-toolkit/set_env.sh; on a host without its card: pip uninstall {0}",
    ),
    (
        r"Two accelerators cannot be used at the same time",
        "'import torch' fails, because torch_npu is installed beside a torch built for CUDA",
        "a CPU build of torch with torch_npu, or pip uninstall torch_npu",
    ),
    (r"No module named 'torch'", "torch is not installed", "bash run_all.sh setup"),
    (r"lib(cuda|cudart|nccl|cublas)\S*: cannot open", "torch misses {0} libraries", "bash run_all.sh setup"),
)


def gather(patience: float = PATIENCE) -> dict[str, Any]:
    """Return `device`, `features` and `problems` of this host; what could not be asked is absent."""
    found, failure = _ask({}, patience)
    problems = [explain(failure)] if failure else []
    if failure and AUTOLOAD in failure:
        again, failure = _ask({AUTOLOAD: "0"}, patience)
        found = again | found
    return found | {"problems": found.get("problems", []) + problems + idle_cards(found)}


def _ask(env: dict[str, str], patience: float) -> tuple[dict[str, Any], str]:
    """Return what the child said, and how it failed, if it did."""
    ours = AUTOLOAD if autoload.kept_off else ""  # what torch does by itself is what is asked here
    before = {name: value for name, value in os.environ.items() if name != ours}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "danlu.device.report"],
            env={**before, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=patience,
        )
    except subprocess.TimeoutExpired as late:
        return _lines(late.stdout), f"no answer from torch within {patience:.0f} s; the driver may hang"
    except OSError as error:
        return {}, f"no process could be started: {error}"
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        return _lines(done.stdout), f"torch ended the process with {name}; is its wheel for this processor?"
    failure = done.stderr.decode(errors="replace").strip() or "torch does not import, and says nothing"
    return _lines(done.stdout), failure if done.returncode else ""


def _lines(said: bytes | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for line in (said or b"").decode(errors="replace").splitlines():
        if line.startswith(MARK):
            found |= json.loads(line.removeprefix(MARK))
    return found


def explain(failure: str) -> dict[str, str]:
    """Return a failure as a problem and what to do about it.

    >>> explain("ModuleNotFoundError: No module named 'torch'")
    {'problem': 'torch is not installed', 'try': 'bash run_all.sh setup'}
    """
    for pattern, problem, remedy in KNOWN:
        if match := re.search(pattern, failure):
            missing = re.search(r"(lib\S+\.so\S*): cannot open", failure)
            return {
                "problem": problem.format(*match.groups()) + (f" ({missing[1]})" if missing else ""),
                "try": remedy.format(*match.groups()),
            }
    last = (failure.strip().splitlines() or ["torch does not import"])[-1]
    return {
        "problem": last,
        "try": "python -c 'import torch' shows all of it; bash run_all.sh setup mends it",
    }


def idle_cards(found: dict[str, Any]) -> list[dict[str, str]]:
    """Return a problem for each kind of card this host has and torch does not use."""
    kind = found.get("device", {}).get("kind")
    cards = {
        "cuda": glob.glob("/dev/nvidia[0-9]*") or shutil.which("nvidia-smi"),
        "npu": glob.glob("/dev/davinci[0-9]*") or shutil.which("npu-smi"),
    }
    if kind in (None, *(name for name, card in cards.items() if card)):
        return []
    return [
        {
            "problem": f"this host has {name} cards, but torch uses the processor: {found['absent'][name]}",
            "try": "bash run_all.sh setup chooses the right torch; in a container, hand it the cards",
        }
        for name, card in cards.items()
        if card and name in found.get("absent", {})
    ]


def versions() -> dict[str, str]:
    """Return the versions of packages, drivers and toolkits on this host, without importing any."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    toolkit = os.environ.get("ASCEND_HOME_PATH") or "/usr/local/Ascend/ascend-toolkit/latest"
    places = (
        ("NVIDIA driver", "/proc/driver/nvidia/version", r"Kernel Module\s+(?:for \S+\s+)?([\d.]+)"),
        ("Ascend driver", "/usr/local/Ascend/driver/version.info", r"(?m)^Version=(\S+)"),
        ("CANN", f"{toolkit}/version.cfg", r"(?m)toolkit_installed_version=.*?([\d.]+[^\s\]:]*)"),
    )
    matches = {name: re.search(pattern, host.read(path)) for name, path, pattern in places}
    return found | {name: match[1] for name, match in matches.items() if match}


# The child


def main() -> None:
    """Print what is found, a line at a time, the surest first."""
    import torch

    from danlu.device import api, cuda, npu

    _print({"absent": {"cuda": cuda.why_not(), "npu": npu.why_not()}})
    _print({"features": _features(torch)})
    device = api.choose("auto")
    memory = device.memory()
    dtype = device.default_dtype()
    peak = device.peak_flops(dtype)
    count = 1 if device.kind == "cpu" else torch.accelerator.device_count()
    _print(
        {
            "device": {
                "kind": device.kind,
                "name": device.name,
                "count": count,
                "memory": memory["total"],
                "dtype": str(dtype).removeprefix("torch."),
                "backend": device.backend,
                "threads": torch.get_num_threads(),
            }
            | ({"peak_flops": peak} if peak else {})
        }
    )
    traits = device.traits
    _print(
        {
            "features": _features(torch)
            | {
                "compile": device.why_no_compile() or True,
                "bf16": traits.bf16,
                "loss_scaling": device.scaler(dtype) is not None,
                "fused_adamw": traits.fused_adamw,
                "flash_attention": traits.flash,
                "fused_operations": sorted(device.ops),
            }
        }
    )


def _features(torch: Any) -> dict[str, Any]:
    """Return what this release of torch has, whatever the device."""
    functions = torch.nn.functional
    grouped = [
        name for name in ("grouped_mm", "_grouped_mm") if hasattr(functions, name) or hasattr(torch, name)
    ]
    return {
        "grouped_products": grouped[0] if grouped else "a loop over experts",
        "linear_cross_entropy": "torch's"
        if hasattr(functions, "linear_cross_entropy")
        else "ours, in chunks",
        "several_ranks": torch.distributed.is_available() or "this torch is built without torch.distributed",
    }


def _print(line: dict[str, Any]) -> None:
    print(MARK + json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
