"""Run inside a checkout of MiniMind, whose packages are called `model` and `trainer`: not a test.

    python minimind_child.py CHECKOUT JOBS.json

For each job it makes a model with MiniMind's own classes, fills it from a seed or from a file, saves it as
MiniMind's trainers do, and leaves the logits of the prompts; adapters are its own functions' work too.
"""

import json
import os
import sys

import torch


def filled(model, seed):
    """Weights that are nowhere zero or one, so that a forgotten one shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in dict.fromkeys(model.parameters()):
            if weight.dim() == 1:
                weight.copy_(1 + 0.3 * torch.randn(weight.shape, generator=generator))
            else:
                weight.copy_(torch.randn(weight.shape, generator=generator) / weight.shape[-1] ** 0.5)


def save(model, config, job, utils):
    """What its trainers do: one file of finished weights, and its lm_checkpoint's two."""
    torch.save({name: tensor.half().cpu() for name, tensor in model.state_dict().items()}, job["save"])
    optimizer = torch.optim.AdamW(model.parameters())
    optimizer.zero_grad()
    model(torch.tensor([[1, 2, 3]])).logits.sum().backward()
    keep = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer.step()
    model.load_state_dict(keep)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    utils.lm_checkpoint(
        config, "full_sft", model, optimizer, 0, 1, save_dir=job["folder"], scaler=scaler, scheduler=schedule
    )


def run(job):
    """Do one job: a model, what is saved of it, its logits."""
    from model.model_minimind import MiniMindConfig, MiniMindForCausalLM
    from trainer import trainer_utils

    from model import model_lora

    config = MiniMindConfig(**job["settings"])
    model = MiniMindForCausalLM(config).eval()
    if job.get("read"):
        weights = torch.load(job["read"], weights_only=True)
        model.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, strict=True)
    else:
        filled(model, job["seed"])
        save(model, config, job, trainer_utils)
        model.load_state_dict({name: x.half().float() for name, x in model.state_dict().items()})
    leave(model, job, "logits")
    if job.get("adapter"):
        model_lora.apply_lora(model, rank=job["rank"])
        if not os.path.exists(job["adapter"]):
            adapted(model)
            model_lora.save_lora(model, job["adapter"])
        model_lora.load_lora(model, job["adapter"])
        leave(model, job, "adapted")
    if job.get("merged") and hasattr(model_lora, "merge_lora"):
        model_lora.merge_lora(model, job["adapter"], job["merged"])


def adapted(model):
    """An adapter that has learned something: theirs begins with zeros."""
    generator = torch.Generator().manual_seed(3)
    for name, weight in model.named_parameters():
        if ".lora." in name:
            weight.data.copy_((torch.randn(weight.shape, generator=generator) / 8).half())


def leave(model, job, name):
    """Save the logits of the prompts."""
    with torch.no_grad():
        logits = [model(torch.tensor([prompt])).logits[0] for prompt in job["prompts"]]
    torch.save(logits, os.path.join(job["folder"], f"{name}.pt"))


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    with open(sys.argv[2], encoding="utf-8") as jobs:
        for each in json.load(jobs):
            run(each)
