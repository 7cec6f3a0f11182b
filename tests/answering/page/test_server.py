"""retrieve.py --serve as people start it: its address, its end, and what it refuses."""

import http.client
import os
import signal
import socket
import subprocess
import sys
from typing import Any
from urllib.parse import urlsplit

import pytest
from starter import ROOT

from answering.page import server
from answering.page.server import Place

# TensorFlow cannot be imported, and Ctrl-C is heard: who starts tests may have it ignored.
START = """
import runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.modules |= dict.fromkeys(("tensorflow", "keras", "matplotlib"))
sys.argv = sys.argv[1:]
sys.path[0] = sys.argv[0].rpartition("/")[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def command(*args):
    return [sys.executable, "-c", START, str(ROOT / "retrieve.py"), "--serve", *map(str, args)]


def refused(root, *args):
    done = subprocess.run(
        command(*args), cwd=root, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1 and done.stdout == "" and len(done.stderr.splitlines()) == 1
    return done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process")
def test_it_prints_its_address_answers_and_ends_in_a_line(root):
    streams: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command("--port", "0"), cwd=root, text=True, **streams) as process:
        assert process.stdout is not None
        address = urlsplit(process.stdout.readline().strip())
        assert address.scheme == "http" and address.hostname == "127.0.0.1" and address.port
        page = http.client.HTTPConnection("127.0.0.1", address.port, timeout=60)
        page.request("GET", "/api/ask?run=plain&q=red+circle")
        answer = page.getresponse()
        assert answer.status == 200 and b"one.png" in answer.read()
        assert answer.headers["Server"] is None
        page.request("GET", "/api/explain?run=drawn&image=1&q=red+blue")
        assert b'"heat":true' in page.getresponse().read()
        big = http.client.HTTPConnection("127.0.0.1", address.port, timeout=60)
        big.putrequest("POST", "/api/picture?run=drawn")
        big.putheader("Content-Length", str(50 << 20))
        big.endheaders()
        assert big.getresponse().status == 413
        process.send_signal(signal.SIGINT)
        told, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and told == ""
    assert errors == "retrieve.py: stopped\n"


def test_a_port_that_is_taken_is_told(root):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        told = refused(root, "--port", port)
    assert f"port {port} of 127.0.0.1 cannot be used" in told and "--port 0 for a free one" in told


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--host", "0.0.0.0"], "lets other machines ask"),
        (["--exp", "unscored"], "has not been scored: python test.py --exp unscored"),
        (["--exp", "nosuch"], "unknown experiment 'nosuch'"),
        (["a red circle"], "--serve asks on its page: leave the sentence out"),
        (["--image", "0"], "--serve asks on its page: leave --image out"),
        (["--minus", "a star", "--k", "3"], "--serve asks on its page: leave --minus out"),
        (["--password", "12345678", "--password_file", "x"], "not both"),
        (["--password_file", "nosuch"], "nosuch"),
        (["--noserve", "--port", "0"], "--port is of the page: give --serve, too"),
    ],
)
def test_mistakes_end_in_one_line(root, args, told):
    assert told in refused(root, *args)


def test_a_password_comes_from_a_file(tmp_path):
    path = tmp_path / "password"
    path.write_text("line one\nline two\n", encoding="utf-8")
    assert server.read_password(Place(password_file=str(path))) == "line one"
    assert server.read_password(Place(password="given")) == "given"
    assert server.read_password(Place()) is None


def test_addresses_are_what_a_browser_takes():
    listener = server.listen("127.0.0.1", 0)
    assert server.address_of(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()
    if socket.has_ipv6 and os.path.exists("/proc/net/if_inet6"):
        try:
            listener = server.listen("::1", 0)
        except OSError:
            pytest.skip("no IPv6 here")
        assert server.address_of(listener).startswith("http://[::1]:")
        listener.close()


def test_a_machine_without_a_browser_is_told(monkeypatch, capsys):
    monkeypatch.setattr(server.webbrowser, "open", lambda address: False)
    server.open_browser("http://127.0.0.1:1")
    assert capsys.readouterr().err == (
        "there is no browser here: open http://127.0.0.1:1 yourself\n"
    )
