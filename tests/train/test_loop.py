"""The loop: every step logged, measured and saved when due, and once at the end."""

import json
import math
import random

import pytest

from danlu.base.errors import UserError
from danlu.stages.pretrain import Config, main
from danlu.train import build
from danlu.train.config import Data
from danlu.train.loop import fit
from danlu.train.losses import Loss, next_token
from danlu.train.run import open_run

WORDS = "the cat sat on a mat and then it ran up the old blue tree".split()


@pytest.fixture
def cfg(tmp_path, monkeypatch):
    monkeypatch.setenv("DANLU_CACHE", str(tmp_path / "cache"))
    draw = random.Random(0)
    lines = [json.dumps({"text": " ".join(draw.choices(WORDS, k=12))}) for _ in range(64)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines))
    return Config(
        model="tiny",
        data=Data(train=(str(tmp_path / "corpus.jsonl"),)),
        steps=5,
        batch_tokens=128,
        seq_len=32,
        dtype="float32",
        device="cpu",
        compile=False,
        run_dir=str(tmp_path / "run"),
        out=str(tmp_path / "out"),
    )


def rows(cfg):
    return [json.loads(line) for line in open(f"{cfg.run_dir}/metrics.jsonl")]


def test_everything_happens_when_it_is_due(cfg, tmp_path):
    cfg = cfg.model_copy(update={"data": Data(train=cfg.data.train, valid=cfg.data.train)})
    cfg = cfg.model_copy(update={"eval_every": 2, "save_every": 3})
    main(cfg)
    assert [row["step"] for row in rows(cfg)] == [1, 2, 3, 4, 5]
    assert [row["step"] for row in rows(cfg) if "valid_loss" in row] == [2, 4, 5]
    assert sorted(path.name for path in (tmp_path / "run").glob("step-*")) == ["step-000003", "step-000005"]


def test_a_run_asked_to_stop_saves_and_goes_on_later(cfg):
    main(cfg)
    expected = [row["loss"] for row in rows(cfg)]
    cfg = cfg.model_copy(update={"run_dir": cfg.run_dir + "2"})

    def stop_at_three(model, batch):
        if run.step == 2:
            run.on_signal(2, None)
        return next_token(model, batch)

    with open_run(cfg) as run:
        batches = build.batches(run, kind="pretrain")
        fit(run, build.stepper(run, build.model(run)), batches, stop_at_three)
        assert (run.step, run.stopped_early) == (3, True)
    main(cfg.model_copy(update={"resume": True}))
    assert [row["loss"] for row in rows(cfg)] == expected


def test_a_bad_step_names_file_and_line(cfg, tmp_path):
    def nonsense(model, batch):
        return Loss(next_token(model, batch).total * math.nan)

    with (
        pytest.raises(UserError, match=r"step 1: the loss is nan.*rows .*corpus\.jsonl:\d+"),
        open_run(cfg) as run,
    ):
        batches = build.batches(run, kind="pretrain")
        fit(run, build.stepper(run, build.model(run)), batches, nonsense)
