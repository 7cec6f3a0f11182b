"""The league of losses: its flags against the recipes, its intervals against what is known."""

import json

import numpy as np
import pytest
from stand_ins import DATA, RANKS, WORSE, Scripts, study, write_ranks

import metrics
import models
from gallery import scan
from grading import intervals
from lab.settings import settings_of
from lab.studies import branches, draws, losses, standing, trials
from losses import LOSSES, build_loss
from run.folder import Run
from settings.training import Facts
from systems import config

OWNER = {"text_to_image": np.repeat(np.arange(60), 3), "image_to_text": np.arange(60)}
ALL = dict.fromkeys([*losses.LEAGUE, *LOSSES])


def graded(place, ranks):
    """A folder with the ranks_*.csv of one run."""
    run = Run(place)
    for direction, images in OWNER.items():
        write_ranks(run, direction, images, ranks[direction])
    return run


def drawn_ranks(seed, worst=20):
    rng = np.random.default_rng(seed)
    return {direction: rng.integers(1, worst, len(of)) for direction, of in OWNER.items()}


@pytest.mark.parametrize("name", ALL)
def test_every_loss_of_the_league_can_be_built(name):
    flags = losses.flags_of(name, {})
    made = settings_of("--recipe=gru_best", "--embed_dim=4", "--word_dim=3", *flags)
    sizes = Facts(5, 6, 7)
    loss = models.build_model(made, sizes).pair_loss
    numbers = {"temperature": made.temperature, "margin": made.margin, "bias": made.logit_bias}
    for number, value in numbers.items():
        assert name not in losses.LEAGUE or getattr(loss, number, value) == value
    assert made.loss == name or name == "simclr_positive"
    assert {f.lstrip("-").partition("=")[0].removeprefix("no") for f in flags} <= set(
        losses.OF_A_LOSS
    )


@pytest.mark.parametrize(
    ("name", "recipe", "numbers"),
    [
        ("simclr", "simclr", "temperature include_positive reduction"),
        ("sum_triplet", "sum_triplet", "margin reduction"),
        ("max_triplet", "max_triplet", "margin reduction"),
        ("barlow", "barlow", "barlow_lambda"),
        ("paired_hinge", "dual_path_ranking_only", "margin reduction"),
        ("modified", "irse_modified", "margin alpha reduction"),
        ("assignment", "irse_assignment", "margin alpha reduction"),
        ("random_triplet", "irse_random_triplet", "margin squared reduction"),
        ("hardest_triplet", "irse_hardest_triplet", "margin squared reduction"),
        ("sum_hinge", "sh", "margin reduction"),
        ("max_hinge", "mh", "margin reduction"),
    ],
)
def test_the_numbers_are_those_of_the_recipes(name, recipe, numbers):
    both = settings_of(*losses.flags_of(name, {})), settings_of(f"--recipe={recipe}")
    assert both[0].loss == both[1].loss
    ours, theirs = (build_loss(settings.loss, settings) for settings in both)
    for number in numbers.split():
        assert getattr(ours, number) == getattr(theirs, number), number


def test_which_losses_there_are():
    assert {settings_of(*losses.flags_of(name, {})).loss for name in losses.LEAGUE} <= set(LOSSES)
    own = {"barlow": ["--barlow_lambda=1"]}
    assert settings_of(*losses.flags_of("barlow", own)).barlow_lambda == 1
    made = settings_of(*losses.flags_of("soft_weight_triplet", own))
    assert made.loss == "soft_weight_triplet"
    assert not set(losses.OF_A_LOSS) - set(vars(made))


def test_the_documents_figures_add_up():
    for rsum, sides in losses.DOCUMENT.values():
        recalls = [side.rpartition(",")[0].split(" / ") for side in sides.split(";")]
        assert f"{sum(float(one) for side in recalls for one in side):.1f}" == rsum


def test_flags_for_one_loss():
    given = ["barlow: --barlow_lambda 0.1", "simclr:--temperature=0.1", "barlow : --margin 1"]
    assert losses.read_own(given, ["barlow", "simclr"]) == {
        "barlow": ["--barlow_lambda", "0.1", "--margin", "1"],
        "simclr": ["--temperature=0.1"],
    }
    for bad in ("barlow --margin 1", "--margin=1", "simclr: --margin 1"):
        with pytest.raises(ValueError, match="expected the name of a loss, a colon"):
            losses.read_own([bad], ["barlow"])


def test_one_run_has_the_interval_of_its_score(tmp_path):
    ranks = drawn_ranks(0)
    found = {d: metrics.Retrieval(ranks[d], OWNER[d], 180) for d in scan.DIRECTIONS}
    drawn = draws.rsum_draws([graded(tmp_path / "a", ranks)])
    assert drawn.shape == (1, 1 + draws.RESAMPLES)
    assert intervals.interval(drawn[0]) == pytest.approx(intervals.with_intervals(found)["rsum"])


def test_the_difference_is_the_paired_one(tmp_path):
    ranks = [drawn_ranks(seed) for seed in (0, 1)]
    a, b = (graded(tmp_path / name, own) for name, own in zip("ab", ranks, strict=True))
    difference = draws.rsum_difference([(a, b)])
    assert difference["low"] < difference["value"] < difference["high"]
    assert draws.rsum_difference([(b, a)])["value"] == -difference["value"]
    assert draws.rsum_difference([(a, b), (a, b)]) == difference
    assert draws.rsum_difference([(a, b), (b, a)]) == {"value": 0, "low": 0, "high": 0}
    # By hand: the queries' differences, of images drawn with replacement.
    rng, apart = np.random.default_rng((0, 0)), {}
    for side in scan.DIRECTIONS:
        hits = [sum(100.0 * (own[side] <= k) for k in (1, 5, 10)) for own in ranks]
        apart[side] = hits[0] - hits[1]
    samples = []
    for _ in range(draws.RESAMPLES):
        images = rng.integers(0, 60, 60)
        of_texts = apart["text_to_image"].reshape(60, 3)[images]
        samples.append(of_texts.mean() + apart["image_to_text"][images].mean())
    assert difference["value"] == pytest.approx(sum(of.mean() for of in apart.values()))
    low, high = np.quantile(samples, (0.025, 0.975))
    assert (difference["low"], difference["high"]) == pytest.approx((low, high))
    (b / "ranks_image_to_text.csv").write_text("image,rank\n7,1\n")
    with pytest.raises(ValueError, match="different queries"):
        draws.rsum_difference([(a, b)])


def test_the_standings_are_paired(tmp_path):
    numbers = {side: [50.0, 50.0, 50.0, 1.5] for side in trials.SIDES}
    numbers |= {"val_rsum": 1.0, "epoch": 2, "minutes": 1.5, "parted": False, "collapsed": []}
    runs = {
        name: [
            (graded(tmp_path / f"{name}{seed}", drawn_ranks(seed, worst)), numbers)
            for seed in range(3)
        ]
        for name, worst in (("late", 30), ("first", 12), ("same", 12))
    }
    first, same, late = standing.rank_runs(runs)
    assert [one["name"] for one in (first, same, late)] == ["first", "same", "late"]
    assert first["behind"] is None and same["behind"]["low"] < 0 < same["behind"]["high"]
    assert (same["behind"]["value"], same["behind"]["p"]) == (0, 1)
    assert first["rsum"]["low"] < first["rsum"]["value"] < first["rsum"]["high"]
    assert late["behind"]["value"] == pytest.approx(first["rsum"]["value"] - late["rsum"]["value"])
    assert late["behind"]["low"] > 0
    assert late["rsum"]["value"] == pytest.approx(np.mean(late["rsums"]))
    assert late["spread"] == pytest.approx(np.std(late["rsums"], ddof=1))


def test_the_table_of_losses(tmp_path, monkeypatch, capsys):
    ranks = {"barlow_0": WORSE, "simclr_0": RANKS, "barlow_1": RANKS, "simclr_1": RANKS}
    notes = {"barlow_1": ["the embeddings have collapsed (step 100): x"]}
    made = Scripts(monkeypatch, {name: [20.0, 30.0] for name in ranks}, ranks, notes)
    words = [
        "losses", f"--exp_root={tmp_path}", "--seeds=2", f"--output={tmp_path / 'found.json'}",
        f"--train=--recipe gru_best {DATA}", "--losses=barlow,simclr",
        "--loss_flags=barlow: --barlow_lambda 0.02 --learning_rate 1e-3",
    ]  # fmt: skip
    head, (first, second), told = study(capsys, *words)
    assert list(made.trained()) == ["barlow_0", "simclr_0", "barlow_1", "simclr_1"]
    assert first[0] == "simclr" and first[1].startswith("425.0 (") and first[2:4] == ["-", "0.0"]
    assert first[4:10] == ["50.0 / 100.0 / 100.0", "3", "50.0 / 50.0 / 75.0", "3", "2, 2", "1.0"]
    assert first[10:] == ["229.5", "19.7 / 43.7 / 56.4, 7; 15.7 / 39.8 / 54.2, 9"]
    assert second[0] == "barlow (collapsed: 1 of 2)" and second[1].startswith("375.0 (")
    assert second[2].startswith("50.0 (") and second[3] == "70.7" and second[10] == "45.0"
    assert len(head) == len(first) == len(second)
    assert "--barlow_lambda=5e-3 --barlow_lambda 0.02 --learning_rate 1e-3" in told
    barlow, simclr = (config.load(Run(tmp_path / name))[0] for name in ("barlow_1", "simclr_0"))
    assert (barlow.loss, barlow.recipe, barlow.seed) == ("barlow", "gru_best", 1)
    assert (simclr.loss, simclr.recipe, simclr.seed) == ("simclr", "gru_best", 0)
    assert (barlow.barlow_lambda, barlow.learning_rate, barlow.temperature) == (0.02, 1e-3, 0.08)
    assert (simclr.barlow_lambda, simclr.learning_rate, simclr.temperature) == (0.005, 2e-3, 0.07)
    assert {(one.epochs, one.embed_dim) for one in (barlow, simclr)} == {(3, 1024)}
    found = json.loads((tmp_path / "found.json").read_text())["losses"]
    ours = [(one["name"], one["rsums"]) for one in found]
    assert ours == [("simclr", [425, 425]), ("barlow", [325, 425])]
    assert study(capsys, *words)[2] == told and len(made.calls) == 8
    with pytest.raises(ValueError, match=r"--loss_flags 'barlow.*: expected the name of a loss"):
        study(capsys, *words, "--losses=simclr,infonce")
    with pytest.raises(ValueError, match=r"unknown loss 'infonce': .*simclr, .*sum_hinge"):
        study(capsys, *words[:-1], "--losses=simclr,infonce")


PIXELS = "--crop_area=0.6"


def test_the_table_of_branches(tmp_path, monkeypatch, capsys):
    ranks = {f"{name}_0": WORSE for name in branches.BRANCHES} | {"all_0": RANKS}
    made = Scripts(monkeypatch, {name: [20.0, 30.0] for name in ranks}, ranks)
    train = "--model=transformer --text_size=tiny --data=csv --data_dir=somewhere"
    words = f"--exp_root={tmp_path}", "--seeds=1", f"--pixels={PIXELS}", f"--train={train}"
    head, rows, told = study(capsys, "branches", *words)
    assert [row[0] for row in rows] == ["all", "heads", "text", "image"]
    assert rows[0][2] == "-" and rows[1][2].startswith("100.0 (")
    assert len(head) == len(rows[0])
    chosen = {name: config.load(Run(tmp_path / f"{name}_0"))[0] for name in branches.BRANCHES}
    trained = {  # whether the image network is, the rate of the text network
        name: (one.features == "pixels", one.text_rate) for name, one in chosen.items()
    }
    assert trained == {
        "heads": (False, 0), "text": (False, 1), "image": (True, 0), "all": (True, 1)
    }  # fmt: skip
    assert {name for name, one in chosen.items() if one.crop_area == 0.6} == {"image", "all"}
    assert f"- image: --features=pixels --text_rate=0 {PIXELS}" in told
    with pytest.raises(ValueError, match="--branches: no 'both'; there are heads, text, image"):
        study(capsys, "branches", *words, "--branches=both")
    assert len(made.trained()) == 4
