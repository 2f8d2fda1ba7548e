"""What a store promises, in one process: what was saved comes back, whole or not at all."""

import json
import math
import os
import random
import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.errors import UserError
from danlu.checkpoint import manifest, plain
from danlu.checkpoint.gather import read_full
from danlu.checkpoint.store import Store
from danlu.model.disk import DTYPES

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")


def some_state(seed=0):
    generator = torch.Generator().manual_seed(seed)
    weights = {
        "matrix": torch.randn(5, 3, generator=generator),
        "half": torch.randn(7, generator=generator).bfloat16(),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 4),
        "turned": torch.randn(4, 6, generator=generator).t(),
        "odd": torch.tensor([math.nan, math.inf, -0.0]),
        "flags": torch.tensor([True, False, True]),
    }
    return {"model": weights, "optimizer": {"matrix/step": torch.tensor(seed)}}


def blank(tensors):
    return {kind: {name: torch.zeros_like(t) for name, t in group.items()} for kind, group in tensors.items()}


def same_bits(one, other):
    return (
        one.dtype == other.dtype
        and one.shape == other.shape
        and plain.raw(one).tobytes() == plain.raw(other).tobytes()
    )


def assert_holds(store, path, tensors):
    loaded = blank(tensors)
    store.load(path, loaded)
    for kind, group in tensors.items():
        for name, tensor in group.items():
            assert same_bits(loaded[kind][name], tensor), f"{kind}/{name}"


def test_what_was_saved_comes_back_bit_for_bit(tmp_path):
    store, state = Store(tmp_path), some_state()
    path = store.save(3, state, {"step": 3}, wait=True)
    assert path == tmp_path / "step-000003" == store.newest()
    assert (tmp_path / "latest").read_text() == "step-000003\n"
    assert_holds(store, path, state)
    assert store.plain(path) == {"step": 3}


@pytest.mark.parametrize("word", DTYPES)
def test_every_dtype_comes_back(tmp_path, word):
    bits = torch.arange(64, dtype=torch.uint8)
    bits = bits % 2 if word == "BOOL" else bits
    state = {"model": {"x": bits.view(DTYPES[word]).clone()}}
    store = Store(tmp_path)
    assert_holds(store, store.save(1, state, {}, wait=True), state)


def test_its_files_are_ordinary_safetensors(tmp_path):
    from safetensors.torch import load_file

    state = some_state()
    path = Store(tmp_path).save(1, state, {}, wait=True)
    opened = load_file(path / "rank-00000.safetensors")
    assert all(same_bits(opened[f"model/{name}"], tensor) for name, tensor in state["model"].items())


def test_weights_are_read_without_model_or_store(tmp_path):
    state = some_state()
    path = Store(tmp_path).save(1, state, {}, wait=True)
    found = dict(read_full(path))
    assert found.keys() == state["model"].keys()
    assert all(same_bits(found[name], tensor) for name, tensor in state["model"].items())


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=4) | st.integers() | st.just("$tuple"), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(deadline=None, max_examples=60)
@given(value=values)
def test_plain_state_comes_back_equal(value):
    again = plain.parse(plain.dump({"value": value}))["value"]
    assert again == value and repr(again) == repr(value)  # repr tells a tuple from a list, True from 1


def test_random_state_comes_back_and_continues_the_same(tmp_path):
    store = Store(tmp_path)
    torch.manual_seed(5)
    random.seed(5)
    path = store.save(1, {}, {"torch": torch.get_rng_state(), "python": random.getstate()}, wait=True)
    expected = torch.rand(4), random.random()
    state = store.plain(path)
    torch.set_rng_state(state["torch"])
    random.setstate(state["python"])
    assert torch.equal(torch.rand(4), expected[0]) and random.random() == expected[1]


def test_state_that_is_not_plain_is_refused_by_name():
    with pytest.raises(TypeError, match=r"plain\.stream\.rows\[1\]: a set"):
        plain.dump({"stream": {"rows": [0, {1}]}})


def test_training_may_go_on_while_it_is_written(tmp_path):
    store, state = Store(tmp_path), {"model": {"w": torch.full((1_000_000,), 1.0)}}
    cursor = {"rows": [1]}
    path = store.save(1, state, cursor)
    state["model"]["w"].fill_(2.0)
    cursor["rows"].append(2)
    store.wait()
    assert_holds(store, path, {"model": {"w": torch.full((1_000_000,), 1.0)}})
    assert store.plain(path) == {"rows": [1]}


def test_one_save_at_a_time_and_it_says_so(tmp_path, capsys):
    store, state = Store(tmp_path), {"model": {"w": torch.zeros(8_000_000)}}
    store.save(1, state, {})
    store.save(2, state, {})
    assert "step 2: waiting" in capsys.readouterr().err
    store.wait()
    assert sorted(p.name for p in tmp_path.glob("step-*")) == ["step-000001", "step-000002"]


def test_an_error_in_the_background_is_raised_by_the_next_call(tmp_path):
    store = Store(tmp_path)
    whole = store.save(1, some_state(), {}, wait=True)
    (tmp_path / ".step-000002.writing").write_text("in the way")
    store.save(2, some_state(), {})
    with pytest.raises(UserError, match=r"step-000002: cannot be written"):
        store.save(3, some_state(), {})
    store.save(4, some_state(), {}, wait=True)
    assert manifest.damage(whole) is None and store.newest() == tmp_path / "step-000004"


def test_a_byte_flipped_anywhere_is_found(tmp_path):
    path = Store(tmp_path).save(1, some_state(), {"step": 1}, wait=True)
    for file in sorted(path.iterdir()):
        whole = file.read_bytes()
        for at in range(0, len(whole), max(1, len(whole) // 150)):
            file.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
            assert manifest.damage(path), f"{file.name} at {at}"
        file.write_bytes(whole)
    assert manifest.damage(path) is None


def truncate(path):
    os.truncate(path / "rank-00000.safetensors", 100)


def flip(path):
    raw = bytearray((path / "rank-00000.safetensors").read_bytes())
    raw[-1] ^= 4
    (path / "rank-00000.safetensors").write_bytes(raw)


def lose_plain(path):
    (path / "rank-00000.json").unlink()


def lose_manifest(path):
    (path / "manifest.json").unlink()


def empty(path):
    shutil.rmtree(path)
    path.mkdir()


@pytest.mark.parametrize("harm", [truncate, flip, lose_plain, lose_manifest, empty])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(tmp_path, harm, capsys):
    store, older = Store(tmp_path), some_state(1)
    before = store.save(1, older, {}, wait=True)
    harm(store.save(2, some_state(2), {}, wait=True))
    assert Store(tmp_path).newest() == before
    assert "step-000002: damaged" in capsys.readouterr().err
    assert_holds(store, before, older)
    assert_holds(store, store.save(2, older, {}, wait=True), older)  # and is replaced by a whole one


def test_a_damaged_checkpoint_asked_for_by_path_is_refused(tmp_path):
    path = Store(tmp_path).save(1, some_state(), {}, wait=True)
    flip(path)
    with pytest.raises(UserError, match=r"step-000001: damaged: rank-00000.safetensors"):
        Store(tmp_path).load(path, blank(some_state()))


def test_a_run_that_went_back_continues_from_where_it_went(tmp_path):
    store = Store(tmp_path)
    for step in (1, 2, 3):
        store.save(step, some_state(step), {}, wait=True)
    store.save(2, some_state(9), {}, wait=True)
    again = Store(tmp_path)
    assert again.newest() == tmp_path / "step-000002"
    assert_holds(again, tmp_path / "step-000002", some_state(9))
    assert again.save(4, some_state(), {}, wait=True) == again.newest()


def test_another_run_s_newest_is_found_without_taking_its_folder(tmp_path):
    path = Store(tmp_path / "one").save(1, some_state(), {}, wait=True)
    store = Store(tmp_path / "two")
    assert store.newest() is None and store.newest(tmp_path / "one") == path == store.verified(path)
    flip(path)
    assert Store(tmp_path / "three").verified(path) is None


def test_without_a_checkpoint_there_is_no_newest(tmp_path):
    assert Store(tmp_path / "new").newest() is None


def test_the_last_ones_and_the_best_are_kept(tmp_path):
    store = Store(tmp_path, keep=2)
    for step, loss in enumerate([3.0, 1.0, math.nan, None, 2.0, 1.5], start=1):
        store.save(step, some_state(), {}, metric=loss)
    store.wait()
    assert sorted(p.name for p in tmp_path.glob("step-*")) == ["step-000002", "step-000005", "step-000006"]
    assert json.loads((tmp_path / "step-000002" / "manifest.json").read_text())["metric"] == 1.0


@pytest.mark.parametrize(("keep", "left"), [(1, 1), (0, 4)])
def test_keep_counts_checkpoints_and_zero_keeps_all(tmp_path, keep, left):
    store = Store(tmp_path, keep=keep, keep_best=False)
    for step in range(4):
        store.save(step, some_state(), {}, metric=float(step))
    store.wait()
    assert len(list(tmp_path.glob("step-*"))) == left


def test_nothing_is_deleted_for_a_checkpoint_that_failed(tmp_path):
    store = Store(tmp_path, keep=1, keep_best=False)
    whole = store.save(1, some_state(), {}, wait=True)
    (tmp_path / ".step-000002.writing").write_text("in the way")
    with pytest.raises(UserError):
        store.save(2, some_state(), {}, wait=True)
    assert Store(tmp_path).newest() == whole


def test_what_does_not_fit_is_named(tmp_path):
    store = Store(tmp_path)
    path = store.save(
        1, {"model": {"a": torch.zeros(2, 3), "b": torch.zeros(4), "c": torch.zeros(1)}}, {}, wait=True
    )
    other = {"model": {"a": torch.ones(3, 2), "b": torch.ones(4).bfloat16(), "d": torch.ones(1)}}
    with pytest.raises(UserError) as caught:
        store.load(path, other)
    for words in (
        "missing in the checkpoint: d",
        "unexpected in the checkpoint: c",
        "a is float32 [2, 3] in the checkpoint, float32 [3, 2] here",
        "b is float32 [4] in the checkpoint, bfloat16 [4] here",
    ):
        assert words in caught.value.problem
    assert all(bool((tensor == 1).all()) for tensor in other["model"].values()), "nothing was loaded"


def test_one_kind_may_be_loaded_alone(tmp_path):
    store, state = Store(tmp_path), some_state()
    path = store.save(1, state, {}, wait=True)
    assert_holds(store, path, {"model": state["model"]})


def test_torch_can_use_the_reader_and_the_writer_by_itself(tmp_path):
    import torch.distributed.checkpoint as dcp

    from danlu.checkpoint.reader import Reader
    from danlu.checkpoint.writer import Writer

    state = {"weights": {"a": torch.randn(3, 4)}}
    dcp.save(state, storage_writer=Writer(tmp_path / "one"))
    again = {"weights": {"a": torch.zeros(3, 4)}}
    dcp.load(again, storage_reader=Reader(tmp_path / "one"))
    assert torch.equal(again["weights"]["a"], state["weights"]["a"])
    assert manifest.damage(tmp_path / "one") is None
