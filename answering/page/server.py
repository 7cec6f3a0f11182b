"""Serves the page: waitress, at an address that is taken or refused in one line."""

import logging
import socket
import sys
import threading
import warnings
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from flask import Flask
from PIL import Image
from waitress.server import create_server

from answering.page import guard, tiles
from answering.page.app import make_app
from answering.page.opened import Runs
from run import console, folder

if TYPE_CHECKING:
    from answering.albums import Album

THREADS = 8
PICTURE_BLOCK = 64 << 20  # bytes
SPARE = 1 << 20  # bytes of a request beside the picture that it brings


class Place(NamedTuple):
    """Where a page is served, and for whom.

    Attributes:
      host: name or address to listen at; port: 0 for a free one.
      password: that the page asks for; password_file: the file whose first line it is.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    password: str | None = None
    password_file: str | None = None


def serve(
    where: Place,
    root: str,
    name: str | None,
    k: int | None = None,
    anywhere: bool = False,
    show: bool = False,
    album: "Album | None" = None,
) -> None:
    """Serves the page until a signal ends it.

    Args:
      where: address and password; root, name: --exp_root and --exp.
      k: answers on a page; anywhere, album: see `OpenRun`; show: open the page in the browser.

    Raises:
      ValueError: there is no scored run, no such address, or a password is missing.
      OSError: the port is taken.
    """
    watch = guard.Guard(where.host, read_password(where))
    first = folder.find(root, name) if name or album else None
    runs = Runs(root, first, anywhere, album)
    if first and not runs.first_is_scored():
        raise ValueError(f"{first} has not been scored: python test.py --exp {first.argument}")
    run = runs.open()
    listener = listen(where.host, where.port)
    server = open_server(make_app(runs, watch, **({"k": k} if k else {})), listener)
    if not watch.is_local:
        print(
            "other machines can ask, by the password; it is not encrypted on its way: use a "
            "network that you trust, or a tunnel (ssh -L)",
            file=sys.stderr,
        )
    print(address_of(listener), flush=True)
    threading.Thread(target=run.why_no_pictures, daemon=True).start()  # half a second, meanwhile
    if show:
        own = (address_of(listener),)
        threading.Thread(target=open_browser, args=own, daemon=True).start()
    server.run()  # which takes the exception of a signal for its own
    console.heed_signals()


def open_server(app: Flask, listener: socket.socket) -> Any:
    """The server of the application, whose `run` serves until `close`.

    Of what a request brings or gets nothing is written to disk, as waitress does with large ones.
    """
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # such a picture is refused
    # Blocks that the system takes back as soon as a picture is done with. Smaller ones would stay
    # with the process, for each thread as many as its largest picture had.
    Image.core.set_block_size(PICTURE_BLOCK)
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a line for each that waits
    return create_server(
        app,
        sockets=[listener],
        threads=THREADS,
        ident=None,
        max_request_body_size=tiles.MOST_BYTES,
        inbuf_overflow=tiles.MOST_BYTES + SPARE,
        outbuf_overflow=tiles.MOST_BYTES,
    )


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at an address of this machine.

    Raises:
      OSError: the port is taken, or the address is not of this machine.
    """
    kind, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(kind, socket.SOCK_STREAM)
    try:
        # Elsewhere a port is free at once after its program ended; Windows would share it.
        option = "SO_EXCLUSIVEADDRUSE" if sys.platform == "win32" else "SO_REUSEADDR"
        listener.setsockopt(socket.SOL_SOCKET, getattr(socket, option), 1)
        listener.bind(place)
    except OSError as error:
        listener.close()
        raise OSError(
            f"port {port} of {host} cannot be used ({error.strerror}): give --port another, or "
            "--port 0 for a free one"
        ) from None
    return listener


def address_of(listener: socket.socket) -> str:
    """What a browser is given."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = socket.gethostname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def read_password(where: Place) -> str | None:
    """The password of the page, None for none.

    Raises:
      ValueError: it is given twice; OSError: its file cannot be read.
    """
    if where.password is not None and where.password_file is not None:
        raise ValueError("give --password or --password_file, not both")
    if where.password_file is None:
        return where.password
    lines = Path(where.password_file).read_text(encoding="utf-8").splitlines()
    return lines[0] if lines else ""


def open_browser(address: str) -> None:
    """Opens the page, or says that there is no browser."""
    if not webbrowser.open(address):
        print(f"there is no browser here: open {address} yourself", file=sys.stderr, flush=True)
