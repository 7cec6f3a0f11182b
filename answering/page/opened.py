"""Runs as the page asks them: opened when they are first asked, and anew when they were regraded.

    runs = Runs("exp", Run("exp/mine"))
    runs.open("mine").ask("a red circle", k=24)

Many threads ask at the same time. What a run has on disk is only read; what takes long, such as an
explanation, is done by one thread at a time, so that many questions need no more memory than one.
"""

import io
import os
import threading
import time
from collections import OrderedDict
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from answering import search
from answering.explain import Explainer
from answering.page import facts, tiles
from answering.page.facts import Told
from answering.wording import read_query
from data.pictures import read_picture
from figures import heat
from gallery.stored import Gallery
from run.console import printable
from run.folder import Run, list_runs

if TYPE_CHECKING:
    from answering.albums import Album

MOST_OPEN = 4  # runs at the same time
KEPT_TILES, KEPT_EXPLANATIONS = 512, 32  # of each run: some 15 MB and some 10 MB
MOST_LETTERS = 2000  # of a question
LISTED_FOR = 1.0  # seconds, until the folder of runs is looked at again


class OpenRun:
    """One run, opened.

    Args:
      name: what the page calls it; run: its folder.
      anywhere: pictures outside the folder of its data are shown, too.
      album: own pictures that are asked instead of its gallery.

    Raises:
      ValueError: it has not been scored, or is damaged.
    """

    def __init__(self, name: str, run: Run, anywhere: bool = False, album: "Album | None" = None):
        self.name, self.run, self.anywhere = name, run, anywhere
        self.version = version_of(run)
        own, self.encoder = Gallery(run), search.QueryEncoder(run)
        self.gallery = own if album is None else album
        self.judge = None
        if album is not None:
            from answering.albums import Judge  # a fifth of a second
            from answering.albums import album as albums

            self.judge = Judge(run, own, albums.tell_error)
        self.folder = run.data_folder() if album is None else None
        self.slow = threading.RLock()  # one thread at a time describes or explains
        self._explainer: Explainer | None = None
        self._undescribed = ""  # why it cannot describe pictures
        self.tile = lru_cache(KEPT_TILES)(lambda row: self.picture(row, tiles.SMALL))
        self._explained = lru_cache(KEPT_EXPLANATIONS)(self._explain)

    def about(self) -> Told:
        """What the page says before anything is asked."""
        gallery = self.gallery
        why = self.why_no_pictures()
        return {
            "run": self.name,
            "folder": printable(str(gallery.folder or "")),
            "version": self.version,
            "images": gallery.num_images,
            "captions": gallery.num_captions,
            "similarity": gallery.similarity,
            "examples": facts.examples(gallery, self.encoder),
            "samples": facts.samples(gallery),
            "describes": not why,
            "why_not": why,
            "most_bytes": tiles.MOST_BYTES,
        }

    def ask(self, sentence: str, k: int) -> Told:
        """The k nearest pictures of a sentence. Raises ValueError: it cannot be asked."""
        asked = search.ask_sentence(self.encoder, checked(sentence), minus=False)
        answers, note = asked.nearest(self.gallery, k)
        answers, fits = search.judge(self.gallery, asked, answers)
        note += search.count_fits(answers, fits)
        if self.judge and (verdict := self.judge.judge(asked, answers)):
            answers, note = verdict.answers, f"{note} · {verdict.told()}"
        return {
            "note": note,
            "remarks": [printable(line) for line in asked.wording.remarks],
            "unknown": [printable(word) for word in asked.unknown],
            "answers": [facts.told_answer(one) for one in answers],
        }

    def look(self, row: int, k: int) -> Told:
        """A picture of the gallery: its own captions, those nearest to it, the nearest pictures."""
        gallery = self.gallery
        own = [printable(gallery.captions[one]) for one in gallery.captions_of(row)]
        near = facts.neighbours(gallery, gallery.image[row : row + 1], k, row)
        return {**facts.pictured(gallery, row), "own_captions": own, **near}

    def look_at(self, data: bytes, k: int) -> Told:
        """A picture that was sent: the nearest captions, and the nearest pictures.

        Raises:
          ValueError: it is no picture, too large, or the run cannot describe pictures.
        """
        with self.slow:
            explainer = self.explainer()
            if explainer.pictures is None:
                raise ValueError(f"this picture cannot be asked with: {self._undescribed}")
            with tiles.DECODING:
                picture = read_picture(
                    io.BytesIO(data), "the picture", tiles.FORMATS, tiles.MOST_PIXELS
                )
            vector = explainer.pictures([picture])
        return facts.neighbours(self.gallery, vector, k)

    def explain(self, row: int, sentence: str) -> tuple[Told, bytes | None]:
        """Why a sentence and a picture match: words, and the heat map as PNG where there is one.

        Raises:
          ValueError: the model knows no word of the sentence.
        """
        with self.slow:
            wording = read_query(self.encoder.vocabulary, checked(sentence))
            return self._explained(row, wording.text)

    def _explain(self, row: int, sentence: str) -> tuple[Told, bytes | None]:
        picture = self._open_picture(row)
        vector, name = self.gallery.image[row : row + 1], self.gallery.image_names[row]
        found = self.explainer()(name, sentence, vector, picture)
        drawn, largest = None, None
        if found.picture is not None and found.places is not None:
            cells = heat.cells(found.places)
            drawn, largest = tiles.heat_png(found.picture, cells), float(abs(cells).max())
        words = [
            {"word": printable(word.text), "change": word.change, "note": word.note}
            for word in found.words
        ]
        why = "" if drawn else self._undescribed or "the picture cannot be shown"
        told = {
            "sentence": printable(sentence),
            "score": found.score,
            "words": words,
            "num_words": found.num_words,
        }
        return {**told, "heat": drawn is not None, "largest": largest, "why_not": why}, drawn

    def explainer(self) -> Explainer:
        """The run's explainer, opened by whoever needs it first."""
        with self.slow:
            if self._explainer is None:
                reasons: list[str] = []
                self._explainer = Explainer(
                    self.run, self.gallery, self.encoder, tell=reasons.append
                )
                self._undescribed = " ".join(reasons).partition(": ")[2]
            return self._explainer

    def why_no_pictures(self) -> str:
        """Why the run cannot describe a picture that is sent; "" where it can."""
        self.explainer()
        return self._undescribed

    def picture(self, row: int, side: int) -> bytes | None:
        """A picture of the gallery as JPEG of at most `side` pixels; None where there is none."""
        picture = self._open_picture(row)
        return None if picture is None else tiles.jpeg(picture, side)

    def _open_picture(self, row: int):
        pictures = search.GalleryPictures(self.run, self.gallery, self.folder, self.anywhere)
        with tiles.DECODING:
            return pictures(row)


class Runs:
    """The scored runs below a folder, by the names that the page may ask for.

    Args:
      root: --exp_root.
      first: the run that is shown first; None: the latest that was scored.
      anywhere, album: see `OpenRun`; with an album, which is of one run, that is the only one.
    """

    def __init__(
        self,
        root: str | os.PathLike,
        first: Run | None = None,
        anywhere: bool = False,
        album: "Album | None" = None,
    ):
        self.root, self.first, self.anywhere, self.album = Path(root), first, anywhere, album
        self.lock = threading.Lock()
        self._listed: tuple[float, dict[str, Run]] = (-LISTED_FOR, {})
        self.kept: OrderedDict[str, OpenRun] = OrderedDict()

    def named(self) -> dict[str, Run]:
        """{name: run}, the one that is shown first, then the latest."""
        now = time.monotonic()
        listed, named = self._listed
        if now - listed >= LISTED_FOR:  # a page of fifty pictures asks fifty times
            named = self._list()
            self._listed = now, named
        return named

    def _list(self) -> dict[str, Run]:
        found = [] if self.first is None else [self.first]
        if self.album is None:
            found += [Run(folder) for folder in reversed(list_runs(self.root))]
        named: dict[str, Run] = {}
        for run in found:
            if run.projections.is_file() and run.query_tower.is_file():
                inside = run.folder.parent.resolve() == self.root.resolve()
                named.setdefault(printable(run.folder.name if inside else str(run)), run)
        return named

    def first_is_scored(self) -> bool:
        """Whether the run that is shown first can be asked."""
        return self.first in self.named().values()

    def open(self, name: str | None = None) -> OpenRun:
        """A run by its name; None: the first.

        Raises:
          ValueError: there is no such run, or it is damaged.
        """
        named = self.named()
        name = next(iter(named), "") if name is None else name
        if name not in named:
            raise ValueError(
                f"there is no scored run {name!r} in {self.root}: choose one of the list"
                if named
                else f"there is no scored run in {self.root} yet: python train.py, python test.py"
            )
        with self.lock:
            run = self.kept.get(name)
            if run is None or run.version != version_of(named[name]):
                if run and self.album:  # its rows are of the weights that were there before
                    raise ValueError(f"{name} was scored again: start --serve --pictures anew")
                run = OpenRun(name, named[name], self.anywhere, self.album)
            self.kept[name] = run
            self.kept.move_to_end(name)
            while len(self.kept) > MOST_OPEN:
                self.kept.popitem(last=False)
        return run


def version_of(run: Run) -> str:
    """What changes when a run was regraded."""
    state = os.stat(run.projections)
    return f"{state.st_mtime_ns:x}-{state.st_size:x}"


def checked(sentence: str) -> str:
    """A sentence of a length that can be asked. Raises ValueError."""
    if len(sentence) > MOST_LETTERS:
        raise ValueError(
            f"the sentence has {len(sentence):,} letters, at most {MOST_LETTERS:,} can be asked"
        )
    return sentence
