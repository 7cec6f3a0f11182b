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
| `image` | (b, S, S, 3) uint8 | instead: pictures, cropped and mirrored anew in every epoch |
| `label` | (b,) int32, or (b, K) float32 | system 3: the image's class, or its shares of all K |
| `pool`, `pool_id`, `pool_label` | (p, T), (p,), (p,) int32 | captions to choose hard texts from |
| `image_row` | (b,) int32 | where captions stand together: which of `image` is theirs |
| `image_view`, `tokens_view` | as `image`, `tokens` | drawn anew, where views are compared |
| `row` | (b,) int32 | with `pool`: the places of the rows in the global batch |

Shape letters: B global batch, b rows of one replica, F feature, T tokens, K concepts or classes, N
images, M captions, S side of a picture, p this replica's share of the P candidates.
"""

import numpy as np
import scipy.sparse

from data.language.words import Tokens
from run import recipes, replicas
from training import waiting

PHRASE_CAPTIONS = 20  # that a phrase must stand in to be a class


class TrainingBatches:
    """The batches of a training split.

    Args:
      vectors: (N, F) image vectors, may be memory-mapped, any float type; or `pictures.Pictures`.
      tokens: the M captions' word ids.
      caption_image: (M,) int32, row of each caption's image, sorted.
      settings: the run's configuration (`batch_size`, `captions`, `bucket`, `seed`; of system 3
        `hard_texts`).
      concepts: (N, K) float32 or None.
      tfidf: (M, V) SciPy sparse rows of L2 norm 1, or None.
      classes: (N,) int32, system 3: the images' classes, or SciPy sparse (N, K), their shares of
        classes. Captions then fill rows of 32 places, at random shifts.

    Attributes:
      clock: how long training has waited for batches (`waiting.Clock`).
    """

    def __init__(
        self, vectors, tokens: Tokens, caption_image, settings, concepts=None, tfidf=None,
        classes=None,
    ):  # fmt: skip
        self.vectors, self.tokens, self.caption_image = vectors, tokens, caption_image
        self.concepts, self.tfidf, self.classes = concepts, tfidf, classes
        self.batch_size, self.captions = settings.batch_size, settings.captions
        self.seed, self.bucket = settings.seed, settings.bucket
        self.micro_batch = settings.micro_batch
        self.candidates = settings.hard_texts if classes is not None else 0
        self.reads_pictures = hasattr(vectors, "windows")
        self.views = recipes.drawn_views(settings)
        self.images, self.first = np.unique(caption_image, return_index=True)  # those with captions
        self.counts = np.diff(np.append(self.first, len(caption_image)))
        self._epoch, self._rows = -1, np.zeros(0, np.int64)
        self.together = self.captions == "together"
        self.items = len(self.images) if self.captions == "one" else len(caption_image)
        self.size = self.batch_size  # rows of `order` in a batch
        if self.together:
            self.size = max(2, round(self.batch_size * len(self.images) / len(caption_image)))
        self.clock = waiting.Clock()

    @property
    def steps_per_epoch(self) -> int:
        return -(-(len(self.images) if self.together else self.items) // self.size)

    def order(self, epoch: int) -> np.ndarray:
        """Rows of one epoch in their random order: captions, one per image or all M, or images."""
        if epoch != self._epoch:
            rng = np.random.default_rng((self.seed, epoch))
            if self.together:
                rows = rng.permutation(len(self.images))
            elif self.captions == "all":
                rows = rng.permutation(self.items)
            else:
                chosen = self.first + rng.integers(self.counts)
                rows = chosen[rng.permutation(self.items)]
            if self.bucket and not self.together:
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
        chosen = self.order(epoch)[position * self.size :][: self.size]
        if self.together:  # all captions of some images
            parts = np.array_split(np.arange(len(chosen)), total)[replica]
            owner = np.repeat(np.arange(len(chosen)), self.counts[chosen])  # (B,)
            within = np.concatenate([np.arange(count) for count in self.counts[chosen]])
            rows = self.first[chosen][owner] + within
            part = np.flatnonzero(np.isin(owner, parts))
            pictured, shown = self.images[chosen], parts
        else:
            rows, owner = chosen, np.zeros(0, np.int64)  # (B,) captions
            part = np.array_split(np.arange(len(rows)), total)[replica]
            pictured, shown = self.caption_image[rows], part
        captions = rows[part]
        images = self.caption_image[captions]
        # All replicas draw for the whole batch, and take their share of it.
        rng = np.random.default_rng((self.seed, epoch, position))
        batch = self.pictures(pictured, shown, rng)
        batch |= {
            "tokens": self.places(rows, rng)[part],
            "image_id": images.astype(np.int32),
            "caption_id": captions.astype(np.int32),
        }
        if "image" in self.views and self.reads_pictures:
            again = self.pictures(pictured, shown, rng)
            batch |= {f"{key}_view": again[key] for key in ("window", "mirrored")}
        if "text" in self.views and self.classes is not None:
            batch["tokens_view"] = self.places(rows, rng)[part]
        if self.together:
            batch["image_row"] = (owner[part] - shown[:1].sum()).astype(np.int32)
        if self.concepts is not None:
            batch["concepts"] = self.concepts[images].astype(np.float32)
        if self.tfidf is not None:
            similarity = self.tfidf[captions] @ self.tfidf[rows].T
            batch["similarity"] = similarity.toarray().astype(np.float32)
        if self.classes is not None:
            own = self.classes[images]
            graded = scipy.sparse.issparse(own)
            batch["label"] = own.toarray() if graded else own.astype(np.int32)
        if self.candidates:
            batch |= {"row": part.astype(np.int32)}
            batch |= self.pool(self.classes, rng, replica, total)
        return batch

    def places(self, rows, rng) -> np.ndarray:
        """Ids of captions (B, T): from the left, or at random shifts."""
        return self.tokens.pad(rows) if self.classes is None else self.tokens.shifted(rows, rng)

    def pictures(self, images, part, rng) -> dict[str, np.ndarray]:
        """Image vectors of some rows of the batch, or which windows of which pictures to read."""
        if not self.reads_pictures:
            return {"image": np.asarray(self.vectors[images[part]], np.float32)}
        windows, mirrored = self.vectors.windows(images, rng)
        return {
            "image": images[part].astype(np.int32),
            "window": windows[part],
            "mirrored": mirrored[part],
        }

    def pool(self, classes, rng, replica, total) -> dict[str, np.ndarray]:
        """This replica's share of the captions that hard texts are chosen from."""
        rows = rng.integers(len(self.tokens), size=self.candidates)
        part = np.array_split(np.arange(len(rows)), total)[replica]
        images = self.caption_image[rows[part]]
        return {
            "pool": self.tokens.shifted(rows, rng)[part],
            "pool_id": images.astype(np.int32),
            "pool_label": classes[images].astype(np.int32),
        }

    def dataset(self, strategy=None, first_epoch: int = 0):
        """What `keras.Model.fit` reads: endless, with `steps_per_epoch` steps to an epoch."""
        import tensorflow as tf

        first, here, total = replicas.replicas_here(strategy)
        example = self.share(0, 0, total)
        types = [tf.as_dtype(value.dtype) for value in example.values()]
        shapes = {key: (None, *value.shape[1:]) for key, value in example.items()}
        shapes["tokens"] = shapes["similarity"] = (None, None)
        if self.classes is not None:
            shapes["tokens"] = (None, example["tokens"].shape[1])

        def read(count):
            step, replica = divmod(int(count), here)
            return list(self.share(step, first + replica, total).values())

        def to_batch(count):
            values = tf.numpy_function(read, [count], types, stateful=False)
            batch = dict(zip(example, values, strict=True))
            return {key: tf.ensure_shape(value, shapes[key]) for key, value in batch.items()}

        def with_pictures(batch):
            rows, found = batch["image"], {}
            for end in ("", "_view"):
                if f"window{end}" in batch:
                    window = (batch.pop(f"window{end}"), batch.pop(f"mirrored{end}"))
                    found[f"image{end}"] = self.vectors.read(rows, *window)
            return batch | found

        def make():
            # Numbers are mapped to batches; from_tensor_slices would copy the arrays into the
            # graph and die at 2 GiB, while rows of a memory map are read where they are needed.
            start = first_epoch * self.steps_per_epoch * here
            numbers = tf.data.Dataset.range(start, np.iinfo(np.int64).max)
            batches = numbers.map(to_batch)  # one after the other: `share` remembers the order
            if self.reads_pictures:
                batches = batches.map(with_pictures, tf.data.AUTOTUNE, deterministic=True)
                batches = waiting.timed(batches, self.clock, here)
            # A batch that is trained on in parts may be larger than all that a step holds.
            return batches.prefetch(here if self.micro_batch else 2 * here)

        return replicas.distribute(strategy, make)


def instance_classes(settings, vectors, number: int) -> np.ndarray:
    """The classes of the training images: each its own, or K pseudo classes by k-means.

    Args:
      settings: with num_classes (K, 0: each its own) and data_seed.
      vectors: (N, F) image vectors, for k-means; each divided by its norm.
      number: N.

    Returns:
      (N,) int32.

    Raises:
      ValueError: there are fewer images than classes.

    Reference: Zheng et al., Dual-path convolutional image-text embeddings with instance loss, 2017,
      section 5.4 (K-means clusters as pseudo classes).
    """
    if not settings.num_classes:
        return np.arange(number, dtype=np.int32)
    if not 2 <= settings.num_classes <= number:
        raise ValueError(
            f"--num_classes {settings.num_classes}: expected 2 to {number:,}, the training images"
        )
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.preprocessing import normalize

    rows = normalize(np.asarray(vectors, np.float32))
    model = MiniBatchKMeans(
        settings.num_classes,
        random_state=settings.data_seed,
        batch_size=max(1024, 3 * settings.num_classes),
        n_init=1,
    )
    return model.fit_predict(rows).astype(np.int32)


def phrase_classes(captions: list[str], caption_image, vocabulary):
    """The words and pairs of neighbouring words that an image's captions say, as its classes.

    A phrase weighs log(M / m) - 1 where m of M captions say it: one of over a third of them weighs
    nothing, and one of less than 20 is no class.

    Args:
      captions: M of them; caption_image: (M,) their images, sorted; vocabulary: of the run.

    Returns:
      (N, K) SciPy sparse float32; rows sum to 1, or to 0 where an image's captions say none.

    Raises:
      ValueError: there is no such phrase.

    Reference: Joulin et al., Learning visual features from large weakly supervised data, ECCV 2016
      (words of captions as the classes of a softmax); Li et al., Learning visual n-grams from web
      data, ICCV 2017. Not in the paper of system 3.
    """
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.preprocessing import normalize

    counter = CountVectorizer(
        tokenizer=vocabulary.tokenise, token_pattern=None, lowercase=False, ngram_range=(1, 2),
        binary=True, dtype=np.float32,
    )  # fmt: skip
    said = counter.fit_transform(captions)  # (M, phrases)
    often = np.asarray(said.sum(axis=0))[0]
    weights = np.log(len(captions) / often) - 1
    kept = np.flatnonzero((often >= PHRASE_CAPTIONS) & (weights > 0))
    if not len(kept):
        raise ValueError(
            f"--classes phrases: no phrase stands in {PHRASE_CAPTIONS} of the {len(captions):,} "
            "training captions; use --classes images"
        )
    rows = (caption_image, np.arange(len(captions)))
    own = scipy.sparse.csr_matrix((np.ones(len(captions), np.float32), rows))  # (N, M)
    found = (own @ said[:, kept]).minimum(1) @ scipy.sparse.diags(weights[kept])
    return normalize(found.tocsr(), norm="l1").astype(np.float32)


def tfidf_rows(captions: list[str]):
    """TF-IDF vectors of the training captions, scikit-learn's defaults.

    Returns:
      (M, V) SciPy sparse float64, rows of L2 norm 1 (0 for a caption without words).
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    from data.language import words

    return TfidfVectorizer(analyzer=words.bag_words).fit_transform(captions).tocsr()


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
