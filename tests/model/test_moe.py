"""Mixture of experts: the sum over experts, and what keeps them equally busy."""

import functools

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from danlu.base.errors import UserError
from danlu.model import balance
from danlu.model.config import MoE, resolve
from danlu.model.moe import Routing, dispatch, sort_by_expert
from model_shapes import BASE, EXPERTS, apart, config, gradients, loss, model


def naive(x_NC, chosen_NK, shares_NK, experts):
    """Each token by itself through each of its experts."""
    answers = []
    for x_C, chosen_K, shares_K in zip(x_NC, chosen_NK.tolist(), shares_NK):
        answer_C = torch.zeros_like(x_C)
        for expert, share in zip(chosen_K, shares_K):
            gate_I, up_I = (experts.gate_up_proj[expert] @ x_C).chunk(2)
            inner_I = torch.nn.functional.silu(gate_I) * up_I
            answer_C = answer_C + share * (experts.down_proj[expert] @ inner_I)
        answers.append(answer_C)
    return torch.stack(answers)


@pytest.mark.parametrize("width", [40, 41])  # aligned for the grouped product, and not
@pytest.mark.parametrize("name", ["qwen3_moe", "mixtral", "qwen2_moe", "glm4_moe"])
def test_grouped_experts_are_naive_experts(name, width):
    cfg = config(name)
    cfg = cfg.model_copy(update={"moe": cfg.moe.model_copy(update={"moe_intermediate_size": width})})
    grouped, one_by_one = model(cfg), model(cfg)
    for block in one_by_one.model.layers[cfg.moe.first_dense_layers :]:
        block.mlp.dispatch = naive
    tokens_BT = torch.randint(0, cfg.vocab_size, (2, 19))
    totals = [loss(made, tokens_BT)[0] for made in (grouped, one_by_one)]
    assert totals[0].item() == pytest.approx(totals[1].item(), rel=1e-5)
    wanted = gradients(totals[1], one_by_one)
    for key, gradient in gradients(totals[0], grouped).items():
        assert apart(gradient, wanted[key]) <= 1e-5, key


@pytest.mark.parametrize("all_to", [None, 2])
def test_every_copy_has_a_row_in_its_experts_run(all_to):
    chosen_NK = torch.stack([torch.randperm(6)[:3] for _ in range(50)])
    if all_to is not None:
        chosen_NK[:] = all_to
    order = sort_by_expert(chosen_NK, 6, multiple=8)
    runs = torch.repeat_interleave(torch.arange(6), order.counts_E)
    assert torch.equal(runs[order.row_NK], chosen_NK)
    assert torch.equal(order.copy_R[order.row_NK.flatten()], torch.arange(150))
    assert (order.counts_E % 8 == 0).all()
    assert (order.copy_R < 150).sum() == 150


def test_experts_that_nobody_chose_learn_nothing_and_break_nothing():
    cfg = config("qwen3_moe")
    made = model(cfg)
    experts = made.model.layers[0].mlp.experts
    x_NC = torch.randn(9, cfg.hidden_size, requires_grad=True)
    chosen_NK = torch.tensor([[4, 1]]).expand(9, 2)
    dispatch(x_NC, chosen_NK, torch.rand(9, 2), experts).sum().backward()
    assert [bool(g.any()) for g in experts.down_proj.grad] == [False, True, False, False, True]


def perfect(E, K, N):
    """Routing in which every expert has as many tokens and the same mean score as any other."""
    scores_NE = torch.full((N, E), 1 / E, requires_grad=True)
    chosen_NK = (torch.arange(N)[:, None] * K + torch.arange(K)) % E
    return Routing(scores_NE, chosen_NK)


def test_perfect_balance_costs_exactly_the_coefficient():
    for form, shape in (("sequence", (2,)), ("token", ())):
        moe = MoE(**EXPERTS, balance=form, balance_coef=0.01)
        samples_N = torch.tensor([0] * 10 + [1] * 5 + [-1] * 3)
        routing = perfect(5, 2, 18)
        cost = balance.balance_loss(moe, routing, samples_N, 2)
        assert cost.shape == shape
        torch.testing.assert_close(cost.detach(), torch.full(shape, 0.01))


def test_the_balance_of_a_model_is_that_of_its_formula():
    """Per sample: coefficient * sum over experts of f * P, f = E counts / (K tokens), P the mean score."""
    cfg = config("qwen3_moe")
    made = model(cfg)
    tokens_BT = torch.randint(0, cfg.vocab_size, (3, 21))
    routings = []
    for block in made.model.layers:
        block.register_forward_hook(lambda module, inputs, output: routings.append(output[1]))
    cost_S = made(tokens_BT).balance
    E, K = 5, 2
    for row in range(3):
        wanted = 0.0
        for routing in routings:
            scores_TE, chosen_TK = (x.view(3, 21, -1)[row] for x in routing)
            f_E = chosen_TK.flatten().bincount(minlength=E) * E / (K * 21)
            wanted += 0.01 * float((f_E * scores_TE.detach().mean(0)).sum())
        assert cost_S[row].item() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("form", ["sequence", "token"])
def test_the_balance_teaches_the_router(form):
    cfg = config("qwen3_moe", moe=EXPERTS | {"balance": form})
    made = model(cfg)
    made(torch.randint(0, cfg.vocab_size, (2, 30))).balance.sum().backward()
    for block in made.model.layers:
        assert block.mlp.gate.weight.grad.abs().max() > 0


@pytest.mark.parametrize("form", ["sequence", "token", "bias"])
def test_recomputing_a_block_neither_loses_nor_doubles_the_balance(form):
    router = {"router": "sigmoid", "num_shared_experts": 1} if form == "bias" else {}
    cfg = resolve(BASE | {"qk_norm": True, "moe": EXPERTS | router | {"balance": form}})
    plain, recomputing = model(cfg), model(cfg)
    for block in recomputing.model.layers:
        block.forward = functools.partial(checkpoint, block.forward, use_reentrant=False)
    tokens_BT = torch.randint(0, cfg.vocab_size, (2, 30))
    found = []
    for made in (plain, recomputing):
        total, cost = loss(made, tokens_BT)
        total = total if cost is None else total + 100 * cost.sum()
        found.append((total, gradients(total, made), made.router_loads()))
    assert torch.equal(found[0][0], found[1][0])
    for key, gradient in found[0][1].items():
        assert torch.equal(gradient, found[1][1][key]), key
    if form == "bias":
        assert torch.equal(found[0][2], found[1][2])
        assert found[0][2].sum() == 3 * 2 * 60  # layers, experts a token, tokens: once


def test_loads_move_the_bias_towards_idle_experts():
    cfg = config("glm4_moe")
    made = model(cfg)
    gates = made._routers()
    before = [gate.e_score_correction_bias.clone() for gate in gates]
    samples_BT = torch.zeros(2, 30, dtype=torch.long)
    samples_BT[1] = 1
    samples_BT[:, 20:] = -1
    made(torch.randint(0, cfg.vocab_size, (2, 30)), samples_BT=samples_BT)
    loads_LE = made.router_loads()
    assert loads_LE.sum(1).tolist() == [80, 80]  # two dense layers less, no padding
    made.apply_router_loads(loads_LE)
    for gate, bias_E, loads_E in zip(gates, before, loads_LE):
        moved_E = gate.e_score_correction_bias - bias_E
        torch.testing.assert_close(moved_E, 0.001 * torch.sign(loads_E.mean() - loads_E), rtol=0, atol=1e-7)
    assert made.router_loads() is None or not made.router_loads().any()


def test_balancing_by_bias_balances():
    moe = MoE(**EXPERTS, router="sigmoid", balance="bias", bias_update_speed=0.01)
    cfg = resolve(BASE | {"moe": moe.model_dump() | {"num_shared_experts": 1}})
    made = model(cfg)
    generator = torch.Generator().manual_seed(0)

    def spread():
        made.apply_router_loads(torch.zeros(3, 5))
        for _ in range(4):
            made(torch.randint(0, cfg.vocab_size, (4, 60), generator=generator))
        loads_LE = made.router_loads()
        return float((loads_LE.max(1)[0] / loads_LE.mean(1)).max())

    for gate in made._routers():
        gate.e_score_correction_bias[0] += 0.3  # everybody's favourite
    before = spread()
    for _ in range(80):
        made(torch.randint(0, cfg.vocab_size, (4, 60), generator=generator))
        made.apply_router_loads(made.router_loads())
    assert before > 2 and spread() < 1.6


def test_impossible_mixtures_are_refused():
    with pytest.raises(UserError, match="num_experts_per_tok: 6 of 5 experts"):
        resolve(BASE | {"moe": EXPERTS | {"num_experts_per_tok": 6}})
    with pytest.raises(UserError, match="a bias needs a sigmoid router"):
        resolve(BASE | {"moe": EXPERTS | {"balance": "bias"}})
