"""The collapse watch: says when all embeddings have become one.

The maximum of hinges may find no way to start: everything maps to one point, every hinge is the
margin, and the loss stands at 2 x batch x margin. The watch looks at a fixed probe of validation
pairs every few steps, and says so when that has lasted.

Shape letters: B pairs of the probe, D embedding.

References:
  [FNE]   Vilalta et al., Studying the impact of the full-network embedding on multimodal pipelines,
          2019, section 6 and Table 5.
  [Roy]   Roy, Vetterli, The effective rank, EUSIPCO 2007.
"""

import keras
import numpy as np

from systems.engine.encoding import encode_rows

PAIRS = 128  # of the probe
PERIOD = 25  # steps between two looks
LOOKS = 4  # bad ones in a row: 100 steps
NEAR = 0.02  # of the plateau, within which the loss counts as standing there
RANK = 2.0  # effective rank below which the embeddings are one direction
TIED = 0.1  # of the spread that the margin asks for, within which two scores count as tied
REMEDY = (
    "start with the sum of hinges (--first_phase sh or soe, or --recipe ph or poe), or try another "
    "--seed, a lower --learning_rate or a larger --batch_size"
)


def effective_rank(rows):
    """exp of the entropy of the shares of energy by direction: 1 for one direction, at most D.

    Args:
      rows: (B, D) float, not centred: equal rows have rank 1.

    Reference: [Roy] Eq. 4.
    Differs from the paper: squares of the singular values, so that rounding noise in many
      directions does not count as rank.
    """
    values = np.linalg.svd(np.asarray(rows, np.float64), compute_uv=False) ** 2
    share = values / max(values.sum(), 1e-300)
    share = share[share > 0]
    return float(np.exp(-(share * np.log(share)).sum()))


def tied_share(scores, margin):
    """Share of candidates that score like the own pair, to a tenth of the margin.

    Args:
      scores: (B, B), the own pairs on the diagonal.
      margin: what the loss wants between own pair and candidate.

    Returns:
      A number in [0, 1].
    """
    apart = np.abs(scores - np.diagonal(scores)[:, None]) < TIED * margin
    size = len(scores)
    return float((apart.sum() - size) / max(size * (size - 1), 1))


class CollapseWatch(keras.callbacks.Callback):
    """Looks at a probe every PERIOD steps; warns after LOOKS bad looks, and may stop the training.

    A look is bad when the loss of the probe is within 2 % of that of equal embeddings (`plateau`)
    and either the effective rank of one side is below 2 or more than half of all scores are tied.

    Args:
      vectors: (N, F) image vectors, or Pictures; tokens: captions; caption_image: (M,); all of the
        validation split.
      stop: stop the training on collapse.
      tell: called with the line that says so.
    """

    def __init__(self, vectors, tokens, caption_image, stop=False, tell=print):
        super().__init__()
        images, first = np.unique(caption_image, return_index=True)
        image = vectors[images[:PAIRS]]
        pictures = hasattr(vectors, "views")  # these stay bytes
        self.image = np.asarray(image, np.uint8 if pictures else np.float32)
        self.tokens, self.captions = tokens, first[:PAIRS]
        self.stop, self.tell = stop, tell
        self.step = self.bad = 0
        self.collapsed = False

    def on_train_begin(self, logs=None):
        done = keras.ops.convert_to_numpy(self.model.optimizer.iterations)
        self.step = int(done)  # a resumed run goes on counting

    def look(self):
        """The probe's state: {"loss", "plateau", "rank", "tied"}."""
        loss = self.model.pair_loss
        rows = encode_rows(self.model, self.image, self.tokens.pad(self.captions))
        size = len(self.image)  # of trained numbers the copy of one replica will do
        numbers = self.model.learned.values()
        learned = {name: keras.ops.convert_to_numpy(value) for name, value in numbers.items()}
        margin = float(learned.get("margin", loss.margin))
        return {
            "loss": float(loss(np.eye(size, dtype=np.float32), **rows, **learned)),
            "plateau": loss.plateau(size) * margin / loss.margin,
            "rank": min(effective_rank(side) for side in rows.values()),
            "tied": tied_share(np.array(loss.scores(**rows)), margin),
        }

    def on_train_batch_end(self, batch, logs=None):
        if not hasattr(self.model.pair_loss, "plateau"):
            return
        self.step += 1
        if self.step % PERIOD:
            return
        seen = self.look()
        stuck = abs(seen["loss"] - seen["plateau"]) < NEAR * seen["plateau"]
        self.bad = self.bad + 1 if stuck and (seen["rank"] < RANK or seen["tied"] > 0.5) else 0
        if self.bad == LOOKS and not self.collapsed:
            self.collapsed = True
            self.tell(self.describe(seen))
            if self.stop:
                self.model.stop_training = True
        elif self.collapsed and not self.bad:
            self.collapsed = False
            self.tell(f"the embeddings have come apart again (step {self.step:,})")

    def describe(self, seen):
        """What was seen and what helps, in one line."""
        return (
            f"the embeddings have collapsed (step {self.step:,}): on {len(self.image)} validation "
            f"pairs the loss stands at {seen['loss']:.4g}, that of equal embeddings being "
            f"{seen['plateau']:.4g}; effective rank {seen['rank']:.1f}, {100 * seen['tied']:.0f} % "
            f"of the scores tied. What helps: {REMEDY}"
        )
