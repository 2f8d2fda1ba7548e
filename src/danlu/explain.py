"""`danlu config`: every key of a stage, its default and its one-line meaning, or a JSON schema."""

from __future__ import annotations

import functools
import json
from typing import Any

import click


@click.command(name="config")
@click.argument("stage", metavar="STAGE|FILE.yaml")
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--json-schema", is_flag=True, help="Print the schema a form or an editor can use.")
@click.option("--yaml", "as_yaml", is_flag=True, help="Print the configuration as a file to start from.")
def command(stage: str, settings: tuple[str, ...], json_schema: bool, as_yaml: bool) -> None:
    """Print every key of STAGE with its value and meaning.

    \b
    danlu config sft                       all keys
    danlu config sft optim.lr=1e-4         with your settings checked and applied
    danlu config sft --yaml > mine.yaml    then: danlu train mine.yaml
    """
    from danlu.base import config
    from danlu.stages import find, load_stage

    path, name = find(stage)
    kind = load_stage(name).Config
    if json_schema:
        click.echo(json.dumps(kind.model_json_schema(by_alias=True), ensure_ascii=False, indent=2))
        return
    cfg = config.load(kind, path, settings)
    if as_yaml:
        click.echo(config.dump(cfg), nl=False)
        return
    from danlu.model.config import ModelConfig, resolve, weights_of

    values = cfg.model_dump(mode="json", by_alias=True)
    values["from"] = values["from"] or weights_of(cfg.model)
    shape = resolve(cfg.model_or_default()).model_dump(mode="json")
    for field in config.fields(kind):
        if field.key != "model":
            _show(field, functools.reduce(dict.__getitem__, field.key.split("."), values))
            continue
        _show(field, cfg.model or cfg.model_or_default())
        shapes = config.flat(shape, "model.")
        for part in config.fields(ModelConfig, "model."):
            _show(part, shapes.get(part.key))


def _show(field: Any, value: object) -> None:
    said = json.dumps(value, ensure_ascii=False)
    click.echo(click.style(field.key, bold=True) + f" = {said}" + click.style(f"   [{field.type}]", dim=True))
    click.echo(f"    {field.help}")
