"""A small host that speaks what the clients of both hubs ask for, over HTTP on this machine."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Host:
    """Data sets and models by name, each a dictionary of paths and bytes; `asked` holds what was asked."""

    def __init__(self, sets: dict[str, dict[str, bytes]]) -> None:
        self.sets = sets
        self.asked: list[tuple[str, str, str]] = []
        """Method, path and range of every request."""
        self.cut_once: dict[str, int] = {}
        """Path of a file, and after how many of its bytes the connection breaks, once."""
        self.wrong: set[str] = set()
        """Files whose bytes come out different from what the listing says."""
        self.refuse: tuple[int, str] | None = None
        """Status and error code to answer everything with."""
        self.url = ""

    @contextlib.contextmanager
    def open(self):
        host = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                host.answer(self)

            do_HEAD = do_GET
            do_POST = do_GET

            def log_message(self, *args):
                """Tests read `asked`."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def answer(self, to) -> None:
        url = urlsplit(to.path)
        path, query = unquote(url.path), {key: values[0] for key, values in parse_qs(url.query).items()}
        self.asked.append((to.command, path, to.headers.get("Range") or ""))
        if self.refuse:
            return self.error(to, *self.refuse)
        for pattern, reply in [
            (r"/api/(?:datasets|models)/([^/]+/[^/]+)(?:/revision/(.+))?", self.hf_info),
            (r"(?:/datasets)?/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.hf_file),
            (r"/api/v1/(?:datasets|models)/([^/]+/[^/]+)/repo/(?:tree|files)", self.ms_tree),
            (r"/api/v1/(?:datasets|models)/([^/]+/[^/]+)/repo", self.ms_file),
        ]:
            found = re.fullmatch(pattern, path)
            if found:
                if found[1] not in self.sets:
                    return self.error(to, 404, "RepoNotFound")
                return reply(to, query, *found.groups())
        return self.error(to, 404, "EntryNotFound")

    def hf_info(self, to, query, repo, revision) -> None:
        if revision not in (None, "main", COMMIT):
            return self.error(to, 404, "RevisionNotFound")
        siblings = [
            {
                "rfilename": path,
                "size": len(data),
                "blobId": hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest(),
                **({"lfs": _lfs(data)} if path.endswith(".parquet") else {}),
            }
            for path, data in self.sets[repo].items()
        ]
        self.json(to, {"id": repo, "sha": COMMIT, "siblings": siblings, "tags": [], "private": False})

    def hf_file(self, to, query, repo, revision, path) -> None:
        if path not in self.sets[repo]:
            return self.error(to, 404, "EntryNotFound")
        data = self.sets[repo][path]
        etag = hashlib.sha256(data).hexdigest()
        self.bytes(to, path, data, {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"'})

    def ms_tree(self, to, query, repo) -> None:
        files = [
            {
                "Path": path,
                "Name": path,
                "Type": "blob",
                "Size": len(data),
                "Sha256": hashlib.sha256(data).hexdigest(),
            }
            for path, data in self.sets[repo].items()
        ]
        self.json(to, {"Code": 200, "Success": True, "Data": {"Files": files, "TotalCount": len(files)}})

    def ms_file(self, to, query, repo) -> None:
        path = query.get("FilePath", "")
        if path not in self.sets[repo]:
            return self.error(to, 404, "EntryNotFound")
        self.bytes(to, path, self.sets[repo][path], {})

    def bytes(self, to, path, data, headers) -> None:
        """Send some bytes, all or from a place on, or break off on the way."""
        if path in self.wrong:
            data = bytes(reversed(data))
        found = re.match(r"bytes=(\d+)-(\d*)", to.headers.get("Range") or "")
        begin = int(found[1]) if found else 0
        end = min(int(found[2]) + 1, len(data)) if found and found[2] else len(data)
        to.send_response(206 if found else 200)
        if found:
            to.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(data)}")
        for key, value in {**headers, "Accept-Ranges": "bytes", "Content-Length": str(end - begin)}.items():
            to.send_header(key, value)
        to.end_headers()
        if to.command == "HEAD":
            return
        if path in self.cut_once:
            to.wfile.write(data[begin : begin + self.cut_once.pop(path)])
            to.wfile.flush()
            to.close_connection = True
            to.connection.close()
            return
        to.wfile.write(data[begin:end])

    def json(self, to, value, status=200, headers=()) -> None:
        body = json.dumps(value).encode()
        to.send_response(status)
        for key, text in (("Content-Type", "application/json"), ("Content-Length", str(len(body))), *headers):
            to.send_header(key, text)
        to.end_headers()
        if to.command != "HEAD":
            to.wfile.write(body)

    def error(self, to, status, code) -> None:
        value = {"error": code, "Code": status, "Success": False, "Message": code, "Data": None}
        self.json(to, value, status, [("X-Error-Code", code), ("X-Error-Message", code)])


def _lfs(data: bytes) -> dict[str, object]:
    return {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
