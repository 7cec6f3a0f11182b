"""The image CNN of a tower that reads pictures: of keras.applications, KerasHub, or our small one.

Shape letters: B batch, S side, h and w sides of a map, F channels, C features of a place.
"""

import keras
from keras import ops

from data.vision import cnn, presets
from run import replicas
from systems.engine import hub, small_cnn
from systems.engine.convolution import LINES, NORM_MOMENTUM, he_normal, near_lines, norm

SMALL = "small"  # the name of our own


class Backbone(keras.Model):
    """A network that can be made to run as after training at all times.

    `training=False` where a functional model calls it would not do: Keras 3 overrides that with how
    the whole model is called.

    Attributes:
      still: whether it does.
    """

    still = False

    def call(self, inputs, training=None, mask=None):
        return super().call(inputs, training=False if self.still else training, mask=mask)


def make_backbone(name):
    """A network without weights of its own yet: (B, h, w, 3) uint8 RGB of any size -> last map.

    Its own preprocessing is its first step.

    Args:
      name: "small", a network of `cnn.NETWORKS` or `hub.RESNETS`, or a preset (`presets`).

    Raises:
      ValueError: there is no such network.
    """
    cnn.check_known(name, (SMALL, *hub.RESNETS))
    if name in hub.RESNETS:
        return Backbone(*hub.resnet_graph(name), name="backbone")
    if name not in (SMALL, *cnn.NETWORKS):
        bare = presets.load_preset(name, weights=False)
        return Backbone(*hub.graph_of_pixels(bare, presets.scaling(name)), name="backbone")
    pixels = keras.Input((None, None, 3), dtype="uint8", name="pixels")
    x = keras.ops.cast(pixels, keras.config.floatx())
    if name == SMALL:
        maps = small_cnn.small_network(x / 127.5 - 1.0)
    else:
        make, prepared = getattr(keras.applications, name), cnn.preparation(name)(x)
        maps = make(weights=None, include_top=False, input_tensor=prepared).output
    return Backbone(pixels, maps, name="backbone")


def load_backbone(backbone, settings):
    """Sets a backbone to the weights that --image_weights names; none leaves them as they are.

    Args:
      backbone: of `find_backbone`, maybe None; settings: with image_weights and cnn.

    Raises:
      ValueError: they cannot be had, or are of another network.
    """
    if backbone is None or settings.image_weights in cnn.RANDOM:
        return
    if settings.cnn in hub.RESNETS:
        hub.load_resnet_weights(backbone, settings.cnn, settings.image_weights)
        return
    source, _ = cnn.load_network(cnn.describe_network(settings))
    values = [layer for layer in source.layers if layer.weights]
    own = [layer for layer in backbone.layers if layer.weights]
    for layer, given in zip(own, values, strict=False):  # dense layers may follow in the source
        if [w.shape for w in layer.weights] != [w.shape for w in given.weights]:
            raise ValueError(
                f"--image_weights {settings.image_weights}: {given.name} does not fit {layer.name} "
                f"of {settings.cnn}"
            )
        layer.set_weights(given.get_weights())


def image_backbone(settings):
    """The image CNN of a run: of `make_backbone`, its batch norm over the batch of all replicas.

    Args:
      settings: with cnn, freeze_backbone and freeze_norm.

    Raises:
      ValueError: there is no such network.
    """
    made = make_backbone(settings.cnn)
    made.trainable = not settings.freeze_backbone
    # A frozen one runs as after training, its batch norm too.
    made.still = settings.freeze_backbone or settings.freeze_norm
    for layer in made._flatten_layers(include_self=False):  # those in blocks too
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = replicas.num_replicas() > 1
            layer.momentum = NORM_MOMENTUM
    return made


def find_backbone(tower):
    """The image CNN in an image tower that reads pictures; None in one that reads vectors."""
    return next((layer for layer in tower.layers if layer.name == "backbone"), None)


# ---- Places -------------------------------------------------------------------------------------


class Places(keras.layers.Layer):
    """(B, h, w, F) -> (B, h, w, F + 12): behind it, how near each position is to six lines across
    the picture and to six down it, from 2 on the line to 0 on the next.
    """

    def call(self, x):
        batch, height, width = ops.shape(x)[:3]

        def near(count):  # (count, LINES)
            return near_lines((ops.arange(count, dtype=x.dtype) + 0.5) / ops.cast(count, x.dtype))

        shape = (batch, height, width, LINES)
        across = ops.broadcast_to(near(height)[None, :, None], shape)
        down = ops.broadcast_to(near(width)[None, None], shape)
        return ops.concatenate([x, across, down], axis=-1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], input_shape[-1] + 2 * LINES)


def strongest_places(maps, channels):
    """(B, h, w, F) -> (B, 1, 1, C): how strongly each of C features of a place, its position among
    them, shows anywhere in the picture. Not in the papers.
    """
    x = keras.layers.Conv2D(
        channels, 1, use_bias=False, kernel_initializer=he_normal(), name="image_places"
    )(Places()(maps))
    x = keras.layers.GlobalMaxPooling2D(keepdims=True)(x)
    return keras.layers.ReLU()(norm("image_places_norm")(x))
