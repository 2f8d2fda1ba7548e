"""What a stage is made of, built from its configuration: batches, model, stepper, validation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from danlu.base.errors import UserError
from danlu.base.log import say
from danlu.data.formats import Reading
from danlu.data.stream import Stream, open_stream
from danlu.hub import models
from danlu.model import build as model_build
from danlu.model import weights
from danlu.model.size import flops_per_token
from danlu.parallel import apply, mesh
from danlu.train import losses
from danlu.train.metrics import Metrics
from danlu.train.optim import Schedule, build_optimizer
from danlu.train.run import Run
from danlu.train.stepper import Stepper

# Below this many seconds of estimated work, compiling (half a minute to two) does not repay itself.
WORTH_COMPILING = 600
ROWS_OF = 8192  # tokens a device takes at once unless `micro_batch` says otherwise


def _stream(
    run: Run, kind: str, files: tuple[str, ...], epochs: int | None, shuffle: bool, **options: Any
) -> Stream:
    cfg = run.cfg
    data = cfg.data
    return open_stream(
        list(files),
        kind,
        run.tokenizer,
        seq_len=cfg.seq_len,
        batch_tokens=cfg.batch_tokens,
        micro_batch=cfg.micro_batch or max(1, ROWS_OF // cfg.seq_len),
        rank=run.world.rank,
        ranks=run.world.ranks,
        seed=cfg.seed,
        packing=cfg.packing,
        epochs=epochs,
        shuffle=shuffle,
        reading=Reading(data.fields, data.encoding, data.text_by),
        on_bad_row=data.on_bad_row,
        workers=data.workers,
        **options,
    )


def batches(run: Run, kind: str, **options: Any) -> Stream:
    """Return the stream of training batches; it also decides how many steps the run has."""
    cfg = run.cfg
    if not cfg.data.train and not cfg.data.mixture.sources:
        raise UserError("data.train: is not set", "data.train=FILE.jsonl")
    if cfg.data.train and cfg.data.mixture.sources:
        raise UserError("data: both train and mixture.sources are set", "one of them")
    if run.model_cfg.max_position_embeddings < cfg.seq_len:
        raise UserError(
            f"seq_len: {cfg.seq_len}, but positions end at {run.model_cfg.max_position_embeddings}",
            "a smaller seq_len, or model.max_position_embeddings=...",
        )
    stream = _stream(
        run,
        kind,
        cfg.data.train,
        None if cfg.steps else cfg.epochs,
        True,
        streamed=cfg.data.streamed,
        mixture=cfg.data.mixture,
        warmup=(cfg.batch_warmup.from_, cfg.batch_warmup.steps),
        accept_changes=cfg.accept_changes,
        **options,
    )
    run.total_steps = cfg.steps or stream.total_steps or 0
    run.mean_context = stream.mean_context
    return stream


def model(run: Run) -> nn.Module:
    """Return the model on its device: random or with the weights begun from, split and wrapped as asked."""
    cfg = run.cfg
    made = model_build.build(run.model_cfg, run.device.torch, cfg.seed)
    if cfg.from_ and run.checkpoint is None:
        name = models.named(cfg.from_)
        weights.load(models.whole(name) if name else cfg.from_, made)
    return apply.parallelize(
        made,
        cfg.parallel,
        run.device,
        run.dtype,
        recompute=cfg.recompute,
        compile=will_compile(run),
    )


def will_compile(run: Run) -> bool:
    """Return whether torch.compile is wanted and can be had, the same on every rank; it is recorded."""
    reason = run.device.why_no_compile()
    asked = run.resolved.compile
    if asked is True and reason:
        say(f"compile: off, {reason}")
    chosen = worth_compiling(run) if asked == "auto" else asked
    chosen = bool(mesh.broadcast(chosen and not reason))
    run.decide(compile=chosen)
    return chosen


def worth_compiling(run: Run) -> bool:
    """Return whether the run is long enough for torch.compile to repay itself."""
    tokens = run.total_steps * run.cfg.batch_tokens / run.world.ranks
    flops = tokens * flops_per_token(run.model_cfg, run.mean_context)
    return flops / run.device.matmul_ceiling(run.dtype) > WORTH_COMPILING


def stepper(run: Run, model: nn.Module) -> Stepper:
    """Return what turns batches into steps, and open the run's measurements."""
    cfg = run.cfg
    optimizer = build_optimizer(model, cfg.optim, run.device)
    made = Stepper(
        model,
        optimizer,
        Schedule(optimizer, cfg.optim, run.total_steps),
        run.device,
        run.dtype,
        run.world,
        max_norm=cfg.optim.max_norm,
        bad_step=cfg.bad_step,
        spike=cfg.spike,
        spike_norm=cfg.spike_norm,
    )
    run.metrics = Metrics(
        run.dir,
        cfg.trackers,
        total_steps=run.total_steps,
        flops_per_token=flops_per_token(run.model_cfg, run.mean_context),
        ceiling=run.device.matmul_ceiling(run.dtype) * run.world.ranks,
    )
    return made


def validation(run: Run, kind: str, **options: Any) -> Callable[[nn.Module], dict[str, float]] | None:
    """Return a function that measures the mean loss of `data.valid`, or None if there is none."""
    if not run.cfg.data.valid:
        return None
    stream = _stream(run, kind, run.cfg.data.valid, 1, False, **options)
    beginning = stream.state_dict()

    @torch.no_grad()
    def measure(model: nn.Module) -> dict[str, float]:
        totals = torch.zeros(2, dtype=torch.float64)
        stream.load_state_dict(beginning)
        for micro_batches in stream:
            for batch in micro_batches:
                batch = batch.to(run.device.torch)
                with run.device.autocast(run.dtype):
                    nll = losses.token_nll(model, batch)
                totals += torch.tensor([float(nll.sum()), batch.count], dtype=torch.float64)
        total, count = mesh.sum_over_ranks(totals).tolist()
        return {"valid_loss": total / max(count, 1)}

    return measure
