"""Mixed precision: every system trains in 16 bits, close to 32, and grades in 32."""

import keras
import numpy as np
import pytest
import tiny_settings

import models
from data.language import word_pieces
from data.language.words import Tokens, Vocabulary
from settings.training import Facts
from systems import SYSTEMS, config
from systems.dual_path import text_cnn
from systems.engine import optimization
from systems.system import Targets
from training.batches import TrainingBatches

WORDS = [f"w{i}" for i in range(9)]
SMALL = {
    "projection": {"loss": "modified", "optimizer": "sgd", "standardize": True},
    "gru": {"loss": "max_hinge", "word_dim": 6, "bidirectional": True, "pooling": "max"},
    "dual_path": {
        "loss": "paired_hinge", "similarity": "cosine", "reduction": "mean", "word_dim": 6,
        "text_width": 0.1, "pooling": "mean", "features": "last", "optimizer": "sgd",
    },
    "joint": {"loss": "cross_entropy", "temperature": 0.5, "attention_dim": 4, "word_dim": 6},
    # A low temperature has gradients that 16 bits cannot hold until the loss is scaled to fit.
    "transformer": {"loss": "cross_entropy", "text_size": "tiny", "temperature": 0.5},
}  # fmt: skip


@pytest.fixture(autouse=True)
def policy(monkeypatch):
    monkeypatch.setattr(text_cnn, "STAGES", text_cnn.STAGES[:1])  # the other blocks are alike
    yield
    keras.mixed_precision.set_global_policy("float32")


def losses(model_name, precision, steps=3):
    """The first losses of a training, and the model."""
    sizes = {"hidden_dim": 16, "embed_dim": 8, "dropout": 0.0, "batch_size": 8}
    chosen = {**sizes, **SMALL[model_name], "model": model_name}
    settings = tiny_settings.make(**{**chosen, "precision": precision, "learning_rate": 1e-4})
    keras.utils.set_random_seed(0)
    keras.mixed_precision.set_global_policy(precision)
    rng = np.random.default_rng(0)
    captions = [" ".join(rng.choice(WORDS, 4)) for _ in range(24)]
    words = [*word_pieces.SPECIAL[1:4], *WORDS] if model_name == "transformer" else WORDS
    tokens = Tokens(captions, Vocabulary(words, config.sheet(settings.model).tokeniser(settings)))
    shape = (24, 3, 5) if model_name == "joint" else (24, 5)
    vectors = rng.standard_normal(shape).astype(np.float32)
    classes = np.arange(24, dtype=np.int32) if model_name == "dual_path" else None
    batches = TrainingBatches(vectors, tokens, np.arange(24), settings, targets=Targets(classes))
    of_data = Facts(5, 12, 24, 24)
    model = models.build_model(settings, of_data)
    optimizer = optimization.build_optimizer(settings, steps, model.parts.rates)
    eager = model_name != "projection"  # which takes less time than a graph of three steps
    model.compile(optimizer=optimizer, jit_compile=False, run_eagerly=eager)
    model.optimizer.build(model.trainable_variables)
    history = model.fit(
        batches.dataset(), steps_per_epoch=1, epochs=steps, verbose=0, shuffle=False
    )
    return np.array(history.history["loss"]), model


@pytest.mark.parametrize("model_name", SYSTEMS)
def test_sixteen_bits_train_like_thirty_two(model_name):
    whole, model = losses(model_name, "float32")
    for precision, near in (("mixed_bfloat16", 0.05), ("mixed_float16", 0.02)):
        half, model = losses(model_name, precision)
        assert np.isfinite(half).all()
        # 8 and 11 bits of mantissa; the towers do round, so the figures do differ.
        np.testing.assert_allclose(half, whole, rtol=near)
        assert (half != whole).any()
        assert {variable.dtype for variable in model.trainable_variables} == {"float32"}
        image = np.ones((2, 3, 5) if model_name == "joint" else (2, 5), "float32")
        rows = model({"image": image, "tokens": np.ones((2, 32), "int32")})
        assert rows["image"].dtype == rows["text"].dtype == "float32"
