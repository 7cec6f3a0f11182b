"""The flags of a training, by what they are about, each defined once for the scripts that share it.

The names of models and losses stand here as text, so that `--help` answers at once; a test holds
that they are those of `models.MODELS` and `losses.LOSSES`.
"""

from absl import flags

from run.options_contrastive import define_contrastive_flags
from run.options_data import define_data_flags, define_picture_flags
from run.options_dual_path import define_dual_path_flags
from run.options_joint import OWN, define_joint_flags
from run.options_pairs import define_pair_flags
from run.options_transformer import define_transformer_flags

TOKENISER = {  # how a model's captions are split
    "projection": "bag",
    "gru": "words",
    "dual_path": "split",
    "transformer": "pieces",
    "joint": "plain_words",
}
DESCRIBED = {  # what --features auto makes of pictures
    "projection": "regions",
    "gru": "fne",
    "dual_path": "pixels",
    "transformer": "pixels",
    "joint": "grid",  # on drawn pictures boxes
}
MODELS = tuple(TOKENISER)
READ_PIXELS = tuple(model for model, kind in DESCRIBED.items() if kind == "pixels")
OF_PIXELS = (  # flags that only models of READ_PIXELS read
    "freeze_backbone", "freeze_norm", "image_pooling", "image_size", "crop_area", "mirror", "cache",
    "backbone_rate",
)  # fmt: skip
ONLY = {  # flags that one model alone reads
    "dual_path": (
        "lowercase", "dictionary", "text_width", "zero_init", "test_shifts", "lambdas",
        "hard_texts", "classes", "num_classes", "compare_relu", "classifier_bias", "word_rate",
        "classifier_rate",
    ),
    "transformer": ("text_size", "text_weights", "word_pieces", "max_pieces"),
    "joint": OWN,
    "gru": ("bidirectional", "bag", "image_bias", "absolute", "embedding_dropout"),
    "projection": ("alpha", "beta", "squared", "bag_scale"),
}  # fmt: skip
RANKING = (  # heed --similarity
    "sum_hinge", "max_hinge", "paired_hinge", "cross_entropy",
    "sum_triplet", "max_triplet", "mean_triplet", "simclr", "sigmoid",
)  # fmt: skip
LOSSES = (
    "modified",
    "assignment",
    "random_triplet",
    "hardest_triplet",
    "soft_weight_triplet",
    "soft_margin_triplet",
    *RANKING,
    "barlow",
)
MARGIN = 1.25
MARGINS = {  # of hinges of cosines, which lie in [-1, 1]: as published
    **dict.fromkeys(("sum_hinge", "max_hinge", "sum_triplet", "max_triplet", "mean_triplet"), 0.2),
    "paired_hinge": 1.0,
}
PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")
SELECT = (
    "mrr", "rsum", "recall@1", "recall@5", "recall@10", "median_rank", "loss",
    "image_to_text_rsum", "bleu4",
)  # fmt: skip


def define_run_flags(values=flags.FLAGS):
    """What train.py does with a run folder that is there."""
    flags.DEFINE_bool(
        "overwrite", False, "Replace the run of this name, if there is one.", flag_values=values
    )
    flags.DEFINE_bool("resume", False, "Go on with a run that was interrupted.", flag_values=values)


def define_training_flags(values=flags.FLAGS):
    """What a run is: all of it goes into config.json."""
    define_data_flags(values)
    define_picture_flags(values)
    _define_model_flags(values)
    _define_sentence_flags(values)
    _define_loss_flags(values)
    define_contrastive_flags(values)
    define_dual_path_flags(values)
    define_transformer_flags(values)
    define_joint_flags(values)
    define_pair_flags(values)
    _define_optimization_flags(values)
    flags.DEFINE_string(
        "recipe",
        None,
        "Read recipes/NAME.flags first (a published or a measured setting); flags given here win.",
        flag_values=values,
    )


def _define_model_flags(values):
    flags.DEFINE_enum(
        "model",
        "projection",
        MODELS,
        "Towers: projection MLPs on a bag of words (system 1), a GRU beside a linear map (system "
        "2: best by a recipe, sh to poe or gru_best), two CNNs and a classifier (system 3), or a "
        "residual network and a transformer (system 4), or boxes and LSTMs that write captions too "
        "(system 5); of these three without a recipe, recipes/MODEL_scenes.flags.",
        flag_values=values,
    )
    flags.DEFINE_integer("embed_dim", 256, "Size of the joint space.", 1, flag_values=values)
    flags.DEFINE_integer(
        "hidden_dim",
        1024,
        "Size of the hidden layers; dual_path: of the image path's; dual_path, transformer: of "
        "--image_pooling places; 0: as many as the CNN ends in.",
        0,
        flag_values=values,
    )
    flags.DEFINE_float(
        "dropout",
        0.5,
        "Dropout of the hidden layers; gru: of the row it reads; dual_path: before the classifier; "
        "transformer: in its layers; joint: before the words that it writes.",
        0,
        0.99,
        flag_values=values,
    )
    flags.DEFINE_bool(
        "standardize",
        False,
        "Image vectors: subtract the training mean and divide by the standard deviation.",
        flag_values=values,
    )
    flags.DEFINE_float(
        "image_dropout", 0.0, "Dropout of the image vectors.", 0, 0.99, flag_values=values
    )
    flags.DEFINE_float(
        "word_dropout", 0.0, "Share of words left out in training.", 0, 0.99, flag_values=values
    )
    flags.DEFINE_enum(
        "bag_scale",
        "count",
        ("count", "mean", "sqrt"),
        "Bag of words: the sum of its words (the paper), their mean, or the sum over the root of "
        "their number.",
        flag_values=values,
    )


def _define_sentence_flags(values):
    flags.DEFINE_integer(
        "word_dim", 300, "gru, dual_path, joint: size of a word.", 1, flag_values=values
    )
    flags.DEFINE_float(
        "word_range",
        0.1,
        "gru, dual_path, joint: words start uniform between minus and plus this.",
        0,
        flag_values=values,
    )
    flags.DEFINE_bool("bidirectional", False, "gru: read both ways.", flag_values=values)
    flags.DEFINE_enum(
        "pooling",
        "last",
        ("last", "max", "mean"),
        "gru: the state after the end, or the maximum or mean over all tokens; dual_path: the "
        "maximum (the paper) or mean over the last 8 positions.",
        flag_values=values,
    )
    flags.DEFINE_float(
        "embedding_dropout", 0.0, "gru: dropout of the word vectors.", 0, 0.99, flag_values=values
    )
    flags.DEFINE_bool("bag", False, "gru: add a bag of words to the GRU's row.", flag_values=values)
    flags.DEFINE_bool(
        "image_bias", False, "gru: a bias in the image's linear map.", flag_values=values
    )
    flags.DEFINE_bool(
        "absolute", False, "gru: absolute values after the L2 norm.", flag_values=values
    )
    flags.DEFINE_string(
        "word_vectors",
        None,
        "gru, dual_path, joint: start the words from this file: GloVe or word2vec, text or "
        "binary, maybe gzipped. Its vectors must have --word_dim numbers.",
        flag_values=values,
    )


def _define_loss_flags(values):
    flags.DEFINE_enum("loss", "modified", LOSSES, "Training loss.", flag_values=values)
    flags.DEFINE_float(
        "margin",
        MARGIN,
        "Margin c. Unless given: 0.2 for sum_hinge, max_hinge and the triplets of system 4, 1 for "
        "paired_hinge.",
        1e-9,
        flag_values=values,
    )
    flags.DEFINE_float(
        "alpha",
        0.7,
        "Weight a2 = alpha of repulsion; attraction has 1 - alpha.",
        0.0,
        1.0,
        flag_values=values,
    )
    flags.DEFINE_float(
        "beta",
        0.0,
        "Share of the intra-modal losses: weights 1 - beta, beta / 2, beta / 2.",
        0.0,
        1.0,
        flag_values=values,
    )
    flags.DEFINE_enum(
        "similarity",
        "cosine",
        ("cosine", "order"),
        "How image and text are compared: cosine, or order embedding, -|max(0, text - image)|^2. "
        "order is for the losses that rank: the hinges, cross_entropy and those of system 4.",
        flag_values=values,
    )
    flags.DEFINE_float(
        "temperature",
        None,
        "Of simclr (without the flag 0.07), cross_entropy (0.05) and sigmoid (0.1).",
        1e-6,
        flag_values=values,
    )
    flags.DEFINE_bool(
        "paper_negatives",
        False,
        "Hinges: another caption of the same image is a negative too, as printed.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "squared", True, "Triplets compare squared distances (or plain ones).", flag_values=values
    )
    flags.DEFINE_enum(
        "reduction",
        "sum",
        ("sum", "mean"),
        "Sum of a batch's terms (the papers), or their mean: for the B x B pairs of a batch of B "
        "the same SGD step then needs a learning rate B^2 times as large.",
        flag_values=values,
    )
    _define_relevance_flags(values)


def _define_relevance_flags(values):
    flags.DEFINE_enum(
        "relevance",
        "identity",
        ("auto", "concepts", "identity", "tfidf"),
        "How alike two images are: cosine of their concepts, not at all, or cosine of their "
        "captions' TF-IDF. auto: concepts where the data has them, else identity.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "literal_relevance",
        False,
        "Leave an image's own pair at its cosine, 0 where it has no concept, as the formula says.",
        flag_values=values,
    )


def _define_optimization_flags(values):
    flags.DEFINE_integer("epochs", 8, "Passes over the training images.", 1, flag_values=values)
    flags.DEFINE_integer("batch_size", 256, "Pairs in a (global) batch.", 2, flag_values=values)
    flags.DEFINE_integer(
        "micro_batch",
        0,
        "Gradient caching: read a batch in parts of so many pairs, twice. The gradient is that of "
        "the whole batch, the memory that of a part. 0: read it whole, once.",
        0,
        flag_values=values,
    )
    flags.DEFINE_enum(
        "train",
        "all",
        ("all", "heads", "image", "text"),
        "What is trained: all; the heads (each tower's last layers with weights, and the norm "
        "behind them; of gru the image's map, the GRU and the bag); one tower. The rest stands "
        "still, its batch norm too. What belongs to the loss is always trained.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "optimizer", "adam", ("sgd", "adam", "adamw"), "Optimiser.", flag_values=values
    )
    flags.DEFINE_float(
        "clip_norm", 0.0, "Largest norm of each weight's gradient; 0: any.", 0, flag_values=values
    )
    flags.DEFINE_float("learning_rate", 2e-3, "Learning rate.", 1e-12, flag_values=values)
    flags.DEFINE_float("momentum", 0.9, "Momentum of sgd.", 0, 1, flag_values=values)
    flags.DEFINE_bool("nesterov", False, "Nesterov's momentum for sgd.", flag_values=values)
    flags.DEFINE_enum(
        "precision",
        "float32",
        PRECISIONS,
        "Of the towers' arithmetic in training; weights, norms and losses stay float32.",
        flag_values=values,
    )
    flags.DEFINE_float(
        "weight_decay",
        0.0,
        "Weight decay: L2 for sgd and adam (as PyTorch has them), decoupled for adamw.",
        0,
        flag_values=values,
    )
    flags.DEFINE_enum(
        "schedule",
        "cosine",
        ("constant", "step", "multi_step", "plateau", "cosine"),
        "Learning rate over time: constant; times --decay_rate every --decay_epochs, after each of "
        "--milestones, or whenever --decay_epochs in a row (or a multiple) brought no best; or a "
        "cosine to 0.",
        flag_values=values,
    )
    flags.DEFINE_float(
        "decay_rate", 0.9, "Factor of step, multi_step and plateau.", 0, flag_values=values
    )
    flags.DEFINE_float(
        "decay_epochs", 10, "Period of step and of plateau.", 1e-9, flag_values=values
    )
    flags.DEFINE_string(
        "milestones", "1,4,10", "multi_step: completed epochs before each fall.", flag_values=values
    )
    flags.DEFINE_float(
        "warmup_epochs",
        None,
        "Linear rise of the learning rate at first, of any schedule. Default: 1 before a cosine, "
        "else 0.",
        0,
        flag_values=values,
    )
    _define_phase_flags(values)


def _define_phase_flags(values):
    flags.DEFINE_enum(
        "select",
        "mrr",
        SELECT,
        "What the best epoch is best in, on validation: text-to-image mrr, recall@1, recall@10, "
        "recall@5, median_rank; rsum of both directions, image_to_text_rsum of one; bleu4 of "
        "joint's greedy captions; loss (of training).",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "early_stopping",
        0,
        "Stop after so many epochs without a best; 0: never.",
        0,
        flag_values=values,
    )
    flags.DEFINE_string(
        "init_from",
        None,
        "Second phase: start from the best weights of this run, with its words and pictures, and "
        "keep them unless they are beaten on validation.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "first_phase",
        None,
        "Train this recipe first, in a run of its own (NAME-first), and --init_from it. The other "
        "flags of the command line hold for both phases.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "stop_on_collapse", False, "Stop when the embeddings have collapsed.", flag_values=values
    )
    flags.DEFINE_integer("seed", 0, "Seed of weights, batches and dropout.", 0, flag_values=values)


def define_machine_flags(values=flags.FLAGS):
    """How a run is carried out: what may change between a start and its resumption."""
    flags.DEFINE_enum(
        "strategy",
        "auto",
        ("auto", "none", "mirrored", "multi_worker"),
        "tf.distribute strategy. auto: mirrored where there are several GPUs. multi_worker reads "
        "TF_CONFIG.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "virtual_devices", 0, "Split the CPU into so many devices, for tests.", flag_values=values
    )
    flags.DEFINE_bool(
        "deterministic", False, "The same bits on every run (somewhat slower).", flag_values=values
    )
    flags.DEFINE_integer("threads", 0, "Threads of one operation; 0: all.", 0, flag_values=values)


def define_measuring_flags(values=flags.FLAGS):
    """--threads and --output of the scripts that measure; once, as tests import both."""
    if "threads" in values:
        return
    flags.DEFINE_integer(
        "threads", 0, "Threads of NumPy and TensorFlow; 0: all cores.", 0, flag_values=values
    )
    flags.DEFINE_string(
        "output", None, "Also write what was measured to this JSON file.", flag_values=values
    )
