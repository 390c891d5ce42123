"""An OAuth client of the public API: tokens by client_credentials, problems as exceptions, files in ranges."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx2 as httpx

CHUNK = 4 * 2**20


class Refused(Exception):
    """The API said no: the problem document, with its stable `code`."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status, self.problem = status, problem
        self.code = str(problem.get("code", status))
        found = "; ".join(
            f"{p.get('table', '')}.{p.get('column', '')} {p['detail']}" for p in problem.get("problems", [])
        )
        super().__init__(f"{status} {self.code}: {problem.get('detail', '')} {found}".strip())


class Caller:
    """One identity. Every call carries a bearer token of the scopes asked for at the start."""

    def __init__(self, base: str, client_id: str, secret: str, scopes: str) -> None:
        self.http = httpx.Client(base_url=base, timeout=120)
        form = {"grant_type": "client_credentials", "scope": scopes}
        answer = self.http.post("/oauth/token", data=form, auth=(client_id, secret))
        if answer.status_code != 200:
            raise Refused(answer.status_code, answer.json())
        self.http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def call(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """The JSON of an answer; `Refused` where it is a problem."""
        answer = self.http.request(method, path, json=body, **more)
        if answer.status_code >= 400:
            raise Refused(answer.status_code, _problem(answer))
        return answer.json() if answer.content else None

    def get(self, path: str, **more: Any) -> Any:
        """GET."""
        return self.call("GET", path, **more)

    def post(self, path: str, body: Any = None, **more: Any) -> Any:
        """POST."""
        return self.call("POST", path, body, **more)

    def watch(
        self, path: str, done: Callable[[Any], bool], seen: Callable[[Any], None], limit: float = 120
    ) -> Any:
        """Ask until `done`, showing what is `seen` on the way; TimeoutError after `limit` seconds."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            found = self.get(path)
            seen(found)
            if done(found):
                return found
            time.sleep(0.05)
        raise TimeoutError(path)

    def upload(self, path: Path, metadata: str, moved: Callable[[int], None]) -> str:
        """A resumable upload (tus 1.0) in pieces of 4 MiB; the upload's URL."""
        size = path.stat().st_size
        headers = {"Tus-Resumable": "1.0.0", "Upload-Length": str(size), "Upload-Metadata": metadata}
        made = self.http.post("/v1/uploads", headers=headers)
        if made.status_code != 201:
            raise Refused(made.status_code, _problem(made))
        with path.open("rb") as file:
            offset = 0
            while piece := file.read(CHUNK):
                headers = {
                    "Tus-Resumable": "1.0.0",
                    "Upload-Offset": str(offset),
                    "Content-Type": "application/offset+octet-stream",
                }
                sent = self.http.patch(made.headers["Location"], content=piece, headers=headers)
                if sent.status_code != 204:
                    raise Refused(sent.status_code, _problem(sent))
                offset += len(piece)
                moved(len(piece))
        return str(made.headers["Location"])

    def put(self, path: str, file: Path, moved: Callable[[int], None]) -> str:
        """A plain upload of a small file; the upload's URL."""
        content = file.read_bytes()
        answer = self.http.put(path, content=content)
        if answer.status_code != 202:
            raise Refused(answer.status_code, _problem(answer))
        moved(len(content))
        return str(answer.headers["Location"])

    def download(self, path: str, target: Path) -> str:
        """Stream a file to `target`; its SHA-256."""
        digest = hashlib.sha256()
        with self.http.stream("GET", path) as answer, target.open("wb") as file:
            if answer.status_code != 200:
                answer.read()
                raise Refused(answer.status_code, _problem(answer))
            for chunk in answer.iter_bytes():
                digest.update(chunk)
                file.write(chunk)
        return digest.hexdigest()


def _problem(answer: httpx.Response) -> Mapping[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        found = {}
    return found if isinstance(found, dict) else {}
