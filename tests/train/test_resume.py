"""What a stopped run is compared with: settings of today, some of which did not exist when it stopped."""

from __future__ import annotations

import pytest

from danlu.base.errors import UserError
from danlu.stages.pretrain import Config
from danlu.train.resume import compare


def before(**changes) -> dict:
    return Config().model_dump(mode="json", by_alias=True) | changes


def test_a_key_that_is_newer_than_the_run_and_unset_is_no_change():
    stopped = before(model={"hidden_size": 8})
    compare(stopped, Config(model={"hidden_size": 8, "may_stay": False}), accept=False)
    with pytest.raises(UserError, match="model.may_stay None -> True"):
        compare(stopped, Config(model={"hidden_size": 8, "may_stay": True}), accept=False)


def test_a_key_that_was_set_otherwise_is_a_change():
    with pytest.raises(UserError, match="seed 7 -> 42"):
        compare(before(seed=7), Config(), accept=False)
