"""System 5: the network by loops, its losses, GradNorm, freezing, captions, ONNX."""

import types

import keras
import numpy as np
import pytest
import reference_joint
import tiny_settings
from keras import ops

import models
from answering import writing
from data.language.words import Vocabulary
from grading import export as grading_export
from run import folder, onnx_graphs
from settings.training import Facts
from systems import config
from systems.engine import freezing, optimization
from systems.joint import beam, gradnorm, writer
from training import phases

WORDS = [f"w{i}" for i in range(1, 10)]
VOCABULARY = Vocabulary(WORDS, "plain_words")  # unknown 10, end 11, start 12
END, START, IDS = 11, 12, 13
SIZES = Facts(7, END)


def settings(**changes):
    small = {"model": "joint", "embed_dim": 4, "hidden_dim": 5, "attention_dim": 3, "word_dim": 6}
    small |= {"dropout": 0.0, "loss": "max_triplet", "margin": 0.2, "reduction": "mean"}
    small |= {"schedule": "constant", "batch_size": 8, "learning_rate": 0.02, "captions": "all"}
    return tiny_settings.make(**{**small, **changes})


def build(seed=0, **changes):
    keras.utils.set_random_seed(seed)
    model = models.build_model(settings(**changes), SIZES)
    for weight in model.weights:  # biases, too, so that each is seen
        if weight.path.split("/")[-1].endswith("bias"):
            weight.assign(np.random.default_rng(seed).normal(size=weight.shape) / 2)
    return model


def compiled(eager=False, **changes):
    """Eager: two steps are quicker than a graph."""
    model = build(**changes)
    chosen = settings(**changes)
    optimizer = optimization.build_optimizer(chosen, 1, model.parts.rates)
    model.compile(optimizer, jit_compile=False, run_eagerly=eager)
    model.optimizer.build(model.trainable_variables)
    return model


def captions_of(tokens):
    return [[i for i in row if i not in (0, END)] for row in tokens.tolist()]


def make_batch(rows=5, seed=0, boxes=4):
    """Boxes of which some are none, and captions of one to five words; 0 and 1 are of one image."""
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(rows, boxes, 7)).astype("f")
    for row in range(rows):
        image[row, boxes - row % 3 :] = 0
    tokens = np.zeros((rows, 6), np.int32)
    for row in range(rows):
        count = 1 + row % 5
        tokens[row, :count], tokens[row, count] = rng.integers(1, 11, count), END
    owner = np.maximum(np.arange(rows) - 1, 0).astype(np.int32)
    image[1] = image[0]
    return {"image": image, "tokens": tokens, "image_id": owner}


def arrays(model):
    return {w.path: np.array(w, np.float64) for w in model.weights}


def fit(model, batch, steps, epochs=1):
    import tensorflow as tf

    stream = tf.data.Dataset.from_tensors(batch).repeat()
    return model.fit(stream, steps_per_epoch=steps, epochs=epochs, verbose=0, shuffle=False)


# ---- The network --------------------------------------------------------------------------------


def test_vectors_and_losses_are_those_of_loops():
    model, batch = build(), make_batch()
    w, images, captions = arrays(model), batch["image"].astype(float), captions_of(batch["tokens"])
    outputs = model(batch)
    image = np.array([reference_joint.image_vector(one, w) for one in images])
    text = np.array([reference_joint.caption_vector(one, w, START) for one in captions])
    np.testing.assert_allclose(outputs["image"], image, atol=1e-6)
    np.testing.assert_allclose(outputs["text"], text, atol=1e-6)
    written = reference_joint.generation_loss(images, captions, w, START, END)
    ranking = reference_joint.ranking_loss(image, text, batch["image_id"], 0.2)
    shares = model.shares(batch, outputs)
    assert float(shares["generation"]) == pytest.approx(written, rel=1e-6)
    assert float(shares["ranking"]) == pytest.approx(ranking, rel=1e-5) and ranking > 0.1
    assert float(model.compute_loss(batch, y_pred=outputs)) == pytest.approx(written + ranking)
    weighed = build(rank_weight=0.5, write_weight=3.0)
    total = float(weighed.compute_loss(batch, y_pred=weighed(batch)))
    assert total == pytest.approx(3 * written + 0.5 * ranking)


def test_equal_scores_give_the_logarithm_of_the_ids():
    model, batch = build(), make_batch()
    model.heads[0].writer.output_kernel.assign(np.zeros((5, IDS)))
    model.heads[0].writer.output_bias.assign(np.zeros(IDS))
    shares = model.shares(batch, model(batch))
    assert float(shares["generation"]) == pytest.approx(np.log(IDS))


def test_what_is_no_box_and_what_is_padding_has_no_influence():
    model, batch = build(), make_batch()
    plain = model(batch)
    padded = {**batch, "tokens": np.pad(batch["tokens"], ((0, 0), (0, 5)))}
    padded["image"] = np.pad(batch["image"], ((0, 0), (0, 3), (0, 0)))
    for key, values in model(padded).items():
        np.testing.assert_allclose(values, plain[key], atol=1e-6)
    apart = {**batch, "image": batch["image"][:, ::-1]}  # the order of boxes does not matter
    for key, values in model(apart).items():
        np.testing.assert_allclose(values, plain[key], atol=1e-6)
    for row in range(5):
        one = {key: value[row : row + 1] for key, value in batch.items()}
        count = len(captions_of(one["tokens"])[0]) + 1
        one["tokens"] = one["tokens"][:, :count]
        one["image"] = one["image"][:, : 4 - row % 3] if row != 1 else one["image"]
        for key, values in model(one).items():
            np.testing.assert_allclose(values[0], plain[key][row], atol=1e-6)


def test_sixteen_bits_hold_images_without_boxes():
    scores = ops.convert_to_tensor([[1.0, 2.0], [1.0, 2.0]], "float16")
    found = np.array(writer.box_shares(scores, np.array([[True, False], [False, False]])))
    np.testing.assert_array_equal(found, [[1, 0], [0.5, 0.5]])
    assert found.dtype == np.float16


def test_words_that_come_later_have_no_influence():
    model, batch = build(), make_batch()
    row = batch["tokens"][4:5]
    heard = model.readers.text(row)["heard"]
    changed = row.copy()
    changed[0, 3] = 1 + changed[0, 3] % 9
    again = model.readers.text(changed)["heard"]
    # State k has read the start and the first k words.
    np.testing.assert_array_equal(heard[0, :4], again[0, :4])
    assert np.abs(np.array(heard - again)[0, 4:]).max() > 1e-4


def test_images_read_once_give_what_images_read_for_each_caption_give():
    model, batch = build(), make_batch()
    once = {**batch, "image": batch["image"][1:], "image_row": batch["image_id"]}
    outputs, expected = model(once), model(batch)
    for key, values in expected.items():
        np.testing.assert_allclose(outputs[key], values, atol=1e-6)


@pytest.mark.parametrize("term", ["ranking", "generation"])
def test_gradients_are_those_of_small_steps(term):
    import tensorflow as tf

    keras.mixed_precision.set_global_policy("float64")
    try:
        model = build()
    finally:
        keras.mixed_precision.set_global_policy("float32")
    batch = make_batch()
    batch["image"] = batch["image"].astype(np.float64)
    captions = captions_of(batch["tokens"])

    def loss(w):
        if term == "generation":
            return reference_joint.generation_loss(batch["image"], captions, w, START, END)
        image = np.array([reference_joint.image_vector(one, w) for one in batch["image"]])
        text = np.array([reference_joint.caption_vector(one, w, START) for one in captions])
        return reference_joint.ranking_loss(image, text, batch["image_id"], 0.2)

    with tf.GradientTape() as tape:
        share = model.shares(batch, model(batch, training=True))[term]
    found = tape.gradient(share, [v.value for v in model.trainable_variables])
    w, rng = arrays(model), np.random.default_rng(0)
    for variable, made in zip(model.trainable_variables, found, strict=True):
        if made is None:
            assert term == "ranking" and variable.path.startswith("writer/")
            continue
        gradient = tf.convert_to_tensor(made).numpy()
        place = np.unravel_index(np.abs(gradient).argmax(), gradient.shape)
        for spot in (place, tuple(rng.integers(size) for size in gradient.shape)):
            kept = w[variable.path][spot]
            ends = []
            for step in (1e-5, -1e-5):
                w[variable.path][spot] = kept + step
                ends.append(loss(w))
            w[variable.path][spot] = kept
            slope = (ends[0] - ends[1]) / 2e-5
            # The losses are made in 32 bits.
            assert gradient[spot] == pytest.approx(slope, rel=1e-3, abs=2e-5), variable.path


# ---- Training -----------------------------------------------------------------------------------


def test_it_overfits_eight_images_and_writes_their_captions(tmp_path):
    batch = make_batch(8, seed=3)
    batch["image_id"] = np.arange(8, dtype=np.int32)
    batch["image"] = np.random.default_rng(1).normal(size=(8, 4, 7)).astype("f")
    sizes = {"embed_dim": 16, "hidden_dim": 24, "word_dim": 8}
    model = compiled(False, **sizes)
    history = fit(model, batch, 60, 5).history
    assert history["generation"][-1] < 0.05 and history["ranking"][-1] < 0.02
    assert history["loss"][-1] == pytest.approx(history["generation"][-1] + history["ranking"][-1])
    outputs = model(batch)
    scores = np.array(outputs["image"]) @ np.array(outputs["text"]).T
    np.testing.assert_array_equal(scores.argmax(axis=0), np.arange(8))
    np.testing.assert_array_equal(scores.argmax(axis=1), np.arange(8))
    speaker = beam.Speaker(*model.parts.writer.compiled)
    for width in (1, 4):
        found = beam.beam_search(speaker, batch["image"], width, (START, END), 8)
        assert [list(own[0].ids[:-1]) for own in found] == captions_of(batch["tokens"])
    model.save_weights(tmp_path / "a.weights.h5")
    again = build(seed=7, **sizes)
    again.load_weights(tmp_path / "a.weights.h5")
    for key, values in again(batch).items():
        np.testing.assert_array_equal(values, outputs[key])


def test_a_model_for_ranking_alone_has_a_writer_that_stands_still(tmp_path):
    batch = make_batch(8)
    model = compiled(eager=True, write_weight=0.0)
    before = arrays(model)
    assert set(fit(model, batch, 2).history) == {"loss"}
    assert "written" not in model(batch)
    moved = {path for path, value in arrays(model).items() if (value != before[path]).any()}
    free = "box_weights/bias"  # of all boxes alike, it moves no share: rounding moves it
    assert moved - {free} == {p for p in before if not p.startswith("writer/")} - {free}
    # It starts one that writes.
    run = folder.Run(tmp_path)
    config.save(run, settings(write_weight=0.0), SIZES)
    model.save_weights(run.best_weights)
    second = compiled(seed=5, balance="gradnorm")
    phases.take_over(run, second)
    for path, value in arrays(model).items():
        np.testing.assert_array_equal(arrays(second)[path], value)
    np.testing.assert_array_equal(second.balance.balance, [1, 1])


@pytest.mark.parametrize(
    ("freeze", "still"),
    [
        ("image", ("boxes/", "box_weights/")),
        ("image,caption,words", ("boxes/", "box_weights/", "reader/", "words/")),
    ],
)
def test_what_is_frozen_stands_still(freeze, still):
    model = compiled(eager=True, freeze=freeze, rank_weight=0.0)
    batch = make_batch(8)
    before = arrays(model)
    fit(model, batch, 2)
    # A bias that all boxes have in common moves no share of them.
    free = ("box_weights/bias", "writer/score_bias")
    for path, value in arrays(model).items():
        if path not in free:
            assert (value == before[path]).all() == path.startswith(still), path


def test_heads_and_towers_can_be_trained_alone():
    model = build()
    assert {layer.name for layer in freezing.last_layers(model.image_tower)} == {
        "boxes",
        "box_weights",
    }
    assert [layer.name for layer in freezing.last_layers(model.text_tower)] == ["reader"]
    only = build(train="image")
    assert not only.text_tower.trainable_variables and only.heads[0].trainable_variables


def test_gradients_are_cut_number_by_number():
    dense = np.array([[-3.0, 0.5], [2.0, 30.0]], "f")
    found = np.array(optimization.clipped(dense, 0.0, 2.0))
    np.testing.assert_array_equal(found, [[-2, 0.5], [2, 2]])
    made = optimization.build_optimizer(settings(clip_value=10.0), 1)
    assert made.clip_value == 10.0 and optimization.Adam().clip_value == 0.0


# ---- GradNorm -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "norms", "ratios", "alpha", "expected"),
    [
        ([1, 1], [3, 1], [1, 1], 2.5, [3, -1]),  # 3 > 2 > 1: by eye
        ([1, 1], [2, 2], [1, 0.5], 1.0, [-2, 2]),  # targets 8/3 and 4/3
        ([1, 1], [2, 2], [1, 1], 2.5, [0, 0]),
        ([1.5, 0.5], [1, 4], [0.9, 0.3], 0.0, [-1, 4]),  # targets 1.75
    ],
)
def test_gradnorm_by_eye_and_by_loops(weights, norms, ratios, alpha, expected):
    layer = gradnorm.GradNorm(("ranking", "generation"), alpha)
    found = layer.slope(*(ops.convert_to_tensor(v, "float32") for v in (weights, norms, ratios)))
    np.testing.assert_allclose(found, expected)
    np.testing.assert_allclose(
        reference_joint.gradnorm_slope(weights, norms, ratios, alpha), expected
    )


def test_gradnorm_weighs_the_losses_and_steps_at_its_own_rate():
    batch = make_batch(8)
    model = compiled(balance="gradnorm", gradnorm_rate=0.05)
    plain = build()
    shares, norms = gradient_norms(plain, batch)
    slope = reference_joint.gradnorm_slope([1, 1], norms, [1, 1], 2.5)
    history = fit(model, batch, 1).history
    # The first step of Adam is the rate in the direction of the gradient, then the sum is 2.
    moved = np.array([1.0, 1.0]) - 0.05 * np.sign(slope)
    np.testing.assert_allclose(model.balance.balance, 2 * moved / moved.sum(), rtol=1e-4)
    np.testing.assert_allclose(model.balance.first, shares, rtol=1e-5)
    assert history["ranking_weight"][0] == pytest.approx(float(model.balance.balance[0]))
    assert history["loss"][0] == pytest.approx(
        sum(history[f"{name}_weight"][0] * history[name][0] for name in ("ranking", "generation")),
        rel=1e-5,
    )
    before = float(model.balance.first[0])
    fit(model, batch, 3)
    assert float(model.balance.first[0]) == before
    assert float(ops.sum(model.balance.balance)) == pytest.approx(2, rel=1e-5)


def test_gradnorm_moves_the_others_as_weights_of_its_own_would():
    batch = make_batch(8)
    model, plain = compiled(balance="gradnorm"), compiled(rank_weight=0.4, write_weight=1.6)
    model.balance.balance.assign([0.4, 1.6])
    for one in (model, plain):
        fit(one, batch, 1)
    for path, value in arrays(plain).items():
        np.testing.assert_allclose(arrays(model)[path], value, atol=2e-5)


def gradient_norms(model, batch):
    import tensorflow as tf

    with tf.GradientTape(persistent=True) as tape:
        shares = model.shares(batch, model(batch, training=True))
    shared = [*model.image_tower.trainable_variables, *model.text_tower.trainable_variables]
    values = [v.value for v in shared]
    names = {v.path.split("/")[0] for v in shared}
    assert names == {"boxes", "box_weights", "words", "reader"}
    norms = []
    for name in ("ranking", "generation"):
        found = [tf.convert_to_tensor(g).numpy() for g in tape.gradient(shares[name], values)]
        norms.append(float(np.sqrt(sum(np.square(g).sum() for g in found))))
    return [float(shares[name]) for name in ("ranking", "generation")], norms


def test_weights_of_gradnorm_stay_above_zero():
    np.testing.assert_allclose(gradnorm.SumTo(2)(np.array([3.0, -1.0], "f")), [2, 0], atol=1e-4)


# ---- Use ----------------------------------------------------------------------------------------


def test_the_speaker_says_what_loops_say():
    model, batch = build(), make_batch()
    w, speaker = arrays(model), beam.Speaker(*model.parts.writer.compiled)
    for row in (0, 2, 4):
        ids = captions_of(batch["tokens"])[row]
        scores, looks = reference_joint.write(batch["image"][row].astype(float), ids, w, START, END)
        memory, states = speaker.begin(batch["image"][row : row + 1])
        for number, expected in zip([START, *ids], scores, strict=True):
            found, _, states = speaker.step(np.array([number]), np.array([0]), memory, states)
            np.testing.assert_allclose(found[0], expected, atol=1e-5)
        seen = beam.attention(speaker, batch["image"][row], ids, VOCABULARY)
        assert seen.shape == (len(ids), 4)
        for shares, expected in zip(seen, looks, strict=False):
            np.testing.assert_allclose(shares[: len(expected)], expected, atol=1e-5)
            assert not shares[len(expected) :].any()


def test_captions_of_a_beam_are_those_of_a_search_over_the_network_by_loops():
    model, batch = build(seed=2), make_batch()
    w, speaker = arrays(model), beam.Speaker(*model.parts.writer.compiled)
    numbers = [i for i in range(1, IDS) if i not in (10, START)]
    found = beam.write_beam(speaker, batch["image"], VOCABULARY, width=3, most=3)
    for row in (0, 4):

        def scorer(prefix, row=row):
            boxes = batch["image"][row].astype(float)
            return reference_joint.write(boxes, prefix, w, START, END)[0][-1]

        expected = reference_joint.beam(scorer, numbers, 3, END, 3)
        told = [tuple(i for i in ids if i != END) for ids, _ in expected]
        assert [caption.ids for caption in found[row]] == told
        for caption, (_, score) in zip(found[row], expected, strict=True):
            assert caption.score == pytest.approx(score, abs=1e-4)


def test_it_writes_the_same_without_tensorflow(tmp_path):
    model, batch = build(), make_batch()
    run = folder.Run(tmp_path)
    chosen = types.SimpleNamespace(image_size=64)
    grading_export.export_towers(run, model, chosen)
    boxes = np.random.default_rng(3).normal(size=(6, 9, 7)).astype("f")  # of another number
    speakers = writing.open_speaker(run), beam.Speaker(*model.parts.writer.compiled)
    for width in (1, 3):
        one, two = (beam.write_beam(s, boxes, VOCABULARY, width, 6) for s in speakers)
        for own, other in zip(one, two, strict=True):
            assert [c.ids for c in own] == [c.ids for c in other]
            for a, b in zip(own, other, strict=True):
                assert a.score == pytest.approx(b.score, abs=1e-4)
    rows = onnx_graphs.Tower(run.image_tower)(boxes)
    np.testing.assert_allclose(rows, model.image_tower(boxes), atol=1e-5)
    texts = onnx_graphs.Tower(run.query_tower)(batch["tokens"])
    np.testing.assert_allclose(texts, model.text_tower(batch["tokens"]), atol=1e-5)
    np.testing.assert_allclose(texts, model.encoders.text(batch["tokens"]), atol=1e-5)
    run.next_step.unlink()
    with pytest.raises(ValueError, match=r"no writer_next\.onnx: of a run that writes captions"):
        writing.open_speaker(run)


class Tower:
    """Stands for a tower that is exported."""

    input_shape = (None, None, 7)
    layers = ()

    def __call__(self, inputs):
        return inputs

    def export(self, path, **_):
        path.write_bytes(b"a graph")


def test_a_writer_that_was_not_trained_is_not_exported(tmp_path):
    towers = types.SimpleNamespace(image=Tower(), text=Tower())
    parts = build(write_weight=0.0).parts
    model = types.SimpleNamespace(encoder_models=towers, parts=parts)
    run = folder.Run(tmp_path)
    grading_export.export_towers(run, model, types.SimpleNamespace(image_size=64))
    assert run.query_tower.is_file() and run.image_tower.is_file()
    with pytest.raises(ValueError, match="of a run that writes captions"):
        writing.open_speaker(run)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"rank_weight": 0.0, "write_weight": 0.0}, "nothing to train"),
        ({"balance": "gradnorm", "rank_weight": 0.0}, "neither weight may be 0"),
        ({"balance": "gradnorm", "optimizer": "sgd"}, "needs --optimizer adam"),
        ({"write_weight": 0.0, "select": "bleu4"}, "not trained to write"),
        ({"freeze": "image,eyes"}, "--freeze eyes: choose from image, caption, words"),
        ({"features": "fne"}, "--model joint reads ready, bottom_up, boxes, grid"),
        ({"standardize": True}, "knows neither"),
        ({"model": "gru", "features": "grid"}, "several rows for each picture, for --model joint"),
        ({"model": "gru", "select": "bleu4"}, "--model gru writes no captions"),
        ({"balance": "gradnorm", "views_weight": 0.1}, "--views_weight would be a third"),
        ({"heldout": ""}, "--heldout '' names nothing"),
        ({"heldout": "red_ring", "vocabulary": "train+validation"}, "give --vocabulary train"),
        ({"heldout_file": "a.json", "vocabulary": "train+validation"}, "give --vocabulary train"),
    ],
)
def test_flags_that_mean_nothing_are_refused(flags, says):
    with pytest.raises(ValueError, match=says):
        config.check(settings(**flags))
