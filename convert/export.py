"""Write a model as a published architecture: a folder that appears whole and checked, or not at all.

    config.json  model*.safetensors           what transformers and vLLM load
    tokenizer.json  tokenizer_config.json  chat_template.jinja  generation_config.json
    serve.json  README.md  manifest.json      how to serve it; for people; for who wants proof

Weights pass through a few pieces at a time, so memory does not grow with the model. The check runs in a
process of its own that knows only the source and the files; where it finds a fault, nothing appears.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from convert import card, manifest, serving
from convert.adapter import Adapter
from convert.opening import open_source
from convert.own_head import with_own_head
from convert.progress import in_words, progress
from convert.reading import read_json
from convert.recipe import Recipe, architecture
from convert.source import Source
from danlu import __version__
from danlu.base import paths
from danlu.base.errors import UserError
from danlu.base.log import say
from danlu.device.cpu import keep_pages
from danlu.model import weights
from danlu.model.families import laid_out_as
from danlu.model.shards import SHARD_SIZE
from danlu.model.size import count

if TYPE_CHECKING:
    from convert.minimind import Hints

STEP = "step-"
BESIDE = 64 << 20  # bytes that all files but the weights may take


@dataclass(frozen=True)
class Order:
    """An export as it was asked for."""

    source: str
    out: Path
    dtype: torch.dtype | None
    """None: as it is stored."""
    adapter: Path | None = None
    arch: str = "auto"
    shard_size: int = SHARD_SIZE
    check: str = "logits"
    brought_in: bool = False
    """Finished weights of ours are made, to be trained and tried here, and no export."""
    hints: Hints | None = None
    tokenizer: Path | None = None

    def recipe(self) -> Recipe:
        """Return what is to be written."""
        source = open_source(self.source, self.hints, self.tokenizer)
        adapter = Adapter(self.adapter) if self.adapter else None
        if self.brought_in:
            return Recipe(source, laid_out_as(source.cfg), self.dtype, adapter)
        family = architecture(source.cfg, self.arch)
        return Recipe(with_own_head(source, family), family, self.dtype, adapter)


def export(order: Order) -> dict[str, Any]:
    """Write what was asked for and return its manifest."""
    keep_pages()
    recipe = order.recipe()
    source = recipe.source
    beside = [place for place in (order.adapter, order.tokenizer) if place]
    check_place(order.out, source, *beside)
    paths.need_space(order.out, recipe.size + BESIDE)
    size = f"{count(source.cfg) / 1e6:,.1f} M parameters"
    say(f"{source.named}: {source.kind}, {size}; leaves as {recipe.why()}")
    for warning in [] if order.brought_in else serving.warnings(recipe):
        say(f"note: {warning}")
    with full_disk_told(order.out, recipe.size), paths.whole_folder(order.out) as aside:
        digests = write_weights(recipe, aside, order.shard_size)
        write_beside(order, recipe, aside)
        parity = checked(order, aside, source.place)
        about = told(order, recipe, parity)
        made = manifest.write(aside, about, digests)
    say(f"{order.out}: {recipe.family.architecture}, {in_words(recipe.size)}")
    return made


@contextlib.contextmanager
def full_disk_told(out: Path, size: int) -> Iterator[None]:
    """Say in two lines what the disk refused; what was written until then is gone."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS):
            raise
        problem = f"{out}: {error.strerror}: {size / 1e6:,.1f} MB to write"
        raise UserError(
            problem, "free some space, or choose another folder; nothing was left there"
        ) from None


def check_place(out: Path, source: Source, *beside: Path) -> None:
    """Refuse to write over what is read."""
    check_apart(out, source.folder, *beside)
    if (out.resolve().parent / "config.yaml").is_file() and out.name.startswith(STEP):
        raise UserError(f"--out: {out}: is where the run saves its checkpoints", "a folder outside the run")
    check_free(out)


def check_apart(out: Path, *read: Path) -> None:
    """Refuse a place that is, holds, or lies in what is read."""
    place = out.resolve()
    if not place.name or place == Path.cwd().resolve():
        raise UserError(f"--out: {out}: is where you stand", "a folder to be made, such as out/NAME")
    for one in (path.resolve() for path in read):
        if place == one or (out.exists() and place in one.parents):
            raise UserError(f"--out: {out}: is what is being read", "another folder")
        if one in place.parents:
            raise UserError(f"--out: {out}: lies in what is being read", "a folder beside it")


def check_free(out: Path) -> None:
    """Refuse to write over anything but an older export."""
    if out.is_dir() and any(out.iterdir()) and not manifest.is_ours(out):
        raise UserError(f"--out: {out}: holds something else already", "another folder, or move it away")
    if out.exists() and not out.is_dir():
        raise UserError(f"--out: {out}: is a file", "a folder to be made")
    if out.is_symlink():
        raise UserError(f"--out: {out}: is a link, and would be replaced by a folder", "the folder itself")
    paths.need_writable(out.parent)


def write_weights(recipe: Recipe, folder: Path, shard_size: int) -> dict[str, str]:
    """Write all tensors and return the SHA-256 of the files they are in."""
    with progress("writing", recipe.size) as done:
        written = weights.save_as(
            recipe.family,
            recipe.source.ours,
            recipe.source.cfg,
            folder,
            recipe.number,
            shard_size,
            done,
            recipe.change,
        )
    return written.sha256


def write_beside(order: Order, recipe: Recipe, folder: Path) -> None:
    """Write everything but the weights and the manifest."""
    weights.write_config(folder, recipe.config())
    if recipe.source.tokenizer:
        recipe.source.tokenizer.save(folder)
    write_json(folder / "generation_config.json", generation(recipe))
    if order.brought_in:
        write_json(
            folder / "run.json", {"name": order.out.name, "danlu": __version__, "from": recipe.source.told()}
        )
        return
    profile = serving.profile(recipe)
    write_json(folder / serving.FILE, profile.as_dict())
    (folder / "README.md").write_text(card.card(recipe, order.out.name, profile), encoding="utf-8")


def generation(recipe: Recipe) -> dict[str, Any]:
    """Return generation_config.json: which tokens begin and end, and what the source says beside."""
    before = read_json(recipe.source.folder / "generation_config.json")
    kept = {key: value for key, value in before.items() if key != "transformers_version"}
    return {"_from_model_config": False, **kept, **recipe.ids()}


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def checked(order: Order, folder: Path, against: str) -> dict[str, Any] | None:
    """Let a fresh process check the files, and return what it measured; a fault ends the export."""
    if order.check == "none":
        say("not checked, as asked: --check none")
        return None
    with tempfile.TemporaryDirectory() as place:
        report = Path(place) / "report.json"
        words = [str(folder), "--against", against, "--check", order.check, "--report", str(report)]
        words += ["--called", str(order.out)]
        words += ["--adapter", str(order.adapter)] if order.adapter else []
        words += ["--tokenizer", str(order.tokenizer)] if order.tokenizer else []
        words += ["--brought-in"] if order.brought_in else []
        done = subprocess.run([sys.executable, "-m", "convert", "check", *words], env=environment())
        found = read_json(report)
    if done.returncode in (-signal.SIGINT, 130):
        raise KeyboardInterrupt
    if done.returncode < 0:
        problem = f"{order.out}: was not written: the check was ended by signal {-done.returncode}"
        raise UserError(problem, "more memory; or --check none, and check it on a larger host")
    if done.returncode == 2:
        problem = f"{order.out}: was not written: it could not be checked, for the reason above"
        raise UserError(problem, "mend that, or --check with less")
    if done.returncode != 0:
        problem = f"{order.out}: was not written, for it would not be what was trained"
        raise UserError(problem, "what the check said above names the place")
    return dict(found["measured"])


def environment() -> dict[str, str]:
    """Return the environment in which a child finds both packages, wherever it starts."""
    here = [str(Path(__file__).resolve().parents[1]), str(paths.PACKAGE.parent)]
    before = os.environ.get("PYTHONPATH")
    return os.environ | {"PYTHONPATH": os.pathsep.join([*here, *([before] if before else [])])}


def told(order: Order, recipe: Recipe, parity: dict[str, Any] | None) -> dict[str, Any]:
    """Return what the manifest says beside its files."""
    exact = [name for name in recipe.targets if recipe.dtype and name.endswith(weights.EXACT)]
    return {
        "made_by": f"danlu {__version__}",
        "made": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "brought_in": order.brought_in,
        "source": recipe.source.told(),
        "adapter": str(recipe.adapter.folder) if recipe.adapter else None,
        "architecture": recipe.family.architecture,
        "why": recipe.why(),
        "dtype": str(recipe.dtype).removeprefix("torch.") if recipe.dtype else "as stored",
        "kept_in_float32": exact,
        "parameters": count(recipe.source.cfg),
        "tensors": len(recipe.targets),
        "check": order.check,
        "parity": parity,
    }
