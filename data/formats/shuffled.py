"""The test split of an assignment: images and captions, and nobody says which belong together.

  test_captions.txt    one caption a line: line k is row k of the text embeddings
  test_images.npy      one vector an image: row k is row k of the image embeddings
  test_images/         or pictures, 00000.jpg and on

`compare.py --make_assignment` writes them and keeps the key; they lie beside the table of the
training captions (`table.py`).
"""

from pathlib import Path

from data.formats.records import Records, listing, read_vectors
from data.formats.text import read_captions

CAPTIONS, VECTORS, PICTURES = "test_captions.txt", "test_images.npy", "test_images"


def read_shuffled(folder: Path) -> Records | None:
    """The test split that lies in a folder, its captions dealt out in their order; None: none does.

    Raises:
      ValueError: there are captions without images, or fewer than images.
    """
    path = folder / CAPTIONS
    if not path.is_file():
        return None
    captions, vectors, pictures = read_captions(path), None, None
    if (folder / VECTORS).is_file():
        vectors = read_vectors(folder / VECTORS)
    elif (folder / PICTURES).is_dir():
        pictures = [str(one) for one in sorted((folder / PICTURES).iterdir()) if one.name[0] != "."]
    images = len(pictures or ()) if vectors is None else len(vectors)
    if not images:
        raise ValueError(
            f"{path} needs {VECTORS} or {PICTURES}/ beside it; {folder} holds {listing(folder)}"
        )
    if len(captions) < images:
        raise ValueError(
            f"{path} has {len(captions)} lines for {images} images; expected one each or more"
        )
    ends = [len(captions) * image // images for image in range(images + 1)]
    return Records(
        names=[f"test-{image:05d}" for image in range(images)],
        captions=[captions[ends[image] : ends[image + 1]] for image in range(images)],
        vectors=vectors,
        pictures=pictures,
        shuffled=True,
    )
