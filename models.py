"""The table of models: from a run's settings to its dual encoder, for training and grading alike.

The towers of each system stand in a file of their own.
"""

from collections.abc import Callable

import backbone
import freezing
from dual_encoder import DualEncoder
from dual_path import dual_path_model, find_backbone
from losses import build_loss
from projection import projection_model
from recurrent import gru_model


def build_model(settings, sizes):
    """The model that `settings` describe, with fresh weights.

    Args:
      settings: the run's configuration.
      sizes: {"feature_dim": F, "vocabulary_size": number of word ids, "train_images": N}.

    Raises:
      ValueError: there is no such model, loss or choice of --train; the names are listed.
    """
    if settings.model not in MODELS:
        raise ValueError(f"unknown model {settings.model!r}: choose from {', '.join(MODELS)}")
    loss = build_loss(
        settings.loss,
        alpha=settings.alpha,
        margin=settings.margin,
        squared=settings.squared,
        similarity=settings.similarity,
        literal=settings.paper_negatives,
        temperature=settings.temperature,
        reduction=settings.reduction,
    )
    model = MODELS[settings.model](settings, sizes, loss)
    return freezing.choose_trained(model, settings.train)


def sizes(settings, vocabulary):
    """What `build_model` must know of a run's data."""
    return {
        "feature_dim": settings.feature_dim,
        "vocabulary_size": vocabulary.num_ids,
        "train_images": settings.train_images,
    }


def load_backbone(model, settings):
    """Gives the image CNN of a new run the weights that --image_weights names.

    Raises:
      ValueError: they cannot be had.
    """
    own = find_backbone(model)
    if own is not None:
        backbone.load_backbone(own, settings)


def two_towers(make):
    """A system of two towers and nothing else, from what makes the towers."""

    def build(settings, sizes, loss):
        image, text = make(settings, sizes)
        return DualEncoder(image, text, loss, settings.beta, settings.literal_relevance)

    return build


MODELS: dict[str, Callable] = {
    "projection": two_towers(projection_model),
    "gru": two_towers(gru_model),
    "dual_path": dual_path_model,
}
