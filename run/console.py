"""What a person sees in a terminal: one line for an error, queries, printable text, columns."""

import contextlib
import os
import signal
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

NO_MEMORY = ("start new thread", "failed to map", "allocate", "Resource temporarily unavailable")


def run_script(script: Callable[[], Any], keras: bool = True) -> None:
    """Runs a script; what a user can cause ends as one clear line and exit code 1, no traceback.

    Args:
      keras: whether it may import Keras, whose settings are looked at before.

    SIGINT, SIGTERM and SIGHUP end it with a line that says how to go on, and 128 + their number.
    The environment variable MATCHBOX_TRACEBACK=1 shows the traceback all the same.
    """
    for stream, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, stream) is None:  # closed by the shell
            setattr(sys, stream, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
    for signal_name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, signal_name, None)
        usual = signal.SIG_DFL, signal.default_int_handler
        if number is not None and signal.getsignal(number) in usual:
            signal.signal(number, _stop)
    try:
        if keras:
            from run import keras_settings

            keras_settings.settle()
        script()
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt as stopped:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # once is enough
        hint = _hints[-1]() if _hints else ""
        end_now(f"stopped{hint and '; ' + hint}", 128 + getattr(stopped, "number", 2))
    except Exception as error:
        said = _explain(error)
        if said is None or os.environ.get("MATCHBOX_TRACEBACK"):
            raise
        sys.exit(f"{script_name()}: error: {said}")
    finally:
        _end()


class Stopped(KeyboardInterrupt):
    """A signal asks for the end."""

    def __init__(self, number: int):
        super().__init__()
        self.number = number


def _stop(number: int, _: Any) -> None:
    _asked.append(number)
    raise Stopped(number)


def heed_signals() -> None:
    """Ends where a signal asked for it and a library lost the exception; for long loops.

    Raises:
      Stopped: a signal has come before.
    """
    if _asked:
        raise Stopped(_asked[0])


_asked: list[int] = []  # signals that have come

_hints: list[Callable[[], str]] = []
_endings: list[Callable[[], None]] = []


def at_end(tidy: Callable[[], None]) -> None:
    """Calls `tidy` when the script ends, however it ends."""
    if tidy not in _endings:
        _endings.append(tidy)


def _end() -> None:
    for tidy in _endings:
        tidy()


def when_stopped(hint: Callable[[], str]) -> None:
    """What is told where a signal ends the script: how to go on, asked for at that moment."""
    _hints.append(hint)


def script_name() -> str:
    """What the script is called by: train.py, data.vision.extract."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)  # of python -m
    return spec.name.removesuffix(".__main__") if spec else Path(sys.argv[0]).name


def end_now(line: str, status: int) -> NoReturn:
    """Ends the process with a line, now, from any thread: those that read are not waited for."""
    line = f"{script_name()}: {line}"
    _end()
    with contextlib.suppress(OSError):
        print(f"\n{line}" if sys.stderr.isatty() else line, file=sys.stderr, flush=True)
        sys.stdout.flush()
    os._exit(status)


def _explain(error: Exception) -> str | None:
    """What a user can cause, in one line; None: it is a fault of the program."""
    said = next((line for line in str(error).splitlines() if line.strip()), "").strip()
    short = isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError"
    short |= isinstance(error, ImportError | RuntimeError) and any(map(said.count, NO_MEMORY))
    if short:
        return f"memory ran out, give the process more: {said[:160] or type(error).__name__}"
    return said or type(error).__name__ if isinstance(error, ValueError | OSError) else None


def read_queries(prompt: str) -> Iterator[str]:
    """Lines of standard input; asks for them where someone sits at a terminal."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        yield from (line.rstrip("\r\n") for line in sys.stdin)
        return
    with contextlib.suppress(ImportError):  # Windows has none
        import readline  # noqa: F401 - gives input() its history

    while True:
        try:
            yield input(prompt)
        except EOFError:
            print()
            return


def open_file(path: str | os.PathLike) -> None:
    """Opens a file with the system's viewer, and does not wait for it.

    Raises:
      OSError: there is no viewer.
    """
    import subprocess  # 12 ms that a query does without

    if sys.platform == "win32":
        os.startfile(path)
    else:
        viewer = "open" if sys.platform == "darwin" else "xdg-open"
        quiet = subprocess.DEVNULL
        subprocess.Popen([viewer, str(path)], stdout=quiet, stderr=quiet)


def some_words(words: Sequence[str], limit: int = 8) -> str:
    """`zebra, giraffe and 12 more`: the first few words, for a message of one line."""
    shown = ", ".join(word if len(word) <= 30 else word[:29] + "…" for word in words[:limit])
    return f"{shown} and {len(words) - limit:,} more" if len(words) > limit else shown


def printable(text: str) -> str:
    """One line of text that no terminal and no font stumbles over.

    Control characters become spaces, invisible marks (direction, joiners) go, and what is no
    character, such as half a surrogate pair, becomes the replacement character.
    """
    if text.isascii() and text.isprintable():  # the usual text: no look at each letter
        return " ".join(text.split())
    shown = (_SHOWN.get(unicodedata.category(character), character) for character in text)
    return " ".join("".join(shown).replace("\ufe0f", "").split())


_SHOWN = {"Cc": " ", "Zl": " ", "Zp": " ", "Cf": "", "Cs": "\ufffd", "Co": "\ufffd", "Cn": "\ufffd"}


def columns(text: str) -> int:
    """How many columns of a terminal printable text takes."""
    return sum(map(_column, text))


def _column(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, width: int, keep_end: bool = False) -> str:
    """Printable text within `width` columns; an ellipsis stands for what is left out."""
    if columns(text) <= width:
        return text
    kept, used = [], 1
    for character in reversed(text) if keep_end else text:
        used += _column(character)
        if used > width:
            break
        kept.append(character)
    return "…" + "".join(reversed(kept)) if keep_end else "".join(kept).rstrip() + "…"
