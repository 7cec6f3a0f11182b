"""The built-in data set as records: drawn once, then read from its cache.

Shape letters: N images, M captions.
"""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import PIL

from data.formats.records import SPLITS, ReadingOptions, Records
from run import caches
from run.files import PackedStrings, open_arrays, pack_strings, write_arrays


def read_scenes(source: Path | None, options: ReadingOptions) -> dict[str, Records]:
    """The built-in data set: 4,000 / 500 / 1,000 drawn images (or `limit` of each), five captions.

    Drawing takes seconds, so it is done once; the cache file is named by the code that draws, the
    seed and the number, and pictures are memory-mapped from it.
    """
    return {split: _read_scene_split(split, options) for split in SPLITS}


def _read_scene_split(split: str, options: ReadingOptions) -> Records:
    key = hashlib.sha256(f"{PIL.__version__} {options.seed} {options.limit}".encode())
    for code in sorted((Path(__file__).parents[1] / "scenes").glob("*.py")):
        key.update(code.read_bytes())
    path = options.cache_dir / f"scenes_{split}_{key.hexdigest()[:16]}.npz"
    if not caches.is_whole(path):
        write_arrays(path, _draw_scenes(split, options))
    stored = open_arrays(path)
    texts = list(PackedStrings(stored["texts"], stored["offsets"]))
    ends = np.cumsum(stored["counts"]).tolist()
    return Records(
        names=[f"{split}-{index:05d}" for index in range(len(ends))],
        captions=[texts[start:end] for start, end in zip([0, *ends], ends, strict=False)],
        pictures=stored["pictures"],
        concepts=stored["concepts"],
        fits=partial(_scene_fits, split, len(ends), options.seed),
    )


def _draw_scenes(split: str, options: ReadingOptions) -> dict[str, np.ndarray]:
    """What the cache holds of one split."""
    from tqdm import tqdm

    from data.scenes import drawing, world

    count = min(world.SPLITS[split], options.limit or world.SPLITS[split])
    drawn, captions = world.make_scenes(split, count, options.seed)
    texts, offsets = pack_strings([caption.text for own in captions for caption in own])
    parts = [drawn[start : start + 100] for start in range(0, count, 100)]
    what = f"drawing scenes ({split})"
    with ThreadPoolExecutor() as pool:  # Pillow paints without Python's lock
        painted = pool.map(drawing.draw_all, parts)
        pictures = list(tqdm(painted, what, len(parts), disable=None, leave=False))
    return {
        "pictures": np.concatenate(pictures),
        "concepts": np.stack([world.concepts(scene) for scene in drawn]),
        "counts": np.array([len(own) for own in captions]),
        "texts": texts,
        "offsets": offsets,
    }


def _scene_fits(split: str, count: int, seed: int) -> np.ndarray:
    """(M, N) bool, which captions are true of which scenes."""
    from data.scenes import world

    drawn, captions = world.make_scenes(split, count, seed)
    return world.fit_matrix([caption for own in captions for caption in own], drawn)
