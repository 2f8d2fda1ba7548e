"""Pretraining: learn a language by predicting the next token of plain text.

    danlu train pretrain model=26m data.train=corpus.jsonl

Reads  {"text": "..."}, one text a line. Longer texts than `seq_len` are cut, none is dropped.
Leaves out/pretrain_<hidden>/, from which the other stages start.
"""

from __future__ import annotations

from typing import Literal

from danlu.train import build, losses
from danlu.train.config import TrainConfig
from danlu.train.loop import fit
from danlu.train.run import open_run


class Config(TrainConfig):
    """Next-token prediction on plain text."""

    stage: Literal["pretrain"] = "pretrain"
    """Which stage this file configures."""
    weight: str = "pretrain"
    """First part of the finished weights' name."""


def main(cfg: Config) -> None:
    with open_run(cfg) as run:
        batches = build.batches(run, kind="pretrain")
        model = build.model(run)
        stepper = build.stepper(run, model)
        fit(run, stepper, batches, losses.next_token, build.validation(run, kind="pretrain"))
        run.finish(stepper.model)
