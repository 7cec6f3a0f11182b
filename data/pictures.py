"""The pictures of a data set: a reference to each, short enough to keep, and the picture again.

    references = picture_references(split)          # kept in projections.npz, in the images' order
    picture = load_picture(references[7], data_dir)  # 8-bit RGB, the right way up

Readers of whole splits are in `data/vision`; here a query's few answers are fetched, so Pillow and
the drawing program are imported when the first picture is.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from run.files import DAMAGE, reason

if TYPE_CHECKING:
    from PIL import Image

    from data.datasets import Split


def picture_references(split: "Split") -> list[str]:
    """For each image, a string from which `load_picture` finds its picture again.

    Returns:
      N strings: a path from the data folder, `scenes:<seed>:<split>:<index>`, or "" for none.
    """
    if isinstance(split.pictures, list):
        start = split.origin + os.sep
        return [
            (
                path[len(start) :]
                if path.startswith(start)
                else os.path.relpath(path, split.origin)
            ).replace(os.sep, "/")
            for path in split.pictures
        ]
    if split.pictures is not None and split.origin.startswith("scenes:"):
        # By the image's name: held-out images of the training split stand in another one.
        parts = (name.rpartition("-") for name in split.image_names)
        return [f"{split.origin}:{drawn}:{int(index)}" for drawn, _, index in parts]
    return [""] * split.num_images


def load_picture(
    reference: str, data_dir: str | os.PathLike | None = None, within: bool = False
) -> "Image.Image":
    """The picture that a reference means, or a picture file, as 8-bit RGB, the right way up.

    The camera's orientation (EXIF) is applied; greyscale, palette, CMYK and 16-bit pictures are
    converted; what is transparent is laid on white.

    Args:
      reference: of `picture_references`, or any path.
      data_dir: what relative paths start from, the data set's `data_dir`; None: the working folder.
      within: only a file below that folder is opened, symbolic links followed.

    Raises:
      ValueError: there is no such picture, or it is empty, damaged or elsewhere; names the file.
    """
    if not reference:
        raise ValueError("this image has no picture; the data set came without pictures")
    if reference.startswith("scenes:"):
        return _draw_scene(reference)
    path = Path(reference)
    base = Path(data_dir or "")
    base = base.parent if base.is_file() else base
    path = base / path  # an absolute one stays as it is
    if within and not path.resolve().is_relative_to(base.resolve()):
        raise ValueError(
            f"picture {path} lies outside the data folder {base.absolute()}: where you trust the "
            "run, pass --pictures_anywhere"
        )
    if not path.is_file():
        raise ValueError(f"picture {path.absolute()} does not exist; was the data moved?")
    if not path.stat().st_size:
        raise ValueError(f"picture {path} is empty (0 bytes)")
    return read_picture(path, f"picture {path}")


def read_picture(
    source: Path | BinaryIO,
    called: str,
    formats: tuple[str, ...] | None = None,
    most_pixels: int | None = None,
) -> "Image.Image":
    """A picture file, or an open one, as `load_picture` gives it.

    Args:
      called: how an error calls it.
      formats: of Pillow's, which alone are tried; None: all.
      most_pixels: a larger picture is refused before it is decoded.

    Raises:
      ValueError: it is damaged, no picture, or too large.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(source, formats=formats) as picture:
            width, height = picture.size
            if most_pixels is None or width * height <= most_pixels:
                ImageOps.exif_transpose(picture, in_place=True)  # a large one is not copied
                return _to_rgb(picture)
    except (*DAMAGE, Image.DecompressionBombError) as error:
        why = reason(error).replace(f"{str(source)!r}", "it").replace(str(source), "it")
        if _head(source)[4:11] in (b"ftyphei", b"ftyphev", b"ftypmif", b"ftypmsf"):
            why = "HEIC: save it as JPEG"
        raise ValueError(f"{called} is damaged or no picture ({why})") from error
    raise ValueError(
        f"{called} has {width:,} x {height:,} pixels, at most {most_pixels:,} are read: make it "
        "smaller"
    )


def _head(source: Path | BinaryIO) -> bytes:
    """The first bytes of a file."""
    if not isinstance(source, Path):
        source.seek(0)
        return source.read(12)
    with open(source, "rb") as file:
        return file.read(12)


def _draw_scene(reference: str) -> "Image.Image":
    from PIL import Image

    from data.scenes import world

    try:
        return Image.fromarray(world.draw_scene(world.find_scene(reference)))
    except DAMAGE as error:
        raise ValueError(
            f"picture {reference!r}: expected scenes:<seed>:<split>:<index> ({reason(error)})"
        ) from error


def _to_rgb(picture: "Image.Image") -> "Image.Image":
    """8-bit RGB of a picture of any mode."""
    from PIL import Image

    if picture.mode.startswith("I") or picture.mode == "F":
        values = np.nan_to_num(np.asarray(picture, dtype=np.float64))
        top = values.max(initial=0)
        # 16-bit modes count to 65,535, or hold 12 bits. The wider ones do not say: their brightest
        # value decides.
        if picture.mode.startswith("I;16") or top > 255:
            scale = 255 / (4095 if top <= 4095 else 65535)
        else:
            scale = 255 if picture.mode == "F" and top <= 1 else 1
        return Image.fromarray(np.clip(values * scale, 0, 255).astype(np.uint8)).convert("RGB")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert(
            "RGB"
        )
    return picture.convert("RGB")
