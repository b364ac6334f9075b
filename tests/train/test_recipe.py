from __future__ import annotations

from itertools import pairwise

import pytest

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.train.recipe import Recipe, known_recipes, learning_rate_at, load_recipe, override_recipe


def test_every_shipped_recipe_loads_under_its_own_name():
    assert known_recipes() == ("fast-cifar", "fast-digits", "paper-cifar")
    for name in known_recipes():
        assert load_recipe(name).name == name


def test_paper_recipe_is_section_4_2():
    # arXiv:1512.03385, section 4.2: batch 128, 0.1, /10 at 32k and 48k, 64k iterations, 1e-4, 0.9, pad 4, flip.
    recipe = load_recipe("paper-cifar")
    assert (recipe.batch_size, recipe.momentum, recipe.weight_decay) == (128, 0.9, 1e-4)
    assert (recipe.crop_padding_px, recipe.flip, recipe.label_smoothing, recipe.nesterov) == (4, True, 0.0, False)
    assert recipe.max_steps == 64_000 <= recipe.epochs * (50_000 // 128)
    rates = [learning_rate_at(recipe, step, 64_000) for step in (0, 31_999, 32_000, 47_999, 48_000, 63_999)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_digits_are_never_mirrored():
    assert not load_recipe("fast-digits").flip


@pytest.mark.parametrize("schedule", ["one-cycle", "cosine"])
def test_rate_rises_to_its_peak_and_falls_towards_zero(schedule):
    recipe = override_recipe(load_recipe("fast-digits"), {"schedule": schedule, "warmup_fraction": 0.25})
    rates = [learning_rate_at(recipe, step, 100) for step in range(100)]
    assert rates.index(max(rates)) in (24, 25)
    assert max(rates) == pytest.approx(recipe.learning_rate)
    assert all(a < b for a, b in pairwise(rates[:25]))
    assert all(a > b > 0 for a, b in pairwise(rates[25:]))
    assert rates[-1] < 0.02 * recipe.learning_rate


def test_override_takes_texts_and_the_name_says_what_changed():
    recipe = override_recipe(load_recipe("paper-cifar"), ["epochs=3", "flip=false", "milestones=[10, 20]"])
    assert (recipe.epochs, recipe.flip, recipe.milestones) == (3, False, (10, 20))
    assert recipe.name == "paper-cifar with epochs=3, flip=False, milestones=[10, 20]"


def test_override_with_the_same_values_is_the_same_recipe():
    recipe = load_recipe("fast-digits")
    assert override_recipe(recipe, [f"epochs={recipe.epochs}"]) == recipe


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("epoch=3", "did you mean 'epochs'"),
        ("epochs=many", "'many' is not a whole number"),
        ("epochs=1.5", "1.5 is not a whole number"),
        ("epochs=0", "epochs is 0, expected at least 1"),
        ("learning_rate=-1", "learning_rate is -1"),
        ("schedule=linear", "'linear', expected one of one-cycle, cosine, step"),
        ("milestones=[5]", "milestones is .5.*unless schedule is 'step'"),
        ("momentum=0", "nesterov is True"),
        ("epochs", "'epochs' is not of the form key=value"),
    ],
)
def test_a_wrong_change_is_refused_by_name(change, message):
    with pytest.raises(ConfigError, match=message):
        override_recipe(load_recipe("fast-digits"), [change])


def test_all_problems_are_reported_at_once():
    with pytest.raises(ConfigError, match=r"epochs is 0.*batch_size is 1.*momentum is 1"):
        Recipe(name="x", epochs=0, batch_size=1, schedule="step", learning_rate=1, momentum=1, weight_decay=0)


def test_recipe_from_a_file_and_its_refusals(tmp_path):
    text = 'name = "mine"\nepochs = 2\nbatch_size = 8\nschedule = "cosine"\nlearning_rate = 0.1\nmomentum = 0.9\n'
    (tmp_path / "mine.toml").write_text(text + "weight_decay = 0.0\n")
    assert load_recipe(tmp_path / "mine.toml").epochs == 2
    (tmp_path / "short.toml").write_text(text)
    with pytest.raises(ConfigError, match="weight_decay"):
        load_recipe(tmp_path / "short.toml")
    with pytest.raises(ConfigError, match="unknown recipe 'fast'"):
        load_recipe("fast")
    with pytest.raises(ConfigError, match="no such file"):
        load_recipe(tmp_path / "none.toml")
