"""A publisher of files on this machine, which may fail on the way."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

Trouble = Literal["404", "429", "503", "cut", "wrong", "unsized", "stalls"]

_STALLS_AT_MOST_S = 60.0


@dataclass
class Publisher:
    """What is published, by path, and what goes wrong with the first answers for a path, in this order."""

    files: dict[str, bytes]
    troubles: dict[str, list[Trouble]] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    stalled: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    url: str = ""


def hash_list(files: Mapping[str, bytes]) -> bytes:
    """A list as PhysioNet publishes it."""
    return "".join(f"{sha256(content).hexdigest()} {path}\n" for path, content in files.items()).encode()


@contextmanager
def published(files: Mapping[str, bytes]) -> Iterator[Publisher]:
    """Serve files on a free port of 127.0.0.1; `Publisher.url` ends in a slash."""
    publisher = Publisher(dict(files))

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.removeprefix("/")
            publisher.asked[path] += 1
            troubles = publisher.troubles.get(path, [])
            trouble = troubles.pop(0) if troubles else None
            if trouble in ("429", "503") or trouble == "404" or path not in publisher.files:
                self.send_error(int(trouble or "404"))
                return
            content = publisher.files[path]
            self.send_response(200)
            if trouble != "unsized":
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if trouble == "wrong":
                content = bytes([content[0] ^ 1]) + content[1:]
            if trouble in ("cut", "unsized", "stalls"):
                content = content[: len(content) // 2]
            self.wfile.write(content)
            if trouble == "stalls":
                publisher.stalled.set()
                publisher.released.wait(_STALLS_AT_MOST_S)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    publisher.url = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield publisher
    finally:
        publisher.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
