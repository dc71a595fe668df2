"""Four real services and the real command line, killed at random moments; a ledger says what has to be there afterwards."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.servers import ROOT, Server

SAMPLE = ROOT / "data" / "sample" / "documents"
JOB_TIMEOUT_S = 60.0
_MIN_WORDS = 12
_TOP_K = 50
_UPLOADED_AT_ONCE = 20
_SEARCHED = 15

Text = str | None


class Corpus:
    """Small real documents: the paragraphs of the samples, in as many versions as are asked for. Each holds a word of its own."""

    def __init__(self, documents: int) -> None:
        files = sorted([*SAMPLE.rglob("*.txt"), *SAMPLE.rglob("*.md")])
        paragraphs = [" ".join(part.split()) for file in files for part in file.read_text(encoding="utf-8").split("\n\n")]
        self.paragraphs = [text for text in paragraphs if len(text.split()) >= _MIN_WORDS]
        self.ids = [f"{number:04}.txt" for number in range(documents)]

    def text(self, document_id: str, version: int) -> str:
        """The text of a document; a new version is a new text."""
        paragraph = self.paragraphs[int(document_id[:4]) % len(self.paragraphs)]
        return f"Ticket {ticket(document_id, version)}. {paragraph}"


def ticket(document_id: str, version: int) -> str:
    """The word that only this version of this document holds."""
    return f"ticket{document_id[:4]}v{version}"


class Ledger:
    """Which texts each document may have now; None where it may be absent. Thread-safe enough: one thread acts, and is joined before a check."""

    def __init__(self) -> None:
        self.allowed: defaultdict[str, set[Text]] = defaultdict(lambda: {None})
        self.acknowledged = 0

    def begin(self, document_id: str, text: Text) -> None:
        """The document may have this text from now on."""
        self.allowed[document_id] = self.allowed[document_id] | {text}

    def acknowledge(self, document_id: str, text: Text) -> None:
        """The document has this text."""
        self.allowed[document_id] = {text}
        self.acknowledged += 1


class Siege:
    """Actions against a server that may die at any moment, and the check of what is left."""

    def __init__(self, corpus: Corpus, folder: Path, random_: random.Random) -> None:
        self.corpus = corpus
        self.folder = folder
        self.random = random_
        self.ledger = Ledger()
        self.version = 0
        self.lost: list[str] = []
        self._texts: dict[tuple[str, str], str] = {}
        self._accepted: dict[str, dict[str, str]] = {}
        self._again: Callable[[Server], None] | None = None
        self._command: subprocess.Popen[bytes] | None = None

    # -- actions: each goes on until it is through or the server is gone ---------------------------------------------------------

    def add(self, server: Server) -> None:
        """Add documents one by one."""
        with _calling(server) as http:
            for id_, text in self._chosen(120).items():
                self.ledger.begin(id_, text)
                answer = http.post("/v1/documents", json={"documents": [{"id": id_, "text": text}]})
                if answer.status_code == httpx.codes.OK and answer.json()["documents"][0]["state"] != "failed":
                    self.ledger.acknowledge(id_, text)

    def delete(self, server: Server) -> None:
        """Delete documents one by one."""
        with _calling(server) as http:
            for id_ in self._chosen(120):
                may_be_absent = None in self.ledger.allowed[id_]
                self.ledger.begin(id_, None)
                status = http.delete(f"/v1/documents/{id_}").status_code
                if status == httpx.codes.OK or (status == httpx.codes.NOT_FOUND and may_be_absent):
                    self.ledger.acknowledge(id_, None)
                elif status == httpx.codes.NOT_FOUND:
                    self.lost.append(id_)

    def upload(self, server: Server) -> None:
        """Upload files; they become jobs, which have to come to their end whatever happens."""
        texts = list(self._chosen(120).items())
        with _calling(server) as http:
            for start in range(0, len(texts), _UPLOADED_AT_ONCE):
                part = dict(texts[start : start + _UPLOADED_AT_ONCE])
                for id_, text in part.items():
                    self.ledger.begin(id_, text)
                answer = http.post("/v1/documents", files=[("files", (id_, text.encode())) for id_, text in part.items()])
                if answer.status_code == httpx.codes.ACCEPTED:
                    self._accepted[answer.json()["id"]] = part

    def ingest(self, server: Server) -> None:
        """`ekiben ingest` of all documents in a new version of some; what it acknowledges counts when it is through."""
        self._ingest(server)

    def sync(self, server: Server) -> None:
        """`ekiben ingest --sync` of some documents: the others have to go."""
        self._ingest(server, "--sync")

    def ingest_all(self, server: Server) -> None:
        """`ekiben ingest` of every document in a new version."""
        self._ingest(server, number=len(self.corpus.ids))

    def _ingest(self, server: Server, *flags: str, number: int = 150) -> None:
        texts = self._chosen(number)
        source = self.folder / f"source{self.version}"
        source.mkdir()
        gone = [id_ for id_ in self.corpus.ids if id_ not in texts] if flags else []
        wanted: dict[str, Text] = {**texts, **dict.fromkeys(gone)}
        for id_, text in texts.items():
            (source / id_).write_text(text, encoding="utf-8")
        for id_, wish in wanted.items():
            self.ledger.begin(id_, wish)
        self._again = lambda server: self._send(server, source, wanted, flags)
        self._again(server)

    def _send(self, server: Server, source: Path, wanted: dict[str, Text], flags: Sequence[str]) -> None:
        if self._run_command(server, "ingest", str(source), *flags) == 0:
            for id_, wish in wanted.items():
                self.ledger.acknowledge(id_, wish)

    def _run_command(self, server: Server, *arguments: str) -> int:
        line = [sys.executable, "-m", "clients", *arguments]
        environment = {**os.environ, "EKIBEN_URL": server.url}
        with (self.folder / "command.txt").open("ab") as sink:
            self._command = subprocess.Popen(line, cwd=ROOT, env=environment, stdout=sink, stderr=sink, start_new_session=True)
        status = self._command.wait()
        self._command = None
        return status

    def _chosen(self, number: int) -> dict[str, str]:
        """Some documents in a version that was never sent before."""
        self.version += 1
        ids = self.random.sample(self.corpus.ids, min(number, len(self.corpus.ids)))
        return {id_: self.corpus.text(id_, self.version) for id_ in ids}

    # -- striking ----------------------------------------------------------------------------------------------------------------

    def kill_server(self, server: Server, action: Callable[[Server], None], delay_s: float) -> None:
        """Start `action`, and kill all processes of the server after a while; the command that acts dies with them."""
        acting = threading.Thread(target=self._until_gone, args=(action, server))
        acting.start()
        acting.join(delay_s)  # the random moment; nothing is waited for
        server.kill_all()
        self._kill_command()
        acting.join()

    def kill_command(
        self, server: Server, action: Callable[[Server], None], *, delay_s: float = 0.0, until: Callable[[], bool] = lambda: True
    ) -> bool:
        """Start `action`, kill the command that acts after a while and when `until` says so, and run it again to its end; whether one was killed."""
        acting = threading.Thread(target=action, args=(server,))
        acting.start()
        acting.join(delay_s)
        while not until() and acting.is_alive():
            acting.join(0.02)
        killed = self._kill_command()
        acting.join()
        if killed and self._again:
            self._again(server)
        return killed

    @staticmethod
    def _until_gone(action: Callable[[Server], None], server: Server) -> None:
        try:
            action(server)
        except httpx.TransportError:
            return

    def _kill_command(self) -> bool:
        command = self._command
        if command is None or command.poll() is not None:
            return False
        os.killpg(command.pid, signal.SIGKILL)
        return True

    # -- checking ----------------------------------------------------------------------------------------------------------------

    def faults(self, server: Server) -> Iterator[str]:
        """What the server holds that it must not, or lacks."""
        with _calling(server) as http:
            self._finish_jobs(http)
            rows = list(_all_documents(http))
            if len(rows) != len({row["id"] for row in rows}):
                yield f"listed twice: {sorted(row['id'] for row in rows)}"
            texts = {row["id"]: self._text_of(http, row) for row in rows}
            yield from (f"{id_} was acknowledged and not there to be deleted" for id_ in self.lost)
            for id_, allowed in self.ledger.allowed.items():
                if texts.get(id_) not in allowed:
                    yield f"{id_} has the text {texts.get(id_)!r}, allowed are {allowed}"
            for id_ in self.random.sample(self.corpus.ids, _SEARCHED):
                yield from self._of_search(http, id_, texts.get(id_))

    def _text_of(self, http: httpx.Client, row: dict[str, str]) -> str:
        """The text of a listed document; one of the same hash is read once."""
        key = (row["id"], row["content_hash"])
        if key not in self._texts:
            self._texts[key] = http.get(f"/v1/documents/{row['id']}").json()["text"].strip()
        return self._texts[key]

    def _of_search(self, http: httpx.Client, id_: str, text: Text) -> Iterator[str]:
        """The words of all versions are looked for; only that of the text that is held may be found."""
        words = [ticket(id_, version) for version in range(1, self.version + 1)]
        for mode in ("lexical", "hybrid", "dense"):
            passages = http.post("/v1/search", json={"query": " ".join(words), "mode": mode, "top_k": _TOP_K}).json()["passages"]
            found = [passage["text"].strip() for passage in passages if passage["document_id"] == id_]
            if any(part not in (text or "") for part in found) or (mode == "lexical" and text and not found):
                yield f"{mode}: {id_} holds {text!r}, a search found {found}"

    def _finish_jobs(self, http: httpx.Client) -> None:
        """Wait for the end of all jobs, those included whose receipt was lost; what was accepted is acknowledged then."""
        end = time.monotonic() + JOB_TIMEOUT_S
        while open_jobs := [job for job in _jobs(http).values() if job["state"] in ("queued", "running")]:
            assert time.monotonic() < end, f"jobs do not end: {json.dumps(open_jobs)}"
            time.sleep(0.1)
        jobs = _jobs(http)
        for job, texts in self._accepted.items():
            assert jobs[job]["state"] == "done", json.dumps(jobs[job])
            for id_, text in texts.items():
                self.ledger.acknowledge(id_, text)
        self._accepted.clear()


@contextmanager
def _calling(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60.0) as http:
        yield http


def _jobs(http: httpx.Client) -> dict[str, dict[str, object]]:
    return {job["id"]: job for job in http.get("/v1/jobs", params={"limit": 1_000}).json()["jobs"]}


def _all_documents(http: httpx.Client) -> Iterator[dict[str, str]]:
    cursor: dict[str, str] = {}
    while True:
        page = http.get("/v1/documents", params={"limit": 100, **cursor}).json()
        yield from page["documents"]
        if page["next"] is None:
            return
        cursor = {"cursor": page["next"]}
