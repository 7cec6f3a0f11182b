"""A run folder written by hand, without TensorFlow, in which every score can be reckoned.

Each word is one axis of the joint space, a text is the direction of its word counts, and an image
that of its first caption.
"""

import dataclasses
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from data.language.words import Vocabulary
from data.vision.descriptors import ReadyVectors
from data.vision.pixels import PixelDescriptor
from run import files
from run.folder import Run
from settings.training import Facts
from systems import config

WORDS = ["red", "blue", "circle", "star", "square", "small", "above"]
CAPTIONS = [
    ["red circle", "a circle, red"],
    ["blue star"],
    ["red square", "red red square", "a square"],
    ["small red circle above blue star", "red above blue"],
    ["blue circle", "a circle that is blue"],
]
NAMES = ["one.png", "two.png", "folder/three.png", "four.png", "3"]

ODD = [  # texts that no terminal and no font may stumble over
    "plain",
    "",
    "漢字の説明文がとても長いときは" * 9,
    "مرحبا بالعالم " * 20,
    "😀👩‍👧❤️🇩🇪 e\u0301\u0301 " * 20,
    "tab\tline\nbell\x07 \x1b[31m escape \u2028 nul\x00",
    "lone \ud800 half \udfff",
    "\u202eoverride\u2066",
    "x" * 100_000,
]


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of norm 1, float32."""
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def counts(texts: list[str]) -> np.ndarray:
    """(n, V) how often each word stands in each text."""
    split = [text.replace(",", " ").split() for text in texts]
    return np.array([[words.count(word) for word in WORDS] for words in split], np.float64)


def write_model(path: Path, nodes: list, arrays: dict, inputs: list, num_outputs: int) -> None:
    """An ONNX file of some nodes, whose output is called `out`."""
    graph = helper.make_graph(
        nodes,
        "tower",
        inputs,
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["B", num_outputs])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    with files.atomic_path(path) as temporary:
        onnx.save(model, str(temporary))


def write_text_tower(path: Path, table: np.ndarray) -> None:
    """(B, T) ids -> the direction of the sum of their rows in `table` (V + 1, D)."""
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["rows"]),
        helper.make_node("ReduceSum", ["rows", "axis"], ["sum"], keepdims=0),
        helper.make_node("LpNormalization", ["sum"], ["out"], axis=-1, p=2),
    ]
    arrays = {"table": table.astype(np.float32), "axis": np.array([1], np.int64)}
    tokens = helper.make_tensor_value_info("tokens", TensorProto.INT32, ["B", "T"])
    write_model(path, nodes, arrays, [tokens], table.shape[1])


def write_image_tower(path: Path, kernel: np.ndarray) -> None:
    """(B, F) vectors -> the direction of their product with `kernel` (F, D)."""
    nodes = [
        helper.make_node("MatMul", ["image", "kernel"], ["product"]),
        helper.make_node("LpNormalization", ["product"], ["out"], axis=-1, p=2),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["B", len(kernel)])
    write_model(path, nodes, {"kernel": kernel.astype(np.float32)}, [image], kernel.shape[1])


def gallery_arrays(captions=CAPTIONS, names=NAMES, pictures=None) -> dict[str, np.ndarray]:
    """What test.py writes into projections.npz."""
    flat = [caption for own in captions for caption in own]
    arrays = {
        "image": unit(counts([CAPTIONS[i][0] for i in range(len(captions))])),
        "text": unit(counts([caption for own in CAPTIONS for caption in own])),
        "caption_image": np.repeat(
            np.arange(len(captions), dtype=np.int32), list(map(len, captions))
        ),
    }
    strings = {"image_names": names, "captions": flat, "pictures": pictures or [""] * len(names)}
    for name, own in strings.items():
        arrays[f"{name}_data"], arrays[f"{name}_offsets"] = files.pack_strings(own)
    return arrays


def make_run(folder: Path, data_dir: Path | None = None, **gallery) -> Run:
    """A run folder as `test.py` leaves it, but for the image tower."""
    run = Run(folder)
    places = {"cache_dir": str(folder / "cache"), "data_dir": str(data_dir) if data_dir else None}
    settings = config.parse(["train.py", "--features=regions"])
    config.save(run, dataclasses.replace(settings, **places), Facts())
    ReadyVectors((7,)).save(run.features)
    Vocabulary(WORDS).save(run.vocabulary)
    write_text_tower(run.query_tower, np.eye(len(WORDS) + 1)[:, 1:])
    files.write_arrays(run.projections, gallery_arrays(**gallery))
    return run


def pixel_run(folder, kind=TensorProto.FLOAT, crop_area=1.0):
    """A run whose image tower reads pixels: the direction of the mean of its three colours."""
    run = make_run(folder)
    PixelDescriptor(28, 32 if crop_area < 1 else 28).save(run.features)
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["means"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["means", "kernel"], ["product"]),
        helper.make_node("LpNormalization", ["product"], ["out"], axis=-1, p=2),
    ]
    pixels = helper.make_tensor_value_info("pixels", kind, ["B", "H", "W", 3])
    write_model(run.image_tower, nodes, {"kernel": np.eye(3, 7, dtype=np.float32)}, [pixels], 7)
    return run
