"""Towers of published networks, by KerasHub: DistilBERT reads word pieces, ResNets read pictures.

KerasHub is imported where a network is made, so that other systems start without it.

Shape letters: B batch, T pieces, V ids, W width of the transformer, D embedding, H heads; h and w
sides of a map, F channels.

Reference:
  [Sanh] Sanh et al., DistilBERT, a distilled version of BERT, 2019.
  [He]   He et al., Deep residual learning for image recognition, CVPR 2016.
"""

import warnings
from functools import cache
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import keras
import numpy as np
from keras import ops

from run import files, hdf5

NO_WEIGHTS = ("none", "random")  # both mean weights that were drawn
POSITIONS = 512  # that the published transformers know
LAYERS = 3  # whose means "layers" puts side by side
FROZEN_ROWS = "frozen_rows"  # the layer that reads what a frozen transformer has made


class ImageSize(NamedTuple):
    """Sizes of a residual network: of each stage, the channels and the blocks."""

    channels: tuple[int, ...]
    blocks: tuple[int, ...]
    block: str = "basic_block"
    published: str = ""  # weights trained on ImageNet, a preset of KerasHub


CHANNELS = (64, 128, 256, 512)
RESNETS = {
    "resnet_8": ImageSize(CHANNELS[:3], (1, 1, 1)),  # for small pictures and no weights
    "resnet_18": ImageSize(CHANNELS, (2, 2, 2, 2), published="resnet_18_imagenet"),
    "resnet_34": ImageSize(CHANNELS, (3, 4, 6, 3), published="hf://timm/resnet34.a1_in1k"),
    "resnet_50": ImageSize(
        CHANNELS, (3, 4, 6, 3), "bottleneck_block", published="resnet_50_imagenet"
    ),
}
# Of ImageNet's pixels in [0, 1], by which all published weights expect theirs standardised.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


# ---- Text ---------------------------------------------------------------------------------------


def transformer_tower(num_pieces, embed_dim, size, dropout=0.1, pooling="cls", frozen=False):
    """(B, T) ids of word pieces, 0 pads -> (B, D), not of norm 1.

    The last layer's row at the first position, [CLS], or the mean of its rows, or the means of the
    last three layers' rows side by side, through a dense layer without activation. Padding is known
    by its id, and has no influence.

    Args:
      num_pieces: V, the largest id; the word table has a row for padding too.
      embed_dim: D.
      size: (layers, heads, W, width of the inner dense layer).
      dropout: share of activations dropped in training, in [0, 1).
      pooling: "cls"; or "mean" over the pieces, [CLS] and [SEP] among them; or "layers", the means
        of the last `LAYERS` layers (lower ones say more of single words).
      frozen: the transformer is not trained and drops nothing; `dropout` is of its pooled rows.

    Reference: [Sanh] (its pooling: none); DistilBERT's own size, (6, 12, 768, 3072), has 66,362,880
      weights before the dense layer with the 30,521 pieces of BERT's vocabulary.
    """
    import keras_hub

    backbone = keras_hub.models.DistilBertBackbone(
        num_pieces + 1, *size, 0.0 if frozen else dropout, POSITIONS, name="backbone"
    )
    backbone.trainable = not frozen
    if pooling == "layers":
        outputs = [layer.output for layer in backbone.transformer_layers[-LAYERS:]]
        backbone = keras.Model(backbone.input, keras.layers.Concatenate()(outputs), name="backbone")
        backbone.trainable = not frozen
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    mask = ops.cast(ops.not_equal(tokens, 0), "int32")
    rows = backbone({"token_ids": tokens, "padding_mask": mask})  # (B, T, W), or 3 W wide
    if pooling != "cls":
        kept = ops.cast(mask, "float32")[:, :, None]
        rows = ops.sum(ops.cast(rows, "float32") * kept, 1) / ops.maximum(ops.sum(kept, 1), 1.0)
    else:
        rows = rows[:, 0]
    if frozen:
        rows = keras.layers.Dropout(dropout, name=FROZEN_ROWS)(rows)
    head = keras.layers.Dense(embed_dim, name="text_head")
    return keras.Model(tokens, head(rows), name="text_tower")


def load_text_weights(tower, weights):
    """Gives the transformer of a new `transformer_tower` the weights that --text_weights names.

    Args:
      tower: of `transformer_tower`.
      weights: "none", a preset of KerasHub (distil_bert_base_en_uncased, hf://...), a folder in
        KerasHub's or Hugging Face's layout, or a file of Keras weights (.weights.h5) of the bare
        transformer. A BERT becomes a DistilBERT: what it adds for a first sentence goes into its
        positions, and what it has behind the last layer is left out.

    Raises:
      ValueError: they cannot be had, or are of another size.
    """
    if weights not in NO_WEIGHTS:
        fill_network(tower.get_layer("backbone"), weights, "--text_weights")


def distilled(bert):
    """The arrays of a KerasHub BertBackbone as those of the DistilBertBackbone of its size."""
    words, positions, sentences, *others = bert.get_weights()
    return [words, positions + sentences[0], *others[:-2]]  # the last two: pooled_dense


def preset_vocabulary(weights):
    """The word pieces that a preset was trained with, those from id 1 on; whether it is cased.

    Args:
      weights: a preset of KerasHub, or its folder.

    Raises:
      ValueError: it cannot be had.
    """
    import keras_hub

    try:
        found = keras_hub.models.Tokenizer.from_preset(preset_name(weights))
    except Exception as error:  # those of the download libraries have no common class
        raise ValueError(_cannot_have("--text_weights", weights, error)) from error
    return list(found.get_vocabulary())[1:], not found.lowercase


# ---- Pictures -----------------------------------------------------------------------------------


def resnet(name):
    """KerasHub's network without its classifier: standardised (B, h, w, 3) -> last map.

    resnet_34 has 21,284,672 trainable weights, and 17,024 moving statistics.

    Reference: [He]; the bottlenecks of resnet_50 have their stride in the 3x3 convolution, as those
      of torchvision and timm, whose weights fit.
    """
    import keras_hub

    size = RESNETS[name]
    strides = [1] + [2] * (len(size.blocks) - 1)
    return keras_hub.models.ResNetBackbone(
        [64], [7], list(size.channels), list(size.blocks), strides, size.block
    )


def resnet_graph(name):
    """The same with its preprocessing as the first step, layer by layer in one graph.

    Args:
      name: one of `RESNETS`.

    Returns:
      (input, output) of a functional model: (B, h, w, 3) uint8 RGB of any size -> last map, a 32nd
      of the sides (resnet_8: a 16th).
    """
    return graph_of_pixels(
        resnet(name), lambda x: (x / 255.0 - np.array(MEAN, "f")) / np.array(DEVIATION, "f")
    )


def graph_of_pixels(network, prepare):
    """A network with its preprocessing as the first step, layer by layer in one graph.

    Args:
      network: (B, h, w, 3) what `prepare` makes of pixels -> last map.

    Returns:
      (input, output) of a functional model: (B, h, w, 3) uint8 RGB -> last map; of any size, where
      the network reads any.
    """
    first = network.layers[1]

    def call(layer, *inputs, **options):
        if layer is first:
            inputs = (prepare(ops.cast(inputs[0], keras.config.floatx())),)
        return layer(*inputs, **options)

    pixels = keras.Input(network.input_shape[1:], dtype="uint8", name="pixels")
    graph = keras.models.clone_model(
        network, input_tensors=pixels, clone_function=lambda layer: layer, call_function=call
    )
    return graph.input, graph.output


def load_resnet_weights(backbone, name, weights):
    """Gives a network made of `resnet_graph` the weights that --image_weights names.

    Args:
      backbone: the model; name: its name in `RESNETS`.
      weights: "none", "imagenet", a preset of KerasHub, its folder, or a file of Keras weights
        (.weights.h5) of KerasHub's ResNetBackbone.

    Raises:
      ValueError: they cannot be had, or are of another network.
    """
    if weights in NO_WEIGHTS:
        return
    if weights == "imagenet":
        weights = RESNETS[name].published
        if not weights:
            raise ValueError(f"there are no ImageNet weights of {name}: pass --image_weights none")
    source = resnet(name)
    fill_network(source, weights, "--image_weights")
    for layer in backbone.layers:
        if layer.weights:
            layer.set_weights(source.get_layer(layer.name).get_weights())


# ---- Weights ------------------------------------------------------------------------------------


def fill_network(network, weights, flag):
    """Sets a KerasHub network to published weights.

    Args:
      network: a backbone of KerasHub.
      weights: a preset, its folder, or a file of Keras weights; flag: which named it.

    Raises:
      ValueError: they cannot be had, or are of another network.
    """
    path = Path(weights).expanduser()
    if path.is_file():
        _read_file(network, path, flag)
        return
    import keras_hub

    try:
        source = keras_hub.models.Backbone.from_preset(preset_name(weights))
    except Exception as error:  # those of the download libraries have no common class
        raise ValueError(_cannot_have(flag, weights, error)) from error
    bert = isinstance(source, keras_hub.models.BertBackbone)
    if not bert and not isinstance(source, type(network)):
        kinds = type(source).__name__, type(network).__name__
        raise ValueError(f"{flag} {weights} is a {kinds[0]}: expected a {kinds[1]}")
    own, given = network.weights, distilled(source) if bert else source.get_weights()
    shapes = [(a.path, tuple(a.shape), b.shape) for a, b in zip(own, given, strict=False)]
    wrong = [f"{name} is {theirs}, not {ours}" for name, ours, theirs in shapes if ours != theirs]
    if len(own) != len(given) or wrong:
        fault = wrong[0] if wrong else f"it has {len(given)} arrays, not {len(own)}"
        raise ValueError(f"{flag} {weights} is of another size ({fault}): choose the size it has")
    network.set_weights(given)


def preset_name(weights):
    """What KerasHub calls a preset: its name, or the whole path of its folder (~ is one's home)."""
    path = Path(weights).expanduser()
    return str(path) if path.is_dir() else weights


def _read_file(network, path, flag):
    """Reads a file of Keras weights, all of them. Raises ValueError where they do not fit."""
    for variable in network.weights:  # Keras leaves what a file lacks as it was
        variable.assign(ops.full_like(variable, np.nan))
    reason = "some layers are missing in it"
    try:
        hdf5.load_weights(network, path)
    except ValueError as error:
        reason = files.reason(error)
    if not all(np.isfinite(values).all() for values in network.get_weights()):
        raise ValueError(
            f"{flag} {path} does not hold the weights of this network ({reason}): is it the right "
            "size? Expected what save_weights of KerasHub's backbone writes (.weights.h5)"
        )


def _cannot_have(flag, weights, error):
    if weights.endswith(".h5"):
        return f"{flag} {weights}: there is no such file"
    if isinstance(error, ImportError):
        return f"{flag} {weights} needs {error.name or files.reason(error)}: pip install it"
    return (
        f"{flag} {weights} cannot be had ({files.reason(error)}): expected a preset of KerasHub "
        f"where there is a network, the folder of one that was fetched elsewhere, a .weights.h5 "
        "file, or none to train from scratch"
    )


# ---- Export -------------------------------------------------------------------------------------


def export_text(tower, path):
    """Writes a text tower for ONNX Runtime: (B, T) int32 ids -> (B, D).

    tf2onnx does not simplify the graph: ONNX Runtime does that when it opens the file, while
    tf2onnx takes four times as long with it for the published size, copying the weights again and
    again, and leaves some of them in the file twice.

    Args:
      tower: `transformer_tower`, or a model around it; path: a file to write.
    """
    from tf2onnx import optimizer

    teach_onnx()
    tower(np.ones((2, 3), np.int32))  # Keras exports only what was called once
    with mock.patch.dict(optimizer._optimizers, clear=True), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        tower.export(path, format="onnx", verbose=False)


@cache
def teach_onnx():
    """Teaches tf2onnx the function erfc of the exact GELU, which ONNX lacks: 1 - erf.

    Where erfc is tiny it is rounded to a multiple of 6e-8, which a GELU multiplies by no more than
    its input.
    """
    from tf2onnx.handler import tf_op

    @tf_op("Erfc")
    class _Erfc:
        @classmethod
        def version_9(cls, ctx, node, **_):  # opset 9 is the first with Erf
            made, source = node.output[0], node.input[0]
            kind, shape = ctx.get_dtype(made), ctx.get_shape(made)
            ctx.remove_node(node.name)
            one = ctx.make_const(f"{node.name}_one", np.ones((), np.float32))
            erf = ctx.make_node("Erf", [source], dtypes=[kind], shapes=[shape])
            ctx.make_node(
                "Sub", [one.output[0], erf.output[0]], outputs=[made], dtypes=[kind], shapes=[shape]
            )
