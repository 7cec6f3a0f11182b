"""The image CNN of a tower that reads pictures: of keras.applications, KerasHub, or our small one.

Shape letters: B batch, S side, h and w sides of a map, F channels.
"""

import keras

import cnn
import hub
import small_cnn

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
      name: "small", or a network of `cnn.NETWORKS` or `hub.RESNETS`.

    Raises:
      ValueError: there is no such network.
    """
    check_name(name)
    if name in hub.RESNETS:
        return Backbone(*hub.resnet_graph(name), name="backbone")
    pixels = keras.Input((None, None, 3), dtype="uint8", name="pixels")
    x = keras.ops.cast(pixels, keras.config.floatx())
    if name == SMALL:
        maps = small_cnn.small_network(x / 127.5 - 1.0)
    else:
        make = getattr(keras.applications, name)
        prepared = keras.applications.__dict__[cnn.module_of(name)].preprocess_input(x)
        maps = make(weights=None, include_top=False, input_tensor=prepared).output
    return Backbone(pixels, maps, name="backbone")


def check_name(name):
    """Refuses an unknown network. Raises ValueError."""
    if name != SMALL and name not in (*cnn.NETWORKS, *hub.RESNETS):
        known = ", ".join((SMALL, *hub.RESNETS, *cnn.NETWORKS))
        raise ValueError(f"unknown --cnn {name!r}; there are {known}")


def load_backbone(backbone, settings):
    """Sets a backbone to the weights that --image_weights names; none leaves them as they are.

    Raises:
      ValueError: they cannot be had, or are of another network.
    """
    if settings.image_weights in cnn.RANDOM:
        return
    if settings.cnn in hub.RESNETS:
        hub.load_resnet_weights(backbone, settings.cnn, settings.image_weights)
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
