"""The index of a checkpoint: which tensor lies in which bytes of which file, as JSON.

    {"format": 1,
     "tensors": {"model/lm_head.weight": {
        "dtype": "F32", "shape": [8, 4],
        "pieces": [{"at": [0, 0], "shape": [4, 4], "file": "rank-00000.safetensors", "begin": 96},
                   {"at": [4, 0], "shape": [4, 4], "file": "rank-00001.safetensors", "begin": 96}]}}}

It says what torch's distributed checkpoint keeps in its pickled `.metadata`, and becomes the same
`Metadata` in memory; so the planners of torch reshard from it, and nothing is unpickled.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.distributed.checkpoint.metadata import (
    BytesStorageMetadata,
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)

from danlu.base.errors import UserError
from danlu.model.disk import DTYPES, WORDS

FORMAT = 1
FILE = "index.json"


def word_for(dtype: torch.dtype) -> str:
    """Return the word of the safetensors format for a dtype."""
    if dtype not in WORDS:
        raise TypeError(f"a checkpoint has no word for {dtype}")
    return WORDS[dtype]


class Place(NamedTuple):
    """Where one piece of a tensor begins."""

    file: str
    begin: int


def dump(metadata: Metadata, places: dict[MetadataIndex, Place]) -> str:
    """Return the index as JSON text."""
    tensors: dict[str, Any] = {}
    for name, tensor in sorted(metadata.state_dict_metadata.items()):
        assert isinstance(tensor, TensorStorageMetadata), name
        pieces = []
        for chunk in tensor.chunks:
            place = places[MetadataIndex(name, chunk.offsets)]
            pieces.append({"at": list(chunk.offsets), "shape": list(chunk.sizes), **place._asdict()})
        dtype = word_for(tensor.properties.dtype)
        tensors[name] = {"dtype": dtype, "shape": list(tensor.size), "pieces": pieces}
    return json.dumps({"format": FORMAT, "tensors": tensors})


def read(folder: Path) -> Metadata:
    """Return the index of the checkpoint in `folder`; its `storage_data` maps pieces to places."""
    try:
        data = json.loads((folder / FILE).read_text(encoding="utf-8"))
        if data["format"] != FORMAT:
            raise ValueError(f"format {data['format']} is unknown here")
        tensors: dict[str, TensorStorageMetadata | BytesStorageMetadata] = {}
        places = {}
        for name, tensor in data["tensors"].items():
            chunks = []
            for piece in tensor["pieces"]:
                chunk = ChunkStorageMetadata(torch.Size(piece["at"]), torch.Size(piece["shape"]))
                chunks.append(chunk)
                # A name only: an index from elsewhere must not reach out of its folder.
                place = Place(Path(piece["file"]).name, int(piece["begin"]))
                places[MetadataIndex(name, chunk.offsets)] = place
            properties = TensorProperties(dtype=DTYPES[tensor["dtype"]])
            tensors[name] = TensorStorageMetadata(properties, torch.Size(tensor["shape"]), chunks)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / FILE}: cannot be read: {error}", "use another checkpoint") from None
    return Metadata(tensors, storage_data=places)


def size_of(shape: torch.Size, dtype: torch.dtype) -> int:
    """Return the number of bytes of a tensor."""
    return math.prod(shape) * dtype.itemsize


def raw(tensor: torch.Tensor) -> Any:
    """Return the bytes of a tensor, without a copy if it lies on the host in one piece.

    >>> bytes(raw(torch.tensor([1, 2], dtype=torch.int16)))
    b'\\x01\\x00\\x02\\x00'
    """
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
