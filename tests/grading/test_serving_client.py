"""The client of docs/grading.md asks what answers as TensorFlow Serving does, and finds images."""

import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from conftest import ROOT
from tiny_run import NAMES, make_run

from answering.search import QueryEncoder, ask_sentence
from gallery.stored import Gallery


def test_the_client_finds_what_retrieve_finds(tmp_path):
    run = make_run(tmp_path / "exp" / "tiny")
    encoder, asked = QueryEncoder(run), []

    class Serving(BaseHTTPRequestHandler):
        """Its REST call, answered by query.onnx, which the SavedModel equals."""

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.path, body))
            rows = encoder.encode(body["instances"]).tolist()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"predictions": rows}).encode())

        def log_message(self, format, *args):
            pass

    page = (ROOT / "docs" / "grading.md").read_text(encoding="utf-8")
    (client,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(client.splitlines()) <= 22
    queries = ["red circle", "blue star"]
    with HTTPServer(("127.0.0.1", 0), Serving) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        done = subprocess.run(
            [sys.executable, "-c", client, str(run.folder), address, *queries],
            cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        server.shutdown()
    assert done.returncode == 0, done.stderr
    assert asked == [("/v1/models/query:predict", {"instances": queries})]
    expected = []
    for query in queries:
        answers, _ = ask_sentence(encoder, query).nearest(Gallery(run), 5)
        assert len(answers) == len(NAMES)
        expected += [query, *(f"{one.score:8.3f}  {one.name}" for one in answers)]
    assert done.stdout.splitlines() == expected
