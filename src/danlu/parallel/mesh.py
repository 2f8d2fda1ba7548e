"""The ranks of a run: who I am, how many we are, and the few things we agree on.

A rank is one process with one device. Whoever started the processes says so in the environment:

    torchrun, accelerate launch   RANK  WORLD_SIZE  LOCAL_RANK  MASTER_ADDR  MASTER_PORT
    srun                          SLURM_PROCID  SLURM_NTASKS  SLURM_LOCALID  SLURM_NODELIST
    nobody                        one rank, and nothing here talks to anybody

Small facts (counts, flags, names) travel between the processors over gloo in float64, so that
agreeing never waits for the accelerator and never rounds a count; gradients use the device's own
backend.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from pydantic import Field
from torch import Tensor

from danlu.base.config import Section
from danlu.base.errors import UserError
from danlu.base.log import say
from danlu.device.api import Device

T = TypeVar("T")
PORT = 29500


class Parallel(Section):
    """How the work is divided between ranks."""

    data: Literal["auto", "ddp", "fsdp"] = "auto"
    """Each rank takes its own rows. ddp: with a whole copy of the weights; fsdp: with a share of them;
    auto: ddp where a copy fits well."""
    shard: int = Field(default=0, ge=0)
    """fsdp: how many ranks share one copy of the weights (of one host, best); 0: all of them."""

    def check(self, ranks: int) -> None:
        """Refuse degrees that so many ranks cannot have, before any work begins."""
        if self.shard and self.data == "ddp":
            raise UserError(
                f"parallel.shard: {self.shard}, but ddp shares nothing",
                "parallel.data=fsdp, or parallel.shard=0",
            )
        if self.shard and ranks % self.shard:
            fitting = ", ".join(str(n) for n in range(1, ranks + 1) if ranks % n == 0)
            raise UserError(
                f"parallel.shard: {self.shard} does not divide {ranks} rank(s)", f"one of: {fitting}"
            )


@dataclass(frozen=True)
class World:
    """One process's place among all."""

    rank: int = 0
    ranks: int = 1
    local_rank: int = 0


def from_environment(environment: Mapping[str, str] = os.environ) -> World:
    """Return the place that a launcher gave this process, one rank if there was no launcher.

    >>> from_environment({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"})
    World(rank=3, ranks=4, local_rank=1)
    >>> from_environment({})
    World(rank=0, ranks=1, local_rank=0)
    """
    names = _names(environment)
    if names is None:
        return World()
    numbers = {}
    for name in names:
        text = environment.get(name, "0" if "LOCAL" in name else "")
        if not text.isdecimal():
            raise UserError(
                f"{name}: found {text!r}, a number is wanted",
                f"start with torchrun, accelerate launch or srun, which set {', '.join(names)}",
            )
        numbers[name] = int(text)
    rank, ranks, local_rank = numbers.values()
    if rank >= ranks:
        raise UserError(
            f"{names[0]}={rank}, but there are {ranks} rank(s) ({names[1]})", "ranks count from 0"
        )
    return World(rank, ranks, local_rank)


def _names(environment: Mapping[str, str]) -> tuple[str, str, str] | None:
    """Return the variables that tell our place, or None where nobody starts several of us."""
    if "RANK" in environment or "WORLD_SIZE" in environment:
        return "RANK", "WORLD_SIZE", "LOCAL_RANK"
    # A batch script sees the job's number of tasks too, though it is one process: only srun makes a step.
    batch_script = "SLURM_JOB_ID" in environment and "SLURM_STEP_ID" not in environment
    if "SLURM_PROCID" in environment and not batch_script:
        step = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in environment else "SLURM_NTASKS"
        return "SLURM_PROCID", step, "SLURM_LOCALID"
    return None


def first_host(nodes: str) -> str:
    """Return the first host of Slurm's compressed list.

    >>> first_host("gpu-a[003-007,012],login1")
    'gpu-a003'
    >>> first_host("big1,big2")
    'big1'
    """
    first = re.split(r",(?![^\[]*\])", nodes)[0]
    return re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", first)


def meeting_place(environment: Mapping[str, str] = os.environ) -> tuple[str, int]:
    """Return the host and port at which the ranks find each other.

    >>> meeting_place({"SLURM_NODELIST": "gpu-a[003-007]", "SLURM_JOB_ID": "12"})
    ('gpu-a003', 29512)
    """
    lists = ("SLURM_STEP_NODELIST", "SLURM_NODELIST", "SLURM_JOB_NODELIST")
    nodes = next((environment[name] for name in lists if name in environment), "")
    host = environment.get("MASTER_ADDR") or first_host(nodes)
    if not host:
        raise UserError(
            "MASTER_ADDR: is not set, and several ranks must meet somewhere",
            "torchrun, accelerate launch and srun say where; else MASTER_ADDR=FIRST_HOST on all hosts",
        )
    # Two jobs on one host must not meet each other; all ranks of one know its number.
    job = environment.get("SLURM_JOB_ID", "0")
    port = environment.get("MASTER_PORT") or str(PORT + (int(job) % 10000 if job.isdecimal() else 0))
    if not port.isdecimal():
        raise UserError(f"MASTER_PORT: found {port!r}, a number is wanted", f"MASTER_PORT={PORT}")
    return host, int(port)


def start(device: Device, minutes: float = 30) -> World:
    """Join the other ranks, if there are any; every other function here may then be called."""
    if dist.is_initialized():
        return world()
    place = from_environment()
    if place.ranks == 1:
        if {"ACCELERATE_USE_CPU", "MASTER_ADDR"} <= os.environ.keys() and "RANK" not in os.environ:
            say("accelerate launch --cpu started one process only; with --multi_gpu it starts all, here too")
        return place
    host, port = meeting_place()
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = host, str(port)  # torch looks for them there
    backend = device.backend
    if backend != "gloo":
        backend = f"cpu:gloo,{device.kind}:{backend}"
    patience = timedelta(minutes=minutes)
    try:
        dist.init_process_group(backend, rank=place.rank, world_size=place.ranks, timeout=patience)
    except (dist.DistError, ValueError, OSError) as error:
        problem = f"rank {place.rank} of {place.ranks} could not join the others at {host}:{port}"
        raise UserError(
            f"{problem}: {str(error).splitlines()[0]}",
            "can every host reach it? another MASTER_PORT if it is taken; are there WORLD_SIZE processes?",
        ) from error
    return place


def stop() -> None:
    """Leave the others. Harmless where there are none."""
    if dist.is_initialized():
        dist.destroy_process_group()


def world() -> World:
    """Return this process's place."""
    if not dist.is_initialized():
        return World()
    return World(dist.get_rank(), dist.get_world_size(), from_environment().local_rank)


def sum_over_ranks(value: Any) -> Any:
    """Return the sum over all ranks of a number, or of a tensor (a new one, where it was).

    A number comes back as a number of its kind; whole numbers stay exact.
    """
    if isinstance(value, Tensor):
        total = value.detach().clone()
        if dist.is_initialized():
            dist.all_reduce(total)
        return total
    dtype = torch.int64 if isinstance(value, int) else torch.float64
    return sum_over_ranks(torch.tensor(value, dtype=dtype)).item()


def any_rank(flag: bool) -> bool:
    """Return whether the flag is up on at least one rank."""
    return bool(sum_over_ranks(int(flag)))


def broadcast(value: T) -> T:
    """Return rank 0's value on every rank."""
    if not dist.is_initialized():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    return box[0]


def gather(value: T) -> list[T]:
    """Return every rank's value, in the order of ranks, on every rank."""
    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def barrier() -> None:
    """Wait until every rank is here."""
    sum_over_ranks(0)
