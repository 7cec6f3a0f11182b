"""The settings of a run: every flag of training that more than one system reads, by sections.

A system adds its own in `systems/NAME/sheet.py` by inheritance, so that its towers read
`settings.embed_dim` and `settings.attention_dim` alike, and a type checker knows both.
`systems.config` reads them from a command line or a run's folder. What the data decide is `Facts`.

Frozen: what a flag says is changed nowhere; `resolve` in `systems.config` alone puts values in
place of "auto" and None.
"""

from dataclasses import dataclass

from losses import LOSSES
from run.options import Options, option
from run.replicas import STRATEGIES

SELECT = (
    "mrr", "rsum", "recall@1", "recall@5", "recall@10", "median_rank", "loss",
    "image_to_text_rsum", "bleu4",
)  # fmt: skip


@dataclass(frozen=True)
class StartOptions(Options):
    """What train.py does with a folder that is there."""

    title = "Start"
    overwrite: bool = option(False, "Replace the run of this name, if there is one.", roles="phase")
    resume: bool = option(False, "Go on with a run that was interrupted.", roles="phase")


@dataclass(frozen=True)
class MachineOptions(Options):
    """How a training is carried out; no part of what a run is."""

    title = "Machine"
    strategy: str = option(
        "auto",
        "tf.distribute strategy. auto: mirrored where there are several GPUs. multi_worker reads "
        "TF_CONFIG.",
        choices=STRATEGIES,
    )
    virtual_devices: int = option(0, "Split the CPU into so many devices, for tests.")
    deterministic: bool = option(False, "The same bits on every run; somewhat slower.")
    threads: int = option(0, "Threads of one operation; 0: all.")


@dataclass(frozen=True)
class ModelOptions(Options):
    """Which system, and what towers of several systems share."""

    title = "Model"
    model: str = option(
        "projection",
        "System: projection MLPs on a bag of words (system 1); a GRU beside a linear map (2); two "
        "CNNs and a classifier (3); a residual network and a transformer (4); boxes and LSTMs that "
        "write captions too (5). 3 to 5 without --recipe: recipes/MODEL_scenes.flags.",
        roles="shape",
    )
    recipe: str | None = option(
        None,
        "Read recipes/NAME.flags first, a published or a measured setting; flags given here win.",
        roles="place phase",
    )
    embed_dim: int = option(256, "Size of the joint space.", least=1, roles="shape")
    hidden_dim: int = option(
        1024,
        "Size of the hidden layers; dual_path: of the image path's; dual_path, transformer: of "
        "--image_pooling places; 0: as many as the CNN ends in.",
        least=0,
        roles="shape",
    )
    dropout: float = option(
        0.5,
        "Dropout of the hidden layers; gru: of the row it reads; dual_path: before the classifier; "
        "transformer: in its layers; joint: before the words that it writes.",
        least=0,
        most=0.99,
    )
    standardize: bool = option(
        False,
        "Image vectors: subtract the training mean and divide by the standard deviation.",
        roles="shape",
    )
    image_dropout: float = option(0.0, "Dropout of the image vectors.", least=0, most=0.99)
    word_dropout: float = option(0.0, "Share of words left out in training.", least=0, most=0.99)


@dataclass(frozen=True)
class SentenceOptions(Options):
    """Word tables and pooling of the systems that read sentences word by word."""

    title = "Words and sentences (gru, dual_path, joint)"
    word_dim: int = option(300, "Size of a word.", least=1, roles="shape")
    word_range: float = option(
        0.1, "Initial words are uniform between minus and plus this.", least=0
    )
    pooling: str = option(
        "last",
        "gru: the state after the end, or the maximum or mean over all tokens; dual_path: the "
        "maximum (the paper) or mean over the last 8 positions.",
        choices=("last", "max", "mean"),
        roles="shape",
    )
    word_vectors: str | None = option(
        None,
        "File that the words start from: GloVe or word2vec, text or binary, maybe gzipped. Its "
        "vectors must have --word_dim numbers.",
        roles="place",
    )


@dataclass(frozen=True)
class DataOptions(Options):
    """Which data, how they are split, which captions and words."""

    title = "Data"
    data: str = option("scenes", "Data set: scenes is built in; others stand in --data_dir.")
    data_dir: str | None = option(
        None, "Folder of the data; of precomp several, A,B: rows side by side.", roles="place free"
    )
    limit: int = option(0, "Use at most so many images of every split; 0: all.", least=0)
    validation_images: int = option(
        256, "Images drawn from the training split where the data has no validation split.", least=1
    )
    coco_split: str = option(
        "whole",
        "coco, of a train and a val file. whole: test on all of val, validation drawn from train. "
        "5k (system 4): by ascending id, test on the first 5,000 of val, validate on the last "
        "5,000 of train, train on all others (113,287 of 2014); five captions of each image.",
        choices=("whole", "5k"),
    )
    data_seed: int = option(0, "Seed of drawn scenes and drawn splits.", least=0)
    captions: str = option(
        "all",
        "Captions of an image in one epoch: one at random, all of them, or all of them in one "
        "batch, where the picture is read once. A batch has --batch_size captions (about that).",
        choices=("one", "all", "together"),
    )
    bucket: int = option(
        0, "Batches of captions of similar length, within windows of so many; 0: no.", least=0
    )
    max_words: int = option(90000, "Most words of the vocabulary.", least=1, roles="words")
    min_count: int = option(
        1, "Fewest occurrences of a word of the vocabulary.", least=1, roles="words"
    )
    vocabulary: str = option(
        "train",
        "Captions that the vocabulary is from. The validation captions' words are never trained.",
        choices=("train", "train+validation"),
        roles="words",
    )
    cache_dir: str = option(".cache", "Folder for what is slow to read.", roles="place free")
    heldout: str | None = option(
        None,
        "Pairs such as brown_dog,sit_cat (or paper: the nine of the document): training images "
        "with a caption that says one are taken out of training, and are the validation set.",
    )
    heldout_file: str | None = option(
        None,
        "The same, from occurrence files (brown_dog.json, ...), with commas, or a folder of them.",
    )
    pair_finder: str = option(
        "rules",
        "What finds pairs in captions of people: our rules, or spaCy, where it and its English "
        "model are installed. Captions of scenes are read by their grammar.",
        choices=("rules", "spacy"),
    )


@dataclass(frozen=True)
class PictureOptions(Options):
    """How pictures become rows."""

    title = "Pictures"
    features: str = option(
        "auto",
        "Image rows: a bag of regions; a CNN's last layer; its full-network embedding (fne); of "
        "several boxes, for joint: things of one colour, a grid of a CNN's last map, or bottom_up "
        "(--features_file); pixels: dual_path and transformer read the pictures themselves; ready: "
        "the data's own vectors. auto: these where there are some, else what the system reads.",
        choices=("auto", "ready", "regions", "last", "fne", "pixels", "boxes", "grid", "bottom_up"),
        roles="pictures",
    )
    features_file: str | None = option(
        None,
        "--features bottom_up: TSV or HDF5 files of boxes, with commas; read once into the cache.",
        roles="place",
    )
    cnn: str = option(
        "MobileNetV2",
        "Network of keras.applications, for last, fne, grid and pixels; or, for pixels, our own "
        "small, or resnet_8, resnet_18, resnet_34, resnet_50.",
        roles="pictures",
    )
    image_weights: str = option(
        "imagenet",
        "Weights of the network: imagenet (downloaded), none (random), or a file; for a resnet_* a "
        "preset of KerasHub or its folder, too.",
        roles="pictures place",
    )
    crops: int = option(
        10,
        "Mean over 10 crops (corners and centre, mirrored), or 1: the centre alone.",
        roles="pictures",
    )
    resize: str = option(
        "squash",
        "Before cropping: to a square (the paper), or the short side, the shape kept.",
        choices=("squash", "short_side"),
        roles="pictures",
    )
    pre_activation: bool = option(False, "fne: activations before the ReLU.", roles="pictures")
    grid: int = option(
        6,
        "--features grid: places along a side of the CNN's last map.",
        least=1,
        roles="pictures",
    )


@dataclass(frozen=True)
class PixelOptions(Options):
    """Towers that read the pictures themselves."""

    title = "Pixels (dual_path, transformer)"
    image_size: int = option(
        224,
        "Side of the pictures in training. Afterwards whole pictures are read, short side 8/7 of "
        "it where training crops and --image_pooling is mean.",
        least=32,
    )
    crop_area: float = option(
        0.8,
        "Smallest share of the picture that a random crop shows; 1: no crops.",
        least=0.01,
        most=1,
    )
    mirror: bool = option(True, "Mirror at random; dual_path: test.py adds the mirrored one.")
    image_pooling: str = option(
        "mean",
        "The CNN's last map as its mean (the papers); or the strongest response of features that "
        "are told their places, for pictures where left and right matter.",
        choices=("mean", "places"),
        roles="shape",
    )
    freeze_backbone: bool = option(False, "Freeze the image CNN, batch norm too.", roles="phase")
    freeze_norm: bool = option(
        False, "The image CNN's batch norm uses its stored statistics in training."
    )
    backbone_rate: float = option(
        0.01, "Learning rate of the image CNN, as a share of --learning_rate.", least=0
    )
    cache: str = option(
        "auto",
        "Keep decoded pictures in memory, or in a file below --cache_dir. auto: where they fit "
        "into a quarter of what is free.",
        choices=("auto", "memory", "disk", "none"),
        roles="place free",
    )


@dataclass(frozen=True)
class LossOptions(Options):
    """The ranking loss, and what counts as alike."""

    title = "Loss"
    loss: str = option("modified", "Training loss.", choices=LOSSES, roles="phase")
    margin: float | None = option(None, "Margin c; without the flag the loss's own.", least=1e-9)
    alpha: float = option(
        0.7,
        "modified, assignment: weight a2 = alpha of repulsion; attraction has 1 - alpha.",
        least=0,
        most=1,
    )
    beta: float = option(
        0.0,
        "Share of the intra-modal losses: weights 1 - beta, beta / 2, beta / 2.",
        least=0,
        most=1,
    )
    temperature: float | None = option(
        None,
        "simclr, cross_entropy, sigmoid: temperature; without the flag the loss's own.",
        least=1e-6,
    )
    similarity: str = option(
        "cosine",
        "How image and text are compared: cosine, or order embedding, -|max(0, text - image)|^2. "
        "order is for the losses that rank.",
        choices=("cosine", "order"),
        roles="shape",
    )
    squared: bool = option(True, "random_triplet and its kin: squared distances, or plain ones.")
    paper_negatives: bool = option(
        False, "Hinges: another caption of the same image is a negative too, as printed."
    )
    include_positive: bool = option(
        False, "simclr: the own pair stands in the denominators, too (InfoNCE)."
    )
    barlow_lambda: float = option(5e-3, "barlow: weight of the redundancy.", least=0)
    logit_bias: float = option(-10.0, "sigmoid: the bias b.")
    reduction: str = option(
        "sum",
        "Sum of a batch's terms (the papers), or their mean: for the B x B pairs of a batch of B "
        "the same SGD step then needs a learning rate B^2 times as large.",
        choices=("sum", "mean"),
    )
    relevance: str = option(
        "identity",
        "How alike two images are: cosine of their concepts, not at all, or cosine of their "
        "captions' TF-IDF. auto: concepts where the data has them, else identity.",
        choices=("auto", "concepts", "identity", "tfidf"),
    )
    literal_relevance: bool = option(
        False,
        "An image's own pair stays at its cosine, 0 where it has no concept, as the formula says.",
    )
    learn: str = option(
        "auto",
        "Numbers of the loss that are trained, with commas: temperature (from 0.01 to 1), margin "
        "(0.01 to 2), bias; none; or auto: temperature and bias for sigmoid, none for others.",
        roles="phase",
    )
    views_weight: float = option(
        0.0,
        "Weight of two more terms, by the same loss: image with image and caption with caption, "
        "two views of each as pairs, by dropout and, of pixels, crops.",
        least=0,
    )


@dataclass(frozen=True)
class TrainingOptions(Options):
    """Batches, the optimiser, and when training ends."""

    title = "Training"
    epochs: int = option(8, "Passes over the training images.", least=1, roles="free")
    batch_size: int = option(256, "Pairs in a (global) batch.", least=2)
    micro_batch: int = option(
        0,
        "Gradient caching: read a batch in parts of so many pairs, twice. The gradient is that of "
        "the whole batch, the memory that of a part. 0: read it whole, once.",
        least=0,
    )
    train: str = option(
        "all",
        "What is trained: all; the heads (each tower's last layers with weights, and the norm "
        "behind them); one tower. The rest is frozen, its batch norm too. What belongs to the "
        "loss is always trained.",
        choices=("all", "heads", "image", "text"),
        roles="phase",
    )
    optimizer: str = option("adam", "Optimiser.", choices=("sgd", "adam", "adamw"))
    learning_rate: float = option(2e-3, "Learning rate.", least=1e-12)
    momentum: float = option(0.9, "Momentum of sgd.", least=0, most=1)
    nesterov: bool = option(False, "Nesterov's momentum for sgd.")
    weight_decay: float = option(
        0.0, "L2 for sgd and adam (as PyTorch has them), decoupled decay for adamw.", least=0
    )
    clip_norm: float = option(0.0, "Largest norm of each weight's gradient; 0: any.", least=0)
    clip_value: float = option(0.0, "Largest size of each number of a gradient; 0: any.", least=0)
    schedule: str = option(
        "cosine",
        "Learning rate over time: constant, a cosine to 0, or times --decay_rate: every "
        "--decay_epochs, after each of --milestones, or after --decay_epochs without a best.",
        choices=("constant", "step", "multi_step", "plateau", "cosine"),
    )
    decay_rate: float = option(0.9, "Factor of step, multi_step and plateau.", least=0)
    decay_epochs: float = option(10.0, "Period of step and of plateau.", least=1e-9, most=1e6)
    milestones: str = option("1,4,10", "multi_step: completed epochs before each fall.")
    warmup_epochs: float | None = option(
        None,
        "Linear rise of the learning rate at first; without the flag 1 before a cosine, else 0.",
        least=0,
        most=1e6,
    )
    precision: str = option(
        "float32",
        "Of the towers' arithmetic in training; weights, norms and losses stay float32.",
        choices=("float32", "mixed_float16", "mixed_bfloat16"),
    )
    select: str = option(
        "mrr",
        "What chooses the best epoch, on validation. rsum is of both directions, mrr, recalls and "
        "median_rank are text-to-image; bleu4 is joint's greedy captions; loss is of training.",
        choices=SELECT,
    )
    early_stopping: int = option(
        0, "Stop after so many epochs without a best; 0: never.", least=0, roles="free"
    )
    init_from: str | None = option(
        None,
        "Second phase: start from the best weights of this run, with its words and pictures, and "
        "keep them unless they are beaten on validation.",
        roles="place phase",
    )
    first_phase: str | None = option(
        None,
        "Train this recipe first, in a run of its own (NAME-first), and --init_from it. The other "
        "flags of the command line hold for both phases.",
        roles="phase",
    )
    stop_on_collapse: bool = option(False, "Stop when the embeddings have collapsed.")
    seed: int = option(0, "Seed of weights, batches, dropout.", least=0, most=10**9)


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
