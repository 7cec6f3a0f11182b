"""The league of losses: its flags against the recipes, its intervals against what is known."""

import numpy as np
import pytest
from test_recipes import parse

import losses
import metrics
import models
from gallery import scan
from grading import intervals
from lab.studies import league
from run.folder import Run
from run.settings import Facts


def graded(folder, ranks, owner):
    """A folder with the ranks_*.csv of one run."""
    run = Run(folder)
    run.folder.mkdir()
    for direction, images in owner.items():
        lines = [f"{i},{rank}" for i, rank in zip(images, ranks[direction], strict=True)]
        (run / f"ranks_{direction}.csv").write_text("\n".join(["image,rank", *lines]))
    return run


OWNER = {"text_to_image": np.repeat(np.arange(60), 3), "image_to_text": np.arange(60)}


def drawn_ranks(seed, worst=20):
    rng = np.random.default_rng(seed)
    return {direction: rng.integers(1, worst, len(of)) for direction, of in OWNER.items()}


@pytest.mark.parametrize("name", [*league.LEAGUE, *league.UNLESS_NAMED])
def test_every_loss_of_the_league_can_be_built(name):
    made = parse(["--recipe=gru_best", "--embed_dim=4", "--word_dim=3", *league.flags_of(name, {})])
    sizes = Facts(5, 6, train_images=7)
    loss = models.build_model(made, sizes).pair_loss
    numbers = {"temperature": made.temperature, "margin": made.margin, "bias": made.logit_bias}
    for number, value in numbers.items():
        assert getattr(loss, number, value) == value
    assert made.loss == name or name == "simclr_positive"


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
    ours, theirs = parse(league.flags_of(name, {})), parse([f"--recipe={recipe}"])
    for number in ["loss", *numbers.split()]:
        assert getattr(ours, number) == getattr(theirs, number), number


def test_which_losses_there_are():
    soft = {"soft_weight_triplet", "soft_margin_triplet"}  # nothing where relevance is 0 or 1
    made = {parse(league.flags_of(n, {})).loss for n in {**league.LEAGUE, **league.UNLESS_NAMED}}
    assert made == set(losses.LOSSES) - soft
    own = {"barlow": ["--barlow_lambda=1"]}
    assert parse(league.flags_of("barlow", own)).barlow_lambda == 1
    assert parse(league.flags_of("soft_weight_triplet", own)).loss == "soft_weight_triplet"
    assert not set(league.OF_A_LOSS) - set(vars(parse([])))
    for name in {**league.LEAGUE, **league.UNLESS_NAMED}:
        flags = [flag.lstrip("-").partition("=")[0] for flag in league.flags_of(name, {})]
        assert {f.removeprefix("no") for f in flags} <= set(league.OF_A_LOSS)


def test_the_documents_figures():
    sums = {
        name: round(sum(x for side in known for x in side[:3]), 1)
        for name, known in league.DOCUMENT.items()
    }
    assert sums == {"sum_triplet": 207.5, "max_triplet": 204.0, "simclr": 229.5, "barlow": 45.0}


def test_flags_for_one_loss():
    given = ["barlow: --barlow_lambda 0.1", "simclr:--temperature=0.1", "barlow : --margin 1"]
    assert league.read_own(given, ["barlow", "simclr"]) == {
        "barlow": ["--barlow_lambda", "0.1", "--margin", "1"],
        "simclr": ["--temperature=0.1"],
    }
    for bad in ("barlow --margin 1", "--margin=1", "simclr: --margin 1"):
        with pytest.raises(ValueError, match="expected the name of a loss, a colon"):
            league.read_own([bad], ["barlow"])


def test_one_run_has_the_interval_of_its_score(tmp_path):
    ranks = drawn_ranks(0)
    run = graded(tmp_path / "a", ranks, OWNER)
    found = {d: metrics.Retrieval(ranks[d], OWNER[d], 180) for d in scan.DIRECTIONS}
    draws = league.rsum_draws([run])
    assert draws.shape == (1, 1 + league.RESAMPLES)
    assert league.interval(draws[0]) == pytest.approx(intervals.with_intervals(found)["rsum"])
    assert (league.seed_means(draws[None]) == draws).all()


def test_seeds_widen_the_interval_as_a_mean_of_seeds_does():
    rsums = np.array([300.0, 306.0, 315.0])
    draws = np.repeat(rsums[None, :, None], 20001, axis=2)  # no image makes a difference
    means = league.seed_means(draws)
    assert means[0, 0] == pytest.approx(307)
    assert means[0, 1:].std() == pytest.approx(np.std(rsums, ddof=1) / np.sqrt(3), rel=0.02)
    # Seed s belongs together: two losses that differ by 5 with every seed differ by 5 surely.
    both = league.seed_means(np.concatenate([draws, draws + 5]))
    np.testing.assert_allclose(both[1] - both[0], 5)
    other = league.seed_means(np.concatenate([draws, draws[:, [1, 2, 0]]]))
    assert (other[1] - other[0]).std() > 2


def scored(monkeypatch):
    """Files that `standings` reads besides the ranks."""
    value = {"value": 50.0}
    side = {**{f"recall@{k}": value for k in (1, 5, 10)}, "median_rank": value}
    score = {"image_to_text": side, "text_to_image": side}
    monkeypatch.setattr(league.trials, "grade", lambda run: score)
    log = {"seconds": 90, "parted": False, "collapsed": []}
    monkeypatch.setattr(league.trials, "read_log", lambda run: log)
    monkeypatch.setattr(league.trials, "best_epoch", lambda run, key: (1.0, 2, 3))


def test_the_standings_are_paired(tmp_path, monkeypatch):
    scored(monkeypatch)
    runs = {
        name: [graded(tmp_path / f"{name}{s}", drawn_ranks(s, worst), OWNER) for s in range(3)]
        for name, worst in (("late", 30), ("first", 12), ("same", 12))
    }
    first, same, late = league.standings(runs)
    assert [one["loss"] for one in (first, same, late)] == ["first", "same", "late"]
    assert first["behind"] is None and same["behind"] == {"value": 0, "low": 0, "high": 0}
    assert first["rsum"]["low"] < first["rsum"]["value"] < first["rsum"]["high"]
    assert late["behind"]["value"] == pytest.approx(first["rsum"]["value"] - late["rsum"]["value"])
    assert late["behind"]["low"] > 0
    assert late["rsum"]["value"] == pytest.approx(np.mean(late["rsums"]))
    assert late["spread"] == pytest.approx(np.std(late["rsums"], ddof=1))
    assert len(league.row(late)) == len(league.HEAD) and league.row(first)[9] == "1.5"
    (runs["late"][1] / "ranks_text_to_image.csv").write_text("image,rank\n7,1\n")
    with pytest.raises(ValueError, match="different queries"):
        league.standings(runs)
