import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from resnet_deploy.core.errors import ArtifactError
from resnet_deploy.core.files import atomic_write, check_writable, sha256_of_file


def test_an_error_in_the_middle_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="boom"), atomic_write(path) as partial:
        partial.write_bytes(b"new, half")
        raise RuntimeError("boom")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_killed_write_leaves_no_file_of_that_name(tmp_path):
    path = tmp_path / "a.bin"
    program = textwrap.dedent(f"""
        import time
        from pathlib import Path
        from resnet_deploy.core.files import atomic_write
        with atomic_write(Path({str(path)!r})) as partial:
            partial.write_bytes(b"half")
            print("writing", flush=True)
            time.sleep(60)
    """)
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"writing\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not path.exists()


def test_a_path_through_a_file_is_refused_by_name_before_and_at_the_write(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "a.bin", tmp_path / "file" / "b" / "a.bin"):
        with pytest.raises(ArtifactError, match=r"a\.bin can not be written: a part of its path is a file"):
            check_writable(path)
        with pytest.raises(ArtifactError, match=r"a\.bin can not be written"), atomic_write(path):
            pass
    with pytest.raises(ArtifactError, match="is a folder"):
        check_writable(tmp_path)


def test_what_can_be_written_is_as_it_was_after_the_check(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"old")
    check_writable(tmp_path / "a.bin")
    check_writable(tmp_path / "new" / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == b"old" and not os.listdir(tmp_path / "new")


def test_a_folder_that_takes_no_file_is_named_by_the_file_that_was_asked_for():
    if not os.path.isdir("/proc/self"):
        pytest.skip("no /proc here, the folder that takes no file even from root")
    with pytest.raises(OSError) as caught:
        check_writable("/proc/a.bin")
    assert caught.value.filename == "/proc/a.bin"


def test_a_full_disk_keeps_the_old_file(tmp_path):
    """RLIMIT_FSIZE makes a write fail as a full disk does, with OSError from write()."""
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    program = textwrap.dedent(f"""
        import resource, signal
        from pathlib import Path
        from resnet_deploy.core.files import atomic_write
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        with atomic_write(Path({str(path)!r})) as partial:
            partial.write_bytes(bytes(1000))
    """)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "OSError" in done.stderr
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_folder_in_the_way_is_named(tmp_path):
    (tmp_path / "model.onnx").mkdir()
    with pytest.raises(ArtifactError, match=r"model\.onnx is a folder"), atomic_write(tmp_path / "model.onnx"):
        pass


def test_permissions_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "a") as partial:
            partial.write_bytes(b"x")
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_sha256_against_a_published_vector(tmp_path):
    """FIPS 180-2, appendix B.1."""
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_of_file(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_the_written_file_is_younger_than_the_call(tmp_path):
    before = time.time() - 1
    with atomic_write(tmp_path / "new" / "a") as partial:
        partial.write_bytes(b"x")
    assert (tmp_path / "new" / "a").stat().st_mtime >= before
