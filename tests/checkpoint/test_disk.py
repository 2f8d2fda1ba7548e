"""Full disks, kills and neighbours: an earlier checkpoint is never lost, and nothing half-made is left."""

import multiprocessing
import os
import random
import resource
import runpy
import shutil
import signal
import subprocess
from collections import namedtuple
from pathlib import Path

import pytest
import torch

from danlu.base.errors import UserError
from danlu.checkpoint import manifest
from danlu.checkpoint.gather import read_full
from danlu.checkpoint.store import Store
from ranks import run_ranks

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")


def megabytes(count):
    return {"model": {f"w{i}": torch.ones(250_000) for i in range(count)}}


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 6 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", folder], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_what_cannot_fit_is_refused_before_anything_is_written(small_disk):
    store = Store(small_disk / "run")
    whole = store.save(1, megabytes(3), {}, wait=True)
    with pytest.raises(UserError) as caught:
        store.save(2, megabytes(4), {})
    assert "step-000002: 4.0 MB to write, 3." in caught.value.problem and "MB free" in caught.value.problem
    assert_only(store, whole)


def test_a_disk_that_fills_meanwhile_gives_two_clear_lines(small_disk, monkeypatch):
    store = Store(small_disk / "run")
    whole = store.save(1, megabytes(3), {}, wait=True)
    room = namedtuple("usage", "total used free")(10**9, 0, 10**9)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: room)  # free when looked at, taken by others since
        store.save(2, megabytes(4), {})
        with pytest.raises(UserError) as caught:
            store.wait()
    first, second = str(caught.value).splitlines()
    assert "step-000002: No space left on device: 4.0 MB to write" in first
    assert second.startswith("  try: free some space") and "the checkpoints before are whole" in second
    assert_only(store, whole)
    store.save(3, megabytes(1), {}, wait=True)  # and with room again, saving goes on
    assert store.newest().name == "step-000003"


def assert_only(store, whole):
    assert store.newest() == whole and manifest.damage(whole) is None
    assert sorted(path.name for path in store.folder.iterdir()) == [".lock", "latest", whole.name]
    assert (store.folder / "latest").read_text().strip() == whole.name


def limited(rank, ranks, folder):
    store = Store(folder)
    whole = store.save(1, megabytes(1), {}, wait=True)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, resource.RLIM_INFINITY))
    try:
        store.save(2, megabytes(2), {}, wait=True)
    except UserError as error:
        assert_only(store, whole)
        return str(error)


def test_a_write_that_breaks_off_gives_two_clear_lines(tmp_path):
    # The same as a full disk where no file system may be mounted: the kernel refuses in mid-write.
    (said,) = run_ranks(limited, 1, tmp_path)
    assert "step-000002: File too large: 2.0 MB to write" in said and len(said.splitlines()) == 2


def test_kill_9_at_any_moment_loses_nothing(tmp_path):
    server = multiprocessing.get_context("forkserver")
    chance, sure = random.Random(0), 0
    for _ in range(25):
        here, there = server.Pipe(duplex=False)
        target = Path(__file__).with_name("saver.py")
        saver = server.Process(target=runpy.run_path, args=(str(target), {"RUN": tmp_path, "PIPE": there}))
        saver.start()
        there.close()
        if here.poll(20):  # begun; now at some moment within the next few saves
            sure = here.recv()
        saver.join(chance.random() * 0.06)
        saver.kill()
        saver.join()
        try:
            while here.poll():
                sure = here.recv()
        except EOFError:
            pass
        store = Store(tmp_path, keep=2, keep_best=False)
        newest = store.newest()
        step = store.plain(newest)["step"]
        assert newest.name == f"step-{step:06d}" and step >= sure
        assert all((tensor == step).all() for _, tensor in read_full(newest))
        assert not [
            path.name
            for path in tmp_path.iterdir()
            if path.name.endswith((".writing", ".replaced", ".removed"))
        ]
        assert 1 <= len(list(tmp_path.glob("step-*"))) <= 3
        store.close()


def test_what_a_killed_run_left_is_swept_and_a_replaced_one_put_back(tmp_path, capsys):
    store = Store(tmp_path)
    older = store.save(1, megabytes(1), {}, wait=True)
    path = store.save(2, megabytes(1), {}, wait=True)
    store.close()
    path.rename(tmp_path / ".step-000002.replaced")  # killed between the two renames of a replacement
    shutil.copytree(older, tmp_path / ".step-000001.replaced")  # killed after them
    for name in (".step-000002.writing", ".step-000000.removed"):
        (tmp_path / name).mkdir()
    (tmp_path / ".latest.writing-123").touch()
    (tmp_path / "step-notes.txt").touch()
    assert Store(tmp_path).newest() == path and "damaged" not in capsys.readouterr().err
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == [".lock", "latest", "step-000001", "step-000002", "step-notes.txt"]


def neighbour(rank, ranks, folder):
    try:
        Store(folder)
    except UserError as error:
        return str(error)


def test_two_runs_cannot_save_in_one_folder(tmp_path):
    store = Store(tmp_path)
    store.save(1, megabytes(4), {})
    (tmp_path / ".step-000009.writing").mkdir()  # in the making, as far as a neighbour can tell
    assert f"process {os.getpid()} on" in run_ranks(neighbour, 1, tmp_path)[0]
    store.wait()
    assert store.newest() and (tmp_path / ".step-000009.writing").exists()
    store.close()
    assert run_ranks(neighbour, 1, tmp_path) == [None]


def test_two_stores_of_one_process_share_the_folder(tmp_path):
    first = Store(tmp_path)
    path = first.save(1, megabytes(8), {})
    second = Store(tmp_path)  # does not sweep what the first is writing
    first.wait()
    assert second.newest() == path
    first.close()
    assert "is saving here" in run_ranks(neighbour, 1, tmp_path)[0]
    second.close()
