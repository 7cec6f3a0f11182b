"""Who may ask: names of this machine, the page itself, and with a password who knows it."""

import base64

import pytest

from answering.page import guard
from answering.page.app import make_app
from answering.page.guard import Guard

ADDRESSES = ("/", "/api/run", "/api/ask?q=red", "/tile.jpg?image=0", "/static/page.js")


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8000", "127.0.0.1:9", "[::1]:8000", "[::1]", "LOCALHOST.:80"]
)
def test_names_of_this_machine_are_answered(client, host):
    assert client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example",
     "192.168.0.5", "[::2]:8000", "localhost@evil.example", "evil.example#localhost", "::1"],
)  # fmt: skip
def test_other_names_are_refused(client, host):
    for address in ADDRESSES:
        assert client.get(address, headers={"Host": host}).status_code in (400, 403), address


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "https://localhost"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_other_sites_can_neither_post_nor_read(client, headers):
    for address in ADDRESSES[1:]:
        assert client.get(address, headers=headers).status_code == 403
    found = client.post("/api/picture", data=b"x", headers=headers)
    assert found.status_code == 403 and "another site" in found.get_json()["error"]


def test_the_own_page_may_post_and_a_link_may_lead_to_it(client):
    own = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
    found = client.post("/api/picture?run=drawn", data=b"x", headers=own)
    assert found.status_code == 400 and "no picture" in found.get_json()["error"]
    assert client.get("/?q=red", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200
    assert client.get("/api/picture").status_code == 405


def test_the_browser_is_asked_to_refuse(client):
    for address in (*ADDRESSES, "/nosuch", "/api/ask?q=zebra"):
        found = client.get(address)
        policy = found.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "script-src 'self'" in policy
        assert "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert found.headers["X-Content-Type-Options"] == "nosniff"
        assert found.headers["Referrer-Policy"] == "no-referrer"
        assert "Set-Cookie" not in found.headers
        assert not [name for name in dict(found.headers) if name.startswith("Access-Control")]


def test_another_address_of_loopback_names_itself(runs):
    client = make_app(runs, Guard("127.0.0.2")).test_client()
    assert client.get("/", headers={"Host": "127.0.0.2:8000"}).status_code == 200
    assert client.get("/", headers={"Host": "127.0.0.3:8000"}).status_code == 403


def basic(password, user="anyone"):
    coded = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {coded}"}


def test_a_password_is_asked_for(runs):
    client = make_app(runs, Guard(password="Zündholz 42")).test_client()
    for address in ADDRESSES:
        found = client.get(address)
        assert found.status_code == 401 and "Basic" in found.headers["WWW-Authenticate"]
    wrong = ["", "zündholz 42", "Zündholz 4", "Zündholz 42 "]
    headers = [basic(word) for word in wrong]
    headers += [
        {"Authorization": text} for text in ("Basic", "Basic ???", "Bearer x", "Basic /w==")
    ]
    for one in headers:
        assert client.get("/", headers=one).status_code == 401
        assert client.post("/api/picture", data=b"x", headers=one).status_code == 401
    assert client.get("/", headers=basic("Zündholz 42")).status_code == 200
    assert client.get("/", headers=basic("Zündholz 42", user="")).status_code == 200


def test_elsewhere_than_on_loopback_a_password_is_needed(monkeypatch, runs):
    with pytest.raises(ValueError, match="lets other machines ask: give --password_file"):
        Guard("0.0.0.0")
    with pytest.raises(ValueError, match="has 5 characters"):
        Guard("0.0.0.0", "short")
    with pytest.raises(ValueError, match="is no address of this machine"):
        Guard("no such name", "long enough")
    monkeypatch.setattr(guard.socket, "gethostname", lambda: "Lab7")
    client = make_app(runs, Guard("0.0.0.0", "long enough")).test_client()
    right = basic("long enough")
    for host in ("lab7:8000", "lab7.local", "192.168.0.5:8000", "[fe80::1]:80", "localhost"):
        assert client.get("/", headers={"Host": host, **right}).status_code == 200
        assert client.get("/", headers={"Host": host}).status_code == 401
    for host in ("evil.example", "lab7.evil.example", "[zz]"):
        assert client.get("/", headers={"Host": host, **right}).status_code in (400, 403)
