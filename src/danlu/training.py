"""`danlu train`: find the stage's configuration, read it strictly, run the stage."""

from __future__ import annotations

import importlib
import os

import click

# How often a waiting thread looks again before it sleeps. OpenMP's own number lets two trainings on the
# same cores slow each other some fifty times; with this one each is as fast alone. (A server is not: its
# products are small.) It is read when torch is loaded, so it is set before that.
os.environ.setdefault("GOMP_SPINCOUNT", "5000")


@click.command(name="train")
@click.argument("stage", metavar="STAGE|FILE.yaml")
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
def command(stage: str, settings: tuple[str, ...]) -> None:
    """Train STAGE: pretrain, sft, reason, tool_sft, or a YAML file of your own.

    KEY=VALUE settings come on top of the file; 'danlu config STAGE' prints every key.

    \b
    danlu train pretrain model=26m data.train=corpus.jsonl
    danlu train sft model=26m from=out/pretrain_512 data.train=chats.jsonl epochs=2
    danlu train pretrain resume=true run_dir=runs/mine     go on where it stopped
    danlu train runs/mine/config.yaml                      run exactly that again
    torchrun --nproc-per-node 2 -m danlu train sft ...     on two devices

    Weights appear whole under out/<name>/, checkpoints and metrics under runs/<name>/<time>/.
    Ctrl-C saves and leaves; a second one leaves at once.
    """
    from danlu.base import config
    from danlu.stages import find, load_stage

    path, name = find(stage)
    kind = load_stage(name).Config
    cfg = config.load(kind, path, settings)
    importlib.import_module(kind.__module__).main(cfg)
