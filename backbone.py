"""The image CNN of a tower that reads pictures: one of keras.applications, or our small one.

Shape letters: B batch, S side, h and w sides of the last map, F channels.

Reference:
  [He] He et al., Deep residual learning for image recognition, CVPR 2016 (blocks of the small one).
"""

import keras

import cnn
from layers import he_normal, norm

SMALL = "small"  # the name of our own
SMALL_CHANNELS = (32, 64, 128)  # each convolution halves the map


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
      name: "small", or a network of `cnn.NETWORKS`.

    Raises:
      ValueError: there is no such network.
    """
    check_name(name)
    pixels = keras.Input((None, None, 3), dtype="uint8", name="pixels")
    x = keras.ops.cast(pixels, keras.config.floatx())
    if name == SMALL:
        maps = small_network(x / 127.5 - 1.0)
    else:
        make = getattr(keras.applications, name)
        prepared = keras.applications.__dict__[cnn.module_of(name)].preprocess_input(x)
        maps = make(weights=None, include_top=False, input_tensor=prepared).output
    return Backbone(pixels, maps, name="backbone")


def check_name(name):
    """Refuses an unknown network. Raises ValueError."""
    if name != SMALL and name not in cnn.NETWORKS:
        known = ", ".join((SMALL, *cnn.NETWORKS))
        raise ValueError(f"unknown --cnn {name!r}; there are {known}")


def load_backbone(backbone, settings):
    """Sets a backbone to the weights that --image_weights names; none leaves them as they are.

    Raises:
      ValueError: they cannot be had, or are of another network.
    """
    if settings.image_weights in cnn.RANDOM:
        return
    source, _ = cnn.build(cnn.describe_network(settings))
    values = [layer for layer in source.layers if layer.weights]
    own = [layer for layer in backbone.layers if layer.weights]
    for layer, given in zip(own, values, strict=False):  # dense layers may follow in the source
        if [w.shape for w in layer.weights] != [w.shape for w in given.weights]:
            raise ValueError(
                f"--image_weights {settings.image_weights}: {given.name} does not fit {layer.name} "
                f"of {settings.cnn}"
            )
        layer.set_weights(given.get_weights())


def small_network(x):
    """(B, S, S, 3) in [-1, 1] -> (B, S / 8, S / 8, 128), for small pictures and no weights.

    Three strided convolutions and a residual one ([He]) that begins as nothing.
    """
    x = _conv(x, SMALL_CHANNELS[0], 5, 2, "small_1")
    for number, channels in enumerate(SMALL_CHANNELS[1:], start=2):
        x = _conv(x, channels, 3, 2, f"small_{number}")
    more = _conv(x, SMALL_CHANNELS[-1], 3, 1, "small_more", start="zeros")
    return keras.layers.ReLU()(keras.layers.Add()([x, more]))


def _conv(x, channels, size, stride, name, start="ones"):
    """Convolution, batch norm and, unless the norm starts at zero, a ReLU."""
    x = keras.layers.Conv2D(
        channels, size, stride, "same", use_bias=False, kernel_initializer=he_normal(), name=name
    )(x)
    x = norm(f"{name}_norm", start)(x)
    return keras.layers.ReLU()(x) if start == "ones" else x
