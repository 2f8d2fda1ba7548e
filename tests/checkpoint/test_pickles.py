"""Nothing in a checkpoint's folder is ever unpickled."""

import json
import os
import pickle

import pytest
import torch

from danlu.base.errors import UserError
from danlu.checkpoint import manifest
from danlu.checkpoint.gather import read_full
from danlu.checkpoint.store import Store

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")

STATE = {"model": {"w": torch.arange(4.0)}}


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, sign):
        self.sign = str(sign)

    def __reduce__(self):
        return os.mkdir, (self.sign,)


@pytest.fixture
def planted(tmp_path):
    """A whole checkpoint, the bytes of a payload, and the sign it leaves."""
    path = Store(tmp_path / "run").save(1, STATE, {"step": 1}, wait=True)
    return path, pickle.dumps(Payload(tmp_path / "ran")), tmp_path / "ran"


def open_everything(path):
    store = Store(path.parent)
    for use in (
        lambda: store.newest(),
        lambda: store.load(path, {"model": {"w": torch.zeros(4)}}),
        lambda: store.plain(path),
        lambda: dict(read_full(path)),
    ):
        try:
            use()
        except UserError:
            continue


def test_the_payload_works_where_pickles_are_read(planted):
    path, payload, sign = planted
    (path / ".metadata").write_bytes(payload)
    with pytest.raises(BaseException):  # noqa: B017  torch stumbles over the result, too late
        torch.distributed.checkpoint.load({}, checkpoint_id=path)
    assert sign.exists()


def test_a_payload_beside_the_files_does_not_run(planted):
    path, payload, sign = planted
    for name in (".metadata", "model.pth", "rank-00000.pth", "__0_0.distcp"):
        (path / name).write_bytes(payload)
    open_everything(path)
    assert not sign.exists()
    assert Store(path.parent).newest() == path


def test_a_payload_in_place_of_a_file_does_not_run(planted):
    path, payload, sign = planted
    for file in sorted(path.iterdir()):
        whole = file.read_bytes()
        file.write_bytes(payload)
        open_everything(path)
        file.write_bytes(whole)
    assert not sign.exists()


def test_a_payload_with_fitting_checksums_does_not_run(planted):
    path, payload, sign = planted
    for name in ("index.json", "rank-00000.json", "rank-00000.safetensors"):
        whole = (path / name).read_bytes()
        (path / name).write_bytes(payload)
        reseal(path)
        assert manifest.damage(path) is None
        open_everything(path)
        (path / name).write_bytes(whole)
    assert not sign.exists()


def test_an_index_cannot_reach_out_of_its_folder(planted):
    path, _, _ = planted
    (path.parent / "secret").write_bytes(bytes(16))
    text = (path / "index.json").read_text().replace("rank-00000.safetensors", "../secret")
    (path / "index.json").write_text(text)
    reseal(path)
    with pytest.raises(UserError):
        list(read_full(path))


def reseal(path):
    """Write a manifest that fits whatever the files hold now."""
    about = json.loads((path / "manifest.json").read_text())
    del about["seal"]
    from danlu.base.paths import sha256

    about["files"] = {
        n: {"size": (path / n).stat().st_size, "sha256": sha256(path / n)} for n in about["files"]
    }
    (path / "manifest.json").write_text(manifest.render(about))
