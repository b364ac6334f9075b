import json
import os
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from resnet_deploy.cli.main import COMMANDS, app

HEAVY = ("torch", "numpy", "onnx", "onnxruntime", "onnxscript", "tensorrt", "tensorrt_rtx", "openvino", "matplotlib",
         "sklearn", "PIL", "safetensors", "cattrs", "jinja2")  # fmt: skip


def run(*arguments, cwd=None, **variables):
    """The real program in a process of its own."""
    command = [sys.executable, "-m", "resnet_deploy.cli.main", *map(str, arguments)]
    environment = {**os.environ, "NO_COLOR": "1", **variables}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_imports_nothing_heavy(command):
    program = (
        "import sys\nfrom resnet_deploy.cli.main import app\n"
        f"sys.argv = ['resnet-deploy', *{[command] if command else []}, '--help']\n"
        "try:\n    app()\nexcept SystemExit as end:\n    assert end.code in (0, None), end.code\n"
        f"loaded = [name for name in {HEAVY} if name in sys.modules]\n"
        "print('LOADED', loaded)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "Usage" in done.stdout
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_every_command_of_the_table_is_there():
    shown = CliRunner().invoke(app, ["--help"]).output
    for command in COMMANDS:
        assert f" {command} " in shown


def test_data_goes_to_stdout_and_everything_else_to_stderr():
    done = run("nets", "list", "--json")
    assert done.returncode == 0
    rows = json.loads(done.stdout)
    assert {row["net"]: row["parameters"] for row in rows}["resnet50"] == 25_557_032


@pytest.mark.parametrize(
    "arguments, code, expected",
    [
        (("nets", "show", "resnet21"), 2, "unknown net 'resnet21'"),
        (("export", "--depth", "19"), 2, "unknown depth 19"),
        (("export", "--depth", "18", "--net", "resnet20"), 2, "were both given"),
        (("nope",), 2, "No such command"),
        (("nets", "show"), 2, "Missing argument"),
        (("train", "--data", "nowhere"), 2, "nowhere: no such folder"),
        (("evaluate", "nowhere.onnx", "--data", "digits"), 2, "nowhere.onnx"),
        (("build", "nowhere.onnx"), 2, "nowhere.onnx"),
        (("inspect", "nowhere.engine"), 2, "nowhere.engine"),
        (("diverge", "nowhere.onnx", "-r", "x.onnx"), 2, "x.onnx: no such file"),
        (("bisect", "nowhere.onnx", "-r", "x.onnx", "--data", "digits"), 2, "x.onnx: no such file"),
        (("import", "nowhere.pth"), 2, "nowhere.pth"),
        (("deploy", "nowhere.toml"), 2, "nowhere.toml: no such file"),
        (("import", "x.th", "--mean", "0.5", "--out", "x"), 2, "'--mean': takes three numbers, R G B"),
    ],
)
def test_bad_input_gives_one_message_and_its_exit_code(arguments, code, expected, tmp_path):
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_list_of_known_depths_is_given(tmp_path):
    assert "18, 34, 50, 101, 152" in run("export", "--depth", "19", cwd=tmp_path).stderr


@pytest.mark.parametrize(
    ("how", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_ctrl_c_and_sigterm_end_with_their_code_and_one_message(tmp_path, how, code, word):
    command = [sys.executable, "-m", "resnet_deploy.cli.main", "train", "--net", "resnet8"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "training" in line:
            break
    time.sleep(0.5)
    process.send_signal(how)
    rest = process.communicate(timeout=60)[1]
    assert process.returncode == code
    assert word in rest and "Traceback" not in rest
    assert not list((tmp_path / "out").glob("*.part")) and not (tmp_path / "out" / "resnet8.safetensors").exists()


def test_version():
    from resnet_deploy import __version__

    assert run("--version").stdout.strip() == f"resnet-deploy {__version__}"


def test_a_fault_of_ours_is_called_one(monkeypatch, capsys):
    from resnet_deploy.cli.render import error_exit

    def faulty():
        raise KeyError("x")

    assert error_exit(faulty) == 4
    assert "a fault in resnet-deploy: KeyError" in capsys.readouterr().err
    monkeypatch.setenv("RESNET_DEPLOY_TRACEBACK", "1")
    with pytest.raises(KeyError):
        error_exit(faulty)


def test_a_full_disk_is_called_one(capsys):
    from resnet_deploy.cli.render import error_exit

    def full():
        raise OSError(28, "No space left on device", "out/net.onnx")

    assert error_exit(full) == 4
    assert "out/net.onnx: no space left on the disk" in capsys.readouterr().err
