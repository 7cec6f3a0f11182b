"""Embeddings after training: of a whole split, chunk by chunk, or of a few rows.

Shape letters: B batch, D embedding, F feature, N images, M captions, T tokens.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from keras import ops


def encode_split(model, vectors, tokens, workers=1):
    """Embeddings of a split.

    Rows are computed a chunk at a time, captions of equal length and pictures of equal shape
    together, short chunks filled up.
    How a matrix product rounds depends on its shape and on its threads; so with one thread to an
    operation (`replicas.set_devices`) the result is the same bytes however many workers share the
    chunks.

    Args:
      model: a `DualEncoder`.
      vectors: (N, F) image vectors, or `pixels.Pictures`.
      tokens: the M captions' ids (`words.Tokens`).
      workers: chunks computed at the same time.

    Returns:
      image (N, D), text (M, D): float32 NumPy arrays of unit rows.
    """
    chunks = model.parts.chunks

    def rows(compute, chunk, parts, take, number):
        found = np.empty((number, model.embed_dim), np.float32)

        def one(part):
            filled = np.concatenate([part, np.full(chunk - len(part), part[0])])
            found[part] = ops.convert_to_numpy(compute(take(filled)))[: len(part)]

        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(one, parts))
        return found

    def split(order, chunk):
        return [order[start : start + chunk] for start in range(0, len(order), chunk)]

    def take_image(part):
        return np.asarray(vectors[part], np.float32)

    if hasattr(vectors, "view_groups"):
        take_image, parts = vectors.views, vectors.view_groups(chunks.image)
    else:
        parts = split(np.arange(len(vectors)), chunks.image)
    image = rows(model.encoders.image, chunks.image, parts, take_image, len(vectors))
    captions = split(tokens.order(), chunks.text)
    return image, rows(model.encoders.text, chunks.text, captions, tokens.pad, len(tokens))


def encode_rows(model, vectors, tokens):
    """Embeddings of a few rows at once, as after training.

    Args:
      model: a `DualEncoder`; vectors: (B, F) float32; tokens: (B, T) int32.

    Returns:
      {"image": (B, D), "text": (B, D)} of the backend's tensors.
    """
    return {"image": model.encoders.image(vectors), "text": model.encoders.text(tokens)}
