"""Tools over the Model Context Protocol: those of any server as a toolbox, and a toolbox as a server.

    with McpTools("http://localhost:8100/mcp") as box:      or a command: McpTools("npx some-server /data")
        box.definitions()
        box.call("read_file", '{"path": "/data/a.txt"}')

    serve(box)                              over standard input and output, as hosts start a server
    serve(box, http=("127.0.0.1", 8100))    over streamable HTTP, at /mcp

The official `mcp` package speaks the protocol; it is imported when it is needed. It is asynchronous, so a
connection lives in a thread of its own for as long as the toolbox is open.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import shlex
import socket
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import TracebackType
from typing import Any

from danlu.base import interrupts
from danlu.base.errors import UserError, nearest
from danlu.tools.run import LONGEST, Runs, failed, read, written

SETUP = "bash run_all.sh setup --extra mcp"
SECONDS = 30.0
PAGES = 100  # of a server's list of tools


def package() -> Any:
    """Return the `mcp` package, or say how to get it."""
    try:
        return importlib.import_module("mcp")
    except ImportError as error:
        raise UserError(f"tools over MCP need the package 'mcp': {error}", SETUP) from None


class McpTools:
    """The tools of an MCP server: at an address, or started by a command and stopped with this."""

    def __init__(self, where: str, seconds: float = SECONDS) -> None:
        self.where = where
        self._seconds = seconds
        self._server = _server(package(), where)
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._problems: list[BaseException] = []
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()
        if not self._ready.wait(seconds + 5):
            raise self._unreachable("it does not answer")
        if self._problems:
            self._thread.join()
            raise self._unreachable(_reason(self._problems[0]))

    def __enter__(self) -> McpTools:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection, and the server if a command started it."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(self._seconds)

    def definitions(self) -> list[dict[str, Any]]:
        return list(self._definitions)

    def call(self, name: str, arguments: str | Mapping[str, Any] | None) -> str:
        names = [definition["function"]["name"] for definition in self._definitions]
        if name not in names:
            return failed(f"there is no tool '{name}'; {nearest(name, names) if names else 'none at all'}")
        given = read(arguments)
        if isinstance(given, str):
            return failed(given)
        try:
            result = self._ask(self._client.call_tool(name, given, read_timeout_seconds=self._seconds))
        except Exception as error:  # whatever a server elsewhere does, a dialogue goes on
            return failed(f"the tool failed: {_reason(error)}")
        return answer_of(result)

    def _ask(self, question: Coroutine[Any, Any, Any]) -> Any:
        if not self._thread.is_alive():
            question.close()
            raise ConnectionError("the connection is closed")
        return asyncio.run_coroutine_threadsafe(question, self._loop).result(self._seconds + 5)

    def _live(self) -> None:
        try:
            self._loop.run_until_complete(self._connected())
        except BaseException as error:
            self._problems.append(error)
        finally:
            self._ready.set()
            self._loop.close()

    async def _connected(self) -> None:
        """Hold the connection from beginning to end in one task, as the package wants it."""
        self._stop = asyncio.Event()
        async with package().Client(self._server, read_timeout_seconds=self._seconds) as self._client:
            self._definitions = await _listed(self._client)
            self._ready.set()
            await self._stop.wait()

    def _unreachable(self, reason: str) -> UserError:
        return UserError(
            f"{self.where}: no MCP server to talk to: {reason}",
            "an address like http://localhost:8100/mcp, or the command that starts the server",
        )


def _server(mcp: Any, where: str) -> Any:
    """Return what the package connects to: an address, or a command with its arguments."""
    if where.startswith(("http://", "https://")):
        return where
    try:
        words = shlex.split(where)
    except ValueError as error:
        raise UserError(f"{where}: is no command: {error}", "quote its words as in a shell") from None
    if not words:
        raise UserError(
            "an MCP server is neither named nor started", "http://localhost:8100/mcp, or a command"
        )
    return mcp.StdioServerParameters(command=words[0], args=words[1:])


async def _listed(client: Any) -> list[dict[str, Any]]:
    """Return all tools of a server in OpenAI's form."""
    tools: list[Any] = []
    cursor = None
    for _ in range(PAGES):
        page = await client.list_tools(cursor=cursor)
        tools += page.tools
        cursor = page.next_cursor
        if cursor is None:
            break
    return [{"type": "function", "function": _definition(tool)} for tool in tools]


def _definition(tool: Any) -> dict[str, Any]:
    described = {"description": tool.description} if tool.description else {}
    return {"name": tool.name, **described, "parameters": tool.input_schema}


def answer_of(result: Any) -> str:
    """Return what a tool elsewhere answered, as JSON text: what is structured as it is, text as a result."""
    texts = [block.text if block.type == "text" else f"[{block.type}]" for block in result.content]
    text = "\n".join(texts)
    if result.is_error:
        said = _object(text)
        return written(said) if said and "error" in said else failed(text[:LONGEST] or "the tool failed")
    if result.structured_content is not None:
        return written(result.structured_content)
    said = _object(text)
    return written(said if said is not None else {"result": text})


def _object(text: str) -> dict[str, Any] | None:
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def _reason(error: BaseException) -> str:
    """Return the first thing that went wrong, in words."""
    while (inner := getattr(error, "exceptions", None)) or error.__cause__:
        error = inner[0] if inner else error.__cause__  # type: ignore[assignment]
    return f"{error}" or type(error).__name__


def server_of(box: Runs) -> Any:
    """Return the package's server, with the tools of a box."""
    package()
    from mcp.server import Server  # type: ignore[import-not-found,unused-ignore]
    from mcp.types import CallToolResult, ListToolsResult, TextContent, Tool

    from danlu import __version__

    tools = [
        Tool(
            name=each["function"]["name"],
            description=each["function"].get("description"),
            input_schema={"type": "object", **each["function"].get("parameters", {})},
        )
        for each in box.definitions()
    ]

    async def list_tools(context: Any, params: Any) -> Any:
        return ListToolsResult(tools=tools)

    async def call_tool(context: Any, params: Any) -> Any:
        answer = await asyncio.to_thread(box.call, params.name, params.arguments or {})
        wrong = "error" in (_object(answer) or {})
        return CallToolResult(content=[TextContent(type="text", text=answer)], is_error=wrong)

    return Server("danlu", version=__version__, on_list_tools=list_tools, on_call_tool=call_tool)


def serve(
    box: Runs,
    http: tuple[str, int] | None = None,
    started: Callable[[str], None] = lambda address: None,
    origins: Sequence[str] = (),
) -> None:
    """Offer tools until stopped: over standard input and output, or HTTP at a host and port (0: any).

    Pages of the origins named may call them from a browser.
    """
    server = server_of(box)
    if http is None:
        interrupts.forget()
        asyncio.run(_over_pipes(server))
    else:
        _over_http(server, *http, started, origins)


async def _over_pipes(server: Any) -> None:
    from mcp.server.stdio import stdio_server  # type: ignore[import-not-found,unused-ignore]

    async with stdio_server() as (reads, writes):
        await server.run(reads, writes, server.create_initialization_options())


def _over_http(
    server: Any, host: str, port: int, started: Callable[[str], None], origins: Sequence[str]
) -> None:
    import uvicorn

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:  # asyncio looks for it
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen()  # whoever is told the address may call at once
        except OSError as error:
            raise UserError(
                f"{host}:{port}: cannot be listened at: {error.strerror}", "another port; 0 takes any"
            ) from None
        shown = f"[{host}]" if ":" in host else host
        started(f"http://{shown}:{listener.getsockname()[1]}/mcp")
        app = server.streamable_http_app(host=host, transport_security=_trusting(host, origins))
        app = _open_to(origins, app)
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


def _open_to(origins: Sequence[str], app: Any) -> Any:
    """Return an application that tells browsers whose pages may read its answers."""
    from starlette.middleware.cors import CORSMiddleware

    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=["*"],
        expose_headers=["mcp-session-id"],
    )


def _trusting(host: str, origins: Sequence[str]) -> Any:
    """Return whose requests the package lets pass: None for whose it does by itself, or these pages' too."""
    from mcp.server.transport_security import (  # type: ignore[import-not-found,unused-ignore]
        TransportSecuritySettings,
    )

    if not origins or host not in ("127.0.0.1", "localhost", "::1"):
        return None
    here = ["127.0.0.1:*", "localhost:*", "[::1]:*"]
    known = [f"http://{host}" for host in here]
    return TransportSecuritySettings(allowed_hosts=here, allowed_origins=[*known, *origins])
