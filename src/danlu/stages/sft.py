"""Supervised fine-tuning: learn to answer, from chats of which only the answers are learned.

    danlu train sft model=26m from=out/pretrain_512 data.train=chats.jsonl
    danlu train reason from=out/full_sft_512 data.train=thoughts.jsonl

Reads  {"conversations": [{"role": "user", "content": "..."}, {"role": "assistant", ...}]},
       or the same under "messages", one chat a line.
Needs  a model that knows the language, usually pretrained weights.

The stage `reason` is this one with `tag_weight` above 1: the four tags <think> </think> <answer>
</answer>, where they really frame an answer, weigh more, so that a small model learns the frame.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from danlu.train import build, losses
from danlu.train.config import TrainConfig
from danlu.train.loop import fit
from danlu.train.run import open_run


class Config(TrainConfig):
    """Learn the assistant's turns of chats."""

    stage: Literal["sft"] = "sft"
    """Which stage this file configures."""
    weight: str = "full_sft"
    """First part of the finished weights' name."""
    tag_weight: float = Field(default=1.0, gt=0)
    """Weight of the tokens of true think and answer tags; 1: like any other token."""


def main(cfg: Config) -> None:
    with open_run(cfg) as run:
        batches = build.batches(run, kind="chat", tag_weight=cfg.tag_weight)
        model = build.model(run)
        stepper = build.stepper(run, model)
        fit(
            run,
            stepper,
            batches,
            losses.next_token,
            build.validation(run, kind="chat", tag_weight=cfg.tag_weight),
        )
        run.finish(stepper.model)
