"""What pyproject.toml can not say: a wheel carries the sources of the C++ SDK, which lie outside the package."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SOURCES = Path("cpp")
UNSHIPPED = shutil.ignore_patterns("tests")


class BuildWithSdk(build_py):
    """Copies `cpp/` to `resnet_deploy/cpp_sdk`; an editable installation reads `cpp/` where it is."""

    def run(self):
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / "resnet_deploy" / "cpp_sdk"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(SOURCES, target, ignore=UNSHIPPED)


setup(cmdclass={"build_py": BuildWithSdk})
