"""Optimisers: who gets what, and each against a simpler one."""

import pytest
import torch
from torch import nn

from danlu.device import api
from danlu.parallel.data import shard
from danlu.train.adamw_bf16 import AdamWBF16
from danlu.train.muon import Muon, orthogonal
from danlu.train.optim import Optim, build_optimizer, groups
from ranks import run_ranks


class Experts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up_proj = nn.Parameter(torch.randn(5, 6, 4) / 2)
        self.down_proj = nn.Parameter(torch.randn(5, 4, 6) / 2)

    def forward(self, x):
        return x + sum(
            (x @ up.mT).relu() @ down.mT for up, down in zip(self.up_proj, self.down_proj, strict=True)
        )


class Small(nn.Module):
    """A table of words, blocks of matrices and stacks, norms and biases, an own head."""

    def __init__(self, words: int = 11) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(words, 4)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 4), Experts()) for _ in range(2)
        )
        self.lm_head = nn.Linear(4, words, bias=False)

    def forward(self, tokens):
        hidden = self.embed_tokens(tokens)
        for layer in self.layers:
            hidden = layer(hidden)
        return self.lm_head(hidden)


def small() -> Small:
    torch.manual_seed(0)
    return Small()


def test_groups_sort_weights_by_what_they_are():
    model = small()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    sorted_ = {
        group["kind"]: [names[id(p)] for p in group["params"]]
        for group in groups(model, Optim(weight_decay=0.3))
    }
    assert sorted_["tables"] == ["embed_tokens.weight", "lm_head.weight"]
    assert all(name.endswith(("1.weight", "proj")) for name in sorted_["matrices"])
    assert all(name.endswith(("bias", "0.weight")) for name in sorted_["vectors"])
    assert sum(map(len, sorted_.values())) == len(names)
    decays = {group["kind"]: group["weight_decay"] for group in groups(model, Optim(weight_decay=0.3))}
    assert decays == {"matrices": 0.3, "tables": 0.3, "vectors": 0.0}


def test_frozen_weights_are_left_out():
    model = small()
    model.embed_tokens.weight.requires_grad_(False)
    assert all(p.requires_grad for group in groups(model, Optim()) for p in group["params"])


@pytest.mark.parametrize("name", ["adamw", "adamw_bf16", "muon"])
def test_states_exist_before_the_first_step_and_nothing_moved(name):
    model, still = small(), small()
    optimizer = build_optimizer(model, Optim(name=name), api.choose("cpu"))
    for (_, moved), (_, there) in zip(model.named_parameters(), still.named_parameters(), strict=True):
        assert torch.equal(moved, there)
        assert optimizer.state[moved] and all(not value.any() for value in optimizer.state[moved].values())


def losses(model: nn.Module, optimizer: torch.optim.Optimizer, rank: int = 0, ranks: int = 1) -> list[float]:
    """Return five losses of memorising fixed tokens, each rank with its own rows."""
    tokens = torch.randint(0, 11, (8, 5), generator=torch.Generator().manual_seed(1))
    mine = tokens[rank::ranks]
    found = []
    for _ in range(5):
        logits = model(mine[:, :-1])
        loss = (
            nn.functional.cross_entropy(logits.flatten(0, 1), mine[:, 1:].flatten(), reduction="sum")
            / tokens.numel()
        )
        (loss * ranks).backward()
        optimizer.step()
        optimizer.zero_grad()
        found.append(loss.item())
    return found


def sharded_losses(rank: int, ranks: int, name: str) -> tuple[list[float], dict]:
    model = small()
    device = api.choose("cpu")
    shard(model, ranks, device, torch.float32)
    optimizer = build_optimizer(model, Optim(name=name, lr=0.02), device)
    found = losses(model, optimizer, rank, ranks)
    return found, {name: p.full_tensor().detach() for name, p in model.named_parameters()}


@pytest.mark.parametrize("name", ["adamw", "adamw_bf16", "muon"])
def test_sharded_over_ranks_equals_one_rank(name):
    model = small()
    expected = losses(model, build_optimizer(model, Optim(name=name, lr=0.02), api.choose("cpu")))
    ranks = run_ranks(sharded_losses, 3, name)  # 3 divides none of the sizes
    assert [sum(step) for step in zip(*(found for found, _ in ranks), strict=True)] == pytest.approx(
        expected, rel=1e-5
    )
    for weight, parameter in model.named_parameters():
        torch.testing.assert_close(ranks[0][1][weight], parameter.detach(), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4), (3, 4, 6)])
def test_orthogonal_brings_every_singular_value_near_one(shape):
    values = torch.linalg.svdvals(orthogonal(torch.randn(shape, generator=torch.Generator().manual_seed(2))))
    assert (values > 0.6).all() and (values < 1.3).all()


def test_orthogonal_keeps_the_singular_directions():
    matrix = torch.randn(5, 8, generator=torch.Generator().manual_seed(3))
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    inside = u.T @ orthogonal(matrix) @ v.T
    assert (inside - inside.diag().diag()).abs().max() < 1e-5


def test_each_expert_moves_as_if_it_were_alone():
    torch.manual_seed(4)
    stack = nn.Parameter(torch.randn(3, 4, 6))
    alone = [nn.Parameter(matrix.clone()) for matrix in stack.detach()]
    together = Muon([{"params": [stack], "kind": "matrices"}], lr=0.1)
    apart = Muon([{"params": alone, "kind": "matrices"}], lr=0.1)
    for _ in range(3):
        stack.grad = torch.randn_like(stack)
        for expert, grad in zip(alone, stack.grad, strict=True):
            expert.grad = grad.clone()
        together.step()
        apart.step()
    torch.testing.assert_close(stack.detach(), torch.stack([expert.detach() for expert in alone]))


def test_a_muon_step_is_as_long_as_an_adamw_step():
    weight = nn.Parameter(torch.zeros(32, 128))
    weight.grad = torch.randn(32, 128, generator=torch.Generator().manual_seed(5))
    Muon([{"params": [weight], "kind": "matrices", "weight_decay": 0.0}], lr=1.0).step()
    assert weight.detach().square().mean().sqrt() == pytest.approx(0.2, rel=0.25)


def descend(optimizer: torch.optim.Optimizer, weight: nn.Parameter, steps: int) -> torch.Tensor:
    """Return the weight after noisy steps towards a fixed point."""
    noise = torch.Generator().manual_seed(6)
    goal = torch.linspace(-2, 2, weight.numel())
    for _ in range(steps):
        weight.grad = (weight.detach().float() - goal + torch.randn(goal.shape, generator=noise)).to(
            weight.dtype
        )
        optimizer.step()
    return weight.detach().float()


@pytest.mark.parametrize("betas", [(0.9, 0.95), (0.9, 0.999)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bf16_states_track_fp32_over_a_thousand_steps(dtype, betas):
    start = torch.full((64,), 3.0)
    weights = [nn.Parameter(start.clone()), nn.Parameter(start.clone().to(dtype))]
    keys = {"lr": 1e-3, "betas": betas, "eps": 1e-8, "weight_decay": 0.1}
    expected = descend(torch.optim.AdamW([weights[0]], **keys), weights[0], 1000)
    found = descend(AdamWBF16([weights[1]], **keys), weights[1], 1000)
    way = (expected - start).norm()
    assert (found - expected).norm() / way < 0.01


def test_without_compensation_bf16_weights_would_stand_still():
    weight = nn.Parameter(torch.full((64,), 3.0, dtype=torch.bfloat16))
    optimizer = torch.optim.AdamW([weight], lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)
    assert (descend(optimizer, weight, 1000) == 3.0).float().mean() > 0.5
