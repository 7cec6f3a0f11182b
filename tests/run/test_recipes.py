"""Flags, recipes and the snapshot."""

import re

import pytest
from absl import flags
from conftest import ROOT

from run import options, recipes
from run.facts import Facts

RECIPES = sorted(path.stem for path in (ROOT / "recipes").glob("*.flags"))
LATER = {
    "nesterov": False,
    "precision": "float32",
    "include_positive": False,
    "barlow_lambda": 0.005,
    "logit_bias": -10.0,
    "learn": "auto",
    "views_weight": 0.0,
    "micro_batch": 0,
    "train": "all",
    "milestones": "1,4,10",
    "coco_split": "whole",
}  # newer than some recipes


def parse(argv):
    values = flags.FlagValues()
    options.define_training_flags(values)
    values(recipes.with_recipe(["train.py", *argv]))
    return recipes.settings_from_flags(values)


def test_the_published_settings_are_recipes():
    assert {"irse_modified", "irse_assignment", "irse_beta", "f8k_modified"} <= set(RECIPES)
    triplets = [name for name in options.LOSSES if name.endswith("triplet")]
    assert {f"irse_{n}" for n in triplets if n not in options.RANKING} <= set(RECIPES)
    assert {"sh", "mh", "soe", "moe", "ph", "poe", "gru_best"} <= set(RECIPES)
    assert {"sh_bl", "mh_bl", "soe_bl", "moe_bl"} <= set(RECIPES)
    published = parse(["--recipe=irse_modified"])
    expected = {
        "alpha": 0.5, "margin": 0.5, "hidden_dim": 2048, "embed_dim": 32, "batch_size": 256,
        "optimizer": "sgd", "momentum": 0.9, "weight_decay": 5e-4, "learning_rate": 5e-5,
        "schedule": "step", "decay_rate": 0.9, "decay_epochs": 10, "reduction": "sum",
        "standardize": False, "recipe": "irse_modified",
    }  # fmt: skip
    assert {name: getattr(published, name) for name in expected} == expected
    assert parse(["--recipe", "irse_beta"]).beta == 0.5
    assert parse(["--recipe", "irse_assignment"]).loss == "assignment"


@pytest.mark.parametrize(
    ("name", "loss", "similarity", "embed_dim", "word_dim", "rate", "margin", "absolute", "first"),
    [  # Table 1 of the paper, Flickr8k; moe's rate as in Table 5
        ("sh", "sum_hinge", "cosine", 1536, 1024, 2e-4, 0.2, False, None),
        ("sh_bl", "sum_hinge", "cosine", 2048, 1000, 2e-4, 0.2, False, None),
        ("mh", "max_hinge", "cosine", 1024, 1024, 2e-4, 0.2, False, None),
        ("mh_bl", "max_hinge", "cosine", 1024, 300, 2e-4, 0.2, False, None),
        ("soe", "sum_hinge", "order", 1024, 1024, 1e-3, 0.05, True, None),
        ("soe_bl", "sum_hinge", "order", 1024, 300, 1e-3, 0.05, True, None),
        ("moe", "max_hinge", "order", 1536, 1536, 1e-4, 0.05, True, None),
        ("moe_bl", "max_hinge", "order", 1024, 300, 2e-4, 0.2, False, None),
        ("ph", "max_hinge", "cosine", 1536, 1024, 2e-4, 0.2, False, "sh"),
        ("poe", "max_hinge", "order", 1024, 1024, 1e-4, 0.05, True, "soe"),
    ],
)
def test_the_full_network_papers_settings(
    name, loss, similarity, embed_dim, word_dim, rate, margin, absolute, first
):
    made = parse([f"--recipe={name}"])
    assert (made.loss, made.similarity, made.embed_dim) == (loss, similarity, embed_dim)
    assert (made.word_dim, made.learning_rate, made.margin) == (word_dim, rate, margin)
    assert (made.absolute, made.first_phase) == (absolute, first)
    assert made.epochs == {"mh": 400, "mh_bl": 400, "moe": 300}.get(name, 200)
    assert (made.batch_size, made.clip_norm, made.captions) == (128, 2.0, "one")
    assert (made.optimizer, made.schedule, made.select) == ("adam", "constant", "rsum")
    if first:  # the towers of both phases are alike
        before = parse([f"--recipe={first}"])
        assert all(getattr(before, shape) == getattr(made, shape) for shape in recipes.SHAPES)


def test_flags_given_besides_a_recipe_are_known():
    argv = ["train.py", "--recipe", "ph", "--epochs=3", "--data_dir", "d", "--nobag", "--exp=e"]
    assert recipes.given_flags(argv, ("exp",)) == ["--data_dir=d", "--nobag", "--epochs=3"]


def test_order_embeddings_need_a_ranking_loss():
    with pytest.raises(ValueError, match="the loss modified compares distances"):
        parse(["--similarity=order"])


@pytest.mark.parametrize(
    ("flags_given", "reason"),
    [
        ("--features=pixels", "pixels is for --model dual_path or transformer, not projection"),
        ("--model=gru --features=pixels", "is for --model dual_path or transformer, not gru"),
        ("--hidden_dim=0", "--hidden_dim 0 is for --model dual_path or transformer"),
        ("--model=dual_path --test_shifts=0", "--test_shifts 0: expected all, or a number"),
        ("--model=dual_path --test_shifts=33", "--test_shifts 33: expected all"),
        ("--model=dual_path --test_shifts=-1", "--test_shifts -1: expected all"),
        ("--model=dual_path --test_shifts=some", "--test_shifts some: expected all"),
        ("--model=dual_path --dictionary=word_vectors", "which? Give --word_vectors FILE"),
        ("--model=dual_path --similarity=order", "--similarity order is not for dual_path"),
        ("--schedule=plateau --warmup_epochs=1", "--schedule plateau takes whole --decay_epochs"),
        ("--schedule=plateau --decay_epochs=2.5", "and no --warmup_epochs"),
        ("--views_weight=1 --hard_texts=5", "--views_weight and --hard_texts: exchanged texts"),
        ("--model=dual_path --hard_texts=5", "which --loss cross_entropy takes for pairs"),
        ("--model=dual_path --num_classes=5", "--num_classes 5 is for --classes images"),
    ],
)
def test_flags_of_the_dual_path_that_mean_nothing_are_refused(flags_given, reason):
    with pytest.raises(ValueError, match=re.escape(reason)):
        parse(flags_given.split())


def test_flags_of_the_dual_path_that_mean_something_are_not():
    made = parse(["--recipe=dual_path_stage2", "--test_shifts=32", "--hidden_dim=0"])
    assert (made.model, made.hard_texts, made.test_shifts) == ("dual_path", 256, "32")
    assert parse(["--model=dual_path", "--dictionary=word_vectors", "--word_vectors=f"])


def test_the_dual_path_paper_settings():
    first, second = (parse([f"--recipe=dual_path_stage{stage}"]) for stage in (1, 2))
    assert (first.lambdas, second.lambdas) == ("0:1:1", "1:1:1")
    assert (first.freeze_backbone, second.freeze_backbone) == (True, False)
    assert (first.hard_texts, second.hard_texts) == (0, 256)
    assert (first.decay_epochs, second.decay_epochs, second.epochs) == (240, 40, 60)
    for made in (first, second, parse(["--recipe=dual_path_kclass"])):
        assert (made.margin, made.batch_size, made.embed_dim, made.text_width) == (1, 32, 2048, 1)
        assert (made.optimizer, made.momentum, made.nesterov) == ("sgd", 0.9, True)
        assert (made.learning_rate, made.classifier_rate, made.word_rate) == (0.01, 0.1, 0.01)
        assert (made.weight_decay, made.crop_area, made.image_size) == (1e-4, 0.8, 224)
        assert (made.pooling, made.zero_init, made.compare_relu) == ("max", False, True)
        assert recipes.tokeniser(made) == "split"  # case is kept
    both = parse(["--recipe=dual_path"])
    assert both.first_phase == "dual_path_stage1"
    apart = {"recipe", "first_phase"}
    assert {k: v for k, v in vars(both).items() if k not in apart} == {
        k: v for k, v in vars(second).items() if k not in apart
    }
    assert parse(["--recipe=dual_path_kclass"]).num_classes == 3000
    alone = [parse([f"--recipe=dual_path_{what}_only"]).lambdas for what in ("ranking", "instance")]
    assert alone[0] == "1:0:0" and alone[1].startswith("0:")


@pytest.mark.parametrize("name", ["simclr", "barlow", "sum_triplet", "max_triplet"])
def test_the_smooth_negatives_papers_settings(name):
    made = parse([f"--recipe={name}"])
    assert (made.model, made.cnn, made.text_size) == ("transformer", "resnet_34", "base")
    assert (made.image_weights, made.text_weights) == ("imagenet", "distil_bert_base_en_uncased")
    assert (made.embed_dim, made.max_pieces, made.image_size) == (128, 32, 224)
    assert (made.crop_area, made.mirror, made.image_pooling) == (0.08, True, "mean")
    assert (made.optimizer, made.learning_rate, made.batch_size) == ("adam", 2e-4, 256)
    assert (made.epochs, made.early_stopping, made.captions) == (30, 6, "one")
    assert (made.margin, made.temperature, made.dropout) == (0.2, 0.07, 0.1)
    assert (made.loss, made.weight_decay, made.include_positive) == (name, 5e-6, False)
    assert (made.schedule, made.milestones, made.decay_rate) == ("multi_step", "1,4,10", 0.5)
    assert (made.backbone_rate, made.freeze_backbone, made.select) == (1, False, "rsum")
    assert (made.data, made.coco_split) == ("coco", "5k")


def test_the_joint_papers_settings():
    names = ("joint_rank", "joint_added", "rank_then_generate", "rank_then_generate_frozen")
    names += ("rank_then_joint", "joint_gradnorm")
    made = {name: parse([f"--recipe={name}"]) for name in names}
    for own in made.values():
        assert (own.embed_dim, own.hidden_dim, own.attention_dim) == (1024, 1000, 512)
        assert (own.word_dim, own.max_words, own.margin, own.loss) == (
            300,
            10000,
            0.2,
            "max_triplet",
        )
        assert (own.optimizer, own.learning_rate, own.batch_size) == ("adam", 1e-4, 32)
        assert (own.clip_value, own.clip_norm, own.dropout, own.epochs) == (10, 0, 0, 120)
        assert (own.reduction, own.gradnorm_alpha, own.gradnorm_rate) == ("mean", 2.5, 0.01)
    weights = {name: (own.rank_weight, own.write_weight) for name, own in made.items()}
    assert weights["joint_rank"] == (1, 0) and weights["rank_then_generate"] == (0, 1)
    assert weights["rank_then_generate_frozen"] == (0, 1)
    assert {weights[n] for n in ("joint_added", "rank_then_joint", "joint_gradnorm")} == {(1, 1)}
    assert made["joint_rank"].select == "image_to_text_rsum"
    assert {made[name].select for name in names[1:]} == {"bleu4"}
    assert {name for name in names if made[name].first_phase == "joint_rank"} == {
        name for name in names if name.startswith("rank_then")
    }
    assert made["rank_then_generate_frozen"].freeze == "image,caption,words"
    assert {made[name].balance for name in names[:-1]} == {"sum"}
    assert made["joint_gradnorm"].balance == "gradnorm"


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (["--model=dual_path"], "dual_path_scenes"),
        (["--epochs=2", "--model", "dual_path", "--exp=x"], "dual_path_scenes"),
        (["-model=dual_path"], "dual_path_scenes"),
        (["--model=dual_path", "--recipe=dual_path_stage1"], "dual_path_stage1"),
        (["--model=dual_path", "--resume"], None),
        (["--model=transformer"], "transformer_scenes"),
        (["--model=joint", "--captions=all"], "joint_scenes"),
        (["--model=gru"], None),
        (["--model"], None),
        ([], None),
    ],
)
def test_a_model_without_a_recipe_has_its_own(given, name):
    argv = ["train.py", *given]
    found = recipes.with_recipe(argv)
    if name is None:
        assert found == argv
    else:
        rest = [word for word in given if not word.startswith("--recipe")]
        path = recipes.RECIPES / f"{name}.flags"
        assert found == ["train.py", f"--flagfile={path}", f"--recipe={name}", *rest]


def test_every_model_has_its_words_and_its_own_flags():
    from data.language import words

    made = {name: parse([f"--model={name}", "--lowercase"]) for name in options.MODELS}
    assert {name: recipes.tokeniser(value) for name, value in made.items()} == {
        "projection": "bag", "gru": "words", "dual_path": "lower_split", "transformer": "pieces",
        "joint": "plain_words",
    }  # fmt: skip
    assert {recipes.tokeniser(value) for value in made.values()} <= set(words.TOKENISERS)
    own = [name for names in options.ONLY.values() for name in names] + [*options.OF_PIXELS]
    assert len(set(own)) == len(own) and set(own) <= set(recipes.default_settings())
    assert set(options.ONLY) == set(options.DESCRIBED) == set(options.MODELS)
    assert set(recipes.SHAPES) | set(recipes.PLACES) <= set(recipes.default_settings())


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_builds_a_model(name):
    import models
    from systems.engine import optimization

    settings = parse([f"--recipe={name}"])
    assert settings.recipe == name
    sizes = {"hidden_dim": 4, "embed_dim": 4, "word_dim": 3, "text_width": 1 / 64}
    sizes |= {"cnn": "small", "image_size": 32, "text_size": "tiny"}
    small = recipes.Settings(**{**vars(settings), **sizes})
    of_data = Facts(5, 6, 7, 8)
    model = models.build_model(small, of_data)
    assert model.count_params() > 0
    assert optimization.build_optimizer(small, 3, model.parts.rates) is not None
    values = flags.FlagValues()
    options.define_training_flags(values)
    values(recipes.with_recipe(["train.py", f"--recipe={name}"]))
    places = {"data_dir", "limit", "data_seed", "cache_dir", "model", "seed", "word_vectors"}
    places |= {"word_pieces"}
    places |= {"init_from", "first_phase", "stop_on_collapse"}  # how it goes on, and where it is
    places |= {"features", "cnn", "image_weights", "crops", "resize", "pre_activation"}  # the data
    places |= {"heldout", "heldout_file", "pair_finder", "features_file"}
    for other in set(options.ONLY) - {settings.model}:
        places |= set(options.ONLY[other])  # this run does not read them
    if settings.model not in options.READ_PIXELS:
        places |= set(options.OF_PIXELS)
    open_ones = [n for n in recipes.default_settings() if not values[n].present and n not in places]
    # A later default may not change what a recipe means.
    assert not set(open_ones) - set(LATER)
    assert all(getattr(settings, name) == LATER[name] for name in open_ones)
    text = (ROOT / "recipes" / f"{name}.flags").read_text()
    assert text.startswith("#") and f"--recipe {name}" in text  # says where it is from, and its use


@pytest.mark.parametrize(
    ("loss", "margin"),
    [("max_hinge", 0.2), ("sum_triplet", 0.2), ("paired_hinge", 1), ("modified", 1.25)],
)
def test_each_loss_has_its_own_margin_unless_one_is_given(loss, margin):
    assert parse([f"--loss={loss}"]).margin == margin
    assert parse([f"--loss={loss}", "--margin=0.7"]).margin == 0.7


def test_explicit_flags_win_over_the_recipe_wherever_they_stand():
    assert parse(["--margin=0.25", "--recipe=irse_modified"]).margin == 0.25
    assert parse(["--recipe", "irse_modified", "--margin", "0.25"]).margin == 0.25


def test_an_unknown_recipe_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown recipe 'x'; .*irse_modified"):
        recipes.with_recipe(["train.py", "--recipe=x"])
    with pytest.raises(ValueError, match="unknown recipe ''"):
        recipes.with_recipe(["train.py", "--recipe"])
    with pytest.raises(ValueError, match="unknown recipe"):
        recipes.with_recipe(["train.py", "--recipe=../README"])
    assert recipes.with_recipe(["train.py", "--margin=1"]) == ["train.py", "--margin=1"]


def test_the_snapshot_survives_its_file_and_newer_settings_get_defaults(tmp_path):
    settings = parse(["--margin=0.3"])
    settings.feature_dim, settings.described, settings.train_images = 7, True, 9
    settings.num_phrases = 0
    settings.save(tmp_path / "config.json")
    again = recipes.load_settings(tmp_path / "config.json")
    assert vars(again) == vars(settings)
    (tmp_path / "old.json").write_text('{"model": "projection", "margin": 0.4}')
    old = recipes.load_settings(tmp_path / "old.json")
    assert (old.margin, old.batch_size) == (0.4, recipes.default_settings()["batch_size"])
    (tmp_path / "odd.json").write_text("[]")
    with pytest.raises(ValueError, match="names no model"):
        recipes.load_settings(tmp_path / "odd.json")


def test_the_fingerprint_heeds_settings_but_not_places():
    first = recipes.fingerprint(parse([]))
    assert recipes.fingerprint(parse(["--data_dir=elsewhere", "--cache_dir=c"])) == first
    assert recipes.fingerprint(parse(["--margin=0.3"])) != first
