"""Nothing lost, nothing twice, whatever the samples come from: mapped, sharded, streamed or mixed."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.data.encode import KINDS, Options, Tally
from danlu.data.formats import Reading
from danlu.data.mixture import Mixture
from danlu.data.parts import BlockEncoder
from danlu.data.ramp import Ramp
from danlu.data.recipe import Part, Piece, Recipe
from danlu.data.records import Text
from danlu.data.rows import row_id
from danlu.data.samples import Samples
from danlu.data.stream import Stream
from danlu.data.streamed import Encoding, Streamed, alone, shard_of
from danlu.data.supply import Mapped
from danlu.tokenizer.tokenizer import Tokenizer

STARTER = Tokenizer.load("starter")
SUPPLIES = ("mapped", "sharded", "streamed", "mixture")
FALLING = (Piece(schedule_type="linear", weight=3.0, to=0.5, steps=3), Piece(weight=1.0))


@st.composite
def cases(draw, supplies=SUPPLIES):
    """Draw files of texts of some words each, and how they are streamed."""
    word_counts = st.lists(st.integers(1, 12), min_size=1, max_size=10)
    return {
        "files": draw(st.lists(word_counts, min_size=1, max_size=3)),
        "supply": draw(st.sampled_from(supplies)),
        "seq_len": draw(st.integers(8, 24)),
        "ramp": draw(st.sampled_from([Ramp(1), Ramp(3), Ramp(7), Ramp(6, 1, 4), Ramp(5, 2, 30)])),
        "micro_batch": draw(st.integers(1, 4)),
        "seed": draw(st.integers(0, 5)),
        "packing": draw(st.booleans()),
        "shuffle": draw(st.booleans()),
        "epochs": draw(st.integers(1, 2)),
        "window": draw(st.sampled_from([1, 3, 7, 20, 4096])),
        "level": draw(st.sampled_from(["sample", "token"])),
        "stop": draw(st.sampled_from(["never", "first", "all"])),
        "weights": draw(st.lists(st.sampled_from([0.3, 1.0, 2.0, FALLING]), min_size=3, max_size=3)),
        "streamed_parts": draw(st.lists(st.booleans(), min_size=3, max_size=3)),
    }


def texts_of(case):
    """Return the texts of each file, all different."""
    return [
        [" ".join(f"{file}.{row}.{word}" for word in range(words)) for row, words in enumerate(counts)]
        for file, counts in enumerate(case["files"])
    ]


def samples_of(texts, file, seq_len):
    """Return the samples of the texts of a file, each alone."""
    records = [(row_id(file, row), Text(text)) for row, text in enumerate(texts)]
    whole = KINDS["pretrain"](STARTER, records, Options(seq_len), Tally())
    return [alone(sample, *cut) for sample in whole for cut in sample.cuts]


@contextmanager
def opened(case):
    """Yield a function that makes the stream of a case for a rank."""
    texts, seq_len, seed = texts_of(case), case["seq_len"], case["seed"]
    order = {"seed": seed, "shuffle": case["shuffle"], "window": case["window"]}
    encoding = Encoding(BlockEncoder("pretrain", STARTER, Options(seq_len), Reading()))
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.jsonl" for number in range(len(texts))]
        for path, rows in zip(paths, texts):
            path.write_text("".join(json.dumps({"text": text}) + "\n" for text in rows))
        each = [samples_of(rows, file, seq_len) for file, rows in enumerate(texts)]

        def supply():
            if case["supply"] == "streamed":
                return Streamed(paths, encoding, **order)
            if case["supply"] == "mapped":
                return Mapped(Samples([shard_of(sum(each, []), STARTER)]), **order)
            if case["supply"] == "sharded":
                return Mapped(Samples([shard_of(samples, STARTER) for samples in each]), **order)
            parts = [
                Part(name=path.stem, paths=(str(path),), weight=weight)
                for path, weight in zip(paths, case["weights"])
            ]
            supplies = [
                Streamed([path], encoding, **order)
                if streamed
                else Mapped(
                    Samples([shard_of(samples_of(rows, 0, seq_len), STARTER)], files=[str(path)]), **order
                )
                for path, rows, streamed in zip(paths, texts, case["streamed_parts"])
            ]
            recipe = Recipe(sources=tuple(parts), level=case["level"], stop=case["stop"])
            size = (
                case["ramp"].rows if not case["packing"] else lambda step: case["ramp"].rows(step) * seq_len
            )
            return Mixture(recipe, supplies, size, by_samples=not case["packing"], **order)

        def stream(rank=0, ranks=1, prefetch=0):
            return Stream(
                supply(),
                seq_len=seq_len,
                rows_per_step=case["ramp"].full,
                ramp=case["ramp"],
                micro_batch=case["micro_batch"],
                rank=rank,
                ranks=ranks,
                packing=case["packing"],
                epochs=case["epochs"],
                prefetch=prefetch,
            )

        yield stream


def told(step):
    """Return the samples of one rank's part of a step, counted."""
    found = Counter()
    for batch in step:
        for number in range(batch.num_samples):
            mine = batch.samples_BT == number
            found[(*batch.tokens_BT[mine].tolist(), int(batch.labels_BT[mine][-1]))] += 1
    return found


def together(parts):
    return [sum(map(told, step), Counter()) for step in zip(*parts, strict=True)]


def first_steps(stream, count):
    return [step for _, step in zip(range(count), stream)]


NO_LIMIT = 10**6


def limit_of(case):
    """Return after how many steps to leave; a mixture with a streamed part and no stop has no end."""
    endless = case["supply"] == "mixture" and case["stop"] == "never"
    return 60 if endless and any(case["streamed_parts"][: len(case["files"])]) else NO_LIMIT


@given(cases(supplies=("mapped", "sharded", "streamed")), st.integers(1, 4))
@settings(deadline=None, max_examples=60)
def test_each_epoch_holds_every_sample_once_at_any_number_of_ranks(case, ranks):
    with opened(case) as stream:
        seen = together([stream(rank, ranks) for rank in range(ranks)])
    expected = Counter()
    for file, texts in enumerate(texts_of(case)):
        for sample in samples_of(texts, file, case["seq_len"]):
            expected[tuple(sample.ids.tolist())] += case["epochs"]
    assert sum(seen, Counter()) == expected


@given(cases(supplies=("mixture",)), st.integers(1, 4))
@settings(deadline=None, max_examples=60)
def test_each_source_of_a_mixture_is_read_evenly_whatever_the_weights(case, ranks):
    """No sample is read once more before every other of its source was."""
    with opened(case) as stream:
        size, limit = stream().supply.size(), limit_of(case)
        seen = sum(together([first_steps(stream(rank, ranks), limit) for rank in range(ranks)]), Counter())
    if limit < NO_LIMIT:
        return  # left within a window, which packing sorts
    sources = [
        Counter(tuple(sample.ids.tolist()) for sample in samples_of(texts, 0, case["seq_len"]))
        for texts in texts_of(case)
    ]
    passes = []
    for source in sources:
        alone = {ids: times for ids, times in source.items() if sum(ids in each for each in sources) == 1}
        least = min(seen[ids] // times for ids, times in alone.items())
        most = max(-(-seen[ids] // times) for ids, times in alone.items())
        assert most - least <= 1
        passes.append(least)
    if case["stop"] == "never":
        assert seen.total() == size * case["epochs"]
    else:
        assert (max if case["stop"] == "first" else min)(passes) == case["epochs"]


@given(cases(), st.integers(1, 4), st.integers(1, 4), st.sampled_from([0, 3]), st.data())
@settings(deadline=None, max_examples=100)
def test_a_stop_and_another_number_of_ranks_change_nothing(case, before, after, prefetch, data):
    with opened(case) as stream:
        whole = [told(step) for step in first_steps(stream(), limit_of(case))]
        stop = data.draw(st.integers(0, min(len(whole), 20)))
        first = [stream(rank, before, prefetch) for rank in range(before)]
        seen = [sum((told(next(each)) for each in first), Counter()) for _ in range(stop)]
        states = [json.loads(json.dumps(each.state_dict())) for each in first]
        assert all(state == states[0] == first[0].state_dict() for state in states)
        second = [stream(rank, after, prefetch) for rank in range(after)]
        for each in second:
            each.load_state_dict(states[0])
        seen += together([first_steps(each, len(whole) - stop) for each in second])
        for each in [*first, *second]:
            each.close()
    assert seen == whole


@given(cases())
@settings(deadline=None, max_examples=60)
def test_steps_are_as_many_as_foretold_and_each_as_large_as_its_number_says(case):
    with opened(case) as stream:
        made = stream()
        steps = first_steps(made, limit_of(case))
        assert made.total_steps in (None, len(steps))
        assert (made.total_steps is None) == (made.supply.size() is None)
    rows = [sum(int((batch.samples_BT[:, 0] >= 0).sum()) for batch in step) for step in steps]
    assert rows[:-1] == [case["ramp"].rows(step) for step in range(len(steps) - 1)]
    for step in steps:
        assert all(len(batch.tokens_BT) <= case["micro_batch"] for batch in step)
        assert all(batch.tokens_BT.shape[1] == case["seq_len"] for batch in step)


@given(cases(supplies=("streamed",)))
@settings(deadline=None, max_examples=40)
def test_unshuffled_rows_come_in_the_order_of_the_files_streamed_or_not(case):
    case |= {"shuffle": False, "packing": False}
    with opened(case) as streamed, opened(case | {"supply": "sharded"}) as mapped:
        assert [_plain(step) for step in streamed()] == [_plain(step) for step in mapped()]
    case |= {"packing": True, "window": 4096}  # windows end alike only where one holds all
    with opened(case) as streamed, opened(case | {"supply": "sharded"}) as mapped:
        assert [_plain(step) for step in streamed()] == [_plain(step) for step in mapped()]


def _plain(step):
    return [(batch.tokens_BT.tolist(), batch.labels_BT.tolist(), batch.rows) for batch in step]
