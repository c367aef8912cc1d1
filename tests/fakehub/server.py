"""The fake Hub: two HTTP servers on 127.0.0.1, the Hub and the storage it redirects to.

They must be two: the client follows a redirect within one origin, and then expects the headers
of the Hub from the storage.

Small files are kept as git keeps them (ETag: git's sha1) and weights as git-lfs does (ETag: the
sha256, content from the storage under a signed link), as on the real Hub.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit

from .listing import Listing
from .writing import Proposal, complaints, proposed, upload_modes

LARGE = (".safetensors", ".bin", ".pth", ".ckpt", ".parquet")
SIGNATURE = "SECRETSIGNATURE"

Reading = Literal["info", "head", "file", "tree", "cdn", "list", "whoami"]
Step = Reading | Literal["validate", "preupload", "commit"]
Body = Literal["close", "reset", "short", "flip", "stall", "pause"]


@dataclass(frozen=True)
class Request:
    """One request that arrived; ``step`` says for what."""

    step: Step
    method: str
    path: str
    authorized: bool
    begin: int = 0  # the byte that a resumed download begins at


@dataclass
class Fault:
    """What goes wrong with the requests of one step: a status, or a way to spoil the body.

    A status of 0 is a server that never answers.
    """

    step: Step
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    times: float = float("inf")


@dataclass
class Repo:
    """A repository: the files of each commit, and the commit of each branch."""

    gated: bool = False
    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)


def git_sha1(content: bytes) -> str:
    """The name that git gives a file of this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def sha256(content: bytes) -> str:
    """The name that git-lfs gives a file of this content."""
    return hashlib.sha256(content).hexdigest()


class FakeHub:
    """A Hub with the repositories and faults that a test gives it; a context manager."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.renamed: dict[str, str] = {}
        self.listing = Listing()
        self.members: set[str] = set()  # tokens that may see gated and private repositories
        self.strangers: set[str] = set()  # valid tokens that may not, and may not write
        self.proposals: list[Proposal] = []  # commits that were sent, pull requests or not
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._servers = [_Server(self, _HubHandler), _Server(self, _StorageHandler)]
        self.url, self.storage_url = (server.url for server in self._servers)

    def __enter__(self) -> FakeHub:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def add(
        self, repo_id: str, files: Mapping[str, bytes], branch: str = "main", **flags: bool
    ) -> str:
        """Commit files to a branch of a repository, made if need be; returns the commit."""
        repo = self.repos.setdefault(repo_id, Repo())
        repo.gated, repo.private = flags.get("gated", False), flags.get("private", False)
        words = [repo_id, branch, *(name + sha256(files[name]) for name in sorted(files))]
        commit = hashlib.sha1(" ".join(words).encode()).hexdigest()
        repo.commits[commit] = dict(files)
        repo.branches[branch] = commit
        return commit

    def fault(
        self,
        step: Step,
        *,
        status: int | None = None,
        body: Body | None = None,
        times: float = float("inf"),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Let the next requests of a step fail, for ever or so many times."""
        self.faults.append(Fault(step, status, headers or {}, body, times))

    def asked(self, *steps: Step) -> list[Request]:
        """The requests of these steps that arrived, or all of them."""
        return [request for request in self.requests if not steps or request.step in steps]

    def environment(self, hf_home: Path) -> dict[str, str]:
        """What a child process needs, on top of os.environ, to use this Hub and no other."""
        local = "127.0.0.1,localhost"
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(hf_home),
            "HF_HUB_CACHE": str(hf_home / "hub"),
            "HF_TOKEN": "",
            "HUGGING_FACE_HUB_TOKEN": "",
            "HF_OIDC_RESOURCE": "",
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_XET": "1",
            "NO_PROXY": local,
            "no_proxy": local,
        }

    def take_fault(self, request: Request) -> Fault | None:
        """Record a request, and say what is to go wrong with it."""
        with self._lock:
            self.requests.append(request)
            for fault in self.faults:
                if fault.step == request.step and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub: FakeHub, handler: type[_Handler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.hub = hub
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients are killed and time out on purpose here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    content = b""  # of the request

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self.content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        step = self.step(path)
        request = Request(step, self.command, path, bool(token), self.begin())
        fault = self.server.hub.take_fault(request)
        if fault is not None and fault.status == 0:
            self.server.hub.closing.wait(30)
            self.close_connection = True
        elif fault is not None and fault.status is not None:
            self.send(fault.status, b"", fault.headers)
        else:
            self.route(path, token, fault.body if fault else None)

    def begin(self) -> int:
        wanted = self.headers.get("Range") or "bytes=0-"
        return int(wanted.removeprefix("bytes=").partition("-")[0])

    def step(self, path: str) -> Step:
        raise NotImplementedError

    def route(self, path: str, token: str, spoil: Body | None) -> None:
        raise NotImplementedError

    def error(self, status: int, code: str = "", message: str = "", **headers: str) -> None:
        given = {"X-Error-Code": code, "X-Error-Message": message, **headers}
        body = json.dumps({"error": message}).encode()
        self.send(status, body, {key: value for key, value in given.items() if value})

    def send(
        self,
        status: int,
        content: bytes,
        headers: Mapping[str, str] | None = None,
        spoil: Body | None = None,
    ) -> None:
        """Answer, or begin to and then do what ``spoil`` says."""
        half = len(content) // 2
        if spoil == "short":
            content = content[:half]
        if spoil == "flip":
            content = content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :]
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if spoil in (None, "short", "flip"):
            self.wfile.write(content)
            return
        self.wfile.write(content[:half])
        if spoil == "pause":
            time.sleep(0.5)
            self.wfile.write(content[half:])
            return
        self.close_connection = True
        if spoil == "stall":
            self.server.hub.closing.wait(30)
        if spoil == "reset":
            time.sleep(0.05)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())


_ABOUT_ALL: dict[str, Step] = {
    "/api/models": "list",
    "/api/whoami-v2": "whoami",
    "/api/validate-yaml": "validate",
}
_WRITES: dict[str, Step] = {"preupload": "preupload", "commit": "commit"}


class _HubHandler(_Handler):
    def step(self, path: str) -> Step:
        if path in _ABOUT_ALL:
            return _ABOUT_ALL[path]
        if self.command == "POST":
            return _WRITES[path.split("/")[5]]
        if path.startswith("/api/"):
            return "tree" if "/tree/" in path else "info"
        return "head" if self.command == "HEAD" else "file"

    def route(self, path: str, token: str, spoil: Body | None) -> None:
        hub = self.server.hub
        # Split before unquoting: a revision such as refs/pr/1 is one quoted part.
        address = urlsplit(self.path).path.removeprefix("/api")
        prefix = "datasets/" if address.startswith("/datasets/") else ""
        raw = address.removeprefix("/models").removeprefix("/datasets").strip("/").split("/")
        parts = [unquote(part) for part in raw]
        owner, model, verb, revision, *rest = parts + [""] * (4 - len(parts))
        repo_id, name = f"{prefix}{owner}/{model}", "/".join(rest)
        if token and token not in hub.members | hub.strangers:
            return self.error(401, message="Invalid credentials in Authorization header")
        if path in _ABOUT_ALL:
            return self._about_all(path, token)
        if repo_id in hub.renamed:
            target = self.path.replace(repo_id, hub.renamed[repo_id])
            return self.send(307, b"", {"Location": target})
        repo = hub.repos.get(repo_id)
        if repo is None or (repo.private and token not in hub.members):
            return self.error(404 if token else 401, "RepoNotFound", "Repository not found")
        if repo.gated and verb == "resolve" and token not in hub.members:
            return self.error(403 if token else 401, "GatedRepo", "Access is restricted")
        commit = repo.branches.get(revision or "main", revision)
        if commit not in repo.commits:
            return self.error(404, "RevisionNotFound", "Invalid rev id")
        files = repo.commits[commit]
        if self.command == "POST":
            return self._write(verb, repo_id, commit, token)
        if verb == "resolve":
            return self._send_file(files.get(name), name, commit, spoil)
        if verb == "tree" and name and not any(file.startswith(f"{name}/") for file in files):
            return self.error(404, "EntryNotFound", "Entry not found", **{"X-Repo-Commit": commit})
        if verb == "tree":
            recursive = "recursive=true" in urlsplit(self.path).query.lower()
            return self._send_json(_tree(files, name, recursive=recursive))
        siblings = [_sibling(name, files[name]) for name in files]
        named = repo_id.removeprefix(prefix)
        return self._send_json({"id": named, "sha": commit, "siblings": siblings})

    def _about_all(self, path: str, token: str) -> None:
        """What belongs to no repository: the list of all, and who asks."""
        hub = self.server.hub
        if _ABOUT_ALL[path] == "validate":
            found = complaints(self.content)
            return self._send_json({"errors": found, "warnings": []}, status=400 if found else 200)
        if _ABOUT_ALL[path] == "list":
            rows, headers = hub.listing.answer(parse_qs(urlsplit(self.path).query), hub.url)
            return self._send_json(rows, headers)
        if not token:
            return self.error(401, message="Invalid username or password.")
        name = "member" if token in hub.members else "stranger"
        return self._send_json({"type": "user", "name": name})

    def _write(self, verb: str, repo_id: str, commit: str, token: str) -> None:
        """Take a commit, as a pull request or to the branch itself, as it is asked for."""
        hub = self.server.hub
        if not token:
            return self.error(401, message="Invalid username or password.")
        if token not in hub.members:
            return self.error(403, message="You don't have the required permissions")
        repo = hub.repos[repo_id]
        if verb == "preupload":
            return self._send_json(upload_modes(self.content, repo.commits[commit], git_sha1))
        pull_request = "create_pr=1" in urlsplit(self.path).query.split("&")
        proposal = proposed(self.content, repo_id, pull_request=pull_request)
        hub.proposals.append(proposal)
        branch = f"refs/pr/{len(hub.proposals)}" if pull_request else "main"
        start = repo.commits[proposal.parent or commit]
        flags = {"gated": repo.gated, "private": repo.private}
        new = hub.add(repo_id, start | proposal.files, branch, **flags)
        answer = {"success": True, "commitOid": new, "hookOutput": ""}
        answer["commitUrl"] = f"{hub.url}/{repo_id}/commit/{new}"
        if pull_request:
            answer["pullRequestUrl"] = f"{hub.url}/{repo_id}/discussions/{len(hub.proposals)}"
        return self._send_json(answer)

    def _send_json(
        self, document: object, headers: Mapping[str, str] | None = None, status: int = 200
    ) -> None:
        about = {"Content-Type": "application/json", **(headers or {})}
        self.send(status, json.dumps(document).encode(), about)

    def _send_file(self, content: bytes | None, name: str, commit: str, spoil: Body | None) -> None:
        about = {"X-Repo-Commit": commit}
        if content is None:
            return self.error(404, "EntryNotFound", "Entry not found", **about)
        if not name.endswith(LARGE):
            about |= {"ETag": f'"{git_sha1(content)}"', "Accept-Ranges": "bytes"}
            return self.send(200, content, about, spoil)
        about |= {
            "X-Linked-Etag": f'"{sha256(content)}"',
            "X-Linked-Size": str(len(content)),
            "Location": f"{self.server.hub.storage_url}/lfs/{sha256(content)}?sign={SIGNATURE}",
        }
        return self.send(302, b"", about)


class _StorageHandler(_Handler):
    def step(self, path: str) -> Step:
        return "cdn"

    def route(self, path: str, token: str, spoil: Body | None) -> None:
        commits = [
            files for repo in self.server.hub.repos.values() for files in repo.commits.values()
        ]
        stored = {sha256(content): content for files in commits for content in files.values()}
        content = stored.get(path.removeprefix("/lfs/"))
        if content is None:
            return self.error(404, message="No such object")
        begin, last = self.begin(), len(content) - 1
        if not begin:
            return self.send(200, content, spoil=spoil)
        span = {"Content-Range": f"bytes {begin}-{last}/{len(content)}"}
        return self.send(206, content[begin:], span, spoil)


def _entry(name: str, content: bytes) -> dict[str, object]:
    entry: dict[str, object] = {"type": "file", "path": name, "size": len(content)}
    if name.endswith(LARGE):
        entry["lfs"] = {"oid": sha256(content), "size": len(content), "pointerSize": 134}
    return entry | {"oid": git_sha1(content)}


def _sibling(name: str, content: bytes) -> dict[str, object]:
    """A file as the information on a model lists it when asked for ``blobs=True``."""
    entry = _entry(name, content)
    sibling = {"rfilename": name, "size": entry["size"], "blobId": entry["oid"]}
    if name.endswith(LARGE):
        lfs = {"sha256": sha256(content), "size": len(content), "pointerSize": 134}
        sibling["lfs"] = lfs
    return sibling


def _tree(files: Mapping[str, bytes], folder: str, *, recursive: bool) -> list[dict[str, object]]:
    """Files and folders below a folder: all of them, or those right in it."""
    start = f"{folder}/" if folder else ""
    inside = [name for name in files if name.startswith(start)]
    entries = {name: _entry(name, files[name]) for name in inside}
    for name in inside:
        for parent in map(str, PurePosixPath(name).parents):
            if parent != "." and parent.startswith(start):
                entries[parent] = {"type": "directory", "path": parent, "oid": "0" * 40}
    return [e for name, e in entries.items() if recursive or "/" not in name[len(start) :]]
