"""What W&B's servers answer to the library, as far as a run with an artifact asks, and all that it sends them."""

import contextlib
import gzip
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

RUN = {
    "id": "1",
    "name": "the-run",
    "displayName": "the run",
    "historyLineCount": 0,
    "project": {"id": "2", "name": "ours", "entity": {"id": "3", "name": "team"}},
}


class Receiver(ThreadingHTTPServer):
    """On loopback. Keeps what the library uploads."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.config, self.names, self.tags, self.history, self.summary, self.files = {}, [], [], {}, {}, {}

    def answer(self, query, asked):
        """To a GraphQL operation."""
        operation = query.split("(")[0].split("{")[0].split()[-1]
        return getattr(self, operation, lambda asked: {})(asked)

    def Viewer(self, asked):  # noqa: N802 # GraphQL's names
        return {"viewer": {"id": "4", "entity": "team", "username": "me", "flags": "{}", "teams": {"edges": []}}}

    def UpsertBucket(self, asked):  # noqa: N802
        self.config |= json.loads(asked["config"] or "{}")
        self.names.append(asked["displayName"])
        self.tags += asked["tags"] or []
        return {"upsertBucket": {"bucket": RUN, "inserted": True}}

    def ArtifactType(self, asked):  # noqa: N802
        return {"project": None}

    def CreateArtifact(self, asked):  # noqa: N802
        artifact = {"id": "5", "state": "PENDING", "artifactSequence": {"id": "6", "latestArtifact": None}}
        return {"createArtifact": {"artifact": artifact}}

    def CreateArtifactManifest(self, asked):  # noqa: N802
        file = {"uploadUrl": f"{self.url}/put/manifest", "uploadHeaders": []}
        return {"createArtifactManifest": {"artifactManifest": {"id": "7", "file": file}}}

    def CreateArtifactFiles(self, asked):  # noqa: N802
        files = [
            {"uploadUrl": f"{self.url}/put/{file['name']}", "uploadHeaders": [], "artifact": {"id": "5"}}
            for file in asked["input"]["artifactFiles"]
        ]
        return {"createArtifactFiles": {"files": {"edges": [{"node": file} for file in files]}}}

    def CommitArtifact(self, asked):  # noqa: N802
        return {"commitArtifact": {"artifact": {"id": "5", "digest": "8"}}}

    def CreateRunFiles(self, asked):  # noqa: N802
        files = [{"name": name, "uploadUrl": f"{self.url}/put/{name}"} for name in asked["files"]]
        return {"createRunFiles": {"runID": "1", "uploadHeaders": [], "files": files}}

    def stream(self, files):
        """The run's history, a line of JSON per step, and its summary, the newest last."""
        for line in files.get("wandb-history.jsonl", {}).get("content", []):
            row = json.loads(line)
            self.history[row["_step"]] = row
        for line in files.get("wandb-summary.json", {}).get("content", []):
            self.summary = json.loads(line)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def handle(self):
        with contextlib.suppress(ConnectionError):
            super().handle()

    def do_POST(self):
        sent, answer = self._read(), {}
        if self.path == "/graphql":
            asked = json.loads(sent)
            answer = {"data": self.server.answer(asked["query"], asked.get("variables"))}
        elif self.path.endswith("/file_stream"):
            self.server.stream(json.loads(sent).get("files") or {})
        self._answer(answer)

    def do_PUT(self):
        self.server.files[self.path.removeprefix("/put/")] = self._read()
        self._answer({})

    def _read(self):
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        return gzip.decompress(sent) if self.headers.get("Content-Encoding") == "gzip" else sent

    def _answer(self, body):
        encoded = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)
