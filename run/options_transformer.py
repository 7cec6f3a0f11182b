"""The flags of system 4, for `options.define_training_flags`."""

from absl import flags

SIZES = ("tiny", "narrow", "mini", "small", "base")  # those of hub.TEXT_SIZES


def define_transformer_flags(values):
    """What only --model transformer reads."""
    flags.DEFINE_enum(
        "text_size",
        "base",
        SIZES,
        "transformer: layers, heads and width of the text tower: 2, 2, 128; 4, 2, 128; 4, 4, 256; "
        "4, 8, 512; or DistilBERT's 6, 12, 768.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "text_weights",
        "none",
        "transformer: start from these: none (random), a preset of KerasHub such as "
        "distil_bert_base_en_uncased, its folder, or a file of Keras weights (which needs "
        "--word_pieces).",
        flag_values=values,
    )
    flags.DEFINE_string(
        "word_pieces",
        None,
        "transformer: the vocabulary of an uncased BERT (vocab.txt). Default: that of "
        "--text_weights, or one learned from the training captions, of at most --max_words.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "max_pieces",
        32,
        "transformer: word pieces of a caption that are read, [CLS] and [SEP] counted.",
        3,
        512,
        flag_values=values,
    )
