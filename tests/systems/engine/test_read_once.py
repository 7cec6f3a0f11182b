"""A frozen text network reads each caption once: the same model, and its rows from the cache."""

import keras
import numpy as np
import pytest
import tiny_settings

import models
from data.language.words import Tokens
from run import manifest
from settings.training import Facts
from systems.engine import encoding, optimization, read_once

FACTS = Facts(7, 20, train_images=6)
LENGTHS = [5, 3, 4, 5, 2, 6]
IMAGES = np.random.default_rng(0).normal(size=(6, 7)).astype(np.float32)


def make_tokens(seed=0, lengths=LENGTHS):
    rng = np.random.default_rng(seed)
    return Tokens.from_flat(rng.integers(2, 20, sum(lengths)), np.array(lengths))


def build(**changes):
    keras.utils.set_random_seed(0)
    small = {"model": "transformer", "features": "ready", "text_size": "tiny", "embed_dim": 6}
    small |= {"dropout": 0.0, "loss": "cross_entropy", "reduction": "mean", "temperature": 0.1}
    own = tiny_settings.make(**{**small, "text_rate": 0.0, **changes})
    model = models.build_model(own, FACTS)
    optimizer = optimization.build_optimizer(own, 10, model.parts.rates)
    model.compile(optimizer=optimizer, jit_compile=False, run_eagerly=True)
    model.optimizer.build(model.trainable_variables)
    return model


def batch(tokens):
    return {"image": IMAGES, "tokens": tokens.pad(np.arange(6)), "image_id": np.arange(6)}


def step(model, tokens):
    x = {key: keras.ops.convert_to_tensor(value) for key, value in batch(tokens).items()}
    return {name: float(value) for name, value in model.train_step((x,)).items()}


@pytest.mark.parametrize("pooling", ["mean", "layers"])
@pytest.mark.parametrize("changes", [{}, {"bag": True}, {"text_rate": 1.0, "train": "heads"}])
def test_training_and_validation_are_those_of_the_whole_tower(changes, pooling, tmp_path):
    plain, once = (build(text_pooling=pooling, **changes) for _ in range(2))
    train, held_out = make_tokens(), make_tokens(1, [4, 2, 7])
    found = read_once.read(once.parts.frozen_text, (train, held_out), tmp_path)
    found.use(once)
    before = [np.array(value) for value in once.text_tower.weights]
    for _ in range(3):
        told = step(plain, train), step(once, found.numbers[0])
        assert told[0] == pytest.approx(told[1], rel=1e-5)
    after = [np.array(value) for value in once.text_tower.weights]
    assert 2 <= sum(np.any(a != b) for a, b in zip(before, after, strict=True)) <= 4  # the head
    for a, b in zip(plain.weights, once.weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-5)
    for tokens, numbers in zip((train, held_out), found.numbers, strict=True):
        size = len(tokens)
        expected = encoding.encode_split(plain, IMAGES[:size], tokens)[1]
        got = encoding.encode_split(once, IMAGES[:size], numbers)[1]
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(got, once.text_tower(tokens.pad(np.arange(size))), atol=1e-5)


def test_dropout_is_of_the_pooled_rows(tmp_path):
    model, tokens = build(dropout=0.5, text_pooling="mean"), make_tokens()
    assert model.text_tower.get_layer("backbone").dropout == 0
    found = read_once.read(model.parts.frozen_text, (tokens,), tmp_path)
    numbers = found.numbers[0].pad(np.arange(6))
    use, first, second = (np.array(found.tower(numbers, training=t)) for t in (False, True, True))
    assert np.abs(first - second).max() > 0.01
    np.testing.assert_allclose(use, model.text_tower(tokens.pad(np.arange(6))), atol=1e-5)


def test_rows_are_kept_by_weights_and_captions(tmp_path, monkeypatch):
    monkeypatch.setattr(read_once, "BLOCK", 4)
    read, tokens = [], make_tokens()
    whole = read_once.replicas.compiled

    def compiled(tower):
        compute = whole(tower)
        return lambda ids: read.append(len(ids)) or compute(ids)

    monkeypatch.setattr(read_once.replicas, "compiled", compiled)
    model = build()
    first = read_once.read(model.parts.frozen_text, (tokens,), tmp_path)
    assert read == [4, 2]
    again = read_once.read(model.parts.frozen_text, (tokens, make_tokens(1)), tmp_path)
    assert read[2:] == [4, 4]  # the first block is there
    for one in (first, again):
        rows = one.tower(one.numbers[0].pad(np.arange(6)))
        np.testing.assert_allclose(rows, model.text_tower(tokens.pad(np.arange(6))), atol=1e-5)
    kernel = model.text_tower.get_layer("backbone").weights[-1]
    kernel.assign(kernel + 1)
    other = read_once.read(model.parts.frozen_text, (tokens,), tmp_path)
    assert read[4:] == [4, 2]
    rows = other.tower(other.numbers[0].pad(np.arange(6)))
    np.testing.assert_allclose(rows, model.text_tower(tokens.pad(np.arange(6))), atol=1e-5)
    assert (tmp_path / manifest.NAME).exists()
    for path in tmp_path.glob("texts-*.npy"):  # damage is seen, and read again
        path.write_bytes(path.read_bytes()[:-4] + b"oops")
    read_once.read(model.parts.frozen_text, (tokens,), tmp_path)
    assert read[6:] == [4, 2]


def test_what_is_pooled_in_another_way_is_read_anew(tmp_path):
    tokens = make_tokens()
    for pooling in ("cls", "mean", "layers"):
        model = build(text_pooling=pooling)
        found = read_once.read(model.parts.frozen_text, (tokens,), tmp_path)
        rows = found.tower(found.numbers[0].pad(np.arange(6)))
        np.testing.assert_allclose(rows, model.text_tower(tokens.pad(np.arange(6))), atol=1e-5)


def test_heads_and_precision_are_of_the_key():
    sizes = ({"text_size": "1,2,8,8"}, {"text_size": "1,4,8,8"})
    keys = {read_once._hash_network(build(**size).parts.frozen_text.network) for size in sizes}
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        keys.add(read_once._hash_network(build(**sizes[0]).parts.frozen_text.network))
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert len(keys) == 3
