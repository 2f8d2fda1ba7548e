"""Where a run's checkpoints are kept.

    runs/NAME/TIME/
        step-000400/             whole, with a manifest of checksums
        step-000500/
        latest                   the text "step-000500", moved after that folder is whole and synced
        .step-000600.writing/    half of a checkpoint; of no account until it is renamed
        .lock                    held by rank 0 of the one run that saves here

`save` copies to host memory and returns; a thread writes, one save at a time, and what goes wrong
there is raised by the next `save` or `wait`, on all ranks alike. All hosts must see the folder.

What the tensors mean is not known here: they come as {"model": {name: tensor}, ...}, plain or
sharded, and are loaded into tensors that are already there, however many ranks there are now.
"""

from __future__ import annotations

import errno
import math
import re
import shutil
import time
import warnings
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from danlu.base.errors import UserError
from danlu.base.log import record, say
from danlu.base.paths import need_space, write_text
from danlu.checkpoint import lock, manifest
from danlu.checkpoint import plain as plain_text
from danlu.checkpoint.ranks import Ranks
from danlu.checkpoint.reader import Reader
from danlu.checkpoint.staging import Staged, flatten
from danlu.checkpoint.state import differences
from danlu.checkpoint.writer import Writer

# Said by torch at every save and load of a single process, where it is the plan.
warnings.filterwarnings("ignore", message="torch.distributed is disabled, unavailable or uninitialized")

Tensors = Mapping[str, Mapping[str, torch.Tensor]]

_STEP = re.compile(r"step-\d+")
_LEFTOVER = re.compile(r"\.(step-\d+)\.(writing|replaced|removed)|\.latest\.writing-.*")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Store:
    """The checkpoints of one run: the last `keep` of them, and the best (0 keeps all)."""

    def __init__(self, run_dir: Path, keep: int = 3, keep_best: bool = True) -> None:
        self.folder = Path(run_dir)
        self.keep, self.keep_best = keep, keep_best
        self.ranks = Ranks()
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._saving: Future[None] | None = None
        self._sound: set[Path] = set()
        self._damaged: set[Path] = set()
        self._order = self.ranks.first(self._open)

    def save(
        self,
        step: int,
        tensors: Tensors,
        plain: dict[str, Any],
        *,
        wait: bool = False,
        metric: float | None = None,
    ) -> Path:
        """Copy the state of this step and have it written in the background; return where it will lie.

        All ranks call it, each with its own `plain`. `metric` is what the best is judged by, less
        is better. On return every tensor may be changed again.
        """
        if self._saving is not None and not self._saving.done():
            say(f"step {step}: waiting, the checkpoint before is still being written")
        self.wait()
        folder = self.folder / f"step-{step:06d}"
        staged = Staged(flatten(tensors), self.ranks)
        text = self.ranks.together(lambda: self._stage(folder, staged, plain))[self.ranks.rank]
        self._order += 1
        self._sound.discard(folder)
        self._damaged.discard(folder)
        writer = Writer(
            folder,
            self.ranks.rank,
            text,
            step=int(step),
            order=self._order,
            metric=None if metric is None else float(metric),
            torch=torch.__version__,
            time=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        )
        self._saving = self._thread.submit(self._write, staged, writer)
        if wait:
            self.wait()
        return folder

    def wait(self) -> None:
        """Return when nothing is being written any more; raise what went wrong in the meantime."""
        if self._saving is not None:
            saving, self._saving = self._saving, None
            saving.result()

    def newest(self, run_dir: Path | None = None) -> Path | None:
        """Return the newest checkpoint whose every byte is as written, None when there is none.

        Newest is what was saved last, not the largest step: a run may have gone back. All ranks
        read their share of the files and get the same answer. A damaged one is named aloud.
        `run_dir` looks into another run's folder, which may be at work.
        """
        self.wait()
        for folder in self.ranks.first(lambda: candidates(run_dir or self.folder)):
            if self.verified(folder):
                return folder
        return None

    def verified(self, path: Path) -> Path | None:
        """Return `path` if every byte of that checkpoint is as written; if not, say why and return None."""
        self.wait()
        problem = self._damage(Path(path))
        if problem is not None:
            say(f"{path}: damaged and passed over: {problem}")
        return None if problem else Path(path)

    def load(self, path: Path, tensors: Tensors) -> None:
        """Fill the given tensors, plain or sharded, with what the checkpoint holds under their names.

        All ranks call it. Every kind given must match exactly: names, shapes, dtypes.
        """
        self.wait()
        path = Path(path)
        problem = self._damage(path)
        if problem is not None:
            raise UserError(f"{path}: damaged: {problem}", "resume=true takes the newest whole checkpoint")
        names = set().union(*self.ranks.together(lambda: set(flatten(tensors))))
        self.ranks.together(lambda: differences(path, tensors, names))
        planner = DefaultLoadPlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
        try:
            load(
                flatten(tensors),
                storage_reader=Reader(path),
                planner=planner,
                process_group=self.ranks.group,
                no_dist=self.ranks.group is None,
            )
        except CheckpointException as error:
            raise _cause(error) from error

    def plain(self, path: Path) -> dict[str, Any]:
        """Return the plain state this rank saved, or rank 0's where there were fewer ranks."""
        path = Path(path)
        about = manifest.read(path)
        name = f"rank-{self.ranks.rank if self.ranks.rank < about['ranks'] else 0:05d}.json"
        try:
            return plain_text.parse(manifest.checked(path, name))
        except (ValueError, LookupError, TypeError) as error:
            raise UserError(f"{path / name}: cannot be read: {error}", "use another checkpoint") from None

    def close(self) -> None:
        """Finish what is being written and let another process save here."""
        try:
            self.wait()
        finally:
            self._thread.shutdown()
            if self.ranks.rank == 0:
                lock.give_back(self.folder)

    def _open(self) -> int:
        """Take the folder, sweep what a killed run left, and return the highest order so far."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if lock.take(self.folder):
                sweep(self.folder)
        except OSError as error:
            raise UserError(f"{self.folder}: cannot be used: {error}", "choose another run_dir") from None
        return max((about["order"] for about, _ in _listed(self.folder) if about), default=0)

    def _stage(self, folder: Path, staged: Staged, plain: dict[str, Any]) -> str:
        text = plain_text.dump(plain)
        if self.ranks.rank == 0:
            # Beside the tensors: an entry for each in the index, plain state and two blocks of each rank.
            beside = 16384 + 512 * len(staged.mine.items) + self.ranks.count * (len(text) + 8192)
            need_space(folder, sum(staged.sizes) + beside)
        staged.stage()
        return text

    def _write(self, staged: Staged, writer: Writer) -> None:
        began, group = time.monotonic(), self.ranks.group
        try:
            save({}, storage_writer=writer, planner=staged, process_group=group, no_dist=group is None)
            self.ranks.first(lambda: self._publish(writer.folder))
        except BaseException as error:
            if self.ranks.rank == 0:
                shutil.rmtree(writer.aside, ignore_errors=True)
            raise _words(_cause(error), writer.folder, sum(staged.sizes)) from error
        if self.ranks.rank == 0:
            seconds = time.monotonic() - began
            record(f"{writer.folder}: {sum(staged.sizes) / 1e6:,.1f} MB in {seconds:.1f} s")

    def _publish(self, folder: Path) -> None:
        """Move `latest` to a whole checkpoint, then delete those no longer wanted."""
        write_text(self.folder / "latest", folder.name + "\n")
        listed = [(about, where) for about, where in _listed(self.folder) if about]
        listed = [one for one in listed if one[1] not in self._damaged]  # none of them counts as kept
        listed.sort(key=lambda one: one[0]["order"])
        kept = [where for _, where in listed[-self.keep :]]
        scored = [one for one in reversed(listed) if math.isfinite(_metric(one[0]))]
        if self.keep_best and scored:
            kept.append(min(scored, key=lambda one: _metric(one[0]))[1])
        for _, where in listed:
            if where not in kept:
                gone = where.with_name(f".{where.name}.removed")
                where.rename(gone)
                shutil.rmtree(gone)

    def _damage(self, folder: Path) -> str | None:
        """Return what is wrong with a checkpoint, read by all ranks together; read once if nothing is."""
        if folder not in self._sound:
            found = self.ranks.together(lambda: manifest.damage(folder, self.ranks.rank, self.ranks.count))
            problem = next((one for one in found if one), None)
            if problem is not None:
                self._damaged.add(folder)
                return problem
            self._sound.add(folder)
        return None


def _metric(about: dict[str, Any]) -> float:
    return math.inf if about["metric"] is None else float(about["metric"])


def _listed(run_dir: Path) -> list[tuple[dict[str, Any] | None, Path]]:
    """Return every step folder with its manifest, None where that cannot be trusted."""
    listed: list[tuple[dict[str, Any] | None, Path]] = []
    for folder in sorted(path for path in run_dir.iterdir() if _STEP.fullmatch(path.name)):
        try:
            listed.append((manifest.read(folder), folder))
        except UserError:
            listed.append((None, folder))
    return listed


def candidates(run_dir: Path) -> list[Path]:
    """Return the step folders of a run, the last saved first; before them any without a sound manifest."""
    listed = _listed(run_dir)
    ordered = sorted(listed, key=lambda one: one[0]["order"] if one[0] else math.inf, reverse=True)
    return [folder for _, folder in ordered]


def whole_step(folder: Path, hint: str) -> Path | None:
    """Return the whole checkpoint a folder is, or the newest it holds; None where it is no run's.

    `hint` says what to do about a run that has none yet.
    """
    if folder.name.startswith("step-"):
        problem = manifest.damage(folder)
        if problem is not None:
            raise UserError(f"{folder}: damaged: {problem}", "choose another checkpoint of the run")
        return folder
    if not (folder / "config.yaml").is_file():
        return None
    for step in candidates(folder):
        problem = manifest.damage(step)
        if problem is None:
            return step
        say(f"{step}: damaged and passed over: {problem}")
    raise UserError(f"{folder}: a run without a whole checkpoint yet", hint)


def sweep(run_dir: Path) -> None:
    """Remove what a killed run left half done; only whoever holds the folder's lock may."""
    for path in run_dir.iterdir():
        match = _LEFTOVER.fullmatch(path.name)
        if match is None:
            continue
        if match[2] == "replaced" and not (run_dir / match[1]).exists():
            path.rename(run_dir / match[1])  # killed between the two renames of a replacement
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _cause(error: BaseException) -> BaseException:
    """Return what went wrong on the first rank where something did."""
    if isinstance(error, CheckpointException):
        causes = [cause for cause, _ in error.failures.values()]
        return next((cause for cause in causes if isinstance(cause, UserError)), causes[0])
    return error


def _words(error: BaseException, folder: Path, size: int) -> BaseException:
    """Return an error of the disk as something a user can mend, any other as it is."""
    if not isinstance(error, OSError):
        return error
    if error.errno in _FULL:
        free = shutil.disk_usage(folder.parent).free
        problem = f"{folder}: {error.strerror}: {size / 1e6:,.1f} MB to write, {free / 1e6:,.1f} MB free"
        return UserError(
            problem, "free some space, or choose another run_dir; the checkpoints before are whole"
        )
    return UserError(f"{folder}: cannot be written: {error}", "the checkpoints before are whole")
