from __future__ import annotations

from dataclasses import fields

import pytest
from typer.testing import CliRunner

from resnet_deploy.cli.main import app
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.train.recipe import Recipe
from resnet_deploy.train.recipe_book import known_recipes, load_recipe, override_recipe, recipe_toml, usual_recipe


def test_every_shipped_recipe_loads_under_its_own_name():
    assert known_recipes() == (
        "fast-cifar", "fast-digits", "finetune", "modern-imagenet", "paper-cifar", "paper-imagenet", "qat",
    )  # fmt: skip
    for name in known_recipes():
        assert load_recipe(name).name == name


def test_paper_cifar_is_section_4_2():
    # arXiv:1512.03385, section 4.2: batch 128, 0.1, /10 at 32k and 48k, 64k iterations, 1e-4, 0.9, pad 4, flip,
    # per-pixel mean; n = 18 starts at 0.01 until the training error is below 80 %.
    recipe = load_recipe("paper-cifar")
    assert (recipe.batch_size, recipe.momentum, recipe.weight_decay) == (128, 0.9, 1e-4)
    assert (recipe.crop_padding_px, recipe.flip, recipe.label_smoothing, recipe.nesterov) == (4, True, 0.0, False)
    assert (recipe.steps, recipe.milestones, recipe.learning_rate) == (64_000, (32_000, 48_000), 0.1)
    assert (recipe.start_learning_rate, recipe.start_until_error_percent, recipe.start_from_depth) == (0.01, 80, 110)
    assert recipe.per_pixel_mean and recipe.norm_weight_decay is None


def test_paper_imagenet_is_section_3_4():
    # arXiv:1512.03385, section 3.4: 256, 0.1 by plateaus, 60 x 10^4, 1e-4, 0.9, [256, 480], flip, colour, mean.
    recipe = load_recipe("paper-imagenet")
    assert (recipe.batch_size, recipe.learning_rate, recipe.momentum, recipe.weight_decay) == (256, 0.1, 0.9, 1e-4)
    assert (recipe.steps, recipe.schedule, recipe.scale_range_px) == (600_000, "plateau", (256, 480))
    assert (recipe.flip, recipe.pca_colour_std, recipe.per_pixel_mean) == (True, 0.1, True)
    assert not (recipe.mixup_alpha or recipe.cutmix_alpha or recipe.label_smoothing or recipe.ema_decay)


def test_modern_imagenet_has_what_its_name_promises():
    recipe = load_recipe("modern-imagenet")
    assert recipe.schedule == "cosine" and recipe.warmup_fraction > 0
    assert min(recipe.label_smoothing, recipe.mixup_alpha, recipe.cutmix_alpha, recipe.ema_decay) > 0
    assert recipe.norm_weight_decay == 0.0


def test_usual_recipe_follows_data_and_family():
    assert usual_recipe("digits", "cifar") == "fast-digits"
    assert usual_recipe("some/folder", "cifar") == "fast-cifar"
    assert usual_recipe("some/folder", "imagenet") == "modern-imagenet"


def test_digits_are_never_mirrored():
    assert not load_recipe("fast-digits").flip


def test_override_takes_texts_and_the_name_says_what_changed():
    recipe = override_recipe(load_recipe("paper-cifar"), ["epochs=3", "flip=false", "milestones=[10, 20]"])
    assert (recipe.epochs, recipe.steps, recipe.flip, recipe.milestones) == (3, 0, False, (10, 20))
    assert recipe.name == "paper-cifar with epochs=3, flip=False, milestones=[10, 20]"


def test_steps_and_epochs_take_each_others_place_but_not_both():
    assert override_recipe(load_recipe("fast-cifar"), ["steps=100"]).epochs == 0
    assert override_recipe(load_recipe("paper-cifar"), {"epochs": 2}).steps == 0
    with pytest.raises(ConfigError, match="steps is 5, expected 0 where epochs are given"):
        override_recipe(load_recipe("fast-cifar"), {"epochs": 2, "steps": 5})


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
        ("schedule=linear", "'linear', expected one of one-cycle, cosine, step, plateau"),
        ("schedule=plateau", "plateau_patience is 0, expected at least 1"),
        ("start_learning_rate=0.01", "start_until_error_percent is 0"),
        ("scale_range_px=[480, 256]", "scale_range_px is .480, 256."),
        ("area_range=[0, 1]", "area_range is .0.0, 1.0."),
        ("ema_decay=1", "ema_decay is 1"),
        ("milestones=[5]", "milestones is .5.*unless schedule is 'step'"),
        ("momentum=0", "nesterov is True"),
        ("epochs", "'epochs' is not of the form key=value"),
        ("milestones=abc", "1 problem:\n  'abc' is not a list, expected one such as .8000, 12000."),
        ("rate=2", r"unknown key 'rate' \(learning_rate, start_learning_rate\?\)"),
    ],
)
def test_a_wrong_change_is_refused_by_name(change, message):
    with pytest.raises(ConfigError, match=message):
        override_recipe(load_recipe("fast-digits"), [change])


def test_a_wrong_field_tells_where_the_fields_are_shown_and_lists_none_of_them():
    for changes in (["bogus=2"], ["bogus=2", "epochs=x"], ["bogus"]):
        with pytest.raises(ConfigError) as caught:
            override_recipe(load_recipe("fast-digits"), changes)
        assert "resnet-deploy recipes" in caught.value.remedy
        assert "weight_decay" not in str(caught.value)


def test_recipes_are_shown_with_every_field_and_a_zero_that_is_said():
    shown = CliRunner().invoke(app, ["recipes", "modern-imagenet", "paper-imagenet"], env={"NO_COLOR": "1"}).stdout
    lines = [[cell.strip() for cell in line.split("│")] for line in shown.splitlines()]
    rows = {line[1]: line[2:4] for line in lines if len(line) > 4}
    assert rows.keys() >= {field.name for field in fields(Recipe)} - {"name"}
    assert rows["norm_weight_decay"] == ["0", "-"] and rows["ema_decay"] == ["0.9999", "-"]


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


def test_a_recipe_goes_through_its_toml_file(tmp_path):
    for name in known_recipes():
        recipe = override_recipe(load_recipe(name), {"batch_size": 32})
        (tmp_path / "r.toml").write_text(recipe_toml(recipe))
        assert load_recipe(tmp_path / "r.toml") == recipe
