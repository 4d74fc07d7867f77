"""A stand-in of the Hub's API on the loopback interface: so much of it as the real client needs for an upload."""

import base64
import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml

TOKEN = "hf_of_a_test"


class Hub:
    """Repositories by (kind, id): {path: content}; `log` tells what was asked, in order."""

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], dict[str, bytes]] = {}
        self.private: dict[tuple[str, str], bool] = {}
        self.log: list[tuple] = []
        self.may_write = True
        self.endpoint = ""

    def write_to(self, folder: Path, key: tuple[str, str]) -> Path:
        for name, content in self.repositories[key].items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return folder

    def answer(self, method: str, path: str, body: bytes, token: str) -> tuple[int, object]:
        if path == "/api/validate-yaml":
            return self._validate(json.loads(body)["content"])
        if token != f"Bearer {TOKEN}":
            return 401, {"error": "Invalid credentials"}
        if path == "/api/whoami-v2":
            return 200, {"name": "me", "type": "user", "orgs": []}
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        _, _, kind, user, name, *rest = path.split("/")
        key = kind, f"{user}/{name}"
        if key not in self.repositories:
            return 404, {"error": "Repository not found"}
        if rest[:1] == ["preupload"]:
            files = json.loads(body)["files"]
            return 200, {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}
        if rest[:1] == ["commit"]:
            return self._commit(key, [json.loads(line) for line in body.splitlines()])
        if rest[:1] == ["tree"]:
            files = self.repositories[key]
            return 200, [{"type": "file", "path": p, "oid": "0" * 40, "size": len(c)} for p, c in files.items()]
        return 200, {"id": key[1], "private": self.private[key], "sha": "0" * 40, "siblings": [], "tags": []}

    def _validate(self, content: str) -> tuple[int, object]:
        """The shape alone: the Hub's own rules are not known here."""
        head = yaml.safe_load(content.split("---\n")[1])
        self.log.append(("validate", head))
        if not isinstance(head.get("license"), str):
            return 400, {"errors": [{"message": '"license" must be a string'}], "warnings": []}
        return 200, {"errors": [], "warnings": []}

    def _create(self, asked: dict) -> tuple[int, object]:
        kind = asked.get("type", "model") + "s"
        key = kind, f"{asked.get('organization') or 'me'}/{asked['name']}"
        url = f"{self.endpoint}/{'' if kind == 'models' else kind + '/'}{key[1]}"
        if not self.may_write:
            return 403, {"error": "You don't have the rights to create a repository"}
        if key in self.repositories:
            return 409, {"error": "You already created this repo", "url": url}
        self.repositories[key] = {".gitattributes": b""}
        self.private[key] = asked.get("private") is True or asked.get("visibility") == "private"
        return 200, {"url": url}

    def _commit(self, key: tuple[str, str], lines: list[dict]) -> tuple[int, object]:
        files, changed = self.repositories[key], []
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "deletedFile":
                del files[value["path"]]
            if line["key"] != "header":
                changed.append((line["key"], value["path"]))
        self.log.append(("commit", key, changed))
        return 200, {"commitUrl": f"{self.endpoint}/{key[1]}/commit/{'0' * 40}", "commitOid": "0" * 40}


@contextlib.contextmanager
def serving(hub: Hub) -> Iterator[str]:
    """Serve the stand-in; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.partition("?")[0]
            status, value = hub.answer(self.command, path, body, self.headers.get("Authorization", ""))
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = _serve

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub.endpoint
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
