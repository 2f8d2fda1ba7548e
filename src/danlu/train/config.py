"""The keys every training stage has. A stage adds its own by subclassing `TrainConfig`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from danlu.base.config import Section
from danlu.parallel.mesh import Parallel
from danlu.train.optim import Optim


def _one_or_many(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part for part in value.split(",") if part)
    return tuple(value) if isinstance(value, list) else value


Words = Annotated[tuple[str, ...], BeforeValidator(_one_or_many)]


class Data(Section):
    """Where the rows come from."""

    train: Words = ()
    """Files to learn from: one path, a list, or paths with commas between."""
    valid: Words = ()
    """Files to measure on every `eval_every` steps; never learned from."""


class TrainConfig(Section):
    """One run: what is trained, on what, for how long, and where it is kept."""

    stage: str
    """Which stage this file configures."""
    weight: str
    """First part of the finished weights' name."""
    name: str = ""
    """Name of the finished weights; empty: {weight}_{hidden}, with _moe for a mixture of experts."""
    model: str | dict[str, Any] = ""
    """A preset (tiny, 26m, 64m, 104m, 1b, each with -moe; minimind...), a YAML file, or a section of
    keys; empty: that of `from`, else 26m."""
    from_: str = Field(default="", alias="from")
    """Finished weights to start from; empty: start from random numbers."""
    tokenizer: str = ""
    """A folder with a tokenizer.json, or `starter`; empty: that of `from`, else `starter`."""
    data: Data = Data()
    seq_len: int = Field(default=512, ge=8)
    """Longest row in tokens; longer texts are cut into several rows, longer chats are shortened."""
    packing: bool = True
    """Fill rows with several samples, attention kept inside each; false: one sample a row."""
    steps: int | None = Field(default=None, ge=1)
    """Optimiser steps; unset: as many as `epochs` need."""
    epochs: int = Field(default=1, ge=1)
    """How often every row is seen, when `steps` is unset."""
    batch_tokens: int = Field(default=16384, ge=8)
    """Tokens of one optimiser step over all devices; the result does not depend on how many there are."""
    micro_batch: int = Field(default=0, ge=0)
    """Rows a device takes at once; more is faster until memory ends. 0: as many as make 8,192 tokens."""
    seed: int = Field(default=42, ge=0)
    """Decides first weights and order of data."""
    device: str = "auto"
    """Where to train: cpu or a kind of accelerator; auto: the accelerator if there is a usable one."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the computation (weights stay float32); auto: the fast one that is safe here."""
    compile: bool | Literal["auto"] = "auto"
    """torch.compile for the blocks: on, off, or auto: when the run is long enough to repay it."""
    recompute: bool = False
    """Compute activations again in the backward pass instead of keeping them: less memory, a third slower."""
    optim: Optim = Optim()
    parallel: Parallel = Parallel()
    run_dir: str = ""
    """Folder of checkpoints, metrics and log; empty: runs/<name>/<time>."""
    out: str = "out"
    """Folder in which the finished weights appear."""
    save_every: int = Field(default=500, ge=0)
    """Steps between checkpoints; 0: only at the end."""
    keep: int = Field(default=2, ge=1)
    """How many of the newest checkpoints stay; the best by validation loss stays besides."""
    eval_every: int = Field(default=0, ge=0)
    """Steps between measurements on `data.valid`; 0: only at the end."""
    resume: bool | str = False
    """true: go on from the newest whole checkpoint of `run_dir`; a path: from that one."""
    accept_changes: bool = False
    """On resume, go on although keys that change the result differ from the stopped run's."""
    max_hours: float | None = Field(default=None, gt=0)
    """Save and leave after this long; resume=true goes on."""
    bad_step: Literal["skip", "stop"] = "stop"
    """What to do with a step whose loss or gradient is not a number, or a spike."""
    spike: float | None = Field(default=None, gt=1)
    """A loss this many times the running median is a bad step; unset: only NaN and Inf are."""
    spike_norm: float | None = Field(default=None, gt=1)
    """A gradient this many times its running mean length is a bad step; unset: only NaN and Inf are."""
    trackers: Words = ()
    """Also report to: tensorboard, wandb, swanlab."""

    def model_or_default(self) -> str | dict[str, Any]:
        """Return `model`; where it names none, or only changes keys, that of `from`, else 26m."""
        usual = self.from_ or "26m"
        if isinstance(self.model, dict) and not {"preset", "vocab_size"} & self.model.keys():
            return {"preset": usual, **self.model}
        return self.model or usual

    @model_validator(mode="after")
    def _rows_fit(self) -> TrainConfig:
        if self.batch_tokens < self.seq_len:
            raise ValueError(
                f"batch_tokens: {self.batch_tokens} cannot hold one row of {self.seq_len} tokens"
                f"; try: batch_tokens={self.seq_len} or more, or a smaller seq_len"
            )
        return self
