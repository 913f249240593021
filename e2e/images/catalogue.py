"""The bench's images and their layers; a change of the project's code remakes only the last and smallest one."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from e2e.cache import REPOSITORY, digest_of, files_below
from e2e.clusters.bare.binaries import build_pause, build_versitygw
from e2e.images import rootfs
from e2e.images.layers import make_layer
from e2e.images.oci import Image, Layer
from e2e.images.tritonserver import lay_out_tritonserver

NAMES = ("pause", "operator", "triton", "triton-sleeping", "builder")
IN_KIND = ("device-plugin",)  # a pod there; on the bare cluster the plugin is a process of this machine
_HERE = Path(__file__).parent
_LOCKS = REPOSITORY / "locks"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PYTHON_ENV = {
    "PATH": _PATH,
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
}
_ULTRALYTICS_ENV = {
    "YOLO_CONFIG_DIR": "/tmp",
    "YOLO_AUTOINSTALL": "False",
    "YOLO_OFFLINE": "True",
    "ORT_DISABLE_TELEMETRY": "1",
    "MPLCONFIGDIR": "/tmp",
}
_BASE_PACKAGES = ("python3", "ca-certificates")
_TORCH_PACKAGES = ("python3-torch", "python3-torchvision")
_TORCH_BALLAST = (  # what those packages bring for screens, video and tests; a CPU export needs none of it
    "usr/lib/libtorch-test",
    "usr/lib/python3/dist-packages/torch/test",
    "usr/lib/python3/dist-packages/hypothesis",
    "usr/lib/x86_64-linux-gnu/dri",
    "usr/lib/x86_64-linux-gnu/mfx",
    "usr/share/fonts",
    "usr/share/icons",
)
_TRITON_PACKAGES = ("libpython3.11",)


def image_name(name: str) -> str:
    """The full name under which pods ask for an image."""
    return f"localhost/yolofleet/{name}:dev"


def build_images(names: Iterable[str] = NAMES) -> dict[str, Image]:
    """Make what the cache lacks, and describe the images."""
    makers: Mapping[str, Callable[[], Image]] = {
        "pause": _pause,
        "operator": _operator,
        "triton": _triton,
        "triton-sleeping": partial(_triton_with, "triton-sleeping"),
        "triton-failing": partial(_triton_with, "triton-failing"),
        "triton-tensorrt": _triton_tensorrt,
        "builder": _builder,
        "builder-tensorrt": _builder_tensorrt,
        "device-plugin": _device_plugin,
        "versitygw": _versitygw,
    }
    return {name: makers[name]() for name in names}


def _pause() -> Image:
    program = build_pause()

    def build(root: Path) -> None:
        shutil.copy(program, root / "pause")

    layer = make_layer("pause", digest_of(files=[program]), below=[], build=build)
    return Image(image_name("pause"), (layer,), {"PATH": "/"}, entrypoint=("/pause",), user="65535:65535")


def _versitygw() -> Image:
    """The S3 server of the stories that want one; laid out as the image of its makers."""
    program = build_versitygw()

    def build(root: Path) -> None:
        (root / "usr/local/bin").mkdir(parents=True)
        shutil.copy(program, root / "usr/local/bin/versitygw")

    layer = make_layer("versitygw", digest_of(files=[program]), below=[], build=build)
    return Image(image_name("versitygw"), (layer,), {"PATH": _PATH})


def _operator() -> Image:
    layers = [_base()]
    layers.append(_site_layer("operator-site", _LOCKS / "operator.txt", layers))
    return Image(image_name("operator"), (*layers, _wheel_layer()), _PYTHON_ENV)


def _builder() -> Image:
    layers = [_base()]
    layers.append(_debian_layer("torch", _TORCH_PACKAGES, layers, ballast=_TORCH_BALLAST))
    layers.append(_site_layer("builder-site", _LOCKS / "image-builder.txt", layers))
    environment = _PYTHON_ENV | _ULTRALYTICS_ENV
    return Image(image_name("builder"), (*layers, _wheel_layer()), environment)


def _device_plugin() -> Image:
    """The fake MIG device plugin: the operator's Python packages have what it needs."""
    layers = [_base()]
    layers.append(_site_layer("operator-site", _LOCKS / "operator.txt", layers))
    fakes = [*sorted((REPOSITORY / "e2e/fakes").glob("*.py")), *files_below(REPOSITORY / "e2e/fakes/mig_device_plugin")]

    def build(root: Path) -> None:
        for source in fakes:
            target = root / rootfs.SITE / source.relative_to(REPOSITORY)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
        rootfs.compile_bytecode(root)

    below = [_base()]
    layers.append(make_layer("device-plugin", _key(["device-plugin"], below, fakes), below=below, build=build))
    return Image(image_name("device-plugin"), tuple(layers), _PYTHON_ENV)


def _triton() -> Image:
    layers = [_base()]
    layers.append(_debian_layer("libpython", _TRITON_PACKAGES, layers))
    layers.append(_site_layer("triton-site", _LOCKS / "image-triton.txt", layers))
    lock, ours = _LOCKS / "image-tritonserver.txt", _HERE / "triton"
    key = _key(["tritonserver"], layers, [lock, _HERE / "tritonserver.py", *files_below(ours)])
    build = partial(lay_out_tritonserver, requirements=lock, ours=ours)
    layers.append(make_layer("tritonserver", key, below=layers, build=build))
    environment = _PYTHON_ENV | {"OMP_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1"}
    return Image(image_name("triton"), tuple(layers), environment)


def _triton_with(name: str) -> Image:
    """Triton with a model of our own, of known speed or faults: one small layer on top, next to nothing for a node."""
    triton, model = _triton(), _HERE / name.replace("-", "_") / "model.py"

    def build(root: Path) -> None:
        shutil.copy(model, root / "opt/tritonserver/backends/onnxruntime/model.py")

    below = list(triton.layers)
    layer = make_layer(name, _key([name], below, [model]), below=below, build=build)
    return Image(image_name(name), (*triton.layers, layer), triton.env)


def _triton_tensorrt() -> Image:
    """Triton with a start that turns plans of the double into what they hold."""
    triton, program = _triton(), _HERE / "triton_tensorrt" / "tritonserver.py"

    def build(root: Path) -> None:
        target = root / "usr/local/bin/tritonserver"
        target.unlink()  # a link to the real one
        shutil.copy(program, target)
        target.chmod(0o755)

    below = list(triton.layers)
    layer = make_layer("triton-tensorrt", _key(["triton-tensorrt"], below, [program]), below=below, build=build)
    return Image(image_name("triton-tensorrt"), (*triton.layers, layer), triton.env)


def _builder_tensorrt() -> Image:
    """The builder with doubles of a GPU and of TensorRT, those of the unit tests."""
    builder = _builder()
    tests = REPOSITORY / "tests" / "model_repo_builder"
    doubles = [*sorted((_HERE / "builder_tensorrt").glob("*.py")), tests / "fake_cuda.py", tests / "fake_tensorrt.py"]

    def build(root: Path) -> None:
        for double in doubles:
            shutil.copy(double, root / rootfs.SITE)
        (root / rootfs.SITE / "gpu_double.pth").write_text("import gpu_double\n")

    below = list(builder.layers)
    layer = make_layer("builder-tensorrt", _key(["builder-tensorrt"], below, doubles), below=below, build=build)
    return Image(image_name("builder-tensorrt"), (*builder.layers, layer), builder.env)


def _base() -> Layer:
    def build(root: Path) -> None:
        rootfs.debian_base(root, packages=_BASE_PACKAGES)
        with (root / "etc/passwd").open("a") as users:
            users.write("yolofleet:x:1000:1000::/tmp:/usr/sbin/nologin\n")
        with (root / "etc/group").open("a") as groups:
            groups.write("yolofleet:x:1000:\n")

    return make_layer("base", digest_of(texts=[rootfs.SUITE, *_BASE_PACKAGES]), below=[], build=build)


def _debian_layer(name: str, packages: tuple[str, ...], below: list[Layer], *, ballast: tuple[str, ...] = ()) -> Layer:
    def build(root: Path) -> None:
        rootfs.add_debian_packages(root, packages)
        rootfs.remove(root, ballast)

    return make_layer(name, _key([*packages, *ballast], below, []), below=below, build=build)


def _site_layer(name: str, lock: Path, below: list[Layer]) -> Layer:
    def build(root: Path) -> None:
        rootfs.add_python_packages(root / rootfs.SITE, requirements=lock)
        rootfs.compile_bytecode(root)

    return make_layer(name, _key([name], below, [lock]), below=below, build=build)


def _wheel_layer() -> Layer:
    """The project itself, one layer for all images that hold it: a second or two, whenever its code changes."""
    packages = ("operator/src/yolofleet", "model_repo_builder/src/model_repo_builder")
    sources = [path for package in packages for path in files_below(REPOSITORY / package)]

    def build(root: Path) -> None:
        with tempfile.TemporaryDirectory() as folder:
            rootfs.add_wheel(root / rootfs.SITE, rootfs.build_wheel(REPOSITORY, Path(folder)))
        rootfs.compile_bytecode(root)

    below = [_base()]
    key = _key(["wheel"], below, [REPOSITORY / "pyproject.toml", *sources])
    return make_layer("wheel", key, below=below, build=build)


def _key(texts: list[str], below: list[Layer], files: list[Path]) -> str:
    return digest_of(texts=[*texts, *(layer.digest for layer in below)], files=files)
