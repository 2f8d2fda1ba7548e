"""From a bare host to one whose network is cut: real packages, real data; there from text to an answer."""

from __future__ import annotations

import shutil

import pytest

from launch.bare_host import HOME, BareHost, make_base, why_not
from made_once import made_once

TOOLS = "" if shutil.which("ip") else "no ip on this host, which brings a loopback up"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(why_not() or TOOLS), reason=why_not() or TOOLS)]

MADE = "bash run_all.sh bundle create --image none --data data/starter --split 100M"
SMALL = "steps=12 batch_tokens=2048 seq_len=256"
STAGES = f"""
bash run_all.sh train pretrain model=tiny data.train=data/starter/pretrain.jsonl {SMALL}
bash run_all.sh train sft from=out/pretrain_128 data.train=data/starter/sft.jsonl {SMALL}
bash run_all.sh convert --weight full_sft_128
bash run_all.sh chat --weight full_sft_128 --prompt hello --max-tokens 8
"""


@pytest.fixture
def hosts(tmp_path_factory, tmp_path):
    """One with a network, one without."""
    base = made_once(tmp_path_factory, "debian", make_base)
    pair = [BareHost(base, tmp_path / "one"), BareHost(base, tmp_path / "other", cut=True)]
    yield pair
    for host in pair:
        host.remove()


def does(host: BareHost, line: str, cwd: str) -> str:
    """What a command says that must come to a good end."""
    with host.start("bash", "-c", line, cwd=cwd) as process:
        told = process.communicate()[0]
    assert process.returncode == 0, told[-3000:]
    return told


def test_a_bundle_takes_all_there_is_to_a_host_without_a_network(hosts):
    one, other = hosts
    clone = one.clone()
    does(one, f"bash run_all.sh data && {MADE}", clone)
    parts = sorted(path.name for path in (one.root / clone.lstrip("/") / "dist/bundle").iterdir())
    assert "wheels.tar.001" in parts and "data-data_starter.tar" in parts
    shutil.move(one.root / clone.lstrip("/") / "dist/bundle", other.root / HOME.lstrip("/") / "usb")
    assert "Network is unreachable" in does(other, "exec 3<>/dev/tcp/1.1.1.1/80 || true", HOME)
    told = does(other, "bash usb/install.sh danlu", HOME)
    assert "whole: " in told and "ready: " in told
    for line in STAGES.strip().splitlines():
        told = does(other, line, f"{HOME}/danlu")
    assert "tokens" in told
