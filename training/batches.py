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
from systems.system import Targets
from training import stream, waiting
from training.order import EpochOrder

NOTHING = Targets()


class TrainingBatches:
    """The batches of a training split.

    Args:
      vectors: (N, F) image vectors, may be memory-mapped, any float type; or `pixels.Pictures`.
      tokens: the M captions' word ids.
      caption_image: (M,) int32, row of each caption's image, sorted.
      settings: the run's configuration (`batch_size`, `captions`, `bucket`, `seed`, ...).
      concepts: (N, K) float32 or None.
      tfidf: (M, V) SciPy sparse rows of L2 norm 1, or None.
      targets: what a batch brings besides, of the system.

    Attributes:
      order: which captions or images a batch holds (`EpochOrder`); steps_per_epoch: its batches.
      items: captions that an epoch trains on.
      clock: how long training has waited for batches (`waiting.Clock`).
    """

    def __init__(
        self, vectors, tokens: Tokens, caption_image, settings, concepts=None, tfidf=None,
        targets=NOTHING,
    ):  # fmt: skip
        self.vectors, self.tokens, self.caption_image = vectors, tokens, caption_image
        self.concepts, self.tfidf, self.classes = concepts, tfidf, targets.classes
        self.order = EpochOrder(caption_image, tokens.lengths, settings)
        self.steps_per_epoch = self.order.steps
        self.items = len(self.order.images) if settings.captions == "one" else len(caption_image)
        self.seed, self.micro_batch = settings.seed, settings.micro_batch
        self.candidates = targets.candidates
        self.reads_pictures = hasattr(vectors, "windows")
        self.views = settings.drawn_views
        self.clock = waiting.Clock()

    def check_replicas(self, total: int) -> None:
        """Refuses more replicas than the smallest batch has something for.

        Raises:
          ValueError: a replica would get an empty share of a batch or of the hard texts.
        """
        smallest, kind = self.order.smallest, "images" if self.order.together else "captions"
        if smallest < total:
            raise ValueError(
                f"the smallest batch has {smallest} {kind} for {total} replicas, which need one "
                "each: change --batch_size, or use fewer devices"
            )
        if 0 < self.candidates < total:
            raise ValueError(
                f"--hard_texts {self.candidates}: {total} replicas need a candidate each: raise "
                "--hard_texts and --batch_size, or use fewer devices"
            )

    def share(self, step: int, replica: int, total: int) -> dict[str, np.ndarray]:
        """What replica `replica` of `total` gets of global batch number `step`, counted from 0.

        Steps count on through the epochs: `step // steps_per_epoch` is the epoch.
        """
        epoch, position = divmod(step, self.steps_per_epoch)
        units = self.order.batch(epoch, position)
        mine = np.array_split(np.arange(len(units)), total)[replica]  # places in `units`
        rows, owner = self.order.captions_of(units)  # (B,) both
        part = np.flatnonzero(np.isin(owner, mine))
        pictured = self.order.images[units] if self.order.together else self.caption_image[rows]
        captions = rows[part]
        images = self.caption_image[captions]
        # All replicas draw for the whole batch, and take their share of it.
        rng = np.random.default_rng((self.seed, epoch, position))
        batch = self.pictures(pictured, mine, rng)
        batch |= {
            "tokens": self.places(rows, rng)[part],
            "image_id": images.astype(np.int32),
            "caption_id": captions.astype(np.int32),
        }
        if "image" in self.views and self.reads_pictures:
            again = self.pictures(pictured, mine, rng)
            batch |= {f"{key}_view": again[key] for key in ("window", "mirrored")}
        if "text" in self.views and self.classes is not None:
            batch["tokens_view"] = self.places(rows, rng)[part]
        if self.order.together:
            batch["image_row"] = (owner[part] - mine[0]).astype(np.int32)
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
        """What `keras.Model.fit` reads: see `stream.stream_batches`."""
        return stream.stream_batches(self, strategy, first_epoch)
