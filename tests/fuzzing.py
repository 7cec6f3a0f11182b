"""What the fuzz tests share: accidents of bytes and of types, and what a reader may answer.

MATCHBOX_FUZZ=2000 tries so many inputs of each; the suite tries a few, always the same.
"""

import contextlib
import copy
import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

INPUTS = int(os.environ.get("MATCHBOX_FUZZ", "12"))
fuzz = settings(
    max_examples=INPUTS,
    derandomize=INPUTS == 12,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
TOKENS = (
    b'"', b",", b"\n", b"\r", b"\r\n", b"\0", b"\t", b";", b"|", b"#", b"nan", b"null", b"{", b"[",
    b"]", b"}", b"'", b"\xff\xfe", b"\xef\xbb\xbf", b"\xe9", b"-", b"0", b"9", b"1e999", b"\\ud800",
    b"b'", b"..", b"/", b"\xcc\x81", b" ", b"test",
)  # fmt: skip
PART = st.integers(0, 9999).map(lambda part: part / 10000)
DAMAGE = st.lists(
    st.tuples(
        st.sampled_from(["flip", "flip", "insert", "insert", "cut", "repeat", "end"]),
        PART,
        st.integers(1, 60),
        st.one_of(
            st.sampled_from(TOKENS),
            st.binary(min_size=1, max_size=6),
            st.text("ab01 .", min_size=1, max_size=4).map(str.encode),
        ),
    ),
    min_size=1,
    max_size=2,
)
VALUES = st.sampled_from(
    [None, True, -1, 0, 7, 1.5, float("nan"), 10**30, "", " ", "x", "0", "../x", "a\0b", "\ud800",
     "nan", "b'x'", "['a', 'b']", [], {}, [None], ["a", "b"], [["a"]], {"a": 1}, [[[]] * 3] * 3,
     "test", "e\u0301", "x" * 500]
)  # fmt: skip


def damaged(content, damage):
    """Bytes after some accidents."""
    for what, where, length, piece in damage:
        at = int(where * len(content))
        if what == "flip":
            content = content[:at] + piece[:1] + content[at + 1 :]
        elif what == "cut":
            content = content[:at] + content[at + length :]
        elif what == "insert":
            content = content[:at] + piece + content[at:]
        elif what == "repeat":
            content = content[: at + length] + content[at:]
        else:
            content = content[:at]
    return content


def places(value, path=()):
    """The paths to everything in a JSON value."""
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


def retyped(value, where, new):
    """A JSON value with something else at one of its places."""
    value = copy.deepcopy(value)
    path = list(places(value))[int(where * (sum(1 for _ in places(value)) - 1))]
    if not path:
        return new
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return value


def attempt(function):
    """What a reader gives, or None where it refuses in one line."""
    try:
        return function()
    except ValueError as error:
        text = str(error)
        assert text and "\n" not in text, text
        assert not isinstance(error, UnicodeError), text
        assert len(text) < 3000
    return None


@contextlib.contextmanager
def replaced(path, content):
    """A file with other bytes for a while."""
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(before)
