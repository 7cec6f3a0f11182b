"""What finds images in a run's gallery, instead of comparing them all: its index, or a database.

gallery = open_engine(run, "milvus", "gallery.db", tell)
"""

import importlib.util
from collections.abc import Callable

from gallery.stored import Gallery
from run.folder import Run


def open_engine(
    run: Run, engine: str | None, uri: str | None, tell: Callable[[str], None]
) -> Gallery:
    """The run's gallery with what finds its images.

    Args:
      engine: "milvus", or None for the index that the run has.
      uri: of the database, as of `gallery.milvus.open_collection`.
      tell: is told where all images are compared all the same.

    Raises:
      ValueError: the run does not compare by cosine, or the database lacks its rows.
    """
    if engine is None:
        gallery = Gallery(run, by_index=True)
        if gallery.index and importlib.util.find_spec("faiss") is None:
            tell("all images are compared: the index needs pip install faiss-cpu")
            gallery.index = None
        return gallery
    from gallery import milvus

    gallery = Gallery(run)
    if gallery.similarity != "cosine":
        raise ValueError(f"--engine is for cosine: {run} compares by {gallery.similarity}")
    gallery.index = milvus.open_collection(run, uri)
    gallery.index.open(gallery.num_images)
    return gallery
