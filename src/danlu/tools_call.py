"""`danlu tools call`: one call, made by hand as a model would."""

from __future__ import annotations

import json
import sys

import click

from danlu.tools_box import box_of, box_options


@click.command(name="call")
@click.argument("name")
@click.argument("arguments", default="{}", metavar="[JSON]")
@box_options
def command(name: str, arguments: str, tools: str, mcp: str | None) -> None:
    """Call the tool NAME with arguments as a JSON object, and print its answer as one line of JSON.

    A wrong call is answered as a model would be answered: {"error": ...} and what to mend. The exit code
    is then 1.

    \b
    danlu tools call get_weather '{"city": "北京"}'
    danlu tools call get_time
    danlu tools call read_file '{"path": "/data/a.txt"}' --mcp 'npx some-server /data'
    """
    with box_of(tools, mcp) as box:
        answer = box.call(name, arguments)
    print(answer)
    said = json.loads(answer)
    if isinstance(said, dict) and "error" in said:
        sys.exit(1)
