"""The builder image's own check of its TensorRT, against real shared libraries of made-up versions."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "model_repo_builder/image/check_tensorrt.py"
COMPILER = shutil.which("cc")
pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C compiler: the library cannot be made")
PARTS = ("Major", "Minor", "Patch", "Build")


@pytest.fixture
def image(tmp_path):
    """A folder of Python packages with bindings of 10.14.1.48, and a way to check it against a library."""
    distribution = tmp_path / "site/tensorrt_cu13_bindings-10.14.1.48.post1.dist-info"
    distribution.mkdir(parents=True)
    (distribution / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: tensorrt_cu13_bindings\nVersion: 10.14.1.48.post1\n"
    )
    bindings = tmp_path / "site/tensorrt_bindings.py"
    bindings.write_text('__version__ = "10.14.1.48.post1"\nBuilder = object\n')
    shutil.copy(SCRIPT.with_name("tensorrt.py"), tmp_path / "site")
    (tmp_path / "lib").mkdir()

    def check(*numbers: int, body: str = "") -> subprocess.CompletedProcess[str]:
        source = tmp_path / "nvinfer.c"
        told = [
            f"int getInferLib{part}Version(void) {{ return {n}; }}" for part, n in zip(PARTS, numbers, strict=False)
        ]
        source.write_text("\n".join([*told, body]))
        if numbers or body:
            library = tmp_path / "lib/libnvinfer.so.10"
            subprocess.run([COMPILER, "-shared", "-fPIC", "-o", library, source], check=True)
        environment = os.environ | {"LD_LIBRARY_PATH": f"{tmp_path}/lib", "PYTHONPATH": f"{tmp_path}/site"}
        command = [sys.executable, SCRIPT]
        return subprocess.run(command, env=environment, check=False, capture_output=True, text=True)

    return check


def test_the_same_version_passes_and_is_told(image):
    done = image(10, 14, 1, 48)
    assert (done.returncode, done.stdout) == (0, "TensorRT 10.14.1.48\n"), done.stderr


@pytest.mark.parametrize("other", [(10, 13, 1, 48), (10, 14, 2, 48), (10, 14, 1, 49), (11, 14, 1, 48)])
def test_another_version_ends_the_build_with_both_and_the_remedy(image, other):
    done = image(*other)
    assert done.returncode == 1
    assert f"libnvinfer.so.10 is {'.'.join(map(str, other))}, tensorrt-cu13-bindings is 10.14.1.48" in done.stderr
    assert "make lock" in done.stderr


def test_no_library_ends_the_build(image):
    done = image()
    assert done.returncode == 1
    assert "TensorRT 10 is not in this image: libnvinfer.so.10" in done.stderr


def test_a_library_that_tells_no_version_ends_the_build(image):
    done = image(body="int other(void) { return 1; }")
    assert done.returncode == 1
    assert "getInferLibMajorVersion" in done.stderr


def test_bindings_that_cannot_be_imported_end_the_build(image, tmp_path):
    (tmp_path / "site/tensorrt_bindings.py").write_text('raise ImportError("libnvonnxparser.so.10: no such file")\n')
    done = image(10, 14, 1, 48)
    assert done.returncode == 1
    assert "libnvonnxparser" in done.stderr


def test_the_shim_has_the_bindings_names_and_version(image, tmp_path):
    code = "import tensorrt; print(tensorrt.__version__, tensorrt.Builder.__name__)"
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}/site"}
    told = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    assert told.stdout == "10.14.1.48.post1 object\n"
