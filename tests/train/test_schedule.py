"""The learning rate is a closed form of the step."""

import pytest
import torch

from danlu.base.config import check
from danlu.base.errors import UserError
from danlu.train.optim import Optim
from danlu.train.schedule import Schedule, share

TOTAL = 1000


def rates(**keys):
    return [share(Optim(**keys), t, TOTAL) for t in range(TOTAL + 1)]


def test_minimind_is_its_formula_and_knows_no_warmup():
    found = rates(schedule="minimind", warmup=100, min_lr_ratio=0.5)
    assert [found[0], found[TOTAL // 2], found[TOTAL]] == pytest.approx([1.0, 0.55, 0.1])


def test_minimind_is_the_cosine_down_to_a_tenth():
    assert rates(schedule="cosine") == pytest.approx(rates(schedule="minimind"))


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "wsd"])
@pytest.mark.parametrize("warmup", [200, 0.2])
def test_warmup_rises_from_its_start_to_the_whole_rate(schedule, warmup):
    found = rates(schedule=schedule, warmup=warmup, warmup_from=0.25)
    rise = [after - before for before, after in zip([0.25, *found[:200]], found[:201], strict=True)]
    assert rise == pytest.approx([0.75 / 201] * 201)
    assert found[200] == 1


@pytest.mark.parametrize(
    ("keys", "values"),
    [
        ({"schedule": "constant"}, {0: 1, 500: 1, 1000: 1}),
        ({"schedule": "linear", "warmup": 200}, {200: 1, 600: 0.55, 1000: 0.1}),
        (
            {"schedule": "linear", "decay_until": 0.5, "min_lr_ratio": 0.2},
            {0: 1, 250: 0.6, 500: 0.2, 900: 0.2},
        ),
        ({"schedule": "cosine", "decay_until": 0.8, "min_lr_ratio": 0.0}, {0: 1, 400: 0.5, 800: 0, 1000: 0}),
        ({"schedule": "wsd", "warmup": 100, "decay": 100}, {100: 1, 900: 1, 950: 0.55, 1000: 0.1}),
        ({"schedule": "wsd", "decay": 0.3, "min_lr_ratio": 0.0}, {0: 1, 700: 1, 850: 0.5, 1000: 0}),
    ],
)
def test_the_way_after_the_warmup(keys, values):
    found = rates(**keys)
    assert {t: found[t] for t in values} == pytest.approx(values)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "wsd"])
@pytest.mark.parametrize("total", [1, 2, 3])
def test_tiny_runs_stay_between_floor_and_peak(schedule, total):
    cfg = Optim(schedule=schedule, warmup=0.5, decay=0.9)
    assert all(0.1 <= share(cfg, t, total) <= 1 for t in range(total + 1))


def test_the_step_is_the_whole_state():
    optimizers = [torch.optim.SGD([{"params": [torch.zeros(1)], "lr_factor": 2.0}], lr=1) for _ in range(2)]
    cfg = Optim(lr=1e-3, warmup=3)
    first, second = (Schedule(optimizer, cfg, 10) for optimizer in optimizers)
    for _ in range(5):
        first.step()
    second.load_state_dict(first.state_dict())
    for _ in range(5):
        assert first.lr == second.lr
        assert [o.param_groups[0]["lr"] for o in optimizers] == [2 * first.lr] * 2
        first.step()
        second.step()


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"warmup": 1.5}, "warmup: 1.5.*warmup=2"),
        ({"betas": [0.9, 1.0]}, r"betas: \[0.9, 1.0\]"),
        ({"lr": -1.0}, "lr"),
    ],
)
def test_senseless_values_are_refused(keys, words):
    with pytest.raises(UserError, match=f"(?s){words}"):
        check(Optim, keys, "test.yaml")
