"""A chat endpoint on this machine for tests: answers as it is told, and keeps what it was sent."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

RIGHT = json.dumps({f"R{n}": 0.0 for n in range(1, 10)})


def severities(**some: float) -> str:
    """An answer: ``severities(R5=0.5)``."""
    return json.dumps({f"R{n}": 0.0 for n in range(1, 10)} | some)


def by_side(body: Mapping[str, Any]) -> str:
    """Judges as a model would, from the words of the message: a draft that names another side than
    the approved report has a wrong location.
    """
    approved, draft = body["messages"][1]["content"].split("<draft-")
    named = [{side for side in ("left", "right") if side in t.lower()} for t in (approved, draft)]
    return severities(R5=0.5 if named[0] != named[1] else 0.0)


class ChatServer:
    """``answer`` gives the text of an answer, a status code, or seconds to sleep before it."""

    def __init__(self, answer: Callable[[Mapping[str, Any]], str | int | float]) -> None:
        self.answer = answer
        self.bodies: list[Mapping[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []
        self.models = ["judge-model"]
        self.most_at_once = self._at_once = 0
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                return

            def do_GET(self) -> None:
                cards = [{"id": name} for name in server.models]
                self.reply(200, {"data": cards} if self.path == "/v1/models" else {})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with server._lock:
                    server.bodies.append(body)
                    server.headers.append(dict(self.headers))
                    server._at_once += 1
                    server.most_at_once = max(server.most_at_once, server._at_once)
                try:
                    answer = server.answer(body) if self.path == "/v1/chat/completions" else 404
                    if isinstance(answer, float):
                        time.sleep(answer)
                        answer = RIGHT
                    if isinstance(answer, int):
                        self.reply(answer, {"error": body["messages"][-1]["content"]})
                    else:
                        self.reply(200, {"choices": [{"message": {"content": answer}}]})
                finally:
                    with server._lock:
                        server._at_once -= 1

            def reply(self, status: int, value: object) -> None:
                data = json.dumps(value).encode()
                try:
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
                except BrokenPipeError:
                    return  # the client gave up

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def questions(self) -> list[str]:
        """Every user message, in the order in which they came."""
        return [body["messages"][1]["content"] for body in self.bodies]


@contextmanager
def chat_server(
    answer: Callable[[Mapping[str, Any]], str | int | float] = by_side,
) -> Iterator[ChatServer]:
    server = ChatServer(answer)
    server.start()
    try:
        yield server
    finally:
        server.stop()
