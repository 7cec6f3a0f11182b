"""The table of models: from a run's settings to its dual encoder, for training and grading alike.

The towers of each system stand in a file of their own.
"""

from collections.abc import Callable

from losses import build_loss
from run import recipes
from systems.dual_path.towers import dual_path_model
from systems.engine import backbone, freezing, hub
from systems.engine.dual_encoder import DualEncoder
from systems.engine.learned import choose_learned
from systems.gru.towers import gru_model
from systems.joint.towers import joint_model
from systems.projection.towers import projection_model
from systems.transformer.towers import transformer_model


def build_model(settings, sizes):
    """The model that `settings` describe, with fresh weights.

    Args:
      settings: the run's configuration.
      sizes: {"feature_dim": F, "vocabulary_size": number of word ids, "train_images": N,
        "num_phrases": what the classifier of --classes phrases tells apart}.

    Raises:
      ValueError: there is no such model, loss or choice of --train, the names are listed; or the
        model cannot have what --learn or --views_weight ask for.
    """
    if settings.model not in MODELS:
        raise ValueError(f"unknown model {settings.model!r}: choose from {', '.join(MODELS)}")
    loss = build_loss(settings.loss, settings)
    model = MODELS[settings.model](settings, sizes, loss)
    model.learn(choose_learned(settings.learn, loss, settings.loss), settings.loss)
    if settings.views_weight:
        model.use_views(settings.views_weight, recipes.drawn_views(settings))
    return freezing.choose_trained(model, settings.train)


def sizes(settings, vocabulary):
    """What `build_model` must know of a run's data."""
    return {
        "feature_dim": settings.feature_dim,
        "vocabulary_size": vocabulary.num_ids,
        "train_images": settings.train_images,
        "num_phrases": settings.num_phrases,
    }


def load_published(model, settings):
    """Gives the towers of a new run the weights that --image_weights and --text_weights name.

    Raises:
      ValueError: they cannot be had.
    """
    own = backbone.find_backbone(model)
    if own is not None:
        backbone.load_backbone(own, settings)
    if settings.model == "transformer" and not settings.init_from:
        hub.load_text_weights(model.text_tower, settings.text_weights)


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
    "transformer": transformer_model,
    "joint": joint_model,
}
