"""What the vendor's libraries are told through the environment, chosen from how many chips work together.

Whatever the user has set stays as it is.

    HCCL_CONNECT_TIMEOUT   seconds in which all ranks must have come: hosts start at different times
    HCCL_EXEC_TIMEOUT      seconds a collective may wait; longer with several hosts, where rank 0 saves for
                           all. The 910A class counts in steps of 68 and ends at 17340
    HCCL_BUFFSIZE          MB of each of a communicator's two buffers. Sharing weights makes a communicator a
                           direction, and many hosts gather larger pieces
    PYTORCH_NPU_ALLOC_CONF memory that grows in place: batches of uneven length leave fewer holes
    TORCH_NPU_FALLBACK_CPU_DISABLE   under the strict policy an operator without a kernel is an error
"""

from __future__ import annotations

from collections.abc import Mapping

STEP = 68  # seconds, of the 910A class
REPEATING = {
    "HCCL_DETERMINISTIC": "true",
    "LCCL_DETERMINISTIC": "1",
    "CLOSE_MATMUL_K_SHIFT": "1",
    "ATB_MATMUL_SHUFFLE_K_ENABLE": "0",
}
"""Sums and products in one order every time, at some cost."""


def choose(environment: Mapping[str, str], old: bool, policy: str) -> dict[str, str]:
    """Return what is to be set; `old` is the 910A class.

    >>> choose({"WORLD_SIZE": "16", "LOCAL_WORLD_SIZE": "8"}, old=True, policy="warn")["HCCL_EXEC_TIMEOUT"]
    '3672'
    >>> choose({"HCCL_EXEC_TIMEOUT": "99", "WORLD_SIZE": "2"}, old=True, policy="warn")
    {'HCCL_CONNECT_TIMEOUT': '300', 'HCCL_BUFFSIZE': '200'}
    """
    wanted: dict[str, str] = {}
    ranks = _number(environment, "WORLD_SIZE", "SLURM_NTASKS")
    if ranks > 1:
        hosts = max(1, ranks // _number(environment, "LOCAL_WORLD_SIZE", "SLURM_NTASKS_PER_NODE", ranks))
        patience = 1836 if hosts == 1 else 3672
        wanted |= {
            "HCCL_CONNECT_TIMEOUT": "300" if hosts == 1 else "900",
            "HCCL_EXEC_TIMEOUT": str(min(patience, 17340) // STEP * STEP if old else patience),
            "HCCL_BUFFSIZE": "200" if hosts == 1 else "400",
        }
    if not {"PYTORCH_NPU_ALLOC_CONF", "PYTORCH_ALLOC_CONF"} & environment.keys() and not old:
        wanted["PYTORCH_NPU_ALLOC_CONF"] = "expandable_segments:True"
    if policy == "strict":
        wanted["TORCH_NPU_FALLBACK_CPU_DISABLE"] = "1"
    return {name: value for name, value in wanted.items() if name not in environment}


def _number(environment: Mapping[str, str], *names: str | int) -> int:
    """Return the first of these variables that is a number; the last name may be what holds otherwise."""
    for name in names:
        if isinstance(name, int):
            return name
        if environment.get(name, "").isdecimal():
            return int(environment[name])
    return 1
