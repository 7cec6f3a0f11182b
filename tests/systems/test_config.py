"""Settings of every system: flags, recipes and the snapshot."""

import dataclasses
import itertools
import json
import re
from typing import Any

import numpy as np
import pytest
from absl import flags
from conftest import ROOT
from loss_cases import TRIPLETS

from data.language import words
from losses import build_loss
from run import files
from run.folder import Run, RunOptions
from settings import options
from settings.training import Facts, Settings
from systems import SYSTEMS, config
from systems.transformer.checks import resolve_transformer

RECIPES = sorted(path.stem for path in (ROOT / "recipes").glob("*.flags"))


def parse(argv):
    return config.parse(["train.py", *argv])


def shapes(settings):
    return {name: getattr(settings, name) for name in options.with_role(type(settings), "shape")}


def test_the_published_settings_are_recipes():
    assert {"irse_modified", "irse_assignment", "irse_beta", "f8k_modified"} <= set(RECIPES)
    assert {f"irse_{name}" for name in TRIPLETS} <= set(RECIPES)
    assert {"sh", "mh", "soe", "moe", "ph", "poe", "gru_best"} <= set(RECIPES)
    assert {"sh_bl", "mh_bl", "soe_bl", "moe_bl"} <= set(RECIPES)
    published = parse(["--recipe=irse_modified"])
    expected = {
        "alpha": 0.5, "margin": 0.5, "hidden_dim": 2048, "embed_dim": 32, "batch_size": 256,
        "optimizer": "sgd", "momentum": 0.9, "weight_decay": 5e-4, "learning_rate": 5e-5,
        "schedule": "step", "decay_rate": 0.9, "decay_epochs": 10, "reduction": None,
        "standardize": False, "recipe": "irse_modified",
    }  # fmt: skip
    assert {name: getattr(published, name) for name in expected} == expected
    assert build_loss("modified", published).reduction == "sum"
    assert build_loss("simclr", parse(["--loss=simclr"])).reduction == "mean"  # its own
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
        assert shapes(before) == shapes(made)


def test_flags_given_besides_a_recipe_are_known():
    argv = ["train.py", "--recipe", "ph", "--epochs=3", "--data_dir", "d", "--nobag", "--exp=e"]
    assert set(config.given_flags(argv, ("exp",))) == {"--data_dir=d", "--nobag", "--epochs=3"}


def test_order_embeddings_need_a_ranking_loss():
    with pytest.raises(ValueError, match="the loss modified compares distances"):
        parse(["--similarity=order"])


@pytest.mark.parametrize(
    ("flags_given", "reason"),
    [
        ("--features=pixels", "for --model dual_path or transformer; --model projection reads"),
        ("--model=gru --features=grid", "several rows for each picture, for --model joint"),
        ("--model=joint --features=last", "one row for each picture, for --model projection or"),
        ("--hidden_dim=0", "--hidden_dim 0 is for models that read pixels, not projection"),
        ("--model=dual_path --features=pixels --standardize", "from a first phase on vectors"),
        ("--model=gru --attention_dim=3", "--attention_dim is for --model joint, not gru"),
        ("--select=bleu4", "--model projection writes no captions"),
        ("--heldout= --model=gru", "names nothing: leave it out"),
        ("--learning_rate=inf", "--learning_rate is inf; expected a finite number"),
        ("--model=dual_path --test_shifts=0", "--test_shifts 0: expected all, or a number"),
        ("--model=dual_path --test_shifts=33", "--test_shifts 33: expected all"),
        ("--model=dual_path --test_shifts=-1", "--test_shifts -1: expected all"),
        ("--model=dual_path --test_shifts=some", "--test_shifts some: expected all"),
        ("--model=dual_path --dictionary=word_vectors", "which? Give --word_vectors FILE"),
        ("--model=dual_path --similarity=order", "--similarity order is not for dual_path"),
        ("--model=dual_path --beta=0.5", "--beta is not for dual_path"),
        ("--model=joint --beta=0.5", "--beta is not for joint"),
        ("--schedule=plateau --warmup_epochs=1", "--schedule plateau takes whole --decay_epochs"),
        ("--schedule=plateau --decay_epochs=2.5", "and no --warmup_epochs"),
        (
            "--recipe=dual_path_stage2 --views_weight=1 --hard_texts=5",
            "--views_weight and --hard_texts: exchanged texts",
        ),
        ("--model=dual_path --hard_texts=5", "which --loss cross_entropy takes for pairs"),
        (
            "--recipe=dual_path_stage2 --micro_batch=8",
            "--micro_batch 8: --hard_texts are chosen by the whole batch",
        ),
        ("--model=dual_path --num_classes=5", "--num_classes 5 is for --classes images"),
    ],
)
def test_settings_that_mean_nothing_are_refused(flags_given, reason):
    with pytest.raises(ValueError, match=re.escape(reason)):
        parse(flags_given.split())


ABSURD = ("0", "-1", "1e30", "-1e30", "nan", "inf", "1e-30", "999999999999", "", "x")


@pytest.mark.parametrize("model", SYSTEMS)
def test_absurd_numbers_are_refused_in_one_line_or_are_within_bounds(model):
    section, values = config.sheet(model).settings, config.train_flags()
    values(config.with_recipe(["train.py", f"--model={model}"]))
    kinds = {f.name: options.type_of(section, f.name) for f in options.fields_of(section)}
    numbers = [name for name, kind in kinds.items() if kind in (int, float)]
    assert len(numbers) > 30
    for name, absurd in itertools.product(numbers, ABSURD):
        flag = values[name]
        usual = flag.value
        try:
            flag.parse(absurd)
            made = getattr(config.from_flags(values), name)
        except (ValueError, flags.Error) as error:
            assert str(error) and "\n" not in str(error)
        else:
            assert np.isfinite(made) and (kinds[name] is float or made >= 0 or name == "crops")
            assert made <= options.SIZE or name not in options.with_role(section, "shape")
        flag.value = usual


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
        assert config.sheet(made.model).tokeniser(made) == "split"  # case is kept
    both = parse(["--recipe=dual_path"])
    assert both.first_phase == "dual_path_stage1"
    assert set(config.differences(both, second)) == {"recipe", "first_phase"}
    assert parse(["--recipe=dual_path_kclass"]).num_classes == 3000
    alone = [parse([f"--recipe=dual_path_{what}_only"]).lambdas for what in ("ranking", "instance")]
    assert alone[0] == "1:0:0" and alone[1].startswith("0:")


@pytest.mark.parametrize("name", ["simclr", "barlow", "sum_triplet", "max_triplet"])
def test_the_smooth_negatives_papers_settings(name):
    made = parse([f"--recipe={name}"])
    assert (made.model, made.cnn) == ("transformer", "resnet_34")
    assert resolve_transformer(made).text_size == "base"
    assert (made.image_weights, made.text_weights) == ("imagenet", "distil_bert_base_en_uncased")
    assert (made.embed_dim, made.max_pieces, made.image_size) == (128, 32, 224)
    assert (made.crop_area, made.mirror, made.image_pooling) == (0.08, True, "mean")
    assert (made.optimizer, made.learning_rate, made.batch_size) == ("adam", 2e-4, 256)
    assert (made.epochs, made.early_stopping, made.captions) == (30, 6, "one")
    numbers = {"margin": 0.2, "temperature": 0.07}
    own = {key: value for key, value in vars(build_loss(name, made)).items() if key in numbers}
    assert own == {key: numbers[key] for key in own} and made.dropout == 0.1
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
    found = config.with_recipe(argv)
    if name is None:
        assert found == argv
    else:
        rest = [word for word in given if not word.startswith("--recipe")]
        path = config.RECIPES / f"{name}.flags"
        assert found == ["train.py", f"--flagfile={path}", f"--recipe={name}", *rest]


def test_every_system_has_a_whole_sheet():
    own: list[str] = []
    for name in SYSTEMS:
        system = config.sheet(name)
        assert issubclass(system.settings, Settings)
        settings = parse([f"--model={name}"])
        assert type(settings) is system.settings
        assert system.tokeniser(settings) in words.TOKENISERS
        assert {system.of_photographs, system.of_scenes} <= set(system.features)
        assert system.default_recipe is None or system.default_recipe in RECIPES
        for path in filter(None, (system.vocabulary, system.targets)):
            assert callable(config.find_function(path))
        own += options.own_names(system.settings)
    assert len(set(own)) == len(own)


def test_no_keras_is_needed_for_settings():
    import subprocess
    import sys

    code = "import sys\nfrom systems import config\nconfig.parse(['train.py', '--model=joint'])\n"
    code += "sys.exit(str({'keras', 'tensorflow'} & set(sys.modules) or ''))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False)
    assert not done.stderr.strip(), done.stderr


def test_help_shows_every_flag_by_sections():
    values = config.train_flags()
    shown = options.help_text(config.training_sections(), values)
    for name in values:
        if name not in ("help", "helpfull", "helpshort", "helpxml", "flagfile", "undefok"):
            assert len(re.findall(rf"^  --(\[no\])?{name}\b", shown, re.MULTILINE)) == 1, name
    titles = re.findall(r"^(\S.*):$", shown, re.MULTILINE)
    assert titles == [section.title for section in config.training_sections()]
    assert "Default: 0.5." in shown and "sum|mean" in shown
    fields = [f for section in config.training_sections() for f in options.fields_of(section)]
    assert max(len(field.metadata["help"]) for field in fields) <= 250


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_builds_a_model_and_holds_only_what_differs(name):
    import models
    from systems.engine import optimization

    settings = parse([f"--recipe={name}"])
    assert settings.recipe == name
    sizes: dict = {"hidden_dim": 4, "embed_dim": 4, "word_dim": 3, "image_size": 32}
    sizes |= {"cnn": "small", "text_width": 1 / 64, "text_size": "tiny"}
    fields = {field.name for field in dataclasses.fields(settings)}
    small = dataclasses.replace(settings, **{k: v for k, v in sizes.items() if k in fields})
    facts = Facts(feature_dim=5, vocabulary_size=6, train_images=7, num_classes=8)
    model = models.build_model(small, facts)
    assert model.count_params() > 0
    assert optimization.build_optimizer(small, 3, model.parts.rates) is not None
    text = (ROOT / "recipes" / f"{name}.flags").read_text()
    assert text.startswith("#") and f"--recipe {name}" in text  # says where it is from, and its use
    texts = [text]
    if base := re.search("^--recipe=(.+)$", text, re.MULTILINE):  # a column of another recipe
        texts.append((ROOT / "recipes" / f"{base[1]}.flags").read_text())
    given = [line for text in texts for line in text.splitlines() if line.startswith("--")]
    flags = [re.sub("^no", "", re.split("=", line[2:])[0]) for line in given]
    flags = [flag if flag in fields else f"no{flag}" for flag in flags]
    assert set(flags) - {"recipe"} == set(config.differences(settings)) - {"recipe"}


@pytest.mark.parametrize("name", RECIPES)
def test_the_shortest_command_of_settings_means_them(name):
    settings = parse([f"--recipe={name}", "--data_dir=d", "--epochs=3", "--seed=5", "--nomirror"])
    words = config.command(settings)
    assert config.parse(words) == settings
    assert len(words) <= 6


def test_the_run_that_a_first_phase_made_is_no_part_of_the_shortest_command():
    settings = dataclasses.replace(parse(["--recipe=ph"]), init_from="a-first")
    assert config.command(settings) == ["train.py", "--recipe=ph"]
    settings = parse(["--recipe=mh", "--init_from=b"])
    assert config.command(settings) == ["train.py", "--recipe=mh", "--init_from=b"]


def test_explicit_flags_win_over_the_recipe_wherever_they_stand():
    assert parse(["--margin=0.25", "--recipe=irse_modified"]).margin == 0.25
    assert parse(["--recipe", "irse_modified", "--margin", "0.25"]).margin == 0.25


def test_a_column_of_table_1_is_its_recipe_but_for_what_it_says():
    """[FNE] Table 1: MOE has 1,536 on Flickr and 2,048 on COCO; PH begins with SH of its column."""
    moe, coco = parse(["--recipe=moe"]), parse(["--recipe=moe_coco"])
    assert (moe.data, moe.embed_dim, moe.epochs) == ("flickr8k", 1536, 300)
    assert (coco.data, coco.coco_split, coco.embed_dim, coco.epochs) == (
        "karpathy",
        "1k",
        2048,
        200,
    )
    assert (coco.similarity, coco.margin, coco.absolute) == ("order", 0.05, True)
    assert (
        parse(["--recipe=mh_f30k"]).embed_dim == 1536 and parse(["--recipe=mh"]).embed_dim == 1024
    )
    assert parse(["--recipe=ph_f30k"]).first_phase == "sh_f30k"
    assert parse(["--recipe=sh_bl_coco"]).learning_rate == 2.5e-4
    assert parse(["--recipe=moe_coco", "--embed_dim=8"]).embed_dim == 8


def test_an_unknown_recipe_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown recipe 'x'; .*irse_modified"):
        config.with_recipe(["train.py", "--recipe=x"])
    with pytest.raises(ValueError, match="unknown recipe ''"):
        config.with_recipe(["train.py", "--recipe"])
    with pytest.raises(ValueError, match="unknown recipe"):
        config.with_recipe(["train.py", "--recipe=../README"])
    assert config.with_recipe(["train.py", "--margin=1"]) == ["train.py", "--margin=1"]


def test_the_snapshot_survives_its_file_and_newer_settings_get_defaults(tmp_path):
    run, settings, facts = Run(tmp_path), parse(["--margin=0.3"]), Facts(7, 9, started_from="ab")
    config.save(run, settings, facts)
    assert config.load(run) == (settings, facts)
    found = json.loads(run.config.read_text())
    del found["settings"]["batch_size"], found["facts"]["num_classes"]
    found["settings"]["learning_rate"] = 1
    files.write_json(run.config, found)
    again, _ = config.load(run)
    assert (again.batch_size, again.learning_rate) == (Settings().batch_size, 1.0)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("margin", "wide", "margin is 'wide'; expected a number from 1e-09 to 100"),
        ("epochs", -3, "epochs is -3; expected a whole number of 1 or more"),
        ("dropout", 7.0, "dropout is 7.0; expected a number from 0 to 0.99"),
        ("loss", "love", "expected one of assignment, modified"),
        ("mirror", 1, "mirror is 1; expected true or false"),
        ("data_dir", ["a"], "data_dir is ['a']; expected text"),
        ("learning_rate", float("nan"), "NaN is no number"),
        ("model", "gpt", "unknown model 'gpt': choose from projection"),
        ("model", 3, "names no model"),
    ],
)
def test_an_edited_snapshot_is_refused_in_one_line(tmp_path, name, value, says):
    run = Run(tmp_path)
    config.save(run, parse([]), Facts())
    found = json.loads(run.config.read_text())
    found["settings"][name] = value
    files.write_text(run.config, json.dumps(found))  # and its hash, as one who knows of it would
    with pytest.raises(ValueError, match=re.escape(says)):
        config.load(run)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"model": "projection", "margin": 0.4}', "has format 1, this version reads 3"),
        ('{"format": 4, "settings": {}, "facts": {}}', "has format 4, this version reads 3"),
        ("[]", "has format 1"),
        ('{"format": 3, "settings": 5, "facts": {}}', "it has no settings"),
        ("{", "not valid JSON"),
    ],
)
def test_another_snapshot_is_refused_in_one_line(tmp_path, content, says):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=says):
        config.load(Run(tmp_path))


def test_the_hash_heeds_settings_but_not_places():
    first = config.config_hash(parse([]), Facts())
    elsewhere = parse(["--data_dir=elsewhere", "--cache_dir=c"])
    assert config.config_hash(elsewhere, Facts()) == first
    assert config.config_hash(parse(["--margin=0.3"]), Facts()) != first
    assert config.config_hash(parse([]), Facts(5)) != first


def test_a_role_says_what_a_field_is():
    for section in (*config.training_sections(), RunOptions):
        for field in dataclasses.fields(section):
            assert field.metadata["roles"] <= set(options.ROLES)
            assert field.metadata["help"].rstrip()[-1] in "."


def test_the_choices_of_flags_are_those_that_exist():
    from systems.engine import bag, freezing, optimization

    values = config.train_flags()
    for name, known in {
        "schedule": optimization.SCHEDULES,
        "optimizer": tuple(optimization.OPTIMIZERS),
        "bag_scale": bag.SCALES,
        "train": freezing.TRAINED,
    }.items():
        parser: Any = values[name].parser
        assert parser.enum_values == list(known)
