"""Two hosts, each a network of its own, train one model together: its losses are those of one host.

The hosts are network namespaces of this machine, joined by a cable; their processes see no other network.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from corpus import texts
from launch.clones import working_clone
from shell import CLEAN

pytestmark = pytest.mark.slow
NAMES = [f"danlu{os.getpid() % 10000}{end}" for end in "ab"]
ADDRESSES = ["10.213.7.1", "10.213.7.2"]
SMALL = [
    *("train", "pretrain", "--device", "cpu"),
    *("model=tiny", "seq_len=64", "batch_tokens=512", "steps=8", "dtype=float32", "compile=false"),
]


def ip(*words: str, check: bool = True) -> None:
    subprocess.run(["ip", *words], check=check, capture_output=True)


@pytest.fixture
def hosts():
    """Two network namespaces and the cable between them; gone afterwards."""
    if os.getuid() != 0 or shutil.which("ip") is None:
        pytest.skip("no network namespaces: they want root and ip (iproute2)")
    try:
        for name in NAMES:
            ip("netns", "add", name)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces: {error.stderr.decode().strip()}")
    try:
        ip(
            "link",
            "add",
            NAMES[0],
            "netns",
            NAMES[0],
            "type",
            "veth",
            "peer",
            "name",
            NAMES[1],
            "netns",
            NAMES[1],
        )
        for name, address in zip(NAMES, ADDRESSES):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", name)
            ip("-n", name, "link", "set", name, "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield NAMES
    finally:
        for name in NAMES:
            ip("netns", "del", name, check=False)


def start(clone: Path, run: Path, data: Path, before: list[str], **env: str) -> subprocess.Popen[str]:
    words = [
        "bash",
        "run_all.sh",
        *SMALL,
        f"data.train={data}",
        f"run_dir={run}",
        f"out={run.parent}/{run.name}-out",
    ]
    return subprocess.Popen(
        [*before, *words],
        cwd=clone,
        env=CLEAN | {"OMP_NUM_THREADS": "1"} | env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def received(host: str) -> int:
    """The bytes that came to a host over the cable."""
    words = ["ip", "netns", "exec", host, "cat", f"/sys/class/net/{host}/statistics/rx_bytes"]
    return int(subprocess.check_output(words))


def losses(run: Path) -> list[float]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


def test_two_hosts_learn_what_one_learns(hosts, tmp_path):
    clone = working_clone(tmp_path / "clone")
    data = texts(tmp_path / "corpus.jsonl", rows=400)
    alone = start(clone, tmp_path / "one", data, [])
    assert alone.communicate(timeout=300) and alone.returncode == 0

    both = [
        start(
            clone,
            tmp_path / "two",
            data,
            ["ip", "netns", "exec", name],
            NODES="2",
            NODE_RANK=str(rank),
            MASTER_ADDR=ADDRESSES[0],
            GLOO_SOCKET_IFNAME=name,
        )
        for rank, name in enumerate(hosts)
    ]
    said = [host.communicate(timeout=300)[0] for host in both]
    assert [host.returncode for host in both] == [0, 0], "\n".join(said)
    assert min(map(received, hosts)) > 1 << 20, "they learned without each other"
    assert len(losses(tmp_path / "one")) == 8
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)
