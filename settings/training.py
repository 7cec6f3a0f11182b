"""The settings of a run: every flag of training that more than one system reads, by sections.

Those of data and images are in `settings/data.py`. A system adds its own by inheritance, in
`systems/NAME/sheet.py`, so its towers read `settings.embed_dim` and `settings.attention_dim` alike.
`systems.config` reads settings from a command line or a run's folder. `Facts` come from the data.

Immutable: `resolve` in `training.reading` makes a copy with values in place of "auto".
"""

from dataclasses import dataclass

from losses import LOSSES, SIMILARITIES
from settings.data import DataOptions, PictureOptions, PixelOptions
from settings.options import Options, option

SELECT = (
    "mrr", "rsum", "recall@1", "recall@5", "recall@10", "median_rank", "loss",
    "image_to_text_rsum", "bleu4",
)  # fmt: skip
LOWER_IS_BETTER = ("median_rank", "loss")  # of these

STRATEGIES = ("auto", "none", "mirrored", "multi_worker")


@dataclass(frozen=True)
class StartOptions(Options):
    """What train.py does with a folder that is there."""

    title = "Start"
    overwrite: bool = option(False, "Replace the run of this name, if there is one.", roles="phase")
    resume: bool = option(False, "Continue a run that was interrupted.", roles="phase")


@dataclass(frozen=True)
class MachineOptions(Options):
    """How a training is carried out; no part of what a run is."""

    title = "Machine"
    strategy: str = option(
        "auto",
        "tf.distribute strategy. auto: mirrored with several GPUs, else none. multi_worker "
        "reads TF_CONFIG.",
        choices=STRATEGIES,
    )
    virtual_devices: int = option(
        0, "Split the CPU into this many devices, for tests of replicas; 0: no."
    )
    deterministic: bool = option(False, "The same bits on every run; somewhat slower.")
    threads: int = option(0, "Threads of one operation; 0: as many as cores.")
    tensorboard: bool = option(
        False, "Also write tensorboard/ in the run's folder; needs the package."
    )
    notes: str | None = option(None, "A remark for run.md: why this run was made.")


@dataclass(frozen=True)
class ModelOptions(Options):
    """Which system, and what towers of several systems share."""

    title = "Model"
    model: str = option(
        "projection",
        "System: projection MLPs on a bag of words (system 1); a GRU beside a linear map (2); "
        "two CNNs and a classifier (3); a ResNet and a transformer (4); LSTMs that rank and "
        "write captions (5). 3 to 5 without --recipe: recipes/MODEL_scenes.flags.",
        roles="shape",
    )
    recipe: str | None = option(
        None,
        "Read recipes/NAME.flags first, a published or a measured setting. Flags on the command "
        "line win.",
        roles="place phase",
    )
    embed_dim: int = option(
        256,
        "Dimension of the embeddings, the space that images and texts share.",
        least=1,
        roles="shape",
    )
    hidden_dim: int = option(
        1024,
        "Units of the hidden layers: of both towers; dual_path: of the image tower; dual_path "
        "and transformer: of --image_pooling places. 0: as many as the CNN's last layer.",
        least=0,
        roles="shape",
    )
    dropout: float = option(
        0.5,
        "Dropout rate: of the hidden layers; gru: of the GRU's output; dual_path: before the "
        "classifier; transformer: of its layers; joint: before the output layer of the caption "
        "writer.",
        least=0,
        most=0.99,
    )
    standardize: bool = option(
        False,
        "Standardise image vectors: subtract the training mean, divide by the training standard "
        "deviation.",
        roles="shape",
    )
    image_dropout: float = option(
        0.0, "Dropout rate of the image vectors, before the first layer.", least=0, most=0.99
    )
    word_dropout: float = option(
        0.0,
        "Probability that a word of a caption is left out in training (transformer: of its bag).",
        least=0,
        most=0.99,
    )


@dataclass(frozen=True)
class SentenceOptions(Options):
    """Word tables and pooling of the systems that read sentences word by word."""

    title = "Words and sentences"
    word_dim: int = option(
        300,
        "Dimension of the word embeddings. With --word_vectors: that of the file.",
        least=1,
        roles="shape",
    )
    word_range: float = option(
        0.1, "Initial word embeddings are uniform between minus and plus this number.", least=0
    )
    pooling: str = option(
        "last",
        "From tokens to one vector. gru: the last state, or the maximum or mean over all "
        "tokens. dual_path: the maximum (the paper) or mean over its last 8 positions.",
        choices=("last", "max", "mean"),
        roles="shape",
    )
    bag: bool = option(
        False,
        "gru, transformer: add a bag-of-words embedding to the output of the text network.",
        roles="shape",
    )
    word_vectors: str | None = option(
        None,
        "File of pretrained word embeddings (GloVe or word2vec, text or binary, also gzipped), "
        "from which training starts. Its dimension must be --word_dim.",
        roles="place",
    )


@dataclass(frozen=True)
class LossOptions(Options):
    """The ranking loss, and what counts as alike."""

    title = "Loss"
    loss: str = option(
        "modified", "Training loss; losses.py has their formulas.", choices=LOSSES, roles="phase"
    )
    margin: float | None = option(
        None,
        "Margin of losses that have one. Without the flag: the loss's own.",
        least=1e-9,
        most=100,
    )
    alpha: float = option(
        0.7,
        "modified, assignment: weight of the repulsion of unlike pairs; attraction has 1 - alpha.",
        least=0,
        most=1,
    )
    beta: float = option(
        0.0,
        "Share of the losses within images and within texts: the three weights are 1 - beta, "
        "beta / 2 and beta / 2.",
        least=0,
        most=1,
    )
    temperature: float | None = option(
        None,
        "simclr, cross_entropy, sigmoid: temperature that divides the scores. Without the flag: "
        "the loss's own.",
        least=1e-6,
        most=100,
    )
    similarity: str = option(
        "cosine",
        "Score of an image and a text: the cosine of their embeddings; or order (order "
        "embeddings), -|max(0, text - image)|^2, for losses that rank.",
        choices=SIMILARITIES,
        roles="shape",
    )
    squared: bool = option(
        True, "random_triplet and its variants: squared distances, else plain ones."
    )
    paper_negatives: bool = option(
        False, "Hinge losses: other captions of the same image are negatives too, as in the paper."
    )
    include_positive: bool = option(
        False, "simclr: the denominator includes the positive pair (InfoNCE)."
    )
    barlow_lambda: float = option(5e-3, "barlow: weight of the redundancy term.", least=0, most=1e4)
    logit_bias: float = option(
        -10.0,
        "sigmoid: the bias b, or its initial value if it is trained.",
        least=-1e4,
        most=1e4,
    )
    reduction: str | None = option(
        None,
        "Sum of a batch's terms or their mean. Without the flag: the loss's own. With the mean "
        "over the B x B pairs of a batch, SGD needs a learning rate B^2 times as large.",
        choices=("sum", "mean"),
    )
    relevance: str = option(
        "identity",
        "How much an image and another image's caption are taken as alike, 0 to 1: identity: 0; "
        "concepts: cosine of the images' concept labels; tfidf: cosine of their captions' "
        "TF-IDF vectors. auto: concepts if the data have them, else identity.",
        choices=("auto", "concepts", "identity", "tfidf"),
    )
    literal_relevance: bool = option(
        False,
        "With concepts: the relevance of an image to its own caption stays the formula's "
        "cosine, which is 0 for images without a concept. Else it is 1.",
    )
    learn: str = option(
        "auto",
        "Hyper-parameters of the loss that are trained too, separated by commas: temperature "
        "(0.01 to 1), margin (0.01 to 2), bias; or none. auto: temperature and bias for "
        "sigmoid, none for the others.",
        roles="phase",
    )
    views_weight: float = option(
        0.0,
        "Weight of two more terms of the same loss: two augmented views of an image as a pair, "
        "and two of a caption. Views differ by dropout and random crops. 0: no such terms.",
        least=0,
    )


@dataclass(frozen=True)
class TrainingOptions(Options):
    """Batches, the optimiser, and when training ends."""

    title = "Training"
    epochs: int = option(8, "Passes over the training images.", least=1, roles="free")
    batch_size: int = option(256, "Image-text pairs in a batch, over all devices.", least=2)
    micro_batch: int = option(
        0,
        "Gradient caching, for batches that do not fit into memory: encode this many pairs at a "
        "time, twice. The gradient is that of the whole batch. 0: encode the whole batch at "
        "once.",
        least=0,
    )
    train: str = option(
        "all",
        "Which weights are trained: all; heads (the last layers of each tower); image or text "
        "(one tower). The others are frozen, with their batch norm. Trained hyper-parameters of "
        "the loss are always trained.",
        choices=("all", "heads", "image", "text"),
        roles="phase",
    )
    optimizer: str = option("adam", "Optimiser.", choices=("sgd", "adam", "adamw"))
    learning_rate: float = option(2e-3, "Learning rate, the highest of the schedule.", least=1e-12)
    momentum: float = option(0.9, "Momentum of sgd.", least=0, most=1, when="optimizer=sgd")
    nesterov: bool = option(False, "Nesterov momentum for sgd.", when="optimizer=sgd")
    weight_decay: float = option(
        0.0,
        "Weight decay: L2 regularisation for sgd and adam (as in PyTorch), decoupled for adamw.",
        least=0,
    )
    clip_norm: float = option(
        0.0,
        "Gradient clipping: the gradient of each weight tensor is scaled down to at most this "
        "L2 norm; 0: no clipping.",
        least=0,
    )
    clip_value: float = option(
        0.0,
        "Gradient clipping: each component is limited to between minus and plus this number; 0: "
        "no clipping.",
        least=0,
    )
    schedule: str = option(
        "cosine",
        "Learning rate over time: constant; cosine to 0; or multiplied by --decay_rate every "
        "--decay_epochs (step), after --milestones (multi_step), or after --decay_epochs "
        "without improvement (plateau).",
        choices=("constant", "step", "multi_step", "plateau", "cosine"),
    )
    decay_rate: float = option(
        0.9,
        "Factor of the schedules step, multi_step and plateau.",
        least=0,
        when="schedule=step,multi_step,plateau",
    )
    decay_epochs: float = option(
        10.0,
        "Epochs between two decays (step), or without improvement before a decay (plateau).",
        least=1e-9,
        most=1e6,
        when="schedule=step,plateau",
    )
    milestones: str = option(
        "1,4,10",
        "multi_step: numbers of epochs after which the learning rate is multiplied.",
        when="schedule=multi_step",
    )
    warmup_epochs: float | None = option(
        None,
        "Warm-up: epochs in which the learning rate rises linearly from 0 at the start, before "
        "any schedule. Without the flag: 1 for cosine, else 0.",
        least=0,
        most=1e6,
    )
    precision: str = option(
        "float32",
        "Number format of the towers' computations in training. Weights, norms and losses are "
        "always float32. mixed_bfloat16 is 1.3 to 1.4 times as fast, for a GRU, on CPUs that have "
        "it (AMX, AVX512-BF16), and no faster elsewhere.",
        choices=("float32", "mixed_float16", "mixed_bfloat16"),
    )
    select: str = option(
        "mrr",
        "Validation metric that chooses the best epoch, whose weights are kept. rsum: of both "
        "directions; mrr, recall@K, median_rank: of text to image; bleu4: of captions written "
        "by joint; loss: of training.",
        choices=SELECT,
    )
    early_stopping: int = option(
        0,
        "Stop after this many epochs without improvement of --select; 0: never.",
        least=0,
        roles="free",
    )
    init_from: str | None = option(
        None,
        "Second phase of training: start from the best weights of this run, with its vocabulary "
        "and image features. If no epoch improves on them, they are kept.",
        roles="place phase",
    )
    first_phase: str | None = option(
        None,
        "Train this recipe first, in a run NAME-first, then continue from it as --init_from "
        "does. Other flags on the command line hold for both phases.",
        roles="phase",
    )
    stop_on_collapse: bool = option(
        False, "Stop when the embeddings have collapsed, i.e. are nearly equal for all inputs."
    )
    seed: int = option(0, "Seed of initial weights, batches and dropout.", least=0, most=10**9)


@dataclass(frozen=True)
class Settings(
    TrainingOptions,
    LossOptions,
    PixelOptions,
    SentenceOptions,
    PictureOptions,
    DataOptions,
    ModelOptions,
):
    """All settings that systems share; each system's own class inherits from it.

    Attributes:
      reads_pixels: whether the image tower may read pictures themselves.
      shifts_captions: whether captions fill rows of a fixed length, at random shifts.
    """

    reads_pixels = False
    shifts_captions = False

    @property
    def drawn_views(self) -> tuple[str, ...]:
        """Sides of which a training batch brings a second view: pictures cropped or mirrored
        anew, captions at another shift; () where --views_weight is 0.
        """
        drawn = {
            "image": self.features == "pixels" and (self.mirror or self.crop_area < 1),
            "text": self.shifts_captions,
        }
        return tuple(side for side in drawn if drawn[side] and self.views_weight)


@dataclass(frozen=True)
class Facts(Options):
    """What the data and the files decide, beside the settings; in `config.json`, too."""

    title = "Facts"
    feature_dim: int = option(0, "F of image vectors or boxes; 0 of pictures.", least=0)
    vocabulary_size: int = option(0, "Number of word ids.", least=0)
    train_images: int = option(0, "N of the training split.", least=0)
    num_classes: int = option(0, "Classes of a classifier; 0: there is none.", least=0)
    word_vectors_hash: str = option("", "SHA-256 of --word_vectors.")
    started_from: str = option("", "SHA-256 of the weights that a second phase started from.")
