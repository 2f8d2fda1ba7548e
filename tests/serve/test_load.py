"""Many clients at once, of every manner: no crash, none lost, every stream ends well, memory stays flat."""

import asyncio
import os
import signal
import subprocess
import sys
from urllib.parse import urlsplit

import psutil
import pytest

from danlu.serve.house import Rules
from generate.models import finished, tiny
from serve.crowd import Crowd, faults
from serve.plain import asked
from serve.servers import serving
from serve.test_worker import until

LARGEST = 50_000
MEGABYTE = 1 << 20


def crowd_of(url, seed=0):
    place = urlsplit(url)
    return Crowd(place.hostname, place.port, LARGEST, seed)


def test_a_crowd_is_served_and_leaves_nothing_behind():
    with serving(rules=Rules(quiet=True, max_body=LARGEST), slots=8, queue=200) as running:
        got = asyncio.run(crowd_of(running.url).come(90, together=24))
        assert len(got) == 90 and not faults(got)
        until(lambda: running.worker.open_count == 0 and not running.engine.busy)
        assert not running.worker._flights


def test_a_crowd_too_large_is_told_to_come_again():
    with serving(rules=Rules(quiet=True, max_body=LARGEST), slots=2, queue=2) as running:
        got = asyncio.run(crowd_of(running.url).come(45, together=45))
        assert {each.status for each in faults(got)} <= {429}
        until(lambda: running.worker.open_count == 0)
        assert not faults(asyncio.run(crowd_of(running.url, seed=1).come(9, together=1)))


@pytest.mark.slow
def test_five_hundred_requests_at_sixty_four_together(tmp_path):
    folder = finished(tmp_path / "tiny", tiny(max_position_embeddings=512))
    options = [
        "--port",
        "0",
        "--slots",
        "16",
        "--max-body",
        str(LARGEST),
        "--dtype",
        "float32",
        "--lang",
        "en",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "danlu", "serve", str(folder), *options, "--quiet", "--device", "cpu"],
        stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": "src", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert process.stderr
    try:
        url = next(line for line in process.stderr if "is served at" in line).split(" at ")[1].split()[0]
        usage = psutil.Process(process.pid)
        assert not faults(asyncio.run(crowd_of(url).come(200, together=64)))  # warm
        before = usage.memory_info().rss
        got = asyncio.run(crowd_of(url, seed=1).come(500, together=64))
        assert len(got) == 500 and not faults(got)
        until(lambda: "danlu_requests_running 0" in asked(f"{url}/metrics")[1])
        assert usage.memory_info().rss - before < 48 * MEGABYTE
        assert usage.num_fds() < 40
    finally:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0 and "Traceback" not in said
