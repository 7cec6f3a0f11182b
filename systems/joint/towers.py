"""System 5: one network that ranks captions and writes them, on the boxes of an image.

The image's vector is a weighted sum of its boxes, the caption's the state of an LSTM after its last
word; a second pair of LSTMs reads both states and boxes and writes the caption.

Shape letters: B batch, b rows of one replica, P its images, R boxes, F feature, D embedding, T
tokens, V ids.

References:
  [Joint] System 5: the authors' code of April 2019, and its later state with GradNorm (Nikolaus et
          al., Compositional generalization in image captioning, CoNLL 2019).
"""

import keras

from systems.engine.layers import UnitNorm
from systems.engine.parts import Parts, Sides, WordTable, reader
from systems.joint.gradnorm import GradNorm
from systems.joint.head import CaptionHead, caption_steps
from systems.joint.writer import AtLast, BoxSum, SentenceLSTM, StartFirst, is_box, last_state_tower

CHUNKS = Sides(image=128, text=512)  # 36 boxes of 2,048 numbers of 128 images are 38 MB


def box_tower(settings, feature_dim):
    """(B, R, F) boxes -> (B, D): each through one linear map, their weighted sum, the L2 norm.

    Boxes whose numbers are all 0 are none, so that images may have different numbers of them.

    Reference: [Joint]: 36 boxes, 2048 -> 1024.
    """
    features = keras.Input((None, feature_dim), name="image")
    x = features
    if settings.image_dropout:
        x = keras.layers.Dropout(settings.image_dropout)(x)
    embedded = keras.layers.Dense(settings.embed_dim, name="boxes")(x)
    scores = keras.layers.Dense(1, name="box_weights")(embedded)
    row = BoxSum(name="box_sum")(embedded, scores, features)
    return keras.Model(features, UnitNorm(name="image_norm")(row), name="image_tower")


def caption_tower(settings, num_ids):
    """(B, T) ids w1..wn, end -> (B, D): the reading LSTM's state after wn, and the L2 norm.

    The word table has rows for the padding and the start, too.

    Reference: [Joint]: words of 300, LSTM of 1024.
    """
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    read = StartFirst(num_ids + 1, name="start_first")(tokens)
    start = keras.initializers.RandomUniform(-settings.word_range, settings.word_range)
    words = keras.layers.Embedding(num_ids + 2, settings.word_dim, start, name="words")(read)
    if settings.word_dropout:
        words = keras.layers.Dropout(settings.word_dropout, noise_shape=(None, None, 1))(words)
    states = SentenceLSTM(settings.embed_dim, name="reader")(words)
    row = AtLast(name="at_last")(states, tokens)
    return keras.Model(tokens, UnitNorm(name="text_norm")(row), name="text_tower")


def box_reader(tower, raw):
    """The image side's reader: "boxes", which of them are "present", the "unit" row, and "rows"."""
    norm = tower.get_layer("image_norm")
    found = {"boxes": tower.get_layer("boxes").output, "present": is_box(tower.input)}
    found |= {"unit": norm.output, "rows": norm.input if raw else norm.output}
    return reader(keras.Model(tower.input, found))


def caption_reader(tower, raw):
    """The text side's reader: "heard", the states before each word, and "rows"."""
    norm = tower.get_layer("text_norm")
    heard = tower.get_layer("reader").output
    return reader(
        keras.Model(tower.input, {"heard": heard, "rows": norm.input if raw else norm.output})
    )


def build(settings, facts, loss):
    """System 5, from a run's settings: two towers, a ranking loss and a writer of captions.

        L = rank_weight L_rank + write_weight L_gen, or with weights of GradNorm in their place

    Reference: [Joint].
    Differs from the paper: one bias for each gate; weights of linear maps begin as Glorot has them.
    """
    image = box_tower(settings, facts.feature_dim)
    text = caption_tower(settings, facts.vocabulary_size)
    head = CaptionHead(settings, facts.vocabulary_size + 2)
    balance, rates = None, {}
    if settings.balance == "gradnorm":
        balance = GradNorm(("ranking", *head.terms), settings.gradnorm_alpha, name="gradnorm")
        rates = {balance.balance.path: settings.gradnorm_rate / settings.learning_rate}
    frozen = settings.freeze.split(",")
    for part, tower, names in (
        ("image", image, ("boxes", "box_weights")),
        ("caption", text, ("reader",)),
        ("words", text, ("words",)),
    ):
        for name in names if part in frozen else ():
            tower.get_layer(name).trainable = False
    raw = getattr(loss, "raw", False)
    return Parts(
        image,
        text,
        readers=Sides(box_reader(image, raw), caption_reader(text, raw)),
        heads=(head,),
        ranking=settings.rank_weight,
        balance=balance,
        rates=rates,
        encoders=Sides(image, last_state_tower(text)),
        chunks=CHUNKS,
        words=WordTable(text.get_layer("words").embeddings, padding=1),
        writer=caption_steps(image, text, head.writer) if head.terms else None,
    )
