"""A caption for each picture of a folder, written by a run: a table, or JSON lines.

write_folder(run, "photos", Writing(beam=5), as_json=False, output="captions.csv", tell=print)
"""

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from answering.albums.album import folder_of_pictures, say_unread
from answering.albums.describing import why_not
from answering.albums.scanning import check_found, scan
from answering.writing import PictureWriter
from data.pictures import load_picture
from run import console, files
from run.folder import Run


class Writing(NamedTuple):
    """How captions are written: see `writing.PictureWriter.write`."""

    beam: int = 5
    rerank: bool = False
    normalise: bool = False


def write_folder(
    run: Run,
    folder: str | os.PathLike,
    how: Writing,
    as_json: bool,
    output: str | os.PathLike | None,
    tell: Callable[[str], None],
) -> None:
    """Writes captions of all pictures of a folder, in the order of their names.

    CSV has the best caption of each, `image,caption,score`; a JSON line all captions of the beam.

    Args:
      as_json: JSON lines; output: a file, or None for standard output.
      tell: is told which pictures cannot be read.

    Raises:
      ValueError: the run writes no captions, or there are no pictures.
    """
    folder = folder_of_pictures(folder)
    found = scan(folder)
    check_found(folder, found)
    if output is not None and folder in Path(output).resolve().parents:
        raise ValueError(
            f"--output {output} lies in the folder of pictures, where nothing is written: choose "
            "another name"
        )
    writer, broken = PictureWriter(run), {}

    def lines() -> Iterator[str]:
        if not as_json:
            yield _csv_line("image", "caption", "score")
        bar = tqdm(found.names, "captions", unit=" pictures", leave=False, disable=None)
        for name in bar:
            console.heed_signals()
            try:
                picture = load_picture(str(folder / name))
            except (ValueError, OSError) as error:
                broken[name] = why_not(error, folder / name)
                continue
            written = writer.write(picture, how.beam, how.rerank, how.normalise)
            if as_json:
                told = [{"caption": one.text, "score": float(one.score)} for one in written]
                yield json.dumps({"image": name, "captions": told}) + "\n"
            elif written:
                yield _csv_line(name, written[0].text, f"{written[0].score:.6g}")

    if output is None:
        for line in lines():
            sys.stdout.write(line)
            sys.stdout.flush()
    else:
        with (
            files.atomic_path(output) as temporary,
            open(temporary, "w", encoding="utf-8", errors="backslashreplace", newline="") as file,
        ):
            file.writelines(lines())
        tell(f"written: {output}")
    say_unread(broken, found.closed, tell)


def _csv_line(*values: str) -> str:
    """A line of CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()
