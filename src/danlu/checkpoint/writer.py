"""Our writer for torch's distributed checkpoint: safetensors files, a JSON index, a manifest.

    save(state, storage_writer=Writer(folder))

torch plans which rank writes which piece; here the bytes go to the disk: written aside, hashed on
the way, synced, and renamed by rank 0 once every rank is done. Torch's own writer keeps its index,
and all that is not a tensor, as pickles; here both are JSON.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, cast

from torch import Tensor
from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner, WriteItem
from torch.distributed.checkpoint.storage import StorageWriter, WriteResult
from torch.futures import Future

from danlu.base.errors import UserError
from danlu.base.paths import sync
from danlu.checkpoint import index, manifest
from danlu.checkpoint.index import Place

BLOCK = 4 << 20  # bytes hashed and written at a time: in the processor's cache, long enough to free the GIL


class Written(NamedTuple):
    """One file as its writer knows it."""

    size: int
    sha256: str
    begins: dict[MetadataIndex, int]


def write(path: Path, buffers: Iterable[Any], begins: dict[MetadataIndex, int] | None = None) -> Written:
    """Write a new file out of buffers, hashed on the way, and sync it."""
    size, digest = 0, hashlib.sha256()
    with path.open("xb", buffering=0) as file:
        for buffer in buffers:
            view = memoryview(buffer).cast("B")
            for start in range(0, len(view), BLOCK):
                block = view[start : start + BLOCK]
                digest.update(block)
                while len(block):  # a file without a buffer may take less than it was given
                    block = block[file.write(block) :]
            size += len(view)
        os.fsync(file.fileno())
    return Written(size, digest.hexdigest(), begins or {})


def _header(items: list[WriteItem]) -> tuple[bytes, dict[MetadataIndex, int]]:
    """Return the head of a safetensors file and where in that file each piece begins."""
    entries, begins, end = {}, {}, 0
    for item in items:
        data = item.tensor_data
        assert data is not None and item.index.offset is not None
        size = index.size_of(data.chunk.sizes, data.properties.dtype)
        whole = data.chunk.sizes == data.size
        name = item.index.fqn if whole else f"{item.index.fqn}@{','.join(map(str, item.index.offset))}"
        entries[name] = {
            "dtype": index.word_for(data.properties.dtype),
            "shape": list(data.chunk.sizes),
            "data_offsets": [end, end + size],
        }
        begins[item.index] = end
        end += size
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    head = len(text).to_bytes(8, "little") + text
    return head, {piece: len(head) + begin for piece, begin in begins.items()}


def _width(item: WriteItem) -> int:
    assert item.tensor_data is not None, f"{item.index.fqn}: only tensors are sharded"
    return item.tensor_data.properties.dtype.itemsize


def write_tensors(path: Path, items: list[WriteItem], planner: SavePlanner) -> Written:
    """Write the tensors of a plan into one safetensors file."""
    # Wide dtypes first, so that every tensor is aligned to its own width.
    items = sorted(items, key=_width, reverse=True)
    head, begins = _header(items)
    tensors = (cast(Tensor, planner.resolve_data(item)) for item in items)
    return write(path, chain([head], map(index.raw, tensors)), begins)


class Writer(StorageWriter):
    """Writes one checkpoint into `folder`, which appears when all ranks are done."""

    def __init__(self, folder: Path, rank: int = 0, plain: str = "{}", **about: Any) -> None:
        self.folder, self.rank, self.plain, self.about = folder, rank, plain, about
        self.aside = folder.with_name(f".{folder.name}.writing")
        self.ranks = 1

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        return False  # never chosen by a path alone

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        pass

    def set_up_storage_writer(self, *args: Any, **kwargs: Any) -> None:
        pass

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        return plan

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        # Only rank 0 comes here, and before any rank writes.
        self.ranks = len(plans)
        shutil.rmtree(self.aside, ignore_errors=True)
        self.aside.mkdir(parents=True)
        return plans

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        stem = f"rank-{self.rank:05d}"
        files = {f"{stem}.json": write(self.aside / f"{stem}.json", [self.plain.encode()])}
        if plan.items:
            name = f"{stem}.safetensors"
            files[name] = write_tensors(self.aside / name, plan.items, planner)
        done: Future[list[WriteResult]] = Future()
        done.set_result([WriteResult(MetadataIndex(name), file.size, file) for name, file in files.items()])
        return done

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        files: dict[str, Written] = {one.index.fqn: one.storage_data for rank in results for one in rank}
        places: dict[MetadataIndex, Place] = {}
        for name, file in files.items():
            if not (self.aside / name).is_file():
                problem = f"{self.aside}: rank 0 does not see {name}"
                raise UserError(problem, "choose a run_dir that all hosts share")
            places |= {piece: Place(name, begin) for piece, begin in file.begins.items()}
        files[index.FILE] = write(self.aside / index.FILE, [index.dump(metadata, places).encode()])
        listed = {name: {"size": file.size, "sha256": file.sha256} for name, file in files.items()}
        about = {"format": manifest.FORMAT, "ranks": self.ranks, **self.about, "files": listed}
        write(self.aside / manifest.FILE, [manifest.render(about).encode()])
        sync(self.aside)
        put(self.aside, self.folder)


def put(aside: Path, folder: Path) -> None:
    """Rename `aside` to `folder`; what stood there gives way, and is put back if that fails.

    A process killed between the two renames leaves the old one under a name that the next
    store, on opening, knows how to put back.
    """
    old = folder.with_name(f".{folder.name}.replaced")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    try:
        aside.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)
