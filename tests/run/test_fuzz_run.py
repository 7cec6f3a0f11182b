"""A run's own files after random damage and with random types: a result, or one line.

MATCHBOX_FUZZ=2000 tries so many inputs of each reader; the suite tries a few, always the same.
"""

import io
import itertools
import json

import keras
import numpy as np
import pytest
import tiny_network
from fuzzing import DAMAGE, PART, VALUES, attempt, damaged, fuzz, replaced, retyped
from hypothesis import given
from hypothesis import strategies as st
from tiny_run import gallery_arrays, make_run, write_image_tower

from answering import search
from data.language.words import Vocabulary
from data.vision import descriptors
from data.vision.embedding import NetworkDescriptor
from data.vision.pixels import PixelDescriptor
from gallery.stored import Gallery
from grading import score as scores
from grading import verify
from lab.studies import trials
from run import files, hdf5, onnx_graphs
from systems import config
from training.records import RunRecords

COUNTER = itertools.count()
ARRAYS = st.sampled_from(
    [np.zeros(0), np.array(7), np.array(-1), np.array("x"), np.zeros((2, 0)),
     np.full((5, 7), np.nan), np.arange(-3, 3), np.array([2**62, 1]), np.ones((3, 3), bool),
     np.zeros(4, complex), np.array(["a", "b"]), np.array([b"x"]),
     np.zeros((1, 1, 1, 1)), np.zeros(3, "M8[s]"),
     np.zeros(2, [("a", "i4")])]
)  # fmt: skip
KINDS_OF_DAMAGE = st.sampled_from(["bytes", "arrays", "json"])
DESCRIPTORS = [
    descriptors.ReadyVectors((7,)),
    PixelDescriptor(28, 32),
    NetworkDescriptor(tiny_network.NETWORK, tiny_network.LAYERS, "fne", np.ones(10), np.ones(10)),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("fuzz") / "a")


def broken_json(path, damage, where, new, types):
    """The bytes of a JSON file after an accident."""
    if types:
        return json.dumps(retyped(json.loads(path.read_text()), where, new)).encode()
    return damaged(path.read_bytes(), damage)


def broken_arrays(arrays, damage, where, new, types):
    """The bytes of an .npz after an accident, or with another array at one of its places."""
    if types:
        arrays = dict(arrays)
        arrays[list(arrays)[int(where * len(arrays))]] = new
    return packed(arrays) if types else damaged(packed(arrays), damage)


def packed(arrays):
    """The bytes of an .npz."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


@fuzz
@given(DAMAGE, PART, VALUES, st.booleans())
def test_config(run, damage, where, new, types):
    with replaced(run.config, broken_json(run.config, damage, where, new, types)):
        found = attempt(lambda: (config.load(run), run.data_folder()))
    assert found is None or found[0][0].model == "projection"


@fuzz
@given(DAMAGE, PART, VALUES, st.booleans())
def test_vocabulary(run, damage, where, new, types):
    with replaced(run.vocabulary, broken_json(run.vocabulary, damage, where, new, types)):
        found = attempt(lambda: Vocabulary.load(run.vocabulary).encode("red circle, above 7"))
    assert found is None or all(isinstance(number, int) for number in found)


@fuzz
@given(st.sampled_from(DESCRIPTORS), DAMAGE, PART, ARRAYS, VALUES, KINDS_OF_DAMAGE)
def test_features(run, descriptor, damage, where, array, value, what):
    arrays = {"kind": np.array(descriptor.kind), **descriptor.arrays()}
    if what == "json" and "facts" in arrays:
        facts = retyped(json.loads(str(arrays["facts"])), where, value)
        arrays["facts"] = np.array(json.dumps(facts))
    content = broken_arrays(arrays, damage, where, array, what == "arrays")
    content = packed(arrays) if what == "json" else content
    with replaced(run.features, content):
        found = attempt(lambda: descriptors.load_descriptor(run.features).row_shape)
    assert found is None or all(size > 0 for size in found)


@fuzz
@given(DAMAGE, PART, ARRAYS, st.booleans())
def test_projections(run, damage, where, new, types):
    def ask():
        gallery = Gallery(run)
        query = search.ask_sentence(search.QueryEncoder(run), "red circle")
        best, _ = query.nearest(gallery, 3)
        texts = [*gallery.captions, *gallery.image_names, *gallery.pictures]
        return best, gallery.best_caption(0, gallery.text[0]), texts

    with replaced(run.projections, broken_arrays(gallery_arrays(), damage, where, new, types)):
        found = attempt(ask)
    assert found is None or len(found[0]) == 3


@fuzz
@given(DAMAGE, PART, VALUES, st.booleans())
def test_score(run, damage, where, new, types):
    if not run.score.is_file():
        arrays = scores.read_embeddings(run.projections)
        image, text, owner = (arrays[name] for name in ("image", "text", "caption_image"))
        score, found = scores.grade_embeddings(image, text, owner)
        facts = scores.protocol(found, len(arrays["image"]), False, "cosine")
        files.write_json(run.score, {"protocol": facts, "hashes": {}, **score})
    with replaced(run.score, broken_json(run.score, damage, where, new, types)):
        found = attempt(lambda: list(verify.differing(verify.read_score(run), {})))
    assert found is None or all(isinstance(line, str) for line in found)


@fuzz
@given(st.booleans(), DAMAGE)
def test_towers(run, of_images, damage):
    path, batch = run.query_tower, np.ones((1, 2), np.int32)
    if of_images:
        path, batch = run.image_tower, np.ones((1, 7), np.float32)
        write_image_tower(path, np.eye(7))
    with replaced(path, damaged(path.read_bytes(), damage)):
        found = attempt(lambda: onnx_graphs.Tower(path)(batch))
    assert found is None or np.isfinite(found).all()


@pytest.fixture(scope="module")
def network():
    """A small compiled network that has taken a step."""
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    network.compile("adam", "mse")
    network.optimizer.build(network.trainable_variables)
    return network


@fuzz
@given(DAMAGE, PART, ARRAYS, VALUES, KINDS_OF_DAMAGE)
def test_state(run, network, damage, where, array, value, what):
    records = RunRecords(run, None, write=False)
    records.set_model(network)
    records.rows, records.best_row = [{"epoch": 1, "loss": 0.5, "val_mrr": 0.1}], 0
    if not run.state.is_file():
        records.publish = lambda: None
        records.save()
    arrays = dict(files.open_arrays(run.state))
    if what == "json":
        memory = retyped(json.loads(arrays["memory"].tobytes()), where, value)
        arrays["memory"] = np.frombuffer(json.dumps(memory).encode(), np.uint8)
    content = broken_arrays(arrays, damage, where, array, what == "arrays")
    if what == "json":
        content = packed(arrays)
    with replaced(run.state, content):
        found = attempt(lambda: RunRecords(run, None, write=False).restore(network))
    assert found is None or isinstance(found, int)


@fuzz
@given(DAMAGE)
def test_weights(run, network, damage):
    path = run / f"{next(COUNTER)}.weights.h5"
    network.save_weights(path)
    path.write_bytes(damaged(path.read_bytes(), damage))
    attempt(lambda: hdf5.load_weights(network, path))
    path.unlink()
    assert all(values.dtype == np.float32 for values in network.get_weights())


@fuzz
@given(DAMAGE, PART, VALUES, st.booleans())
def test_history(run, damage, where, new, types):
    rows = [["epoch", "loss", "val_rsum"], [1, 0.5, 100.0], [2, 0.4, 120.5], [3, 0.3, 110.0]]
    rows = retyped(rows, where, new) if types else rows
    rows = rows if isinstance(rows, list) else []
    text = "".join(f"{','.join(map(str, row))}\n" for row in rows if isinstance(row, list))
    content = text.encode(errors="surrogatepass")
    run.history.write_bytes(content if types else damaged(content, damage))
    found = attempt(lambda: trials.best_epoch(run, "val_rsum"))
    assert found is None or (np.isfinite(found[0]) and 0 <= found[1] <= found[2])
