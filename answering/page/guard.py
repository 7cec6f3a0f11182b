"""What the page refuses, and what it asks the browser to refuse.

A page on the own machine is reached by every other page in the same browser. So only requests are
answered that name this machine (a foreign name may lead here: DNS rebinding), and none that another
site has sent. A caption or a file name is text to the browser, never a script: none runs but the
page's own file.
"""

import base64
import binascii
import hashlib
import hmac
import ipaddress
import socket
from typing import Any

from flask import Flask, Response, request
from werkzeug.exceptions import Forbidden, Unauthorized

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
LEAST_PASSWORD = 8  # characters
POLICY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class Guard:
    """Looks at each request before it is answered.

    Args:
      host: the address that the page listens at.
      password: asked for with each request; None: none.

    Raises:
      ValueError: another address than loopback without a password, or a short password.
    """

    def __init__(self, host: str = "127.0.0.1", password: str | None = None):
        if password is not None and len(password) < LEAST_PASSWORD:
            raise ValueError(
                f"the password has {len(password)} characters: choose {LEAST_PASSWORD} or more"
            )
        self.is_local = is_loopback(host)
        if not self.is_local and password is None:
            raise ValueError(
                f"--host {host} lets other machines ask: give --password_file FILE (or --password)"
            )
        self.digest = None if password is None else _digest(password)
        self.names = LOOPBACK | {host.lower()}
        if not self.is_local:
            machine = socket.gethostname().lower()
            self.names |= {machine, f"{machine}.local", socket.getfqdn().lower()}

    def watch(self, app: Flask) -> None:
        """Puts the guard before and behind every route of an application."""
        app.before_request(self.check)
        app.after_request(add_policy)

    def check(self) -> None:
        """Raises Forbidden or Unauthorized where a request is refused."""
        if not self.knows(request.host):
            raise Forbidden("this name is not of this machine: open the address that was printed")
        origin = request.headers.get("Origin")
        if origin is not None and origin != f"{request.scheme}://{request.host}":
            raise Forbidden("another site has sent this request")
        # A link on another page may lead here; whatever else such a page asks for is refused.
        site = request.headers.get("Sec-Fetch-Site", "none")
        opened = request.method == "GET" and request.path == "/"
        if site not in ("none", "same-origin") and not opened:
            raise Forbidden("another site has sent this request")
        if self.digest is not None and not hmac.compare_digest(self.digest, _given_digest()):
            raise Unauthorized("the password is missing or wrong")

    def knows(self, host: str) -> bool:
        """Whether a Host header names this machine; its port may be that of a tunnel."""
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        name = name.strip("[]").rstrip(".").lower()
        if name in self.names:
            return True
        if self.is_local:
            return False
        try:  # an address is no name that somebody could lead elsewhere
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def add_policy(response: Response) -> Response:
    """Adds what the browser is asked to refuse."""
    for name, value in POLICY.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Cache-Control", "no-store")
    if response.status_code == 401:
        response.headers["WWW-Authenticate"] = 'Basic realm="Matchbox", charset="UTF-8"'
    return response


def is_loopback(host: str) -> bool:
    """Whether an address or a name is this machine's own, which no other machine reaches.

    Raises:
      ValueError: there is no such name.
    """
    try:
        found: Any = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ValueError(f"--host {host} is no address of this machine ({error})") from None
    return all(ipaddress.ip_address(one[4][0].split("%")[0]).is_loopback for one in found)


def _digest(password: str) -> bytes:
    return hashlib.sha256(password.encode("utf-8", "surrogatepass")).digest()


def _given_digest() -> bytes:
    """Digest of the password of a request, of whatever user; compared in constant time."""
    kind, _, coded = request.headers.get("Authorization", "").partition(" ")
    try:
        text = base64.b64decode(coded, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return b""
    return _digest(text.partition(":")[2]) if kind.lower() == "basic" else b""
