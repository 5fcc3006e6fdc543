"""A Label Studio of a few lines, for tests: the calls that are made of it, its refusals, and cuts at any call."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import httpx2

LEGACY = "0123456789abcdef0123456789abcdef01234567"
PERSONAL = "eyJhbGciOi.eyJleHAiOj.SflKxwRJSM"
URL = "http://label.test:8080"
PEOPLE = {1: "owner@example.com", 2: "ann@example.com", 3: "bob@example.com", 4: "cat@example.com"}
Answer = tuple[int, Any]


class FakeLabelStudio:
    """State of a server; ``transport`` serves it.

    Attributes:
        meet: called with number (from 0), method and path of each call; what it gives is answered in place of doing it,
            an exception that it raises cuts the connection. ``cut_after`` is the number of a call that is done, and
            whose answer is lost.
    """

    def __init__(self) -> None:
        self.projects: dict[int, dict[str, Any]] = {}
        self.files: dict[int, dict[str, bytes]] = {}
        self.calls: list[tuple[str, str]] = []
        self.authorizations: list[str] = []
        self.meet: Callable[[int, str, str], httpx2.Response | None] = lambda *_: None
        self.cut_after: int | None = None
        self.bearer = 0
        self._last_id = 0

    @property
    def transport(self) -> httpx2.MockTransport:
        return httpx2.MockTransport(self._serve)

    def _new_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def tasks(self) -> list[dict[str, Any]]:
        """All tasks of all projects, in the order in which they came."""
        return sorted((task for p in self.projects.values() for task in p["tasks"]), key=lambda task: int(task["id"]))

    def task(self, sample_id: str) -> dict[str, Any]:
        return next(task for task in self.tasks() if task["data"]["sample_id"] == sample_id)

    def say(
        self, sample_id: str, label: str | None, who: int = 2, field: str = "label", typed: bool = False, why: str = ""
    ) -> None:
        """Somebody answers a task, or skips it (None)."""
        value = {"text": [label]} if typed else {"choices": [label]}
        result = [] if label is None else [{"from_name": field, "type": "choices", "value": value}]
        if why:
            result.append({"from_name": "explanation", "type": "textarea", "value": {"text": [why]}})
        said = {"id": self._new_id(), "completed_by": who, "was_cancelled": label is None, "result": result}
        self.task(sample_id)["annotations"].append({**said, "updated_at": "2019-01-01T00:00:00Z", "lead_time": 3.25})

    def _serve(self, request: httpx2.Request) -> httpx2.Response:
        number, path = len(self.calls), request.url.path
        self.calls.append((request.method, path))
        self.authorizations.append(request.headers.get("Authorization", ""))
        met = self.meet(number, request.method, path)
        if met is not None:
            return met
        status, body = self._done(request)
        if number == self.cut_after:
            raise httpx2.RemoteProtocolError("Server disconnected without sending a response.")
        return httpx2.Response(status, json=body)

    def _done(self, request: httpx2.Request) -> Answer:
        path, query = request.url.path, request.url.params
        if path == "/api/token/refresh":
            if json.loads(request.content)["refresh"] != PERSONAL:
                return 401, {"detail": "Token is invalid"}
            self.bearer += 1
            return 200, {"access": f"bearer-{self.bearer}"}
        if request.headers.get("Authorization") not in (f"Token {LEGACY}", f"Bearer bearer-{self.bearer}"):
            return 401, {"detail": f"Invalid token. ({request.headers.get('Authorization')})"}
        if path == "/api/users":
            return 200, [{"id": i, "email": email} for i, email in PEOPLE.items()]
        if path == "/api/projects" and request.method == "GET":
            return 200, self._page(list(self.projects.values()), query, "results", "count")
        if path == "/api/projects/":
            number = self._new_id()
            body = {"label_config": "<View></View>", **json.loads(request.content), "id": number, "tasks": []}
            if not 3 <= len(body["title"]) <= 50:
                return 400, {"validation_errors": {"title": ["Ensure this field has 3 to 50 characters."]}}
            self.projects[number], self.files[number] = body, {}
            return 201, {"id": number}
        if path == "/api/tasks":
            found = self.projects.get(int(query["project"]))
            return (200, self._page(found["tasks"], query, "tasks", "total")) if found else (404, {"detail": "No such"})
        of_project = re.fullmatch(r"/api/projects/(\d+)/(import|file-uploads)?", path)
        if not of_project or int(of_project[1]) not in self.projects:
            return 404, {"detail": "No Project matches the given query."}
        return self._of_project(int(of_project[1]), of_project[2] or "", request)

    @staticmethod
    def _page(rows: list[Any], query: httpx2.QueryParams, name: str, total: str) -> dict[str, Any]:
        page, size = int(query["page"]), min(int(query["page_size"]), 7)  # a server may give less than was asked for
        return {name: rows[(page - 1) * size : page * size], total: len(rows)}

    def _of_project(self, number: int, what: str, request: httpx2.Request) -> Answer:
        project = self.projects[number]
        if what == "file-uploads":
            return 200, [{"file": f"upload/{number}/1a2b3c4d-{name}"} for name in self.files[number]]
        if what == "import" and request.headers["Content-Type"].startswith("multipart/"):
            if project["label_config"] != "<View></View>":
                return 400, {"validation_errors": ["Your label config has more than one data key"]}
            names = re.findall(rb'filename="([^"]+)"', request.content)
            self.files[number] |= {name.decode(): b"" for name in names}
            return 201, {"file_upload_ids": []}
        if what == "import":
            for task in json.loads(request.content):
                project["tasks"].append({"predictions": [], **task, "id": self._new_id(), "annotations": []})
            return 201, {}
        project.update(json.loads(request.content))
        return 200, {}
