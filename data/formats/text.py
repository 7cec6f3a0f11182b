"""Text as it comes: lines, names, captions and JSON of a file, read or refused by their name.

One caption check serves every reader (`caption_texts`): what `str()` makes of a null, a number,
bytes or a list never becomes a caption.
"""

import re
import reprlib
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

from run import files

LITERAL = re.compile(
    r"""(?P<missing>nan|none|null|n/a|<na>|nat)
      | (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|[+-]?inf(?:inity)?)
      | (?P<bytes>b(['"]).*\4)
      | (?P<list>\[\s*(?:u?(['"]).*\6\s*|(?:none|null|nan|[-+\d.,\s])*),?\]|\{\s*['"].*\})""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
HINTS = {
    "missing": "a missing value written as text: leave the entry out",
    "number": "a number: is it the right column?",
    "bytes": "the Python text of bytes: write caption.decode('utf-8')",
    "list": "the Python text of a list or dict: write one caption in each place",
}
_NOT_IN_NAMES = re.compile(r"[\x00-\x1f\ud800-\udfff]")
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60


def shown(value: Any) -> str:
    """A value of any size or depth, short and in one line, for an error."""
    return "null" if value is None else " ".join(_SHORT.repr(value).split())


# Names and captions.


def composed(name: str) -> str:
    """A name in Unicode's composed form (NFC): macOS writes the same names decomposed."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def name_text(value: Any, where: str, what: str = "name") -> str:
    """An image's or file's name: text in one line, composed.

    Raises:
      ValueError: it is no text, is empty, or holds characters that no name holds.
    """
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{where}: {what} {shown(value)}; expected text")
    if not value.isprintable() and _NOT_IN_NAMES.search(value.strip()):
        raise ValueError(f"{where}: {what} {shown(value)} holds characters that no name has")
    return composed(value.strip())


def caption_texts(value: Any, where: str) -> list[str]:
    """The captions of one entry: a text, or a list of texts.

    Args:
      value: what the entry holds.
      where: file and entry, the beginning of the message.

    Raises:
      ValueError: names the entry that is empty, no text, or only the literal of something else.
    """
    texts = value if isinstance(value, list) else [value]
    if not texts:
        raise ValueError(f"{where}: empty list of captions; write one, or remove the entry")
    for text in texts:
        if not isinstance(text, str):
            raise ValueError(
                f"{where}: caption {shown(text)} is no text; expected a text or a list of texts"
            )
        if not (plain := text.strip()):
            raise ValueError(f"{where}: empty caption; write or remove it")
        if plain[0].isalpha() and plain[0] not in "bBiInN":
            continue  # begins no literal
        if found := LITERAL.fullmatch(plain):
            raise ValueError(f"{where}: caption {shown(text)} is {HINTS[found.lastgroup or '']}")
    return texts


# Files of text.


def read_lines(path: Path) -> list[str]:
    """Lines of a UTF-8 text file, or of UTF-16 with its mark.

    A byte-order mark, Windows and old Mac line ends and blank last lines go.

    Raises:
      ValueError: the file cannot be read, or is in no such encoding; names the line.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        what = f"byte 0x{content[error.start]:02x} is not {'UTF-16' if wide else 'UTF-8'}"
        if b"\0" in content and not wide:
            what = "NUL bytes, as UTF-16 without its mark has them"
        raise ValueError(f"{path}, line {line}: {what}; save the file as UTF-8") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(
            f"{path}, line {line}: NUL bytes, as UTF-16 without its mark has them; save the file "
            "as UTF-8"
        )
    # Not splitlines(): that would also cut at line separators that stand inside a caption.
    lines = [line.rstrip("\r") for line in text.split("\n" if "\n" in text else "\r")]
    if "\r" in text and (mixed := next((n for n, one in enumerate(lines, 1) if "\r" in one), 0)):
        raise ValueError(
            f"{path}, line {mixed}: a carriage return inside the line: the file has line ends of "
            "two kinds; save it with one"
        )
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def read_names(path: Path) -> list[str]:
    """Lines of a list file, stripped and composed; blank ones are skipped."""
    lines = enumerate(read_lines(path), 1)
    return [name_text(line, f"{path}, line {number}") for number, line in lines if line.strip()]


def read_captions(path: Path) -> list[str]:
    """Lines of a file with one caption each.

    Raises:
      ValueError: a line is no caption; names it.
    """
    lines, start = read_lines(path), str(path)
    for number, line in enumerate(lines, 1):
        caption_texts(line, f"{start}, line {number}")
    return lines


# JSON.


def read_json_text(path: Path) -> Any:
    """The value of a JSON file of a data set.

    Raises:
      ValueError: the file is not whole JSON; names the line.
    """
    return files.parse_json("\n".join(read_lines(path)), str(path))


def json_entries(content: Any, key: str, needs: tuple[str, ...], refuse: Callable) -> list[dict]:
    """The objects of the list `key` of a JSON file, each with all that it needs.

    Args:
      content: of the file; key: the list's name; needs: the names that each of its objects has.
      refuse: makes the ValueError of what is missed.
    """
    rows = content.get(key) if isinstance(content, dict) else None
    if not isinstance(rows, list):
        raise refuse(repr(key))
    for place, row in enumerate(rows):
        missed = [need for need in needs if not isinstance(row, dict) or need not in row]
        if missed:
            raise refuse(f"{missed[0]!r} in entry {place} of {key}")
    return rows
