"""Word vectors that others trained, for the words of a vocabulary.

    rows, found = read_word_vectors("glove.6B.300d.txt", vocabulary.words)
    print(coverage_line(found, tokens.flat))

Reads GloVe text, word2vec text and word2vec binary, each also gzipped, and recognises which it is.
Files are read as a stream: of GoogleNews (3,000,000 words, 3.6 GB) only what is wanted is held.

Shape letters: V vocabulary, d numbers of a vector, L ids of all captions.
"""

import gzip
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import numpy as np

HEAD = 1 << 16  # bytes by which the format is recognised; no word is longer
BLOCK = 1 << 20
GZIP = b"\x1f\x8b"


class _Row(NamedTuple):
    place: str  # for messages
    word: bytes
    numbers: bytes


class _Format(NamedTuple):
    binary: bool
    promised: int | None  # rows, by the header of word2vec
    dim: int


def read_word_vectors(path: str | Path, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of some words.

    A word takes the vector of the file's word that is spelt the same, else in lower case, else with
    a capital initial: GoogleNews knows "American", but no "american". Where the file holds a word
    twice, the first counts.

    Args:
      path: a file of word vectors.
      words: the V words that are wanted.

    Returns:
      rows (V, d) float32, zeros where there is no vector; found (V,) bool.

    Raises:
      ValueError: the file is missing, holds no vectors, is cut off, has rows of unequal length or
        numbers that are not finite; names the file and the line.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(
            f"{path}: there is no such file; expected word vectors of GloVe or word2vec"
        )
    try:
        with open(path, "rb") as raw:
            zipped = raw.read(len(GZIP)) == GZIP
            raw.seek(0)
            file = cast(BinaryIO, gzip.GzipFile(fileobj=raw) if zipped else raw)
            layout = _recognise(file)
            read = _binary_rows if layout.binary else _text_rows
            return _collect(_with_bar(read(file, layout), raw, path), layout, words)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: is cut off or damaged ({error}); fetch it anew") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def coverage_line(found: np.ndarray, ids: np.ndarray) -> str:
    """One line: which share of the words, and of what the captions say, has a vector.

    Args:
      found: (V,) bool, the words that have one.
      ids: (L,) ids of captions by the same vocabulary (`text.Tokens.flat`): 1..V are words, V + 1
        unknown ones, which count as tokens without a vector; V + 2, the end, does not count.
    """
    counts = np.bincount(ids, minlength=len(found) + 2)[1 : len(found) + 2]  # (V + 1,)
    covered, tokens = counts[:-1][found].sum(), max(1, counts.sum())
    return (
        f"word vectors: {found.sum():,} of {len(found):,} words "
        f"({found.mean() if len(found) else 0:.1%}), {covered / tokens:.1%} of all tokens"
    ).replace("%", " %")


def _recognise(file: BinaryIO) -> _Format:
    """Tells the format by the first two lines."""
    head = file.read(HEAD)
    file.seek(0)
    first, _, rest = head.partition(b"\n")
    fields = first.split()
    if len(fields) == 2 and all(field.isdigit() for field in fields):
        count, dim = map(int, fields)
        if not (count and 0 < dim <= HEAD and rest.strip()):
            raise ValueError(f"holds no vectors, by its header {count:,} of {dim:,} numbers")
        second = rest.partition(b"\n")[0].split()
        return _Format(not _are_numbers(second[1:]), count, dim)
    if not _are_numbers(fields[1:]):
        raise ValueError(
            "holds no word vectors: expected a word and its numbers on line 1, or the header of "
            "word2vec"
        )
    return _Format(False, None, len(fields) - 1)


def _are_numbers(fields: Sequence[bytes]) -> bool:
    """Whether there are fields and all are numbers."""
    try:
        return bool([float(field) for field in fields])
    except ValueError:
        return False


def _text_rows(file: BinaryIO, layout: _Format) -> Iterator[_Row]:
    """A word and its numbers on each line."""
    start = 1 if layout.promised is None else 2
    if layout.promised is not None:
        file.readline()
    rows = 0
    for number, whole in enumerate(file, start):
        line = whole.strip(b" \t\r\n")
        if not line:
            continue
        word, _, numbers = line.partition(b" ")
        if line.count(b" ") != layout.dim or b"\t" in line:
            word, numbers = _split_odd(line, layout.dim, number)
        rows += 1
        yield _Row(f"line {number:,}", word, numbers)
    if layout.promised is not None and rows != layout.promised:
        raise ValueError(f"has {rows:,} vectors, its header promises {layout.promised:,}: cut off?")


def _split_odd(line: bytes, dim: int, number: int) -> tuple[bytes, bytes]:
    """Word and numbers of a line that has tabs, several spaces, or a word with spaces.

    Such words are real: glove.840B holds `. . .` and `at name@domain.com`.
    """
    fields = line.split()
    if len(fields) <= dim or (len(fields) > dim + 1 and _are_numbers(fields[1:2])):
        raise ValueError(
            f"line {number:,} has {len(fields) - 1} numbers, the lines before it {dim}: is the "
            "file damaged?"
        )
    return b" ".join(fields[:-dim]), b" ".join(fields[-dim:])


def _binary_rows(file: BinaryIO, layout: _Format) -> Iterator[_Row]:
    """A word, a space and d little-endian float32, maybe a line feed, `count` times."""
    file.readline()
    size, held, start = 4 * layout.dim, b"", 0
    for number in range(1, (layout.promised or 0) + 1):
        while (space := held.find(b" ", start)) < 0 or len(held) - space - 1 < size:
            if space < 0 and len(held) - start > HEAD:
                raise ValueError(f"vector {number:,} has no word: is it word2vec binary?")
            block = file.read(BLOCK)
            if not block:
                raise ValueError(f"ends within vector {number:,} of {layout.promised:,}: cut off?")
            held, start = held[start:] + block, 0
        end = space + 1 + size
        yield _Row(f"vector {number:,}", held[start:space].lstrip(b"\n"), held[space + 1 : end])
        start = end


def _with_bar(rows: Iterator[_Row], raw: BinaryIO, path: Path) -> Iterator[_Row]:
    """The same rows, with a progress bar for a file that takes longer than two seconds."""
    from tqdm import tqdm

    size = path.stat().st_size
    with tqdm(
        total=size, desc=path.name, unit="B", unit_scale=True, delay=2, disable=None, leave=False
    ) as bar:
        for number, row in enumerate(rows):
            if number % 4096 == 0:
                bar.update(raw.tell() - bar.n)
            yield row


def _collect(
    rows: Iterator[_Row], layout: _Format, words: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Keeps the vectors of the wanted words, the best spelling of each."""
    wanted: dict[bytes, list[tuple[int, int]]] = defaultdict(list)  # [(rank of spelling, place)]
    for place, word in enumerate(words):
        spellings = dict.fromkeys((word, word.lower(), word.capitalize()))
        for rank, spelling in enumerate(spellings):
            wanted[spelling.encode("utf-8", "surrogatepass")].append((rank, place))
    parse: Callable[[bytes], np.ndarray] = _parse_binary if layout.binary else _parse_text
    vectors = np.zeros((len(words), layout.dim), np.float32)
    best = np.full(len(words), 3)  # rank of the spelling that was found, 3 for none
    for row in rows:
        if row.word not in wanted:
            continue
        try:
            vector = parse(row.numbers)
        except ValueError:
            raise ValueError(f"{row.place} holds what is no number: is it damaged?") from None
        if len(vector) != layout.dim:
            raise ValueError(f"{row.place} has {len(vector)} numbers, expected {layout.dim}")
        if not np.isfinite(vector).all():
            raise ValueError(f"{row.place} holds NaN or infinity: train or fetch it anew")
        for rank, place in wanted[row.word]:
            if rank < best[place]:
                vectors[place], best[place] = vector, rank
    return vectors, best < 3


def _parse_text(numbers: bytes) -> np.ndarray:
    return np.array(numbers.split(), np.bytes_).astype(np.float32)


def _parse_binary(numbers: bytes) -> np.ndarray:
    return np.frombuffer(numbers, "<f4")
