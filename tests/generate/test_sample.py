"""Sampling equals transformers' processors, and vLLM's definition of the penalties."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from danlu.base.config import check
from danlu.base.errors import UserError
from danlu.generate import sample
from danlu.generate.sample import Sampler, Sampling, uniform

WORDS = 97
NO_IDS = torch.empty(1, 0, dtype=torch.int64)


def logits(seed: int, rows: int = 1) -> torch.Tensor:
    return torch.randn(rows, WORDS, generator=torch.Generator().manual_seed(seed)) * 3


def theirs(scores, s: Sampling):
    """What transformers' warpers, in their order, make of one row."""
    warpers = [TemperatureLogitsWarper(s.temperature)]
    warpers += [TopKLogitsWarper(s.top_k)] if s.top_k else []
    warpers += [TopPLogitsWarper(s.top_p)] if s.top_p < 1 else []
    warpers += [MinPLogitsWarper(s.min_p)] if s.min_p else []
    for warper in warpers:
        scores = warper(NO_IDS, scores)
    return scores


def ours(scores, chosen):
    scores = scores / torch.tensor([[s.temperature] for s in chosen])
    for keep in (sample.top_k, sample.top_p, sample.min_p):
        scores = keep(scores, chosen)
    return scores


@pytest.fixture(autouse=True, scope="module")
def few_words_are_many():
    """Let the two ways to find a nucleus both be taken on a small vocabulary."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sample, "NUCLEUS", 20)
        yield


a_sampling = st.builds(
    Sampling,
    temperature=st.floats(0.1, 2.0),
    top_k=st.sampled_from([0, 1, 2, 7, WORDS - 1, WORDS, 500]),
    top_p=st.sampled_from([0.001, 0.3, 0.85, 0.999, 1.0]),
    min_p=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(a_sampling, min_size=1, max_size=4), st.integers(0, 1000))
def test_filters_equal_transformers_whatever_the_batch_mates(chosen, seed):
    scores = logits(seed, len(chosen))
    expected = torch.cat([theirs(scores[row : row + 1], s) for row, s in enumerate(chosen)])
    torch.testing.assert_close(ours(scores, chosen), expected, rtol=0, atol=0)


@settings(max_examples=40, deadline=None)
@given(
    st.floats(0.1, 2.0),
    st.floats(-2, 2),
    st.floats(-2, 2),
    st.lists(st.integers(0, 20), min_size=1, max_size=12),
    st.lists(st.integers(0, 20), max_size=12),
)
def test_penalties_equal_their_definitions(repetition, presence, frequency, prompt, output):
    scores = logits(len(prompt))
    expected = RepetitionPenaltyLogitsProcessor(repetition)(torch.tensor([prompt + output]), scores.clone())
    for token in set(output):  # presence and frequency: of the output only
        expected[0, token] -= frequency * output.count(token) + presence
    s = Sampling(repetition_penalty=repetition, presence_penalty=presence, frequency_penalty=frequency)
    seen = torch.zeros(1, WORDS, dtype=torch.bool).index_fill(1, torch.tensor(prompt), True)
    counts = torch.bincount(torch.tensor(output, dtype=torch.int64), minlength=WORDS).float()[None]
    torch.testing.assert_close(sample.penalise(scores, seen, counts, [s]), expected)


def test_the_sampler_counts_what_it_chose():
    """Greedy with a strong presence penalty never says a word twice; without, always the same."""
    scores, never = logits(1), Sampling(temperature=0.0, presence_penalty=2.0, frequency_penalty=2.0)
    sampler = Sampler(2)
    sampler.put(0, Sampling(temperature=0.0), [])
    sampler.put(1, never, [])
    rows = [sampler.choose(scores.expand(2, -1) / 10) for _ in range(8)]
    assert len({row[0] for row in rows}) == 1
    assert len({row[1] for row in rows}) > 4
    sampler.put(1, never, [])  # a new request knows nothing of the last one
    assert sampler.choose(scores.expand(2, -1) / 10) == rows[0]


def test_a_neutral_setting_changes_no_bit():
    scores, neutral = logits(2), Sampling()
    nothing = torch.zeros(1, WORDS)
    assert torch.equal(sample.penalise(scores, nothing.bool() | True, nothing + 1, [neutral]), scores)
    assert torch.equal(ours(scores, [neutral]), scores)


def test_a_request_draws_the_same_alone_and_among_others_and_after_a_move():
    scores, mine = logits(3), Sampling(seed=7, temperature=1.3, top_p=0.95)
    alone = Sampler(1)
    alone.put(0, mine, [])
    expected = [alone.choose(scores)[0] for _ in range(20)]
    crowd = Sampler(4)
    for row in range(3):
        crowd.put(row, Sampling(seed=row, top_k=5, repetition_penalty=1.2), [1, 2])
    crowd.put(3, mine, [])
    got = [crowd.choose(scores.expand(4, -1))[3] for _ in range(10)]
    crowd.move(3, 1)
    got += [crowd.choose(scores.expand(2, -1))[1] for _ in range(10)]
    assert got == expected and len(set(got)) > 3


def test_without_a_seed_every_request_differs():
    sampler, flat = Sampler(8), torch.zeros(8, 4096)
    for row in range(8):
        sampler.put(row, Sampling(), [])
    assert len(set(sampler.choose(flat))) > 4


@pytest.mark.parametrize(
    "s", [Sampling(), Sampling(temperature=0.7, top_k=20), Sampling(top_p=0.8, min_p=0.02)]
)
def test_frequencies_follow_the_distribution(s):
    """Chi-square of 40,000 draws against the probabilities they are drawn from."""
    scores, draws = logits(4), 40_000
    probs = theirs(scores, s).softmax(-1)[0]
    numbers = [uniform(seed, 3) for seed in range(draws)]
    words = sample.draw(theirs(scores, s).expand(draws, -1), numbers)
    seen = torch.bincount(words, minlength=WORDS).float()
    assert seen[probs == 0].sum() == 0
    kept = probs * draws > 5
    chi = ((seen - probs * draws)[kept] ** 2 / (probs * draws)[kept]).sum().item()
    freedom = int(kept.sum()) - 1
    assert chi < freedom + 5 * math.sqrt(2 * max(freedom, 1)) + 10


def test_the_extremes_of_the_uniform_number_take_the_first_and_the_last_possible_word():
    scores = torch.full((2, 6), float("-inf"))
    scores[:, 1], scores[:, 4] = 0.0, 0.0
    assert sample.draw(scores, [0.0, 1 - 2**-24]).tolist() == [1, 4]


def test_uniform_numbers_are_flat_and_neighbours_unlike():
    numbers = torch.tensor([uniform(seed, index) for seed in range(-20, 80) for index in range(100)])
    assert 0 <= numbers.min() and numbers.max() < 1
    assert abs(numbers.mean() - 0.5) < 0.01 and abs(numbers.var() - 1 / 12) < 0.003
    grid = numbers.view(100, 100) - 0.5
    assert abs((grid[1:] * grid[:-1]).mean()) < 0.004 and abs((grid[:, 1:] * grid[:, :-1]).mean()) < 0.004


def test_a_mask_comes_first():
    scores, sampler = logits(5, 2), Sampler(2)
    sampler.put(0, Sampling(temperature=0.0), [])
    sampler.put(1, Sampling(temperature=2.0, top_k=3, repetition_penalty=1.5, frequency_penalty=-2.0), [6])
    allowed = torch.zeros(2, WORDS, dtype=torch.bool)
    allowed[:, [6, 50]] = True
    for _ in range(20):
        assert set(sampler.choose(scores, allowed_BV=allowed)) <= {6, 50}


BOUNDS = [  # key, allowed, refused
    ("temperature", [0.0, 0, 2.0], [-0.01, 2.01, float("nan"), float("inf"), True, "1"]),
    ("top_k", [0, 1, 10**6], [-1, 1.5, True]),
    ("top_p", [0.001, 1, 1.0], [0.0, -0.1, 1.001, float("nan")]),
    ("min_p", [0.0, 1.0], [-0.001, 1.001]),
    ("repetition_penalty", [0.01, 2.0], [0.0, -1.0, 2.1]),
    ("presence_penalty", [-2.0, 2.0], [-2.01, 2.01]),
    ("frequency_penalty", [-2.0, 2.0], [-2.01, 2.01]),
    ("max_tokens", [1, None], [0, -5, 1.5]),
    ("seed", [-(2**63), 2**63 - 1, None], [2**63, -(2**63) - 1, 0.5]),
    ("stop", [[], ["a"], ["字"] * 16], [[""], ["a"] * 17, [1]]),
]


@pytest.mark.parametrize("key,allowed,refused", BOUNDS, ids=[row[0] for row in BOUNDS])
def test_every_setting_has_its_bounds(key, allowed, refused):
    for value in allowed:
        check(Sampling, {key: value}, "here")
    for value in refused:
        with pytest.raises(UserError, match=f"here: {key}"):
            check(Sampling, {key: value}, "here")
