"""Several chips, through torch_npu's own process group: what one rank learns, whatever is spread how."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ascend.children import ranks, run

pytestmark = pytest.mark.npu

WORDS = [
    "-m", "danlu", "train", "pretrain", "model=tiny", "model.num_hidden_layers=2", "seq_len=32",
    "batch_tokens=256", "optim.lr=3e-3", "compile=false", "data.train=corpus.jsonl",
]  # fmt: skip


def learned(done, name: str) -> list[dict[str, float]]:
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return [json.loads(line) for line in Path(f"runs/{name}/metrics.jsonl").read_text().splitlines()]


def train(chip: str, count: int, name: str, *words: str, device: str = "npu", **more: str):
    everything = [*WORDS, f"device={device}", f"run_dir=runs/{name}", f"name={name}", *words]
    done = run(chip, *everything, **more) if count == 1 else ranks(chip, count, *everything, **more)
    return learned(done, name)


def losses(lines) -> list[float]:
    return [line["loss"] for line in lines]


@pytest.mark.parametrize(
    ("chip", "count", "words"),
    [
        ("910A", 2, ["parallel.data=ddp"]),
        ("910B3", 2, ["parallel.data=fsdp"]),
        ("910B3", 4, ["parallel.data=fsdp", "parallel.shard=2"]),
        ("910A", 4, ["parallel.data=fsdp", "model=tiny-moe"]),
    ],
    ids=["ddp", "fsdp", "hsdp", "experts"],
)
def test_so_many_chips_learn_what_one_processor_learns(folder, chip, count, words):
    keys = ["dtype=float32", "steps=3"]
    alone = train(
        chip, 1, "alone", *keys, *(word for word in words if word.startswith("model")), device="cpu"
    )
    assert losses(train(chip, count, "many", *keys, *words)) == pytest.approx(losses(alone), rel=1e-5)


def test_a_checkpoint_is_read_by_other_numbers_of_chips(folder):
    keys = ["dtype=float32", "steps=6", "save_every=2", "keep=9"]
    alone = losses(train("910A", 1, "alone", *keys, device="cpu"))
    moved = [*keys, "accept_changes=true"]
    four = train("910A", 4, "four", *keys, "parallel.data=fsdp")
    two = train("910A", 2, "two", *moved, "parallel.data=ddp", "resume=runs/four/step-000002")
    one = train("910A", 1, "one", *moved, "resume=runs/two/step-000004")
    assert losses(four) == pytest.approx(alone, rel=1e-5)
    assert losses(two) == pytest.approx(alone[2:], rel=1e-5)
    assert losses(one) == pytest.approx(alone[4:], rel=1e-5)


def test_where_one_of_two_chips_overflows_both_skip_the_step(folder):
    """The flag is a chip's own. Seen on one alone it must do what it does when it is seen on both."""
    keys = ["dtype=float16", "steps=4", "parallel.data=ddp"]
    fault = {"STANDIN_FAULT": "overflow:2"}
    one = train("910A", 2, "one", *keys, **fault, STANDIN_FAULT_RANK="1")
    both = train("910A", 2, "both", *keys, **fault)
    assert [line.get("skipped", 0) for line in one] == [0, 1, 0, 0]
    assert [line["scale"] for line in one] == [65536, 65536, 32768, 32768]
    assert losses(one) == losses(both)  # of both ranks' weights, which are thus equal
