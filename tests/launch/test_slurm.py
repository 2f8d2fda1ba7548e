"""launch/slurm.sh: what each host of a job runs, with Slurm's own commands replaced by ones that say so."""

import re
import shutil

import pytest

from launch import roots
from shell import ROOT, call, said, small_clone

JOB = {
    "SLURM_JOB_ID": "1234567",
    "SLURM_JOB_NUM_NODES": "3",
    "SLURM_JOB_NODELIST": "node[4-6]",
    "DRY_RUN": "1",
    "ACCELERATOR": "cpu",
}
TORCHRUN = ".venv/bin/python -m torch.distributed.run"


@pytest.fixture
def job(tmp_path):
    """A clone that looks set up, a copy of the script as sbatch makes one, and a Slurm of three hosts."""
    clone = small_clone(tmp_path / "some 丹炉")
    python = clone / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.symlink_to(shutil.which("python3"))
    said("KIND=cpu mark_ready .venv base", clone)
    copy = tmp_path / "spool/slurm_script"
    copy.parent.mkdir()
    shutil.copy(clone / "launch/slurm.sh", copy)
    tools = tmp_path / "tools"
    roots.script(tools / "scontrol", "printf 'node4\\nnode5\\nnode6\\n'\n")
    roots.script(
        tools / "srun",
        'echo "srun ${SRUN_CPUS_PER_TASK:-}"; while [ "${1#--}" != "$1" ]; do shift; done\n'
        'for SLURM_NODEID in 0 1 2; do export SLURM_NODEID; "$@" || exit; done\n',
    )

    def run(*words: str, **env: str):
        path = {"PATH": f"{tools}:/usr/bin:/bin", "SLURM_SUBMIT_DIR": str(clone)}
        return call("bash", copy, *words, cwd=tmp_path, **(path | JOB | env))

    return run


def test_every_host_runs_the_same_and_knows_its_place(job):
    done = job("train", "pretrain", "data.train=a b.jsonl")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith(TORCHRUN)]
    assert [re.search(r"--node-rank (\d)", line)[1] for line in lines] == ["0", "1", "2"]
    for line in lines:
        assert "--nnodes 3 " in line and "--master-addr node4 --master-port 24567 " in line
        assert line.rstrip().endswith("-m danlu train pretrain data.train=a\\ b.jsonl")


def test_processors_asked_for_are_handed_on(job):
    assert "srun 32" in job("train", "pretrain", "data.train=x", SLURM_CPUS_PER_TASK="32").stdout


def test_a_host_that_fails_ends_the_job(job):
    assert job("train", "nonsense").returncode == 2


def test_outside_of_slurm_or_of_the_clone_it_says_how_it_is_meant(job, tmp_path):
    done = job("pretrain", SLURM_JOB_ID="")
    assert done.returncode == 2
    assert done.stderr == "error: Slurm did not start this\n  try: sbatch launch/slurm.sh pretrain\n"
    done = job("pretrain", SLURM_SUBMIT_DIR=str(tmp_path))
    assert done.returncode == 2 and "is not the clone" in done.stderr


def test_its_help_is_its_header_in_both_languages():
    for language, word in (("en", "save and to leave"), ("zh", "保存并退出")):
        told = call("bash", "launch/slurm.sh", "--help", cwd=ROOT, DANLU_LANG=language)
        assert told.returncode == 0 and word in told.stdout and "SBATCH" not in told.stdout


def test_sbatch_reads_its_wishes_before_the_first_command():
    lines = (ROOT / "launch/slurm.sh").read_text(encoding="utf-8").splitlines()
    first = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    wishes = [i for i, line in enumerate(lines) if line.startswith("#SBATCH ")]
    assert wishes and max(wishes) < first
    assert "#SBATCH --ntasks-per-node=1" in lines and "help_here" in "\n".join(lines)
