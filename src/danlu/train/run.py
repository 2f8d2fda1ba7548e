"""One run: its folder, its clock, its checkpoints, and how it ends.

    runs/pretrain_512/20261121-093000/
        config.yaml     exactly what runs; `danlu train` on it runs it again
        metrics.jsonl   one object a step
        log.txt         what was said
        step-000500/    a whole checkpoint
        latest          the newest one's name

`Run` is what `fit` sees. It knows when to stop (Ctrl-C, SIGTERM, `max_hours`), when something is
due, and how to save; the ranks agree on each of these, so none waits for another that has left.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch

from danlu.base import config, log, paths
from danlu.base.errors import UserError
from danlu.base.log import say
from danlu.checkpoint.store import Store
from danlu.device import api
from danlu.hub import models
from danlu.model import config as model_config
from danlu.parallel import mesh
from danlu.tokenizer.tokenizer import Tokenizer
from danlu.train import finished, resume
from danlu.train.config import TrainConfig
from danlu.train.metrics import Metrics


class Resumable(Protocol):
    """What a stream of batches must offer to be part of a checkpoint."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Run:
    """One run under way. Made by `open_run`."""

    def __init__(self, cfg: TrainConfig, device: api.Device, world: mesh.World) -> None:
        begins = _begins_with(cfg)
        self.cfg = cfg = cfg.model_copy(update={"from_": begins})
        self.device = device
        self.world = world
        self.dtype = device.default_dtype() if cfg.dtype == "auto" else getattr(torch, cfg.dtype)
        device.check(self.dtype)
        self.model_cfg = model_config.resolve(cfg.model_or_default())
        tokenizer = cfg.tokenizer or begins or "starter"
        self.tokenizer = Tokenizer.load(models.folder(tokenizer))
        self.name = cfg.name or f"{cfg.weight}_{self.model_cfg.hidden_size}" + (
            "_moe" if self.model_cfg.moe else ""
        )
        self.dir = Path(mesh.broadcast(self._choose_dir()))
        self.step = 0
        self.total_steps = cfg.steps or 0
        self.mean_context = 0.0  # keys a token sees on average, once the data is known
        self.last: dict[str, Any] = {}
        self.metrics: Metrics | None = None
        self._kept: int | None = None  # the step of this folder's last checkpoint
        self._began = time.monotonic()
        self._signal: int | None = None
        self._check_before_work()
        if world.rank == 0:
            log.also_to(self.dir / "log.txt")
        self.store = Store(self.dir, keep=cfg.keep)
        self.checkpoint = resume.find(cfg.resume, self.store)
        found = {
            "model": self.model_cfg.model_dump(mode="json"),
            "from_": models.spelt(begins),
            "tokenizer": models.spelt(tokenizer),
            "dtype": str(self.dtype).removeprefix("torch."),
            "device": device.kind,
        }
        self.resolved = cfg.model_copy(update=found)
        if self.checkpoint:
            before = self.store.plain(self.checkpoint)["config"]
            if cfg.compile == "auto":  # as before, or the losses would differ in their last bits
                self.resolved = self.resolved.model_copy(update={"compile": before["compile"]})
            resume.compare(before, self.resolved, cfg.accept_changes)

    def _choose_dir(self) -> str:
        if self.cfg.run_dir:
            return self.cfg.run_dir
        home = Path("runs") / self.name
        if self.cfg.resume is True:
            older = sorted(path.parent for path in home.glob("*/latest"))
            if older:
                return str(older[-1])
        return str(home / time.strftime("%Y%m%d-%H%M%S"))

    def _check_before_work(self) -> None:
        self.cfg.parallel.check(self.world.ranks)
        if self.tokenizer.size > self.model_cfg.vocab_size:
            raise UserError(
                f"model.vocab_size: {self.model_cfg.vocab_size}, but the tokenizer has {self.tokenizer.size}",
                "another tokenizer="
                if self.cfg.from_
                else f"model.vocab_size={-(-self.tokenizer.size // 64) * 64}, or another tokenizer=",
            )
        if self.cfg.from_ and self.cfg.model:
            self._check_shape(model_config.resolve(self.cfg.from_))
        there = Path(self.cfg.out) / self.name
        if self.world.rank == 0:
            paths.need_writable(there.parent)
            paths.recover(there)
        if (there / "config.json").exists() and not self._same_shape(model_config.read_hf(there)):
            raise UserError(
                f"{there}: holds weights of another architecture",
                f"name={self.name}_2 (or any other name), or move the old ones away",
            )
        if (self.dir / "latest").exists() and not self.cfg.resume:
            raise UserError(
                f"run_dir: {self.dir} already holds a run", "resume=true to go on with it, or another run_dir"
            )

    def _check_shape(self, theirs: model_config.ModelConfig) -> None:
        """Refuse weights that are not those of the model to train."""
        if not self._same_shape(theirs):
            shape = model_config.describe(theirs)
            raise UserError(
                f"from: {self.cfg.from_} holds another model than model= says: {shape}",
                "leave model= away, or model=FOLDER/config.json for a shape alone, to be changed at will",
            )

    def _same_shape(self, other: model_config.ModelConfig) -> bool:
        return other.model_copy(update={"may_stay": self.model_cfg.may_stay}) == self.model_cfg

    def save_config(self) -> None:
        """Write what runs, all choices spelt out: training it is the same run in a new folder."""
        if self.world.rank == 0:
            again = self.resolved.model_copy(update={"run_dir": "", "resume": False, "accept_changes": False})
            paths.write_text(self.dir / "config.yaml", config.dump(again))

    def decide(self, **chosen: Any) -> None:
        """Record what was left to be decided by the run itself."""
        self.resolved = self.resolved.model_copy(update=chosen)
        self.save_config()

    def due(self, every: int) -> bool:
        """Return whether something that happens every so many steps happens now."""
        return bool(every) and self.step % every == 0

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Ask the loop to save and leave; asked a second time, leave at once."""
        if self._signal is not None:
            os._exit(128 + number)
        self._signal = number
        if self.world.rank == 0:  # not by say: a print may have been interrupted
            name = signal.Signals(number).name
            os.write(2, f"{name}: saving after this step, then leaving; once more leaves at once\n".encode())

    def should_stop(self) -> bool:
        """Return whether any rank was asked to stop, or the time given is over."""
        late = self.cfg.max_hours is not None and time.monotonic() - self._began > self.cfg.max_hours * 3600
        return mesh.any_rank(late or self._signal is not None)

    @property
    def stopped_early(self) -> bool:
        return self.step < self.total_steps

    def log(self, values: dict[str, float]) -> None:
        """Write what a step measured where people and programs look."""
        self.last |= values
        if self.metrics is not None:
            self.metrics.log(self.step, values)

    def save(self, stepper: Any, batches: Resumable, valid: float | None = None, wait: bool = False) -> None:
        """Keep everything needed to go on from here as if nothing had happened."""
        if self.step == self._kept:
            return
        tensors, plain = stepper.state()
        plain |= {
            "step": self.step,
            "tokens": self.metrics.tokens if self.metrics is not None else 0,
            "data": batches.state_dict(),
            "config": self.resolved.model_dump(mode="json", by_alias=True),
            "rng": resume.random_state(self.device),
        }
        with self.pause():
            self.store.save(self.step, tensors, plain, wait=wait, metric=valid)
        self._kept = self.step

    def restore(self, stepper: Any, batches: Resumable) -> None:
        """Continue from the checkpoint found when the run was opened, if there is one."""
        if self.checkpoint is None:
            return
        plain = self.store.plain(self.checkpoint)
        tensors, _ = stepper.state()
        self.store.load(self.checkpoint, tensors)
        stepper.load_state(tensors, plain)
        batches.load_state_dict(plain["data"])
        resume.restore_random_state(self.device, plain["rng"])
        self.step = plain["step"]
        if self.metrics is not None:
            self.metrics.rewind(self.step, plain["tokens"])
        if self.checkpoint.parent.absolute() == self.dir.absolute():
            self._kept = self.step
        say(f"resumed from {self.checkpoint} at step {self.step} of {self.total_steps}")

    def pause(self) -> contextlib.AbstractContextManager[Any]:
        """Return a context whose time is not the training's: saving, measuring."""
        return self.metrics.pause() if self.metrics is not None else contextlib.nullcontext()

    def finish(self, model: torch.nn.Module) -> None:
        """Wait for the last checkpoint; if training is complete, put the finished weights into `out`."""
        self.store.wait()
        if self.stopped_early:
            where = f"resume=true run_dir={self.dir}"
            say(f"stopped at step {self.step} of {self.total_steps}; go on with {where}")
            return
        finished.write(self, model)


def _begins_with(cfg: TrainConfig) -> str:
    """Return the folder or the hub's name whose weights a run begins with, "" for random ones."""
    begins = model_config.weights_of(cfg.from_ or cfg.model)
    if cfg.from_ and not begins:
        raise UserError(
            f"from: {cfg.from_}: no folder with a config.json and weights, and no model of a hub",
            "out/NAME, a download, or hf://owner/name",
        )
    return begins


@contextlib.contextmanager
def open_run(cfg: TrainConfig) -> Iterator[Run]:
    """Yield the run of a configuration; whatever happens inside, leave no half-written thing behind."""
    device = api.choose(cfg.device)
    if cfg.deterministic:
        device.repeat_exactly()
    world = mesh.start(device)
    old = {}
    try:
        device.seed(cfg.seed)
        try:
            run = Run(cfg, device, world)
            run.save_config()
        except OSError as error:
            problem = f"{error.filename or cfg.run_dir}: {error.strerror}"
            raise UserError(problem, "another folder: run_dir=PATH") from None
        for number in (signal.SIGINT, signal.SIGTERM):
            old[number] = signal.signal(number, run.on_signal)
        shape = model_config.describe(run.model_cfg)
        say(f"{run.name}: {shape}; {device.name}, {str(run.dtype)[6:]}; {run.dir}")
        try:
            yield run
        except Exception as error:
            if isinstance(error, OSError) and error.strerror:
                where = error.filename or run.dir
                raise UserError(f"{where}: {error.strerror}", "free space, or another folder") from None
            if world.ranks > 1 and "closed by peer" in str(error):
                raise UserError("another rank has failed", "its own message says why") from None
            if not device.is_out_of_memory(error):
                raise
            raise UserError(f"{device.name}: out of memory at step {run.step}", _smaller(cfg)) from None
        finally:
            if run.metrics is not None:
                run.metrics.close()
            run.store.close()
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
        log.also_to(None)
        mesh.stop()


def _smaller(cfg: TrainConfig) -> str:
    rows = cfg.micro_batch or "chosen from seq_len"
    if not cfg.recompute:
        return f"a smaller micro_batch (now {rows}; try 1), or recompute=true"
    return f"a smaller micro_batch (now {rows}), seq_len (now {cfg.seq_len}) or model"
