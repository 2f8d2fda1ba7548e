"""Files: all there, none more, each as it was written; the index names what is there."""

from __future__ import annotations

import json

from convert import manifest
from convert.checks.case import Case, Fault, Faults
from danlu.model.disk import INDEX, files_of


def check(case: Case) -> Faults:
    """Yield what is wrong with the files themselves."""
    for name, problem in manifest.faults(case.folder) if manifest.read(case.folder) else ():
        yield Fault(name, problem)
    used = {file.name for file in files_of(case.folder)}
    for path in sorted(case.folder.glob("*.safetensors")):
        if path.name not in used:
            yield Fault(path.name, "is in no index, so other readers may take it or not")
    if (case.folder / "adapter_config.json").exists():
        yield Fault("adapter_config.json", "would be laid over the weights by transformers, not by vLLM")
    yield from _index(case)


def _index(case: Case) -> Faults:
    path = case.folder / INDEX
    if not path.is_file():
        return
    index = json.loads(path.read_text(encoding="utf-8"))
    for name in case.disk:
        if name not in index["weight_map"]:
            yield Fault(f"{INDEX}: weight_map: {name}", "is missing")
    size = sum(stored.nbytes for stored in case.disk.stored.values())
    said = (index.get("metadata") or {}).get("total_size", size)
    if said != size:
        yield Fault(f"{INDEX}: metadata: total_size", f"is {said}, the tensors have {size}")
