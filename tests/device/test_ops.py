"""Every operation against the plainest thing that computes the same."""

import pytest
import torch

from danlu.device import grouped, linear_ce, ops, plain, varlen

BOUNDS = [0, 1, 50, 300, 331, 460, 599, 600]  # samples of 1 to 250 tokens over two rows of 300
B, T = 2, 300


def apart(ours, wanted):
    ours, wanted = ours.detach().float(), wanted.detach().float()
    return float((ours - wanted).abs().max() / wanted.abs().max())


def projections(dtype, H=6, K=2, D=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((B, T, H, D), (B, T, K, D), (B, T, K, D))
    return [torch.randn(shape, generator=generator).to(dtype).requires_grad_() for shape in shapes]


def by_definition(q_BTHD, k_BTKD, v_BTKD, visible_NN, scale, softcap=None):
    """Softmax over all scores of the batch as one long row, in float64."""
    q_HND, k_KND, v_KND = (x.double().flatten(0, 1).transpose(0, 1) for x in (q_BTHD, k_BTKD, v_BTKD))
    k_HND, v_HND = (x.repeat_interleave(len(q_HND) // len(k_KND), 0) for x in (k_KND, v_KND))
    scores_HNN = q_HND @ k_HND.mT * scale
    if softcap:
        scores_HNN = softcap * torch.tanh(scores_HNN / softcap)
    out_HND = torch.softmax(scores_HNN.masked_fill(~visible_NN, -torch.inf), -1) @ v_HND
    return out_HND.transpose(0, 1).view(q_BTHD.shape)


def visible(bounds, window=None):
    place_N = torch.arange(bounds[-1])
    sample_N = torch.bucketize(place_N, torch.tensor(bounds[1:]), right=True)
    seen_NN = (sample_N[:, None] == sample_N) & (place_N[:, None] >= place_N)
    return seen_NN if window is None else seen_NN & (place_N[:, None] - place_N < window)


def with_gradients(out, inputs):
    weigh = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out.dtype)
    return [out, *torch.autograd.grad(out, inputs, weigh)]


@pytest.mark.parametrize("dtype, limit", [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
@pytest.mark.parametrize("how", ["packed", "mask"])
def test_attention_stays_inside_samples(dtype, limit, how):
    inputs = projections(dtype)
    layout = ops.Layout(torch.tensor(BOUNDS, dtype=torch.int32), 269)
    attend = ops.attention if how == "packed" else plain.attention
    found = with_gradients(attend(*inputs, layout, 0.2), inputs)
    wanted = with_gradients(by_definition(*inputs, visible(BOUNDS), 0.2).to(dtype), inputs)
    for ours, other in zip(found, wanted):
        assert apart(ours, other) <= limit


def test_bfloat16_attention_keeps_the_precision_of_its_scores():
    """Scores of fifty, rounded to bfloat16, would be off by a tenth, and weights by a tenth of themselves."""
    q, k, v = (x.detach() for x in projections(torch.bfloat16))
    inputs = (10 * q, 10 * k, v)
    layout = ops.Layout(torch.tensor(BOUNDS, dtype=torch.int32), 269)
    out = ops.attention(*inputs, layout, 0.1)
    wanted = by_definition(*inputs, visible(BOUNDS), 0.1)
    assert float((out - wanted).norm() / wanted.norm()) < 0.004


@pytest.mark.parametrize("window, softcap", [(7, None), (None, 3.0), (7, 3.0)])
def test_windows_and_soft_caps(window, softcap):
    inputs = projections(torch.float32)
    layout = ops.Layout(torch.tensor(BOUNDS), 269)
    found = with_gradients(ops.attention(*inputs, layout, 0.2, window, softcap), inputs)
    wanted = by_definition(*inputs, visible(BOUNDS, window), 0.2, softcap).float()
    for ours, other in zip(found, with_gradients(wanted, inputs)):
        assert apart(ours, other) <= 1e-5


def test_without_bounds_each_row_is_a_sample():
    inputs = projections(torch.float32)
    rows = ops.Layout(torch.tensor([0, T, 2 * T]), T)
    assert torch.equal(ops.attention(*inputs, ops.Layout(longest=T), 0.2), ops.attention(*inputs, rows, 0.2))


@pytest.mark.parametrize("window", [None, 5])
def test_a_mask_says_what_cached_queries_see(window):
    q_BTHD, k_BTKD, v_BTKD = projections(torch.float32)
    wanted = ops.attention(q_BTHD, k_BTKD, v_BTKD, ops.Layout(longest=T), 0.2, window)
    places = torch.arange(280, 300)
    mask_BTS = (places[:, None] >= torch.arange(T)).expand(B, -1, -1)
    found = ops.attention(
        q_BTHD[:, 280:], k_BTKD, v_BTKD, ops.Layout(longest=T, mask_BTS=mask_BTS), 0.2, window
    )
    torch.testing.assert_close(found, wanted[:, 280:])


def test_tokens_after_the_last_bound_get_nothing():
    inputs = projections(torch.float32)
    out = ops.attention(*inputs, ops.Layout(torch.tensor([0, 100, 450]), 350), 0.2)
    assert not out.flatten(0, 1)[450:].any() and out.flatten(0, 1)[:450].any()


def test_the_packed_operation_is_one_that_the_compiler_may_trust():
    q, k, v = (x.flatten(0, 1) for x in projections(torch.float32))
    torch.library.opcheck(varlen.packed_attention, (q, k, v, torch.tensor(BOUNDS), 0.2))


def test_a_kernel_without_shared_heads_is_fed_copies(monkeypatch):
    inputs = projections(torch.float32)
    layout = ops.Layout(torch.tensor(BOUNDS), 269)
    wanted = with_gradients(ops.attention(*inputs, layout, 0.2), inputs)
    monkeypatch.setattr(varlen, "shares_heads", lambda: False)
    for ours, other in zip(with_gradients(ops.attention(*inputs, layout, 0.2), inputs), wanted):
        torch.testing.assert_close(ours, other)


# Cross-entropy


def head(V, dtype, n=77, C=24):
    generator = torch.Generator().manual_seed(V)
    hidden_NC = torch.randn(n, C, generator=generator).to(dtype).requires_grad_()
    head_VC = (0.3 * torch.randn(V, C, generator=generator)).requires_grad_()
    labels_N = torch.randint(0, V, (n,), generator=generator)
    labels_N[::3] = ops.IGNORE
    return hidden_NC, head_VC, labels_N


@pytest.mark.parametrize("uneven", [False, True])
@pytest.mark.parametrize("V", [50, 333, 6400])
@pytest.mark.parametrize("kept", [True, False, None])
@pytest.mark.parametrize("dtype, limit", [(torch.float32, 1e-5), (torch.bfloat16, 0.01)])
def test_cross_entropies_agree(dtype, limit, kept, V, uneven, monkeypatch):
    monkeypatch.setattr(linear_ce, "PIECE", 4 * V * 20)  # several pieces of rows, several slices of words
    monkeypatch.setattr(linear_ce, "SLICE", 4 * 77 * 256)
    hidden_NC, head_VC, labels_N = head(V, dtype)
    weights_N = torch.rand(77, generator=torch.Generator().manual_seed(2)) if uneven else None
    found_N = ops.cross_entropy(hidden_NC, head_VC, labels_N, weights_N, kept=kept)
    wanted_N = linear_ce.plain(hidden_NC, head_VC, labels_N) * (1 if weights_N is None else weights_N)
    assert not found_N[labels_N == ops.IGNORE].any()
    results = [
        (nll_N, *torch.autograd.grad(0.37 * nll_N.sum(), (hidden_NC, head_VC)))
        for nll_N in (found_N, wanted_N)
    ]
    for ours, other in zip(*results):
        assert ours.dtype == other.dtype
        assert apart(ours, other) <= limit


def test_torchs_own_linear_cross_entropy_agrees():
    fused = getattr(torch.nn.functional, "linear_cross_entropy", None)
    if fused is None:
        pytest.skip("torch before 2.13 has none")
    hidden_NC, head_VC, labels_N = head(333, torch.float32)
    found_N = ops.cross_entropy(hidden_NC, head_VC, labels_N)
    wanted = fused(hidden_NC, head_VC, labels_N, reduction="sum")
    assert found_N.sum().item() == pytest.approx(wanted.item(), rel=1e-5)


@pytest.mark.parametrize("kept", [True, False])
def test_nothing_supervised_is_no_loss_and_no_gradient(kept):
    hidden_NC, head_VC, labels_N = head(50, torch.float32)
    nll_N = ops.cross_entropy(hidden_NC, head_VC, torch.full_like(labels_N, ops.IGNORE), kept=kept)
    assert not nll_N.any()
    assert not any(gradient.any() for gradient in torch.autograd.grad(nll_N.sum(), (hidden_NC, head_VC)))


@pytest.mark.parametrize("kept", [True, False])
def test_extreme_scores_stay_finite(kept):
    hidden_NC, head_VC, labels_N = head(333, torch.float32)
    nll_N = ops.cross_entropy(200 * hidden_NC, head_VC, labels_N, kept=kept)
    wanted_N = linear_ce.plain(200 * hidden_NC, head_VC, labels_N)
    torch.testing.assert_close(nll_N, wanted_N, rtol=1e-5, atol=1e-3)
    assert all(g.isfinite().all() for g in torch.autograd.grad(nll_N.sum(), (hidden_NC, head_VC)))


# Grouped products


@pytest.mark.parametrize("C, F", [(16, 32), (13, 7)])  # aligned to 16 bytes, and not
@pytest.mark.parametrize("counts", [[3, 0, 9, 1], [0, 0, 13, 0], [5, 4, 3, 1]])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_grouped_products_are_single_ones(C, F, counts, dtype):
    x_NC = torch.randn(13, C).to(dtype).requires_grad_()
    weight_EFC = torch.randn(4, F, C).to(dtype).requires_grad_()
    found = ops.grouped_matmul(x_NC, weight_EFC, torch.tensor(counts))
    experts = torch.repeat_interleave(torch.arange(4), torch.tensor(counts))
    wanted = torch.stack([weight_EFC[expert] @ x_C for x_C, expert in zip(x_NC, experts)])
    limit = 1e-5 if dtype is torch.float32 else 0.02
    for ours, other in zip(*(with_gradients(out, (x_NC, weight_EFC)) for out in (found, wanted))):
        assert apart(ours, other) <= limit


def test_the_loop_and_torchs_call_agree():
    x_NC, weight_ECF, grad_NF = torch.randn(32, 16), torch.randn(3, 16, 8), torch.randn(32, 8)
    ends_E = torch.tensor([10, 10, 32], dtype=torch.int32)
    assert grouped._works("cpu", torch.float32)
    torch.testing.assert_close(
        grouped.times(x_NC, weight_ECF, ends_E), grouped.times_loop(x_NC, weight_ECF, ends_E)
    )
    torch.testing.assert_close(
        grouped.outer(x_NC, grad_NF, ends_E), grouped.outer_loop(x_NC, grad_NF, ends_E)
    )


# Elementwise


def test_norm_and_gate_are_their_formulas():
    x, weight = torch.randn(5, 24), torch.rand(24)
    rms = x.double().square().mean(-1, keepdim=True).add(1e-5).sqrt()
    torch.testing.assert_close(ops.rms_norm(x, weight, 1e-5), (x / rms * weight).float())
    gate, up = torch.randn(2, 5, 24)
    torch.testing.assert_close(ops.swiglu(gate, up), gate / (1 + (-gate).exp()) * up)


def test_rotary_turns_pairs_of_halves():
    q, k = torch.randn(1, 3, 2, 4), torch.randn(1, 3, 1, 4)
    angle = torch.rand(1, 3, 2)
    turned_q, turned_k = ops.rotary(
        q, k, *(torch.cat((f(angle), f(angle)), -1) for f in (torch.cos, torch.sin))
    )
    for x, turned in ((q, turned_q), (k, turned_k)):
        complex_x = torch.complex(x[..., :2], x[..., 2:]) * torch.polar(
            torch.ones(1, 3, 1, 2), angle[:, :, None]
        )
        torch.testing.assert_close(turned, torch.cat((complex_x.real, complex_x.imag), -1))


@pytest.mark.parametrize("kept", [True, False])
def test_capped_scores_have_the_gradients_of_capped_scores(kept, monkeypatch):
    monkeypatch.setattr(linear_ce, "PIECE", 4 * 333 * 20)
    monkeypatch.setattr(linear_ce, "SLICE", 4 * 77 * 256)
    hidden_NC, head_VC, labels_N = head(333, torch.float32)
    found_N = ops.cross_entropy(hidden_NC, head_VC, labels_N, kept=kept, softcap=2.0)
    wanted_N = linear_ce.plain(hidden_NC, head_VC, labels_N, softcap=2.0)
    results = [
        (nll_N, *torch.autograd.grad(nll_N.sum(), (hidden_NC, head_VC))) for nll_N in (found_N, wanted_N)
    ]
    for ours, other in zip(*results):
        torch.testing.assert_close(ours, other, rtol=1e-5, atol=1e-5)
