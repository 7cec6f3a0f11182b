"""What the data decide about a model, apart from the settings that a person chooses."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Facts:
    """Sizes that shape the weights; 0 where a model does not need one.

    Args:
      feature_dim: F, numbers of an image vector or of a box.
      vocabulary_size: V, the largest word id.
      train_images: N, images of the training split.
      num_phrases: classes of `--classes phrases`.
    """

    feature_dim: int = 0
    vocabulary_size: int = 0
    train_images: int = 0
    num_phrases: int = 0
