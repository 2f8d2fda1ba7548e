"""An answer that goes on from what a slot holds is the answer of a prompt read whole."""

from __future__ import annotations

import doctest
import random

import pytest
import torch

from danlu.generate import held, schedule
from danlu.generate.engine import Engine
from danlu.generate.sample import Sampling
from generate.models import KINDS, TOKENIZER, tiny, words
from generate.test_stretched import SCALINGS

GREEDY = Sampling(temperature=0.0, max_tokens=8)


def answer(engine, prompt, index=0, **keys):
    """Return an answer's tokens, and how much of its prompt was known."""
    engine.add(index, prompt, keys.pop("sampling", GREEDY), **keys)
    events = []
    while engine.busy:
        events += [event for event in engine.step() if event.index == index]
    return [event.token for event in events], events[0].reused


def fresh(model, prompt, **keys):
    tokens, reused = answer(Engine(model, TOKENIZER, 1, ends=(), reuse=False), prompt, **keys)
    assert reused == 0
    return tokens


@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_answers_of_growing_and_branching_conversations_stay_the_same(kind, window):
    model = tiny(kind, sliding_window=window)
    engine = Engine(model, TOKENIZER, slots=3, ends=())
    system, one, other, more = words(20, 7, 9, 5)
    first, _ = answer(engine, system + one)
    grown = system + one + first + more
    asked = [grown, system + other, system + one, grown, grown, system + other + more]
    told = [answer(engine, prompt) for prompt in asked]
    assert [tokens for tokens, _ in told] == [fresh(model, prompt) for prompt in asked]
    known = [reused for _, reused in told]
    # All but the answer's last token was read, all but a prompt's last one need not be again.
    assert known[0] == len(system + one + first) - 1
    assert known[1:] == [
        len(system), len(system + one) - 1, known[0], len(grown) - 1, len(system + other)
    ]  # fmt: skip


def test_a_prompt_equal_to_one_being_read_waits_for_it_and_both_are_answered_alike():
    model, (prompt,) = tiny(), words(90)
    engine = Engine(model, TOKENIZER, slots=4, ends=())
    for index in range(4):
        engine.add(index, prompt, GREEDY)
    got, reused = {index: [] for index in range(4)}, {}
    while engine.busy:
        for event in engine.step():
            got[event.index].append(event.token)
            reused.setdefault(event.index, event.reused)
    assert all(tokens == fresh(model, prompt) for tokens in got.values())
    assert reused == {0: 0, 1: 89, 2: 89, 3: 89}


def test_a_prompt_goes_on_from_one_still_being_answered():
    model, (prompt, more) = tiny(), words(40, 6)
    engine = Engine(model, TOKENIZER, slots=2, ends=())
    engine.add(0, prompt, Sampling(temperature=0.0, max_tokens=60))
    for _ in range(5):
        engine.step()
    tokens, reused = answer(engine, prompt + more, index=1)
    assert (tokens, reused) == (fresh(model, prompt + more), 40)


def test_the_slot_used_longest_ago_is_given_away_first():
    model, prompts = tiny(), words(30, 31, 32, 33)
    engine = Engine(model, TOKENIZER, slots=3, ends=())
    for prompt in prompts[:3]:
        answer(engine, prompt)
    answer(engine, prompts[0])
    answer(engine, prompts[3])  # in the place of the second
    assert [answer(engine, prompts[number])[1] for number in (0, 2, 3, 1)] == [29, 31, 32, 0]


def test_too_little_in_common_is_not_shared():
    model, (prompt, other) = tiny(), words(40, 40)
    engine = Engine(model, TOKENIZER, slots=2, ends=())
    answer(engine, prompt)
    assert answer(engine, prompt[: held.LEAST - 1] + other)[1] == 0
    assert answer(engine, prompt[: held.LEAST] + other)[1] == held.LEAST


@pytest.mark.parametrize("kind", SCALINGS)
def test_a_text_turned_by_its_length_shares_only_what_is_turned_alike(kind):
    trained = 32 if kind == "dynamic" else 128
    model = tiny("plain", rope_scaling=SCALINGS[kind], max_position_embeddings=trained)
    engine = Engine(model, TOKENIZER, slots=3, ends=())
    (text,) = words(60)
    lengths = (20, 26, 50, 28, 60, 29, 50)
    told = [answer(engine, text[:length]) for length in lengths]
    assert [tokens for tokens, _ in told] == [fresh(model, text[:length]) for length in lengths]
    # The second outgrew LongRoPE's first length while it was answered, and was turned anew.
    assert [reused for _, reused in told[:3]] == [0, 20, 0 if kind == "dynamic" else 26]


def test_whatever_comes_and_goes_answers_equal_those_of_requests_alone():
    """A long random play of requests with shared beginnings, cancelled here and there."""
    model, dice = tiny(), random.Random(4)
    engine = Engine(model, TOKENIZER, slots=4, ends=())
    stems, ends = words(50, 24, 33, seed=1), words(3, 8, 20, 1, seed=2)
    asked, got, gone = {}, {}, set()
    for turn in range(160):
        if turn < 120 and dice.random() < 0.3:
            prompt = dice.choice(stems)[: dice.randint(18, 50)] + dice.choice(ends)
            asked[turn] = prompt, Sampling(temperature=0.0, max_tokens=dice.randint(1, 12))
            engine.add(turn, *asked[turn])
            got[turn] = []
        if asked and dice.random() < 0.08:
            index = dice.choice(list(asked))
            engine.cancel(index)
            gone.add(index)
        for event in engine.step():
            got[event.index].append(event.token)
    while engine.busy:
        for event in engine.step():
            got[event.index].append(event.token)
    assert len(asked) > 25 and gone
    for index, (prompt, sampling) in asked.items():
        whole = fresh(model, prompt, sampling=sampling)
        assert got[index] == whole or (index in gone and got[index] == whole[: len(got[index])])


def test_memory_does_not_grow_with_requests():
    model = tiny()
    engine = Engine(model, TOKENIZER, slots=2, max_len=64, ends=())
    sizes = set()
    for round in range(12):
        for prompt in words(50, 30, seed=round):
            answer(engine, prompt)
        sizes.add(sum(store.nbytes for store in engine.cache._stores()))
    assert len(sizes) == 1


def test_short_prompts_are_answered_before_a_long_one_that_came_first_and_it_is_never_put_off(monkeypatch):
    monkeypatch.setattr(schedule, "BESIDE", 8)
    monkeypatch.setattr(schedule, "ALONE", 8)
    model, (long, *short) = tiny(), words(100, *[6] * 30)
    engine = Engine(model, TOKENIZER, slots=4, ends=())
    engine.add(0, long, Sampling(temperature=0.0, max_tokens=2))
    for index, prompt in enumerate(short, start=1):
        engine.add(index, prompt, Sampling(temperature=0.0, max_tokens=2))
    firsts = []
    for _ in range(2 * (100 // 4 + 1)):  # every other step reads, half of it the long one's
        firsts += [event.index for event in engine.step() if event.index not in firsts]
    assert 0 in firsts and firsts.index(0) > 3


def test_answers_go_on_while_a_long_prompt_is_read(monkeypatch):
    monkeypatch.setattr(schedule, "BESIDE", 8)
    model, (long, short) = tiny(), words(100, 5)
    engine = Engine(model, TOKENIZER, slots=2, ends=())
    engine.add(0, short, Sampling(temperature=0.0, max_tokens=20))
    engine.step()
    engine.add(1, long, GREEDY)
    told = [[event.index for event in engine.step()] for _ in range(26)]
    assert told == 12 * [[0], []] + [[0], [1]]


@pytest.mark.parametrize("left", [[1], [700], [3, 3000, 1], [600, 600], [5] * 40, [4000, 2, 900, 2]])
@pytest.mark.parametrize("alone", [False, True])
def test_a_step_reads_no_more_than_its_share_and_always_something_of_the_first(left, alone):
    taken = schedule.pieces(left, alone)
    budget = schedule.ALONE if alone else schedule.BESIDE
    assert all(0 <= n <= min(total, schedule.CHUNK) for n, total in zip(taken, left))
    assert 0 < taken[0] and sum(taken) <= budget
    assert sum(taken) == min(budget, sum(min(total, schedule.CHUNK) for total in left))
    groups = schedule.groups(taken)
    assert sorted(n for group in groups for n in group) == [n for n, count in enumerate(taken) if count]
    for group in groups:
        tokens = sum(taken[n] for n in group)
        assert len(group) * max(taken[n] for n in group) <= schedule.FILLING * tokens


def test_a_common_beginning_is_found_by_halves():
    dice = random.Random(0)
    for _ in range(200):
        one = [dice.randint(0, 2) for _ in range(dice.randint(0, 12))]
        other = one[: dice.randint(0, 12)] + [dice.randint(0, 2) for _ in range(dice.randint(0, 4))]
        shared = next((n for n, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))
        assert held.common(one, other) == shared


@pytest.mark.parametrize("module", [held, schedule], ids=lambda module: module.__name__)
def test_the_examples_hold(module):
    assert doctest.testmod(module).failed == 0


@torch.inference_mode()
def test_texts_embedded_together_are_those_embedded_alone_and_of_length_one():
    model, prompts = tiny(), words(12, 3, 40, 41, 1)
    engine = Engine(model, TOKENIZER, slots=2)
    vectors = engine.embed(prompts)
    for vector, prompt in zip(vectors, prompts):
        last = model(torch.tensor([prompt])).hidden[0, -1]
        torch.testing.assert_close(vector, last / last.norm(), rtol=0, atol=1e-5)
    assert engine.embed([]).shape == (0, 64)


def test_prompts_that_wait_for_another_are_compared_with_what_is_held_once(monkeypatch):
    class Counted(held.Slots):
        found = 0

        def find(self, prompt, way):
            self.found += 1
            return super().find(prompt, way)

    (prompt,) = words(110)
    engine = Engine(tiny(), TOKENIZER, slots=6, ends=())
    engine.slots = Counted(engine.cache)
    monkeypatch.setattr(schedule, "ALONE", 8)
    for index in range(6):
        engine.add(index, [*prompt, 5 + index], GREEDY)
    steps = 0
    while engine.reading or engine.waiting:
        engine.step()
        steps += 1
    assert steps > 12 and engine.slots.found <= 3 * 6
