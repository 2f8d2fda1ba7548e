"""Our reader for torch's distributed checkpoint, the counterpart of `writer`.

    load(state, storage_reader=Reader(folder))

torch plans which box of which stored piece goes where, for as many ranks as there are now; here the
bytes come from the disk, only the rows that are wanted. Nothing is unpickled.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex, TensorStorageMetadata
from torch.distributed.checkpoint.planner import LoadPlan, LoadPlanner, ReadItem
from torch.distributed.checkpoint.storage import StorageReader
from torch.futures import Future

from danlu.checkpoint import index
from danlu.checkpoint.index import Place
from danlu.model import disk


class Reader(StorageReader):
    """Reads pieces of a checkpoint in `folder` into tensors that are already there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.metadata = index.read(folder)

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        return False  # never chosen by a path alone

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        pass

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        return self.metadata

    def set_up_storage_reader(self, metadata: Metadata, *args: Any, **kwargs: Any) -> None:
        pass

    def prepare_local_plan(self, plan: LoadPlan) -> LoadPlan:
        return plan

    def prepare_global_plan(self, plans: list[LoadPlan]) -> list[LoadPlan]:
        return plans

    @torch.no_grad()
    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future[None]:
        for item in sorted(plan.items, key=self._place):
            target = planner.resolve_tensor(item).detach()
            target.copy_(self._piece(item))
            planner.commit_tensor(item, target)
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def _place(self, item: ReadItem) -> Place:
        place: Place = self.metadata.storage_data[item.storage_index]
        return place

    def _piece(self, item: ReadItem) -> torch.Tensor:
        """Return the wanted box of one stored piece; of its rows only the wanted ones are read."""
        tensor = self.metadata.state_dict_metadata[item.storage_index.fqn]
        assert isinstance(tensor, TensorStorageMetadata)
        assert item.storage_index.index is not None
        shape = tensor.chunks[item.storage_index.index].sizes
        place, dtype = self._place(item), tensor.properties.dtype
        if not shape:
            return read(self.folder, place, shape, dtype)
        first, rows = item.storage_offsets[0], item.lengths[0]
        begin = place.begin + first * index.size_of(shape[1:], dtype)
        box = read(self.folder, place._replace(begin=begin), torch.Size((rows, *shape[1:])), dtype)
        for dim in range(1, len(shape)):
            box = box.narrow(dim, item.storage_offsets[dim], item.lengths[dim])
        return box

    def tensors(self, kind: str) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield every whole tensor of one kind, with its name, one at a time."""
        for full, tensor in self.metadata.state_dict_metadata.items():
            assert isinstance(tensor, TensorStorageMetadata), full
            if full.partition("/")[0] == kind:
                yield full.partition("/")[2], self.rows(full)

    def rows(self, full: str, begin: int = 0, end: int | None = None) -> torch.Tensor:
        """Return a tensor, or some rows of its first dimension, put together from the pieces it lies in."""
        tensor = self.metadata.state_dict_metadata[full]
        assert isinstance(tensor, TensorStorageMetadata), full
        dtype = tensor.properties.dtype
        if not tensor.size:
            return read(self.folder, self._begin(full, tensor.size), tensor.size, dtype)
        end = tensor.size[0] if end is None else end
        whole = torch.empty((end - begin, *tensor.size[1:]), dtype=dtype)
        for chunk in tensor.chunks:
            first, last = max(begin, chunk.offsets[0]), min(end, chunk.offsets[0] + chunk.sizes[0])
            if first >= last:
                continue
            row = torch.Size(chunk.sizes[1:])
            place = self._begin(full, chunk.offsets)
            skip = (first - chunk.offsets[0]) * index.size_of(row, dtype)
            box = whole[first - begin : last - begin]
            for dim, (start, size) in enumerate(zip(chunk.offsets[1:], row), 1):
                box = box.narrow(dim, start, size)
            here = place._replace(begin=place.begin + skip)
            box.copy_(read(self.folder, here, torch.Size((last - first, *row)), dtype))
        return whole

    def _begin(self, full: str, offsets: torch.Size) -> Place:
        place: Place = self.metadata.storage_data[MetadataIndex(full, offsets)]
        return place


def read(folder: Path, place: Place, shape: torch.Size, dtype: torch.dtype) -> torch.Tensor:
    """Return one tensor from its place in a file."""
    return disk.read(folder / place.file, place.begin, shape, dtype, "use another checkpoint")
