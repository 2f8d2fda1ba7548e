"""Ranks are found in any launcher's environment, and mistakes in it are named."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from danlu.base.errors import UserError
from danlu.parallel import mesh
from danlu.parallel.mesh import Parallel, World, first_host, from_environment, meeting_place
from ranks import run_ranks

SLURM = {"SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1", "SLURM_NODELIST": "a[01-04]"}
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({}, World()),
        ({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}, World(1, 2, 1)),
        (SLURM, World(5, 8, 1)),
        (SLURM | {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "6"}, World(5, 6, 1)),
        (SLURM | {"SLURM_PROCID": "0", "SLURM_JOB_ID": "7"}, World()),  # a batch script is not a step
        (SLURM | {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "3"}, World(3, 4, 3)),  # torchrun inside srun
    ],
)
def test_the_launcher_says_who_we_are(environment, place):
    assert from_environment(environment) == place


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"RANK": "0"}, "WORLD_SIZE: found ''"),
        ({"RANK": "x", "WORLD_SIZE": "2"}, "RANK: found 'x'"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, r"RANK=2, but there are 2 rank\(s\)"),
    ],
)
def test_a_wrong_environment_is_named(environment, words):
    with pytest.raises(UserError, match=words):
        from_environment(environment)


@pytest.mark.parametrize(
    ("nodes", "host"), [("n1", "n1"), ("n[3,7-9],m", "n3"), ("r[1-2]n[08-09]", "r1n08"), ("a,b[1-2]", "a")]
)
def test_the_first_host_of_a_compressed_list(nodes, host):
    assert first_host(nodes) == host


def test_the_meeting_place():
    assert meeting_place({"MASTER_ADDR": "h", "MASTER_PORT": "1234"} | SLURM) == ("h", 1234)
    assert meeting_place(SLURM | {"SLURM_JOB_ID": "45"}) == ("a01", mesh.PORT + 45)
    with pytest.raises(UserError, match="MASTER_ADDR: is not set"):
        meeting_place({})


@pytest.mark.parametrize(
    ("cfg", "ranks", "words"),
    [
        (Parallel(shard=3), 4, "does not divide 4.*1, 2, 4"),
        (Parallel(data="ddp", shard=2), 4, "ddp shares nothing"),
    ],
)
def test_impossible_degrees_are_refused(cfg, ranks, words):
    with pytest.raises(UserError, match=f"(?s){words}"):
        cfg.check(ranks)


def agree(rank: int, ranks: int) -> tuple:
    return (
        mesh.start(device=None),  # joined already
        mesh.sum_over_ranks(rank + 2**53),
        mesh.sum_over_ranks(0.5 + rank),
        mesh.sum_over_ranks(torch.tensor([rank, 1])).tolist(),
        mesh.any_rank(rank == 1),
        mesh.any_rank(False),
        mesh.broadcast(f"from {rank}"),
        mesh.gather({"rank": rank}),
    )


def test_ranks_agree_exactly():
    rest = (2**54 + 1, 2.0, [1, 2], True, False, "from 0", [{"rank": 0}, {"rank": 1}])
    assert run_ranks(agree, 2) == [(World(0, 2, 0), *rest), (World(1, 2, 1), *rest)]


def test_alone_everything_is_ones_own():
    assert mesh.start(device=None) == World() == mesh.world()
    assert (mesh.sum_over_ranks(3), mesh.any_rank(True), mesh.broadcast("x"), mesh.gather(1)) == (
        3,
        True,
        "x",
        [1],
    )
    mesh.barrier()
    mesh.stop()


SAY = """
from danlu.device import api
from danlu.parallel import mesh
world = mesh.start(api.choose("cpu"))
print(f"{world} {mesh.sum_over_ranks(1)}\\n", end="", flush=True)
mesh.stop()
"""


def environment() -> dict[str, str]:
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "RANK", "MASTER_"))
    }
    return kept | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize(
    "launcher",
    [
        ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"],
        ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2", "--main_process_port=0"],
    ],
    ids=["torchrun", "accelerate"],
)
def test_the_launchers_themselves(launcher, tmp_path):
    (tmp_path / "say.py").write_text(SAY)
    command = [sys.executable, *launcher, str(tmp_path / "say.py")]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    for rank in (0, 1):
        assert f"World(rank={rank}, ranks=2, local_rank={rank}) 2" in done.stdout


def test_srun_environment_meets(tmp_path):
    (tmp_path / "say.py").write_text(SAY)
    tasks = []
    for rank in range(2):
        slurm = {"SLURM_PROCID": str(rank), "SLURM_NTASKS": "2", "SLURM_LOCALID": str(rank)}
        slurm |= {"SLURM_NODELIST": "localhost", "SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_ID": "0"}
        command = [sys.executable, str(tmp_path / "say.py")]
        tasks.append(subprocess.Popen(command, env=environment() | slurm, stdout=subprocess.PIPE, text=True))
    said = [task.communicate(timeout=100)[0].strip() for task in tasks]
    assert said == [f"World(rank={rank}, ranks=2, local_rank={rank}) 2" for rank in range(2)]
