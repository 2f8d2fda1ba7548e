"""A store that was made beforehand, `danlu data prepare`, and stands where `data.train` names it.

    out/ 00000/ ... manifest.json    whole: see store.py
         begun.json                  in the making: what it is to be, so that nothing else goes on with it

A store fits a stage if it was made for the same purpose by the same tokenizer and template; its samples
may be shorter than rows of the stage, never longer. Several stores are one set of samples.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from danlu.base import paths
from danlu.base.errors import UserError
from danlu.data.formats import Reading
from danlu.data.parts import BlockEncoder
from danlu.data.shards import Damaged
from danlu.data.store import Store, Task, fill
from danlu.data.turns import locked

MANIFEST, BEGUN = "manifest.json", "begun.json"
WORDS = {
    "kind": "purpose (--for)",
    "options": "--seq-len",
    "reading": "way of reading (--fields, --encoding, --text-by)",
    "files": "list of files, or their content,",
    "shard_tokens": "--shard-tokens",
}


def prepare(out: Path, task: Task) -> Store:
    """Make a store, or go on with it; one that is whole is verified, and mended where it is damaged."""
    paths.need_writable(out)
    try:
        return _prepare(out, task)
    except OSError as error:
        raise UserError(
            f"{error.filename or out}: {error.strerror}", "mend that; then the same command again goes on"
        ) from None


def _prepare(out: Path, task: Task) -> Store:
    described = task.described()
    wanted = described | {"shard_tokens": task.shard_tokens}
    _refuse_other(out, wanted)
    with locked(out / ".lock") as alone:
        if not alone:
            raise UserError(f"{out}: its file system has no locks", "prepare elsewhere, then move the folder")
        _refuse_other(out, wanted)
        if not (out / MANIFEST).exists():
            paths.write_text(out / BEGUN, json.dumps(wanted, indent=1))
        fill(out, task, described, thoroughly=(out / MANIFEST).exists())
        (out / BEGUN).unlink(missing_ok=True)
    return Store(out)


def _refuse_other(out: Path, wanted: dict[str, Any]) -> None:
    """Refuse to go on in a folder where something else was begun.

    Whether bad rows are refused may change on the way: shards that are whole are the same for both,
    or hold the bad rows that are then refused.
    """
    if not out.exists() or not any(path.name[0] != "." for path in out.iterdir()):
        return
    found = _read(out / BEGUN) or _read(out / MANIFEST)
    if not found:
        raise UserError(f"{out}: holds other files", "name a folder that is new or empty")
    other = [key for key in wanted if key != "on_bad_row" and _plain(found.get(key)) != _plain(wanted[key])]
    if other:
        what = WORDS.get(other[0], other[0])
        state = "prepared" if (out / MANIFEST).exists() else "begun"
        raise UserError(
            f"{out}: was {state} with another {what}", "the same as then; or remove the folder to begin anew"
        )


def _plain(value: Any) -> Any:
    """Return a value as JSON gives it back, files without where they lie."""
    if isinstance(value, list):
        return [[file["read_as"], file["sha256"]] for file in value]
    return json.loads(json.dumps(value))


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UserError(
            f"{path}: not valid JSON: {error}",
            "another --out; or remove the folder, if it is of this command",
        ) from None
    return found if isinstance(found, dict) else {}


def are_prepared(names: Sequence[str | Path]) -> bool:
    """Return whether these paths are stores; some of them is a mistake."""
    folders = [Path(name) for name in names]
    for folder in folders:
        if (folder / BEGUN).is_file():
            raise UserError(
                f"{folder}: is not finished", "the same 'danlu data prepare' again goes on with it"
            )
    whole = [folder for folder in folders if _is_store(folder)]
    if whole and len(whole) < len(folders):
        other = next(folder for folder in folders if folder not in whole)
        raise UserError(
            f"{whole[0]} is prepared and {other} is not",
            f"'danlu data prepare {other}' as well, or name neither",
        )
    return bool(whole)


def _is_store(folder: Path) -> bool:
    """Return whether a folder is a store, whole or damaged; any other manifest belongs to the data."""
    if not (folder / MANIFEST).is_file():
        return False
    if (folder / "00000" / "meta.json").is_file():
        return True
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except ValueError:
        return False
    return isinstance(manifest, dict) and {"format", "shards", "key"} <= manifest.keys()


def opened(folders: Sequence[Path], encoder: BlockEncoder) -> tuple[list[Store], str]:
    """Return stores that fit what is asked, and the key of them all."""
    stores: list[Store] = []
    for folder in folders:
        try:
            stores.append(Store(folder, file=sum(len(store.files) for store in stores)))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Damaged(folder / MANIFEST, f"cannot be read: {error}") from None
        _refuse_unfit(stores[-1], encoder)
    keys = [store.key for store in stores]
    return stores, keys[0] if len(keys) == 1 else hashlib.sha256(" ".join(keys).encode()).hexdigest()[:32]


def _refuse_unfit(store: Store, encoder: BlockEncoder) -> None:
    """Refuse a store that was made for something else."""
    there, wanted = store.manifest, encoder.described()
    again = f"prepare it again, with --for {encoder.kind} and this tokenizer"
    if there["kind"] != wanted["kind"]:
        raise UserError(f"{store.folder}: was prepared for {there['kind']}, not for {encoder.kind}", again)
    if there["tokenizer"] != wanted["tokenizer"]:
        raise UserError(
            f"{store.folder}: was prepared with another tokenizer than {encoder.tokenizer.name}", again
        )
    if there["template"] != wanted["template"]:
        raise UserError(f"{store.folder}: was prepared with another chat template", again)
    if there["version"] != wanted["version"]:
        raise UserError(f"{store.folder}: was prepared by another version of the encoding", again)
    asked, usual = wanted["reading"], asdict(Reading())
    if asked != usual and asked != there["reading"]:
        keys = " and ".join(f"data.{key}" for key in asked if asked[key] != usual[key])
        raise UserError(
            f"{store.folder}: was read in another way when it was prepared", f"without {keys}, or {again}"
        )
    mine, theirs = wanted["options"], there["options"]
    if theirs["seq_len"] > mine["seq_len"]:
        raise UserError(
            f"{store.folder}: has samples of {theirs['seq_len']} tokens, more than seq_len={mine['seq_len']}",
            f"seq_len={theirs['seq_len']}, or prepare it again with --seq-len {mine['seq_len']}",
        )
    for key in mine.keys() - {"seq_len"}:
        if theirs.get(key) != mine[key]:
            raise UserError(
                f"{store.folder}: was prepared with {key}={theirs.get(key)}, not {mine[key]}", again
            )
