"""An OpenAI-compatible server that says the prompt's words back, and misbehaves on request; for tests only.

`python stand_in_server.py PORT [ready_after=N] [deaf]` runs it as an engine would: `/health` says 503 for the
first N times; a deaf one heeds no SIGTERM. `die=N` ends it with that exit code at once, `model=NAME` names
the model.
"""

import contextlib
import json
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODELS = [{"id": "words", "max_model_len": 2048}]


class Handler(BaseHTTPRequestHandler):
    """Answers by the prompt: see `_stream`."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_arguments):
        """Nothing on stderr."""

    def do_GET(self):
        self.server.seen.append((self.path, dict(self.headers)))
        if self.path == "/health":
            self.server.asked += 1
            self._reply(200 if self.server.asked > self.server.ready_after else 503, {})
        elif self.path == "/v1/models" and self._known():
            self._reply(200, {"object": "list", "data": self.server.models})
        elif self.path == "/elsewhere/models":
            self.send_response(307)
            self.send_header("Location", "http://evil.example/v1/models")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.path == "/web/models":
            self._raw(200, b"<html>hello</html>", "text/html")
        elif self.path.endswith("/models"):
            self._reply(404, {"detail": "Not Found"})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, body))
        if not self._known():
            return
        chat = self.path == "/v1/chat/completions"
        if chat and not self.server.chat:
            self._reply(400, {"error": {"message": "no chat template"}})
            return
        said = body["messages"][-1]["content"] if chat else body["prompt"]
        if said == "refuse":
            self._reply(400, {"error": {"message": "too\n long", "type": "BadRequest"}})
        elif body.get("stream"):
            self._stream(said, chat)
        else:
            self._reply(200, {"choices": [{"message": {"content": "."}, "text": "."}]})

    def _known(self):
        if self.server.key and self.headers["Authorization"] != f"Bearer {self.server.key}":
            self._reply(401, {"error": {"message": "who are you"}})
            return False
        return True

    def _stream(self, said, chat):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        words = said.split()
        try:
            if said == "garbage":
                self.wfile.write(b"data: {not json\n\n")
                return
            if said == "silence":
                while not self.server.over:
                    time.sleep(0.01)
                return
            self.wfile.write(b": a comment\n\n")
            if chat:
                self._event({"choices": [{"delta": {"role": "assistant", "content": ""}}]})
            while True:
                for word in words:
                    text = word.upper() + " "
                    self._event({"choices": [{"delta": {"content": text}} if chat else {"text": text}]})
                if said != "endless" or self.server.over:
                    break
                time.sleep(0.005)
            if said == "break off":
                return
            if said == "fail":
                self._event({"error": {"message": "out of memory"}})
                return
            self._event({"choices": [{"delta": {}, "text": "", "finish_reason": "length"}]})
            if said != "no usage":
                counts = {"prompt_tokens": len(words), "completion_tokens": len(words)}
                self._event({"choices": [], "usage": counts})
            self.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            self.server.left.append(said)

    def _event(self, document):
        self.wfile.write(b"data: " + json.dumps(document).encode() + b"\n\n")
        self.wfile.flush()

    def _reply(self, status, document):
        self._raw(status, json.dumps(document).encode(), "application/json")

    def _raw(self, status, body, kind):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        with contextlib.suppress(ConnectionError):  # who only asked whether somebody is there may be gone
            self.end_headers()
            self.wfile.write(body)


class StandIn(ThreadingHTTPServer):
    """What it saw is in `seen`; prompts whose client went away in `left`."""

    daemon_threads = True

    def __init__(self, port=0, *, key="", chat=True, models=None, ready_after=0):
        super().__init__(("127.0.0.1", port), Handler)
        self.key, self.chat, self.ready_after = key, chat, ready_after
        self.models = MODELS if models is None else models
        self.asked, self.over = 0, False
        self.seen, self.left = [], []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"


if __name__ == "__main__":
    options = dict(word.partition("=")[::2] for word in sys.argv[2:])
    if "deaf" in options:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("starting up", flush=True)
    if "die" in options:
        print("no GPU here", flush=True)
        sys.exit(int(options["die"]))
    models = [{"id": options.get("model", "words")}]
    StandIn(int(sys.argv[1]), models=models, ready_after=int(options.get("ready_after", 0))).serve_forever()
