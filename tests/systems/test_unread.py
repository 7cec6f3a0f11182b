"""Flags that nothing would read."""

import pytest

from systems import config, unread


def check(*words):
    argv = ["train.py", *words]
    unread.check_given(config.parse(argv), config.given_names(argv))


@pytest.mark.parametrize(
    "words, says",
    [
        ("--loss=simclr --alpha=0.5", "--alpha is for --loss assignment or modified, not simclr"),
        ("--loss=barlow --temperature=0.1", "--temperature is for --loss cross_entropy or"),
        ("--optimizer=adam --momentum=0.9", "--momentum is for --optimizer sgd, not adam"),
        ("--schedule=cosine --milestones=1,2", "--milestones is for --schedule multi_step"),
        ("--features=regions --crops=1", "--crops is for --features auto or last or fne"),
        (
            "--model=transformer --loss=simclr --word_dim=8",
            "--word_dim is for --model projection or gru",
        ),
        ("--image_size=64", "--image_size is for --model dual_path or transformer"),
    ],
)
def test_a_flag_that_nothing_reads_is_refused(words, says):
    with pytest.raises(ValueError, match=says):
        check(*words.split())


@pytest.mark.parametrize(
    "words",
    [
        "--loss=modified --alpha=0.5 --margin=1 --similarity=cosine",
        "--optimizer=sgd --momentum=0.5 --schedule=step --decay_epochs=2",
        "--features=last --crops=1",
        "--model=gru --word_dim=8",
        "--recipe=f8k_modified --loss=simclr",  # the recipe's own margin is no slip of the user
    ],
)
def test_flags_that_are_read_and_those_of_a_recipe_pass(words):
    check(*words.split())
