"""The keys every training stage has. A stage adds its own by subclassing `TrainConfig`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from danlu.base.config import Section
from danlu.data.recipe import Recipe, Words
from danlu.parallel.mesh import Parallel
from danlu.train.optim import Optim


class Data(Section):
    """Where the rows come from."""

    train: Words = ()
    """What to learn from: one path, a list, or paths with commas between. A path is a file, a folder, a
    pattern, a data set's name on a hub, what `danlu data prepare` made, or the .yaml of a mixture."""
    valid: Words = ()
    """Files to measure on every `eval_every` steps; never learned from."""
    fields: dict[str, str] = {}
    """Our keys and those of your rows that stand for them: data.fields.text=body reads `body` as `text`."""
    encoding: Literal["auto", "utf-8", "gb18030"] = "auto"
    """How text files are encoded; auto: told from the bytes."""
    text_by: Literal["line", "paragraph", "file"] = "line"
    """What one text of a .txt file is; paragraphs have blank lines between."""
    on_bad_row: Literal["refuse", "skip"] = "refuse"
    """What to do with a row that cannot be used: end with its file and line, or leave it out and count."""
    streamed: bool = False
    """Read and encode rows on the way instead of into the cache first: no waiting and no disk, but rows
    are shuffled among some thousand neighbours only, and `steps` must be set."""
    workers: int = Field(default=0, ge=0)
    """Processes that encode rows into the cache; 0: one for small files, else one for each core."""
    mixture: Recipe = Recipe()


class BatchWarmup(Section):
    """Small steps first."""

    from_: int = Field(default=0, ge=0, alias="from")
    """Tokens of the first optimiser step; 0: one row."""
    steps: int = Field(default=0, ge=0)
    """Steps over which that grows to `batch_tokens`, in a straight line; 0: all have that many at once."""


class TrainConfig(Section):
    """One run: what is trained, on what, for how long, and where it is kept."""

    stage: str
    """Which stage this file configures."""
    weight: str
    """First part of the finished weights' name."""
    name: str = ""
    """Name of the finished weights; empty: {weight}_{hidden}, with _moe for a mixture of experts."""
    model: str | dict[str, Any] = ""
    """A shape: a preset (tiny, 26m, 64m, 104m, 1b, each with -moe; minimind...), a YAML file, a config.json,
    or a section of keys. Or a model: a folder of weights, ours or a download, or a name on a hub
    (hf://owner/name, ms://owner/name, owner/name, each with @revision); then training starts from its
    weights, as with `from`. Empty: that of `from`, else 26m."""
    from_: str = Field(default="", alias="from")
    """Weights to start from, a folder or a name on a hub; empty: those of `model` where it has some, else
    random numbers."""
    tokenizer: str = ""
    """A folder with a tokenizer.json, a name on a hub, or `starter`; empty: that of the weights to start
    from, else `starter`."""
    data: Data = Data()
    seq_len: int = Field(default=512, ge=8)
    """Longest row in tokens; longer texts are cut into several rows, longer chats are shortened."""
    packing: bool | Literal["budget"] = True
    """true: fill rows with several samples, attention kept inside each; false: one sample a row;
    budget: one row a micro-batch, as wide as all its rows, so that the fewest places stay empty."""
    steps: int | None = Field(default=None, ge=1)
    """Optimiser steps; unset: as many as `epochs` need."""
    epochs: int = Field(default=1, ge=1)
    """How often every row is seen, when `steps` is unset."""
    batch_tokens: int = Field(default=16384, ge=8)
    """Tokens of one optimiser step over all devices; the result does not depend on how many there are."""
    batch_warmup: BatchWarmup = BatchWarmup()
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
    deterministic: bool = False
    """The same bits from the same run on an accelerator too, slower; a processor's always are."""
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
        if self.batch_warmup.from_ > self.batch_tokens:
            raise ValueError(
                f"batch_warmup.from: {self.batch_warmup.from_} is more than batch_tokens={self.batch_tokens}"
                f"; try: batch_warmup.from={self.seq_len}"
            )
        return self
