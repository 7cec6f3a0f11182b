"""The flags of the page."""

from dataclasses import dataclass

from settings.options import Options, option


@dataclass(frozen=True)
class PageOptions(Options):
    """Whether a page is served, and where."""

    title = "Page"
    serve: bool = option(
        False, "Serve a page that asks the run in the browser; --show opens it. Ctrl-C ends it."
    )
    port: int = option(8000, "With --serve: its port. 0: a free one.", least=0, most=65535)
    host: str = option(
        "127.0.0.1",
        "With --serve: address to listen at. Another than this machine's own loopback needs a "
        "password.",
    )
    password: str | None = option(
        None,
        "With --serve: password that the page asks for, with any user name. Other users of this "
        "machine may read it in the list of processes: see --password_file.",
    )
    password_file: str | None = option(None, "With --serve: file whose first line is the password.")
