"""Training batches: a dict of arrays per replica, as a tf.data stream.

What a batch holds is a function of (seed, epoch, position) alone, so an interrupted and resumed run
sees the same batches as one that ran through, and R replicas together see those of one device.

| key | shape | what |
|---|---|---|
| `image` | (b, F) float32 | image vectors |
| `tokens` | (b, T) int32 | word ids, 0 pads; T is the longest caption of the global batch |
| `image_id`, `caption_id` | (b,) int32 | rows in the split |
| `concepts` | (b, K) float32 | where relevance is graded by concepts |
| `similarity` | (b, B) float32 | where it is graded by TF-IDF: to all captions of the batch |

Shape letters: B global batch, b rows of one replica, F feature, T tokens, K concepts, N images, M
captions.
"""

import numpy as np

import distribution
from text import Tokens


class TrainingBatches:
    """The batches of a training split.

    Args:
      vectors: (N, F) image vectors, may be memory-mapped, any float type.
      tokens: the M captions' word ids.
      caption_image: (M,) int32, row of each caption's image, sorted.
      settings: the run's configuration (`batch_size`, `captions`, `bucket`, `seed`).
      concepts: (N, K) float32 or None.
      tfidf: (M, V) SciPy sparse rows of L2 norm 1, or None.
    """

    def __init__(self, vectors, tokens: Tokens, caption_image, settings, concepts=None, tfidf=None):
        self.vectors, self.tokens, self.caption_image = vectors, tokens, caption_image
        self.concepts, self.tfidf = concepts, tfidf
        self.batch_size, self.captions = settings.batch_size, settings.captions
        self.seed, self.bucket = settings.seed, settings.bucket
        self.images, self.first = np.unique(caption_image, return_index=True)  # those with captions
        self.counts = np.diff(np.append(self.first, len(caption_image)))
        self._epoch, self._rows = -1, np.zeros(0, np.int64)
        self.items = len(caption_image) if self.captions == "all" else len(self.images)

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.items // self.batch_size)

    def order(self, epoch: int) -> np.ndarray:
        """Caption rows of one epoch in their random order: one per image, or all M."""
        if epoch != self._epoch:
            rng = np.random.default_rng((self.seed, epoch))
            if self.captions == "all":
                rows = rng.permutation(self.items)
            else:
                chosen = self.first + rng.integers(self.counts)
                rows = chosen[rng.permutation(self.items)]
            if self.bucket:
                rows = self.by_length(rows, rng)
            self._epoch, self._rows = epoch, rows  # the next batches want the same
        return self._rows

    def by_length(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Rows in batches of similar length, little of which is padding.

        Within windows of `bucket` batches the rows are sorted by length; then the batches come in
        random order, but for the last, which may be a short one, and so do the rows of each.
        """
        size = self.batch_size
        window = np.arange(len(rows)) // (self.bucket * size)
        rows = rows[np.lexsort((self.tokens.lengths[rows], window))]
        whole = len(rows) // size * size
        batches = rng.permutation(rows[:whole].reshape(-1, size))  # (whole batches, B)
        return np.append(rng.permuted(batches, axis=1), rows[whole:])

    def share(self, step: int, replica: int, total: int) -> dict[str, np.ndarray]:
        """What replica `replica` of `total` gets of global batch number `step`, counted from 0.

        Steps count on through the epochs: `step // steps_per_epoch` is the epoch.
        """
        epoch, position = divmod(step, self.steps_per_epoch)
        rows = self.order(epoch)[position * self.batch_size :][: self.batch_size]  # (B,) captions
        part = np.array_split(np.arange(len(rows)), total)[replica]
        captions = rows[part]
        images = self.caption_image[captions]
        batch = {
            "image": np.asarray(self.vectors[images], np.float32),
            "tokens": self.tokens.pad(rows)[part],
            "image_id": images.astype(np.int32),
            "caption_id": captions.astype(np.int32),
        }
        if self.concepts is not None:
            batch["concepts"] = self.concepts[images].astype(np.float32)
        if self.tfidf is not None:
            similarity = self.tfidf[captions] @ self.tfidf[rows].T
            batch["similarity"] = similarity.toarray().astype(np.float32)
        return batch

    def dataset(self, strategy=None, first_epoch: int = 0):
        """What `keras.Model.fit` reads: endless, with `steps_per_epoch` steps to an epoch."""
        import tensorflow as tf

        first, here, total = distribution.replicas_here(strategy)
        example = self.share(0, 0, total)
        types = [tf.as_dtype(value.dtype) for value in example.values()]
        shapes = {key: (None, *value.shape[1:]) for key, value in example.items()}
        shapes["tokens"] = shapes["similarity"] = (None, None)

        def read(count):
            step, replica = divmod(int(count), here)
            return list(self.share(step, first + replica, total).values())

        def to_batch(count):
            values = tf.numpy_function(read, [count], types, stateful=False)
            batch = dict(zip(example, values, strict=True))
            return {key: tf.ensure_shape(value, shapes[key]) for key, value in batch.items()}

        def make():
            # Numbers are mapped to batches; from_tensor_slices would copy the arrays into the
            # graph and die at 2 GiB, while rows of a memory map are read where they are needed.
            start = first_epoch * self.steps_per_epoch * here
            numbers = tf.data.Dataset.range(start, np.iinfo(np.int64).max)
            return numbers.map(to_batch).prefetch(2 * here)

        return distribution.distribute(strategy, make)


def tfidf_rows(captions: list[str]):
    """TF-IDF vectors of the training captions, scikit-learn's defaults.

    Returns:
      (M, V) SciPy sparse float64, rows of L2 norm 1 (0 for a caption without words).
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    import text

    return TfidfVectorizer(analyzer=text.bag_words).fit_transform(captions).tocsr()


def choose_relevance(settings, concepts) -> str:
    """ "concepts", "identity" or "tfidf": what `--relevance` means for this data.

    Raises:
      ValueError: concepts are asked for and the data has none; or a soft triplet, which is 0
        wherever negatives have relevance 0, is trained with identity.
    """
    chosen = settings.relevance
    soft = settings.loss.startswith("soft_")
    if chosen == "auto":
        chosen = "concepts" if concepts is not None else "identity"
    if chosen == "concepts" and concepts is None:
        raise ValueError(
            f"--relevance concepts: the data set {settings.data} has no concepts; use tfidf or "
            "identity"
        )
    if chosen == "identity" and soft:
        raise ValueError(
            f"--loss {settings.loss} is 0 where negatives have relevance 0, as with --relevance "
            "identity: use tfidf or concepts"
        )
    literal = chosen == "concepts" and settings.loss in ("modified", "assignment")
    if settings.literal_relevance and not literal:
        raise ValueError(
            "--literal_relevance is about the concepts of the modified and the assignment loss: it "
            f"means nothing with --relevance {chosen} and --loss {settings.loss}"
        )
    return chosen
