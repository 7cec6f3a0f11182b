"""What lab.bench measures of System 4: the published towers, in a training step and in a query.

`published_step` takes the factor of its sizes and the number of threads (0: all cores) and gives
lines of the table (`timing.summarise`). It sets TensorFlow up, so that it wants a process of its
own.
"""

from functools import partial

import numpy as np

from data.language.word_pieces import INSIDE, SPECIAL
from data.language.words import Vocabulary
from lab.bench.dual_path import make_settings
from lab.bench.timing import peak_memory, scaled, summarise, take_turns
from run import replicas
from run.facts import Facts

PIECES = 30_521  # of BERT's vocabulary, but for the padding
LONGEST = 32
PAIRS, SIDE = 16, 224
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def size_of(scale):
    """The published text tower in full size, the smallest one for a try."""
    return "base" if scale == 1 else "tiny"


def published_step(scale, threads):
    """A step of ResNet-34 and DistilBERT, all of it trained, and what it holds in memory."""
    tf = replicas.import_tensorflow()
    replicas.set_devices(threads=threads)
    import models
    from systems.engine import optimization

    settings = make_settings(
        "transformer_scenes",
        cnn="resnet_34" if scale == 1 else "resnet_8",
        text_size=size_of(scale),
        features="pixels",
        image_pooling="mean",
        embed_dim=128,
        learning_rate=1e-6,
        backbone_rate=1,
    )
    words, side, pairs = scaled(PIECES, scale, 64), scaled(SIDE, scale, 32), scaled(PAIRS, scale, 4)
    model = models.build_model(settings, Facts(vocabulary_size=words))
    optimizer = optimization.build_optimizer(settings, 10, model.parts.rates)
    model.compile(optimizer=optimizer, jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.integers(0, 256, (pairs, side, side, 3)).astype(np.uint8),
        "tokens": rng.integers(1, words + 1, (pairs, LONGEST)).astype(np.int32),
        "image_id": np.arange(pairs, dtype=np.int32),
    }
    data = tf.data.Dataset.from_tensors(batch).repeat()
    step = partial(model.fit, data, steps_per_epoch=1, verbose=0, shuffle=False)
    step()
    millions = model.count_params() / 1e6
    what = f"step of {pairs} pairs, {side} x {side}, {millions:.1f} M weights"
    return [summarise(what, take_turns([step], 3), "peak <= 6", peak_memory())]


def write_query_tower(run, scale, embed_dim):
    """Vocabulary and text tower of a run: DistilBERT with fresh weights and BERT's many pieces.

    Args:
      run: `experiment.Run`; scale: factor of the sizes; embed_dim: D.
    """
    from systems.engine import hub
    from systems.transformer import towers

    single = [*LETTERS, *(INSIDE + letter for letter in LETTERS)]
    words = [*SPECIAL[1:], *single]
    count = max(len(words), scaled(PIECES, scale))
    words += [f"word{number}" for number in range(count - len(words))]
    Vocabulary(words, "pieces").save(run.vocabulary)
    settings = make_settings("transformer_scenes", text_size=size_of(scale), embed_dim=embed_dim)
    hub.export_text(towers.piece_tower(settings, len(words)), run.query_tower)


BENCHES = (published_step,)
