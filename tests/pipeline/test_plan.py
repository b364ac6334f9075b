from pathlib import Path

import pytest

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.specs import MAIN_PRECISIONS
from resnet_deploy.pipeline.plan import DeployPlan, TrainPlan, demo_plan, load_plan

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "deploy.md"


def test_the_plan_in_the_guide_is_one(tmp_path):
    """The guide's TOML block, as printed."""
    text = GUIDE.read_text().split("```toml\n")[1].split("```")[0]
    (tmp_path / "plan.toml").write_text(text)
    plan = load_plan(tmp_path / "plan.toml")
    assert plan.spec().name == "resnet20" and plan.build.targets == ("sm86", "sm89")
    assert plan.out == tmp_path / "out" and plan.data == str(tmp_path / "cifar10")
    assert plan.precisions == MAIN_PRECISIONS and plan.is_trained


def test_paths_are_taken_from_the_plans_folder(tmp_path):
    (tmp_path / "plan.toml").write_text('depth = 50\nweights = "w.pth"\ndata = "photos"\n')
    plan = load_plan(tmp_path / "plan.toml")
    assert plan.weights == tmp_path / "w.pth" and plan.data == str(tmp_path / "photos")
    assert plan.spec().name == "resnet50"


def test_bundled_data_keep_their_names(tmp_path):
    (tmp_path / "plan.toml").write_text('net = "resnet20"\ndata = "digits"\n[train]\n')
    assert load_plan(tmp_path / "plan.toml").data == "digits"


@pytest.mark.parametrize(
    "text, problem",
    [
        ("", "exactly one of `net` and `depth`"),
        ('net = "resnet20"\ndepth = 18', "exactly one of `net` and `depth`"),
        ('net = "resnet21"', "unknown net 'resnet21'"),
        ("depth = 19", "unknown depth 19"),
        ('net = "resnet20"\n[train]', "`data` is missing; train needs images"),
        ('net = "resnet20"\ndata = "digits"\ncheckpoint = "a"\nweights = "b"', "got checkpoint and weights"),
        ('net = "resnet20"\nprecisions = []', "`precisions` is empty"),
        ('net = "resnet20"\nprecisions = ["int4"]', "'int4' is not a valid Precision"),
        ('net = "resnet20"\n[build]\nprofiles = ["8:1:32"]', "batch profile 8:1:32"),
        ('net = "resnet20"\n[build]\nprofiles = "1:8:32"', "is not a list"),
        ('net = "resnet20"\n[build]\nproduct = "tensorrt-rtx"\ndla_core = 0', "tensorrt-rtx has no DLA"),
        ('net = "resnet20"\n[build]\nhardware_compatibility = "volta"', "volta"),
        ('net = "resnet20"\n[calibrate]\nimages = 3', "unknown key 'images' \\(did you mean 'num_images'"),
    ],
)
def test_a_plan_that_can_not_be_is_refused(tmp_path, text, problem):
    (tmp_path / "plan.toml").write_text(text)
    with pytest.raises(ConfigError, match=problem):
        load_plan(tmp_path / "plan.toml")


def test_without_a_source_of_weights_there_is_no_verdict():
    assert not DeployPlan(net="resnet20").is_trained
    assert DeployPlan(net="resnet20", data="digits", train=TrainPlan()).is_trained


def test_the_demo_never_learns_from_what_it_judges_on():
    plan = demo_plan()
    assert plan.train.split == plan.calibrate.split == "train"
    assert plan.train.val_split == plan.validate.split == "val"
    assert plan.validate.max_top1_drop == 0.5


def test_the_build_of_a_plan_has_the_options_of_the_command(tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    file.write_text(
        'net = "resnet20"\n[build]\nproduct = "tensorrt"\nprofiles = ["1", "2:8:32"]\nworkspace_mib = 512\n'
        'hardware_compatibility = "ampere-plus"\ntiming_cache = "kernels"\npin_timing_cache = true\nstrip = true\n'
    )
    options = load_plan(file).build.options(Path("a.onnx"), force=True)
    assert [(batch.min, batch.opt, batch.max) for batch in options.batches] == [(1, 1, 1), (2, 8, 32)]
    assert (options.product, options.workspace_mib, options.strip, options.force) == ("tensorrt", 512, True, True)
    assert str(options.hardware_compatibility) == "ampere-plus" and options.timing_cache == tmp_path / "kernels"
