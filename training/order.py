"""The order of an epoch: which captions, or which images with all their captions, a batch holds.

A function of (seed, epoch, position) alone, the same on one device and on R replicas.

Shape letters: B global batch, M captions, N images with captions, U units of an epoch.
"""

import numpy as np

SHORTEST = 8  # units of a batch, where a batch and the split have so many


class EpochOrder:
    """The units of each epoch in random order, cut into batches.

    A unit is a caption; with `--captions together` it is an image with all of its captions.

    The last batch takes in a remainder of fewer than `SHORTEST` units, or of less than a batch that
    is itself shorter. A batch of one pair has no negatives and no batch statistics, and replicas
    must not get an empty share of it: on some CPUs a convolution over no pictures returns a wrong
    shape.

    Args:
      caption_image: (M,) int32, row of each caption's image, sorted.
      lengths: (M,) tokens of each caption.
      settings: the run's configuration (`batch_size`, `captions`, `bucket`, `seed`).

    Attributes:
      together: whether units are images; images: (N,) rows of those with captions.
      units: U; size: units of a batch; steps: batches of an epoch; smallest: units of the smallest.
    """

    def __init__(self, caption_image, lengths, settings):
        self.seed, self.bucket, self.lengths = settings.seed, settings.bucket, lengths
        self.images, self.first = np.unique(caption_image, return_index=True)
        self.counts = np.diff(np.append(self.first, len(caption_image)))
        self.together = settings.captions == "together"
        self.one_each = settings.captions == "one"
        self.size = settings.batch_size
        if self.together:
            self.size = max(2, round(self.size * len(self.images) / len(caption_image)))
        one_per_image = self.together or self.one_each
        self.units = len(self.images) if one_per_image else len(caption_image)
        self.steps = max(1, (self.units - min(SHORTEST, self.size)) // self.size + 1)
        last = self.units - (self.steps - 1) * self.size
        self.smallest = last if self.steps == 1 else min(self.size, last)
        self._epoch, self._units = -1, np.zeros(0, np.int64)

    def batch(self, epoch: int, position: int) -> np.ndarray:
        """Units of batch number `position` of an epoch: captions, or places in `images`."""
        end = (position + 1) * self.size if position + 1 < self.steps else None
        return self.units_of(epoch)[position * self.size : end]

    def units_of(self, epoch: int) -> np.ndarray:
        """(U,) units of one epoch in their random order."""
        if epoch != self._epoch:
            rng = np.random.default_rng((self.seed, epoch))
            if self.one_each:
                chosen = self.first + rng.integers(self.counts)
                units = chosen[rng.permutation(self.units)]
            else:
                units = rng.permutation(self.units)
            if self.bucket and not self.together:
                units = self.by_length(units, rng)
            self._epoch, self._units = epoch, units  # the next batches want the same
        return self._units

    def by_length(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Captions in batches of similar length, little of which is padding.

        Within windows of `bucket` batches the rows are sorted by length; then the batches come in
        random order, and so do the rows of each, but for a last batch of another size.
        """
        window = np.arange(len(rows)) // (self.bucket * self.size)
        rows = rows[np.lexsort((self.lengths[rows], window))]
        alike = self.steps if self.units == self.steps * self.size else self.steps - 1
        batches = rows[: alike * self.size].reshape(-1, self.size)
        batches = rng.permutation(batches)  # (batches of one size, B)
        return np.append(rng.permuted(batches, axis=1), rows[alike * self.size :])

    def captions_of(self, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Captions of a batch.

        Args:
          units: some of an epoch.

        Returns:
          (B,) captions, and (B,) which of `units` each belongs to.
        """
        if not self.together:
            return units, np.arange(len(units))
        counts = self.counts[units]
        owner = np.repeat(np.arange(len(units)), counts)
        within = np.concatenate([np.arange(count) for count in counts])
        return self.first[units][owner] + within, owner
