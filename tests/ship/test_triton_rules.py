"""What Triton refuses, we refuse: a sound repository has no problem, and each planted fault is one."""

from dataclasses import replace

import pytest

from resnet_deploy.ship.triton.config import (
    CudaOptimization,
    DataType,
    DynamicBatching,
    EnsembleScheduling,
    EnsembleStep,
    InstanceGroup,
    InstanceKind,
    Latest,
    ModelConfig,
    ModelOptimization,
    ModelTensor,
    QueuePolicy,
    VersionPolicy,
    Warmup,
    WarmupInput,
)
from resnet_deploy.ship.triton.ensemble_rules import ensemble_problems
from resnet_deploy.ship.triton.model_rules import model_problems

LATEST = VersionPolicy(latest=Latest(num_versions=1))
IMAGE = ModelTensor(name="images", data_type=DataType.FP32, dims=(3, 2, 2))
LOGITS = ModelTensor(name="logits", data_type=DataType.FP32, dims=(5,), label_filename="labels.txt")
SAMPLE = WarmupInput(data_type=DataType.FP32, dims=(3, 2, 2), input_data_file="golden")
PLAN = ModelConfig(
    name="net",
    platform="tensorrt_plan",
    backend="tensorrt",
    max_batch_size=8,
    input=(IMAGE,),
    output=(LOGITS,),
    version_policy=LATEST,
    default_model_filename="any.plan",
    cc_model_filenames={"8.6": "sm86.plan"},
    instance_group=(InstanceGroup(count=1, kind=InstanceKind.GPU),),
    dynamic_batching=DynamicBatching(
        preferred_batch_size=(4,),
        max_queue_delay_microseconds=100,
        default_queue_policy=QueuePolicy(default_timeout_microseconds=0, allow_timeout_override=True, max_queue_size=9),
    ),
    model_warmup=(Warmup(name="golden", batch_size=8, inputs={"images": SAMPLE}),),
)
CROP = replace(
    PLAN,
    name="crop",
    max_batch_size=1,
    input=(ModelTensor(name="pixels", data_type=DataType.UINT8, dims=(-1, -1, 3)),),
    output=(ModelTensor(name="ready", data_type=DataType.FP32, dims=(3, 2, 2)),),
)
STEPS = (
    EnsembleStep(model_name="crop", input_map={"pixels": "pixels"}, output_map={"ready": "between"}),
    EnsembleStep(model_name="net", input_map={"images": "between"}, output_map={"logits": "logits"}),
)
ENSEMBLE = ModelConfig(
    name="both",
    platform="ensemble",
    max_batch_size=1,
    input=CROP.input,
    output=PLAN.output,
    version_policy=LATEST,
    ensemble_scheduling=EnsembleScheduling(step=STEPS),
)
MODELS = {"net": PLAN, "crop": CROP, "both": ENSEMBLE}


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "net"
    (folder / "1").mkdir(parents=True)
    (folder / "warmup").mkdir()
    for name in ("any.plan", "sm86.plan"):
        (folder / "1" / name).write_bytes(b"ftrt")
    (folder / "warmup/golden").write_bytes(bytes(48))
    (folder / "labels.txt").write_text("a\nb\nc\nd\ne\n")
    return folder


def test_a_sound_model_has_no_problem(folder):
    assert model_problems(PLAN, folder) == []


def batching(*sizes):
    return replace(PLAN.dynamic_batching, preferred_batch_size=sizes)


def warmup(**changes):
    return (Warmup(name="golden", batch_size=1, inputs={"images": replace(SAMPLE, **changes)}),)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "other"}, "its folder is called 'net'"),
        ({"platform": "tensorrt"}, "platform 'tensorrt' is none of"),
        ({"backend": "onnxruntime"}, "backend is 'onnxruntime', of platform tensorrt_plan it is 'tensorrt'"),
        ({"max_batch_size": -1}, "max_batch_size -1 is negative"),
        ({"version_policy": VersionPolicy(latest=Latest(num_versions=0))}, "newest 0 versions"),
        ({"input": ()}, r"input names are []"),
        ({"input": (IMAGE, IMAGE)}, "input names are ['images', 'images']"),
        ({"output": (replace(LOGITS, dims=()),)}, "output 'logits' has dims []"),
        ({"input": (replace(IMAGE, dims=(3, 0, 2)),)}, "input 'images' has dims [3, 0, 2]"),
        ({"instance_group": ()}, "instance_group is empty"),
        ({"instance_group": (InstanceGroup(count=0, kind=InstanceKind.GPU),)}, "0 instances"),
        ({"instance_group": (InstanceGroup(count=1, kind=InstanceKind.AUTO),)}, "is KIND_AUTO, a TensorRT plan"),
        (
            {"platform": "onnxruntime_onnx", "instance_group": (replace(PLAN.instance_group[0], profile=("0",)),)},
            "instance_group has profiles ['0'], only a TensorRT plan",
        ),
        ({"dynamic_batching": batching(4, 16)}, "preferred_batch_size 16 is outside 1 to max_batch_size 8"),
        ({"dynamic_batching": batching(0)}, "preferred_batch_size 0 is outside"),
        ({"model_warmup": (replace(PLAN.model_warmup[0], batch_size=9),)}, "batch_size 9, max_batch_size is 8"),
        ({"model_warmup": (replace(PLAN.model_warmup[0], batch_size=0),)}, "batch_size 0"),
        ({"model_warmup": (Warmup(name="golden", batch_size=1, inputs={}),)}, "gives [], the inputs are ['images']"),
        ({"model_warmup": warmup(data_type=DataType.UINT8)}, "images is TYPE_UINT8, the input TYPE_FP32"),
        ({"model_warmup": warmup(dims=(3, 2, 3))}, "has dims [3, 2, 3], the input takes [3, 2, 2]"),
        ({"model_warmup": warmup(dims=(3, 2, -1))}, "has dims [3, 2, -1]"),
        ({"model_warmup": warmup(input_data_file="lost")}, "warmup/lost is not there"),
        ({"cc_model_filenames": {"sm86": "sm86.plan"}}, "the key 'sm86'"),
        ({"cc_model_filenames": {"8.6": "gone.plan"}}, "1/gone.plan is not there"),
        ({"default_model_filename": "gone.plan"}, "1/gone.plan is not there"),
        ({"output": (replace(LOGITS, dims=(6,)),)}, "labels.txt has 5 lines, output 'logits' has dims [6]"),
        ({"output": (replace(LOGITS, label_filename="../x"),)}, "label_filename '../x' is no file of its folder"),
        ({"ensemble_scheduling": EnsembleScheduling(step=STEPS)}, "ensemble_scheduling belongs to platform ensemble"),
    ],
)
def test_a_wrong_field_is_a_problem(folder, changes, words):
    problems = model_problems(replace(PLAN, **changes), folder)
    assert any(words in problem for problem in problems), problems


def test_files_that_do_not_fit_are_problems(folder):
    (folder / "warmup/golden").write_bytes(bytes(47))
    (folder / "labels.txt").write_text("a\nb\nc\nd\n")
    (folder / "01").mkdir()
    problems = model_problems(PLAN, folder)
    assert any("warmup/golden is 47 bytes, [3, 2, 2] takes 48 bytes" in problem for problem in problems)
    assert any("labels.txt has 4 lines" in problem for problem in problems)
    assert any("folders ['01', '1'], expected whole numbers" in problem for problem in problems)


def test_an_onnx_file_must_agree_with_its_configuration(tmp_path):
    from onnx import TensorProto, helper, save

    folder = tmp_path / "net"
    (folder / "1").mkdir(parents=True)
    shapes = {"images": ["N", 3, 2, 2], "logits": ["N", "K"]}
    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()}
    node = helper.make_node("Flatten", ["images"], ["logits"])
    save(
        helper.make_model(helper.make_graph([node], "net", [values["images"]], [values["logits"]])), folder / "1/m.onnx"
    )
    sound = replace(
        PLAN,
        platform="onnxruntime_onnx",
        backend="onnxruntime",
        default_model_filename="m.onnx",
        cc_model_filenames={},
        model_warmup=(),
        output=(replace(LOGITS, label_filename=None, dims=(-1,)),),
    )
    assert model_problems(sound, folder) == []
    for changes, words in (
        (
            {"output": (replace(LOGITS, label_filename=None, dims=(12,)),)},
            "'logits' is served as [-1, 12], the file says [-1, -1]",
        ),
        (
            {"input": (replace(IMAGE, dims=(3, 2, 4)),)},
            "'images' is served as [-1, 3, 2, 4], the file says [-1, 3, 2, 2]",
        ),
        ({"input": (replace(IMAGE, data_type=DataType.UINT8),)}, "served as TYPE_UINT8, the file says float32"),
        ({"input": (replace(IMAGE, name="data"),)}, "input ['data'], the file has ['images']"),
    ):
        problems = model_problems(replace(sound, **changes), folder)
        assert any(words in problem for problem in problems), problems


def test_a_sound_ensemble_has_no_problem(tmp_path):
    assert ensemble_problems(ENSEMBLE, MODELS) == []
    (tmp_path / "both/1").mkdir(parents=True)
    (tmp_path / "both/labels.txt").write_text("a\nb\nc\nd\ne\n")
    assert model_problems(ENSEMBLE, tmp_path / "both") == []


@pytest.mark.parametrize(
    "changes",
    [
        {"instance_group": PLAN.instance_group},
        {"dynamic_batching": PLAN.dynamic_batching},
        {"model_warmup": PLAN.model_warmup},
        {"optimization": ModelOptimization(cuda=CudaOptimization(graphs=True))},
    ],
)
def test_an_ensemble_has_nothing_of_its_own(tmp_path, changes):
    (tmp_path / "both/1").mkdir(parents=True)
    (tmp_path / "both/labels.txt").write_text("a\nb\nc\nd\ne\n")
    problems = model_problems(replace(ENSEMBLE, **changes), tmp_path / "both")
    assert any(f"an ensemble has no {next(iter(changes))}" in problem for problem in problems)


def steps(first=None, second=None):
    return EnsembleScheduling(step=(replace(STEPS[0], **(first or {})), replace(STEPS[1], **(second or {}))))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"max_batch_size": 4}, "max_batch_size is 4, its step crop takes 1"),
        ({"ensemble_scheduling": steps({"model_name": "lost"})}, "step 'lost' is none of the models"),
        ({"ensemble_scheduling": steps({"input_map": {"image": "pixels"}})}, "crop has no input 'image'"),
        ({"ensemble_scheduling": steps({"input_map": {}})}, "input 'pixels' of crop is given no tensor"),
        ({"ensemble_scheduling": steps({"output_map": {"done": "between"}})}, "crop has no output 'done'"),
        (
            {"ensemble_scheduling": steps(None, {"input_map": {"images": "pixels"}})},
            "TYPE_UINT8 in both, TYPE_FP32 in net",
        ),
        ({"output": (replace(LOGITS, dims=(6,)),)}, "tensor 'logits' has dims [6] in both, [5] in net"),
        ({"ensemble_scheduling": steps({"output_map": {"ready": "elsewhere"}})}, "step net waits for ['between']"),
        ({"ensemble_scheduling": steps(None, {"output_map": {"logits": "scores"}})}, "output 'logits' is not written"),
        ({"ensemble_scheduling": EnsembleScheduling(step=(*STEPS, STEPS[1]))}, "tensor 'logits' is written twice"),
        ({"input": (*CROP.input, replace(IMAGE, name="extra"))}, "tensor 'extra' is not used"),
    ],
)
def test_a_wrong_join_is_a_problem(changes, words):
    problems = ensemble_problems(replace(ENSEMBLE, **changes), MODELS)
    assert any(words in problem for problem in problems), problems


def test_the_sizes_between_two_models_must_agree():
    narrow = replace(PLAN, input=(replace(IMAGE, dims=(3, 4, 4)),))
    problems = ensemble_problems(ENSEMBLE, {**MODELS, "net": narrow})
    assert problems == ["both: tensor 'between' has dims [3, 2, 2] in crop, [3, 4, 4] in net"]
    written_out = replace(PLAN, max_batch_size=0, input=(replace(IMAGE, dims=(-1, 3, 2, 2)),))
    outputs = (replace(LOGITS, dims=(-1, 5)),)
    assert ensemble_problems(ENSEMBLE, {**MODELS, "net": replace(written_out, output=outputs)}) == []
