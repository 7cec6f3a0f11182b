"""Gradient caching: the gradient of the whole batch, from parts that are read twice."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny_settings
from keras import ops

import losses
import models
from settings.training import Facts
from systems.engine import gradient_cache, optimization
from systems.engine.heads import Head
from systems.engine.parts import Parts, reader
from training import records

PAIRS, MICRO = 515, 64  # nine parts, the last of 51
# So large a step leaves nothing of the weights, in which it would be rounded.
STEP = {"optimizer": "sgd", "momentum": 0.0, "schedule": "constant", "learning_rate": 100.0}
GRU = {"model": "gru", "embed_dim": 8, "word_dim": 6, "hidden_dim": 6, "dropout": 0.0}
SIZES = Facts(7, 11, PAIRS, PAIRS)
DROPOUT = {"dropout": 0.3, "word_dropout": 0.2, "embedding_dropout": 0.2, "image_dropout": 0.4}


def settings(**changes):
    return tiny_settings.make(**{**GRU, **STEP, **changes})


def build(micro, **changes):
    """A compiled model with the same fresh weights for any `micro`."""
    keras.utils.set_random_seed(1)
    chosen = settings(**changes)
    model = models.build_model(chosen, SIZES)
    model.micro_batch = micro
    return prepare(model, chosen)


def prepare(model, chosen):
    """Compiles; without parts it is the reference, for which a graph would only take time."""
    eager = not model.micro_batch
    model.compile(optimization.build_optimizer(chosen, 1), jit_compile=False, run_eagerly=eager)
    model.optimizer.build(model.trainable_variables)
    return model


def make_batch(rows=PAIRS, seed=0, **more):
    rng = np.random.default_rng(seed)
    tokens = rng.integers(1, 12, (rows, 9))
    tokens[np.arange(9) >= rng.integers(0, 10, (rows, 1))] = 0  # of any length, also none
    return {
        "image": rng.standard_normal((rows, 7)).astype(np.float32),
        "tokens": tokens.astype(np.int32),
        "image_id": rng.integers(0, rows * 4 // 5, rows).astype(np.int32),
        "caption_id": np.arange(rows, dtype=np.int32),
        **more,
    }


def gradients(model, batch):
    """What one step takes off the weights, by its rate, and what the history shows."""
    rate = float(model.optimizer.learning_rate)
    before = [np.array(v) for v in model.trainable_variables]
    shown = model.train_on_batch(
        {key: tf.constant(value) for key, value in batch.items()}, return_dict=True
    )
    pairs = zip(before, model.trainable_variables, strict=True)
    return [(a - np.array(v)) / rate for a, v in pairs], shown


def check_equal(found, wanted, tolerance=1e-5):
    assert found[1].keys() == wanted[1].keys()
    for key, value in wanted[1].items():
        assert float(found[1][key]) == pytest.approx(float(value), rel=tolerance)
    for a, b in zip(found[0], wanted[0], strict=True):
        assert np.abs(b).max() > 0
        assert np.abs(a - b).max() <= tolerance * np.abs(b).max()


VARIANTS = {  # every loss in blocks: test_blocks.py
    "simclr": {"loss": "simclr"},
    "barlow": {"loss": "barlow"},
    "assignment": {"loss": "assignment"},
    "plain distances": {"loss": "hardest_triplet", "squared": False},
    "order": {"loss": "max_hinge", "similarity": "order", "absolute": True},
    "order sum": {"loss": "cross_entropy", "similarity": "order", "bag": True},
    "mean": {"loss": "sum_hinge", "reduction": "mean"},
    "within": {"loss": "modified", "beta": 0.5},
    "both ways": {"loss": "max_hinge", "bidirectional": True, "clip_norm": 0.1},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_the_gradient_is_that_of_the_whole_batch(name):
    rng = np.random.default_rng(2)
    batch, changes = make_batch(), VARIANTS[name]
    if "triplet" in changes["loss"] or name in ("modified", "within"):
        batch["concepts"] = rng.integers(0, 2, (PAIRS, 4)).astype(np.float32)
    if changes["loss"] == "assignment":
        alike = rng.random((PAIRS, PAIRS)) * (rng.random((PAIRS, PAIRS)) < 0.3)
        batch["similarity"] = alike.astype(np.float32)
    direct, cached = (gradients(build(micro, **changes), batch) for micro in (0, MICRO))
    # A side beside itself has distances near 0, whose root magnifies rounding (to 1.1e-5).
    check_equal(cached, direct, 3e-5 if name == "within" else 1e-5)


def with_all_losses(model, kinds):
    """The model with all losses at once, each a term of its own; `kinds`: {name: loss}."""
    parts = Parts(model.image_tower, model.text_tower, ranking=0.0)
    made = models.DualEncoder(parts, model.pair_loss)
    made.term_weights = dict.fromkeys(kinds, 1.0)
    made.trackers = {name: keras.metrics.Mean(name=name) for name in kinds}

    def loss_terms(batch, outputs):
        found = {}
        for name, made.pair_loss in kinds.items():
            relevance = models.relevance_of(made, batch)
            found[name] = made.pair_term(relevance, outputs["image"], outputs["text"])
        return found

    made.loss_terms = loss_terms
    return made


def test_the_gradient_of_all_losses_is_that_of_the_whole_batch():
    batch = make_batch()
    batch["concepts"] = np.random.default_rng(2).integers(0, 2, (PAIRS, 4)).astype(np.float32)
    kinds = {name: losses.build_loss(name) for name in losses.LOSSES}
    kinds["mean of pairs"] = losses.LOSSES["modified"](reduction="mean")
    kinds["printed negatives"] = losses.LOSSES["max_hinge"](paper_negatives=True)
    made = [with_all_losses(build(0), kinds) for _ in range(2)]
    outputs = made[0]({key: tf.constant(value) for key, value in batch.items()})
    for name, value in made[0].loss_terms(batch, outputs).items():
        for model in made:
            model.term_weights[name] = 100 / float(value)  # alike in size
    for model, micro in zip(made, (0, MICRO), strict=True):
        model.micro_batch = micro
    direct, cached = (gradients(prepare(model, settings()), batch) for model in made)
    assert set(direct[1]) == {"loss", *kinds}
    check_equal(cached, direct)


@pytest.mark.parametrize(("loss", "learn"), [("max_hinge", "margin"), ("sigmoid", "auto")])
def test_trained_numbers_of_a_loss_have_their_gradients(loss, learn):
    found = []
    for micro in (0, MICRO):
        model = build(micro, loss=loss, learn=learn, reduction="mean")
        for weight in model.learned.numbers.values():
            weight.constraint = None  # so long a step would end at the bounds
        steps, shown = gradients(model, make_batch())
        found.append((steps, {"loss": shown["loss"]}))
    check_equal(*found[::-1])


def sides(graph):
    """Shapes of all that a graph makes, in its loops too."""
    made = graph.as_graph_def(add_shapes=True)
    nodes = [*made.node, *(node for part in made.library.function for node in part.node_def)]
    for node in nodes:
        for shape in node.attr["_output_shapes"].list.shape:
            yield [axis.size for axis in shape.dim]


@pytest.mark.parametrize("loss", losses.LOSSES)
def test_no_loss_makes_a_matrix_of_the_whole_batch(loss):
    can = getattr(models.build_loss(loss), "learnable", ())
    batch = {key: tf.constant(value) for key, value in make_batch().items()}
    for micro in (MICRO, 0) if loss in ("simclr", "barlow") else (MICRO,):
        model = build(micro, loss=loss, learn=",".join(can) or "none")
        rows = np.random.default_rng(1).standard_normal((2, PAIRS, 8)).astype(np.float32)
        outputs = dict(zip(("image", "text"), map(tf.constant, rows), strict=True))

        def step(model=model, outputs=outputs):
            with tf.GradientTape() as tape:
                tape.watch(outputs)
                total = model.compute_loss(batch, y_pred=outputs)
            return tape.gradient(total, outputs)

        made = list(sides(tf.function(step).get_concrete_function().graph))
        assert [PAIRS, 8] in made
        assert (made.count([PAIRS, PAIRS]) > 0) == (not micro and loss != "barlow")


@pytest.mark.parametrize(
    ("loss", "rows"), [("max_hinge", PAIRS), ("cross_entropy", 40), ("modified", 40)]
)
def test_with_dropout_it_is_that_of_the_masks_that_were_drawn(loss, rows):
    """Beside one tape over the same parts, whose masks are drawn once."""
    changes = {"loss": loss, "reduction": "mean", **DROPOUT}
    batch, micro = make_batch(rows), min(MICRO, rows // 3)
    model, whole = build(micro, **changes), build(micro, **changes)
    found, shown = gradients(model, batch)
    parts = gradient_cache.MicroBatches(whole, {k: tf.constant(v) for k, v in batch.items()})
    assert int(parts.number) == -(-rows // micro)
    with tf.GradientTape() as tape:
        made = [
            (part[0], whole(part[1], training=True))
            for part in map(parts.__getitem__, range(int(parts.number)))
        ]
        back = np.argsort(np.concatenate([part for part, _ in made]))
        outputs = {
            key: tf.gather(tf.concat([one[key] for _, one in made], 0), back)
            for key in ("image", "text")
        }
        whole.micro_batch = 0
        loss_value = whole.compute_loss(batch, y_pred=outputs)
    wanted = tape.gradient(loss_value, whole.trainable_variables)
    check_equal(
        (found, shown), ([np.array(tf.convert_to_tensor(g)) for g in wanted], {"loss": loss_value})
    )
    # And the next step draws others, as many as were used.
    seeds = [[np.array(v) for v in m.variables if "seed" in v.name] for m in (model, whole)]
    assert len(seeds[0]) >= 4
    np.testing.assert_array_equal(seeds[0], seeds[1])
    again = gradients(build(micro, **changes), batch)[0]
    np.testing.assert_array_equal(found[0], again[0])
    model.set_weights(whole.get_weights())
    assert np.abs(gradients(model, batch)[0][0] - found[0]).max() > 1e-3 * np.abs(found[0]).max()


def test_pictures_that_were_read_once_for_all_their_captions():
    rng = np.random.default_rng(0)
    owner = np.sort(rng.integers(0, 30, 100))
    images, row = np.unique(owner, return_inverse=True)
    batch = make_batch(100, image_id=owner.astype(np.int32), image_row=row.astype(np.int32))
    batch["image"] = batch["image"][: len(images)]
    changes = {"loss": "max_hinge", "reduction": "mean"}
    direct, cached = (gradients(build(micro, **changes), batch) for micro in (0, 30))
    check_equal(cached, direct)


class Scaled(Head):
    """Losses of rows before the norm, which look at the other rows, with a weight of their own."""

    def __init__(self, tower):
        super().__init__({"near": 1.0, "alike": 1.0}, ["far"])
        self.scale = self.add_weight((), "ones", name="scale")
        self.read = reader(tower, raw=True)

    def call(self, batch, features, training=False):
        return {"raw": self.read(batch["tokens"], training)["rows"]}

    def row_terms(self, batch, outputs):
        raw, apart = outputs["raw"], outputs["image"] - self.scale * outputs["text"]
        products = ops.matmul(raw, ops.transpose(raw)) / ops.cast(ops.shape(raw)[0], "float32")
        alike = self.scale * ops.sum(ops.square(products), axis=1)
        near, far = (ops.sum(ops.square(rows), axis=1) for rows in (apart, raw))
        return {"near": near, "alike": alike, "far": far}


def test_other_outputs_and_weights_of_the_loss_have_their_gradients():
    def make(micro):
        plain = build(0).parts
        parts = Parts(plain.image, plain.text, heads=(Scaled(plain.text),), ranking=0.0)
        model = models.DualEncoder(parts, losses.build_loss("modified"))
        model.micro_batch = micro
        return prepare(model, settings())

    direct, cached = (gradients(make(micro), make_batch(50)) for micro in (0, 16))
    assert set(direct[1]) == {"loss", "near", "alike", "far"}
    check_equal(cached, direct)


def test_the_step_of_16_bits_is_scaled_as_ever():
    before = keras.mixed_precision.dtype_policy()
    try:
        keras.mixed_precision.set_global_policy("mixed_float16")
        changes = {"loss": "cross_entropy", "reduction": "mean"}
        models_made = [build(micro, **changes) for micro in (0, 16)]
        for model in models_made:  # Keras begins with 32,768, and skips steps until it fits
            model.optimizer.dynamic_scale.assign(64.0)
        batch = make_batch(60)
        batch["tokens"][:, 0] = 1  # behind an empty caption 16 bits run over
        direct, cached = (gradients(model, batch) for model in models_made)
    finally:
        keras.mixed_precision.set_global_policy(before)
    check_equal(cached, direct, 1e-2)


def test_a_resumed_run_goes_on_as_one_that_ran_through():
    changes = {"loss": "max_hinge", "optimizer": "adam", "learning_rate": 1e-2, **DROPOUT}
    batches = [{k: tf.constant(v) for k, v in make_batch(50, seed).items()} for seed in range(4)]
    through, first, second = (build(16, **changes) for _ in range(3))
    for batch in batches:
        through.train_on_batch(batch)
    for batch in batches[:2]:
        first.train_on_batch(batch)
    values = records.state_values(first)
    for variable, value in zip(records.state_variables(second), values, strict=True):
        variable.assign(value)
    for batch in batches[2:]:
        second.train_on_batch(batch)
    pair = records.state_values(through), records.state_values(second)
    for a, b in zip(*pair, strict=True):
        np.testing.assert_array_equal(a, b)


def test_parts_are_of_similar_length_and_cut():
    model = build(16)
    batch = {key: tf.constant(value) for key, value in make_batch(50).items()}
    parts = gradient_cache.MicroBatches(model, batch)
    seen, widths = [], []
    for place in range(int(parts.number)):
        rows, part = parts[place]
        assert len(rows) <= 16
        np.testing.assert_array_equal(part["caption_id"], rows)
        np.testing.assert_array_equal(part["image"], tf.gather(batch["image"], rows))
        width = part["tokens"].shape[1]
        np.testing.assert_array_equal(part["tokens"], tf.gather(batch["tokens"], rows)[:, :width])
        assert not np.any(tf.gather(batch["tokens"], rows)[:, width:])
        seen += rows.numpy().tolist()
        widths.append(width)
    assert sorted(seen) == list(range(50))
    assert widths == sorted(widths) and widths[0] < widths[-1]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model": "projection"}, "of the image_tower takes its statistics from the whole batch"),
        ({"model": "dual_path", "features": "last"}, "of the image_tower takes its statistics"),
        ({"model": "projection", "train": "text"}, "of the text_tower takes its statistics"),
        ({"batch_size": 16}, "--micro_batch 16: expected fewer pairs than --batch_size 16"),
    ],
)
def test_what_micro_batches_would_change_is_refused(changes, reason):
    changes = {"batch_size": 64, "pooling": "max", "text_width": 1 / 64, **changes}
    chosen = settings(micro_batch=16, **changes)
    with pytest.raises(ValueError, match=re.escape(reason)):
        gradient_cache.check_micro_batch(models.build_model(chosen, SIZES), chosen)


def test_batch_norms_that_stand_still_are_not_refused():
    changes = {"model": "projection", "train": "heads", "reduction": "mean", "batch_size": 64}
    for micro in (0, 16):
        gradient_cache.check_micro_batch(
            build(micro, **changes), settings(micro_batch=16, **changes)
        )
    direct, cached = (gradients(build(micro, **changes), make_batch(60)) for micro in (0, 16))
    check_equal(cached, direct)
    pixels = {"model": "dual_path", "features": "pixels", "cnn": "small", "text_width": 1 / 64}
    model = build(0, **pixels, pooling="max", freeze_norm=True)
    names = [norm.name for norm in gradient_cache.coupled(model.image_tower)]
    assert names == ["image_hidden_norm", "image_head_norm"]  # none of the CNN's
