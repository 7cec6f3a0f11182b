"""Any network of `keras.applications` or KerasHub as a reader of pictures: weights and batches.

`open_network` gives a model from pixels (0 to 255) to the spatial means of all its layers; `Runner`
runs it; `export_network` writes it for ONNX Runtime. They import TensorFlow when they are called.

Shape letters: B crops of a batch, P pictures of a batch, K crops of a picture, S side of the input
in pixels, C columns of activations.
"""

import logging
import os
import re
import warnings
from pathlib import Path

import numpy as np

from data.vision import presets
from data.vision.network import Layers, Network
from data.vision.tensors import READ, class_of, find_layers, split_activations
from run import files, hdf5, replicas

SIDES = {  # of the input, in pixels
    224: """ConvNeXtTiny ConvNeXtSmall ConvNeXtBase ConvNeXtLarge ConvNeXtXLarge DenseNet121
        DenseNet169 DenseNet201 EfficientNetB0 EfficientNetV2B0 MobileNet MobileNetV2
        MobileNetV3Large MobileNetV3Small NASNetMobile ResNet50 ResNet50V2 ResNet101 ResNet101V2
        ResNet152 ResNet152V2 VGG16 VGG19""",
    240: "EfficientNetB1 EfficientNetV2B1",
    260: "EfficientNetB2 EfficientNetV2B2",
    299: "InceptionResNetV2 InceptionV3 Xception",
    300: "EfficientNetB3 EfficientNetV2B3",
    331: "NASNetLarge",
    380: "EfficientNetB4",
    384: "EfficientNetV2S",
    456: "EfficientNetB5",
    480: "EfficientNetV2M EfficientNetV2L",
    528: "EfficientNetB6",
    600: "EfficientNetB7",
}
NETWORKS = {name: side for side, names in SIDES.items() for name in names.split()}
# With layers between the last feature map and the classifier, which belong to the network.
DENSE = ("VGG16", "VGG19", "MobileNetV3Large", "MobileNetV3Small")
CACHED_AS = {
    "NASNet-mobile-no-top.h5": "nasnet_mobile_no_top.h5",
    "NASNet-large-no-top.h5": "nasnet_large_no_top.h5",
}
RANDOM = ("none", "random")  # both mean weights that were drawn
CPU_BATCH, GPU_BATCH = 8, 128  # crops; more of them fall out of a processor's cache


def weights_id(weights: str, seed: int = 0) -> str:
    """What stands for weights in fingerprints: see `network.Network`.

    Raises:
      ValueError: they are a file that is not there.
    """
    if weights in ("imagenet", *RANDOM):
        return weights if weights == "imagenet" else f"random {seed}"
    path = Path(weights).expanduser()
    if not path.is_file():
        raise ValueError(
            f"--image_weights {weights}: there is no such file; expected imagenet, none, or the "
            "path of a file of Keras weights (.weights.h5 or .h5)"
        )
    return files.file_hash(path)


def describe_network(settings, as_grid: bool = False) -> Network:
    """The network that the settings ask for; needs no TensorFlow.

    Args:
      settings: with cnn, image_weights, data_seed, crops, resize, pre_activation and grid.
      as_grid: its last map alone is read, by places.

    Raises:
      ValueError: there is no such network, or no such file of weights; or it has no last map.
    """
    check_known(settings.cnn)
    grid = settings.grid if as_grid else 0
    if grid and settings.cnn in DENSE:
        raise ValueError(
            f"--features grid: {settings.cnn} ends in dense layers, not in a map: choose another "
            "--cnn, such as MobileNetV2"
        )
    name, weights = settings.cnn, settings.image_weights
    if name not in NETWORKS:
        if weights != "imagenet":
            raise ValueError(
                f"--image_weights {weights}: the preset --cnn {name} brings its own weights, and "
                "describes pictures with no others: leave --image_weights out"
            )
        folder = presets.preset_folder(name)
        identity, weights = presets.identity(name), str(folder or name)
        name = folder.name if folder else name
    else:
        identity = weights_id(weights, settings.data_seed)
        if weights not in ("imagenet", *RANDOM):
            weights = str(Path(weights).expanduser().absolute())
    return Network(
        name,
        weights,
        identity,
        _input_side(settings),
        1 if grid else settings.crops,
        settings.resize,
        settings.pre_activation and not grid,
        grid,
    )


def check_known(cnn: str, others: tuple[str, ...] = ()) -> None:
    """Refuses what is no network: none of `keras.applications`, of `others`, and no preset.

    Raises:
      ValueError: names those that there are.
    """
    if cnn not in (*NETWORKS, *others) and not presets.is_preset(cnn):
        known = ", ".join((*others, *NETWORKS))
        raise ValueError(
            f"unknown --cnn {cnn!r}; there are {known}, and the presets of KerasHub by their name "
            "or folder"
        )


def _input_side(settings):
    """Side of the network's input: its own; of a run that may read pixels later, --image_size."""
    own = NETWORKS.get(settings.cnn) or presets.side_of(settings.cnn)
    asked = settings.image_size if getattr(settings, "reads_pixels", False) else own
    if asked != own and settings.cnn in DENSE:
        raise ValueError(
            f"--image_size {asked}: the vectors of {settings.cnn} need {own}, because of its dense "
            "layers; leave --image_size out, or read --features pixels"
        )
    return asked


# ---- Weights ------------------------------------------------------------------------------------


def load_network(network: Network):
    """The network with its weights.

    Returns:
      (keras model, whether it has its classifier).

    Raises:
      ValueError: the weights cannot be downloaded, or the file holds others.
    """
    if network.cnn not in NETWORKS:
        if presets.identity(network.weights) != network.weights_id:
            raise ValueError(_other_weights(network.weights))
        return presets.load_preset(network.weights), False
    replicas.import_tensorflow()
    import keras

    make, top = getattr(keras.applications, network.cnn), network.cnn in DENSE
    shape = (network.size, network.size, 3)
    if network.weights == "imagenet":
        return _download(make, network.cnn, top, shape), top
    if network.weights in RANDOM:
        keras.utils.set_random_seed(int(network.weights_id.split()[1]))
        return make(weights=None, include_top=top, input_shape=shape), top
    if weights_id(network.weights) != network.weights_id:
        raise ValueError(_other_weights(network.weights))
    reason = ""
    for with_top in (top, not top):  # files come with and without the classifier
        model = make(weights=None, include_top=with_top, input_shape=shape)
        before = _kernel_sums(model)
        try:
            hdf5.load_weights(model, network.weights)
        except ValueError as error:
            reason = reason or files.reason(error)
            continue
        after = _kernel_sums(model)
        same = [name for name, value in before.items() if after[name] == value]
        if not same:
            return model, with_top
        reason = reason or f"it has none for {len(same)} layers, such as {same[0]}"
    raise ValueError(
        f"--image_weights {network.weights} does not hold weights of {network.cnn} ({reason}): "
        "is --cnn right?"
    )


def _other_weights(place):
    return (
        f"{place} holds other weights than those that the pictures were described with: put these "
        "back, or train anew"
    )


def _kernel_sums(model):
    """A number for each layer's kernel, by which one sees whether it was read from a file."""
    layers = (layer for layer in model.layers if class_of(layer) in READ)
    return {layer.name: float(np.sum(layer.get_weights()[0], dtype=np.float64)) for layer in layers}


def _download(make, name, top, shape):
    """The network with Keras' published weights."""
    try:
        return make(weights="imagenet", include_top=top, input_shape=shape)
    except Exception as error:  # Keras raises that very class where it cannot download
        home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "models"
        found = re.search(r"URL fetch failure on (\S+):", str(error))
        if found is None:
            raise ValueError(
                f"the ImageNet weights of {name} cannot be read ({files.reason(error)}): remove "
                f"what is damaged in {home}, or pass a file as --image_weights PATH"
            ) from error
        print()  # ends the line that Keras began
        file = found[1].rsplit("/", 1)[1]
        raise ValueError(
            f"the ImageNet weights of {name} cannot be downloaded: fetch {found[1]} and put it "
            f"into {home} as {CACHED_AS.get(file, file)}, or pass it as --image_weights PATH"
        ) from None


# ---- Reading ----------------------------------------------------------------------------------


def open_network(network: Network):
    """The network as a reader of pixels.

    Returns:
      (keras model from (B, S, S, 3) float32 RGB in [0, 255] to (B, C) float32 spatial means, or the
      means of a grid's places, the network's own preprocessing included; `Layers`).

    Raises:
      ValueError: as `load_network`.
    """
    base, has_top = load_network(network)
    import keras

    if network.pre_activation:
        base = split_activations(base)
    found, last = find_layers(base, has_top, network.pre_activation)
    prepare = preparation(network.cnn, network.weights)
    pixels = keras.Input((network.size, network.size, 3), name="pixels")
    if network.grid:
        maps = keras.Model(base.input, last)(prepare(pixels))
        places = grid_means(maps, network.grid)
        columns = int(places.shape[-1])
        return keras.Model(pixels, places), Layers(["grid"], [columns], (0, columns))
    names, tensors = list(found), list(found.values())
    widths = [int(tensor.shape[-1]) for tensor in tensors]
    place = next((i for i, tensor in enumerate(tensors) if tensor is last), len(tensors))
    start = sum(widths[:place])
    layers = Layers(names, widths, (start, start + int(last.shape[-1])))
    if place == len(tensors):
        tensors.append(last)
    outputs = keras.Model(base.input, tensors)(prepare(pixels))
    # Rows, then columns: ONNX Runtime adds 112 x 112 numbers one by one, and rounds each time.
    means = [
        keras.ops.mean(keras.ops.mean(output, axis=1), axis=1) if len(output.shape) == 4 else output
        for output in (outputs if len(tensors) > 1 else [outputs])
    ]
    joined = keras.layers.Concatenate()(means) if len(means) > 1 else means[0]
    return keras.Model(pixels, joined), layers


def grid_means(maps, side):
    """(B, h, w, C) -> (B, side * side * C), by rows: means over windows that cover the map evenly.

    Window i reaches from floor(i h / side) to ceil((i + 1) h / side): neighbours overlap where the
    map is not divided evenly, so that any map gives any grid.
    """
    import keras

    shares = []
    for size in maps.shape[1:3]:
        start = np.arange(side) * size // side
        stop = -(-(np.arange(side) + 1) * size // side)
        cell = np.arange(size)
        inside = (cell >= start[:, None]) & (cell < stop[:, None])  # (side, size)
        shares.append((inside / inside.sum(axis=1, keepdims=True)).astype(np.float32))
    rows = keras.ops.einsum("gh,bhwc->bgwc", shares[0], maps)
    places = keras.ops.einsum("gw,bhwc->bhgc", shares[1], rows)
    return keras.layers.Reshape((side * side * maps.shape[-1],))(places)


def preparation(cnn, preset=None):
    """A network's own preprocessing: (..., 3) pixels in [0, 255] -> what it reads."""
    import keras

    if cnn not in NETWORKS:
        return presets.scaling(preset or cnn)
    module = getattr(keras.applications, cnn).__module__.rsplit(".", 1)[1]
    return keras.applications.__dict__[module].preprocess_input


# ---- Running ------------------------------------------------------------------------------------


class Runner:
    """Crops of pictures -> activations, in batches of one size, so that none rounds otherwise.

    Weights become constants, which lets TensorFlow fold normalisation into the convolutions.

    Attributes:
      layers: what the columns are.
      pictures: P, how many pictures it takes at once.
      at_once: calls at a time: on a CPU one keeps the cores busy where the other waits.
    """

    def __init__(self, network: Network):
        tf = replicas.import_tensorflow()
        from tensorflow.python.framework.convert_to_constants import (
            convert_variables_to_constants_v2,
        )

        model, self.layers = open_network(network)
        gpu = bool(tf.config.list_physical_devices("GPU"))
        batch, self.at_once = (GPU_BATCH, 1) if gpu else (CPU_BATCH, 2)
        self.pictures = max(1, batch // network.crops)
        shape = (self.pictures * network.crops, network.size, network.size, 3)

        def read(pixels):
            rows = model(tf.cast(pixels, tf.float32), training=False)
            return tf.reduce_mean(tf.reshape(rows, (self.pictures, network.crops, -1)), axis=1)

        traced = tf.function(read).get_concrete_function(tf.TensorSpec(shape, tf.uint8))
        self.graph, self.shape = convert_variables_to_constants_v2(traced), shape

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        """(n, K, S, S, 3) uint8, n at most P -> (n, C) float32, means over space and crops."""
        tf = replicas.import_tensorflow()
        count = len(crops)
        if count < self.pictures:
            filled = np.zeros((self.pictures, *crops.shape[1:]), np.uint8)
            filled[:count], crops = crops, filled
        return self.graph(tf.constant(crops.reshape(self.shape)))[0].numpy()[:count]


def export_network(network: Network, path: str | Path) -> None:
    """Writes the network for ONNX Runtime.

    Its one input is (B, S, S, 3) float32 pixels, RGB in [0, 255]; its one output (B, C).

    Raises:
      ValueError: as `load_network`.
    """
    model, _ = open_network(network)
    model(np.zeros((1, network.size, network.size, 3), np.float32))  # or Keras does not export it
    logging.getLogger("tf2onnx").setLevel(logging.WARNING)
    with warnings.catch_warnings(), files.atomic_path(path) as temporary:
        warnings.simplefilter("ignore", FutureWarning)
        model.export(temporary, format="onnx", verbose=False)
