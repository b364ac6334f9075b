"""docs/guides/triton.md: its client against a repository, its numbers against the options, its YAML against itself."""

import importlib
import importlib.machinery
import re
import sys
import types
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from resnet_deploy.core.config import load_toml
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.pipeline.triton import make_triton_repository
from resnet_deploy.ship.triton.options import TritonOptions
from resnet_deploy.ship.triton.schema import schema_version
from tests.ship.triton_bundles import make_bundle

GUIDES = Path(__file__).resolve().parents[2] / "docs" / "guides"
GUIDE = (GUIDES / "triton.md").read_text(encoding="utf-8")
NAME = "resnet50-triton"


def block(language):
    (found,) = re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)
    return found


def test_the_numbers_of_the_guide_are_the_defaults(tmp_path):
    (tmp_path / "triton.toml").write_text(block("toml"))
    assert load_toml(TritonOptions, tmp_path / "triton.toml") == TritonOptions()
    assert set(re.findall(r"^(\w+) =", block("toml"), re.MULTILINE)) == set(TritonOptions.__dataclass_fields__)
    (tmp_path / "triton.toml").write_text("max_batches = 8\n")
    with pytest.raises(ConfigError, match="max_batches"):
        load_toml(TritonOptions, tmp_path / "triton.toml")


class StandInInput:
    """`tritonclient.grpc.InferInput` as far as the guide uses it, with its checks."""

    def __init__(self, name, shape, datatype):
        self._name, self._shape, self._datatype = name, shape, datatype

    def set_data_from_numpy(self, array):
        assert list(array.shape) == self._shape
        assert {"uint8": "UINT8", "float32": "FP32"}[str(array.dtype)] == self._datatype
        self._raw_content = array.tobytes()
        return self

    def name(self):
        return self._name

    def shape(self):
        return self._shape

    def datatype(self):
        return self._datatype


class StandInOutput:
    def __init__(self, name, class_count=0):
        self._name, self.class_count = name, class_count

    def name(self):
        return self._name


@pytest.fixture(params=["stand-in", "tritonclient"])
def guide(request, monkeypatch):
    """The names that the guide's Python block defines."""
    schema_version()  # reads the package that is installed, before a stand-in hides it
    if request.param == "tritonclient":
        try:
            importlib.import_module("tritonclient.grpc")
        except (ImportError, RuntimeError) as error:
            pytest.skip(f"tritonclient[grpc] can not be imported: {error}")
    else:
        module = types.ModuleType("tritonclient.grpc")
        module.InferenceServerClient, module.InferInput = object, StandInInput
        module.InferRequestedOutput = StandInOutput
        package = types.ModuleType("tritonclient")
        package.__spec__ = importlib.machinery.ModuleSpec("tritonclient", None, is_package=True)
        monkeypatch.setitem(sys.modules, "tritonclient", package)
        monkeypatch.setitem(sys.modules, "tritonclient.grpc", module)
    names = {}
    exec(compile(block("python"), "triton.md", "exec"), names)  # noqa: S102 (the guide's own code)
    return names


class Answer:
    def __init__(self, array):
        self._array = array

    def as_numpy(self, name):
        assert name == "logits"
        return self._array


class Server:
    """Answers as Triton would from a repository: the ensemble's two steps, then the classification extension."""

    def __init__(self, repository):
        self.sessions = {
            name: onnxruntime.InferenceSession(repository / name / "1/model.onnx", providers=["CPUExecutionProvider"])
            for name in ("net_preprocess", "net")
        }
        self.labels = (repository / "net_pixels/labels.txt").read_text().splitlines()

    def infer(self, model, inputs, *, outputs=None, timeout=None, client_timeout=None):
        assert model == "resnet50_pixels"
        (given,) = inputs
        assert (given.name(), given.datatype(), given.shape()[0], given.shape()[3]) == ("pixels", "UINT8", 1, 3)
        pixels = np.frombuffer(given._raw_content, np.uint8).reshape(given.shape())
        (prepared,) = self.sessions["net_preprocess"].run(None, {"pixels": pixels})
        (logits,) = self.sessions["net"].run(None, {"images": prepared})
        if outputs is None:
            return Answer(logits)
        assert outputs[0].name() == "logits" and timeout == 50_000 and client_timeout == 0.2
        best = np.argsort(-logits[0], kind="stable")[:5]
        rows = [f"{logits[0, index]:f}:{index}:{self.labels[index]}".encode() for index in best]
        return Answer(np.array([rows], dtype=object))


def test_the_client_of_the_guide_gets_the_bundles_answer(guide, tmp_path):
    bundle = tmp_path / "net.bundle"
    manifest = make_bundle(bundle)
    make_triton_repository(bundle, tmp_path / "models")
    server = Server(tmp_path / "models")
    test = manifest.models[0].self_test
    assert guide["self_test"](server, bundle) <= test.max_abs_error
    found = guide["classify"](server, bundle / "golden.png")
    order = np.argsort(-np.array(test.expected), kind="stable")
    assert [label for label, _ in found] == [f"class {index}" for index in order]
    assert [value for _, value in found] == pytest.approx([test.expected[index] for index in order], abs=1e-4)
    broken = server.sessions["net"]
    server.sessions["net"] = types.SimpleNamespace(run=lambda names, given: [broken.run(names, given)[0] * 1.1])
    assert guide["self_test"](server, bundle) > test.max_abs_error


@pytest.fixture
def cluster():
    yaml = pytest.importorskip("yaml", reason="pyyaml is not installed")
    found = {}
    for part in yaml.safe_load_all((GUIDES / "triton-kubernetes.yaml").read_text(encoding="utf-8")):
        found.setdefault(part["kind"], []).append(part)
    return found


def test_the_parts_of_the_cluster_find_each_other(cluster):
    (deployment,) = cluster["Deployment"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = [service["spec"]["selector"] for service in cluster["Service"]]
    selectors += [
        part["spec"]["selector"]["matchLabels"]
        for kind in ("Deployment", "PodDisruptionBudget", "PodMonitor")
        for part in cluster[kind]
    ]
    pod = deployment["spec"]["template"]["spec"]
    selectors.append(pod["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"])
    assert all(selector.items() <= labels.items() for selector in selectors) and len(selectors) == 6
    (container,) = pod["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": 8000, "grpc": 8001, "metrics": 8002}
    for service in cluster["Service"]:
        assert all(ports[port["targetPort"]] == port["port"] for port in service["spec"]["ports"])
    assert cluster["PodMonitor"][0]["spec"]["podMetricsEndpoints"][0]["port"] in ports
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] in ports
    assert container["livenessProbe"]["httpGet"]["path"] == "/v2/health/live"
    assert container["startupProbe"]["httpGet"]["path"] == "/v2/health/ready"
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_a_pod_has_time_to_end(cluster):
    pod = cluster["Deployment"][0]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    flags = dict(arg.removeprefix("--").partition("=")[::2] for arg in container["args"])
    needed = container["lifecycle"]["preStop"]["sleep"]["seconds"] + int(flags["exit-timeout-secs"])
    assert pod["terminationGracePeriodSeconds"] > needed
    assert flags["model-repository"] == "/models"


def test_the_scaler_reads_the_metric_that_the_adapter_makes(cluster):
    yaml = pytest.importorskip("yaml", reason="pyyaml is not installed")
    (scaler,) = cluster["HorizontalPodAutoscaler"]
    target = scaler["spec"]["scaleTargetRef"]
    (deployment,) = cluster["Deployment"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])
    assert "replicas" not in deployment["spec"]
    (rule,) = yaml.safe_load(block("yaml"))["rules"]["custom"]
    assert scaler["spec"]["metrics"][0]["pods"]["metric"]["name"] == rule["name"]["as"]
    assert rule["metricsQuery"].count("<<.LabelMatchers>>") == rule["metricsQuery"].count("<<.GroupBy>>") == 2
    assert scaler["spec"]["minReplicas"] <= scaler["spec"]["maxReplicas"]


def test_the_guide_names_the_services_that_there_are(cluster):
    names = {service["metadata"]["name"] for service in cluster["Service"]}
    assert names == {NAME, f"{NAME}-pods"}
    assert f"dns:///{NAME}-pods:8001" in GUIDE
    headless = [service for service in cluster["Service"] if service["spec"].get("clusterIP") == "None"]
    assert [service["metadata"]["name"] for service in headless] == [f"{NAME}-pods"]


def test_the_example_of_the_guide_follows_its_rules():
    """t(32) = 6.8 ms, L = 20 ms, n = 3 ms, r = 2,500, B = 32."""
    batch, longest, promised, rest, rate = 32, 6.8e-3, 20e-3, 3e-3, 2500
    slack = promised - rest - 2 * longest
    assert slack == pytest.approx(3.4e-3) and rate < batch / longest == pytest.approx(4700, rel=2e-3)
    assert rate > batch / longest / 2
    assert round(batch * (promised - rest - longest) / longest) == 48
    assert "`max_queue` is 32 x 10.2 / 6.8 = 48" in " ".join(
        GUIDE.split()
    ) and promised - rest - longest == pytest.approx(10.2e-3)
