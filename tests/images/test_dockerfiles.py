"""The Dockerfiles, read by a parser: they cannot be built where there is no Docker, but much of them can be checked."""

import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
import yaml
from dockerfile_parse import DockerfileParser

from e2e.images import catalogue
from e2e.images.oci import Image

ROOT = Path(__file__).parents[2]
OPERATOR, BUILDER, BENCH = "operator/Dockerfile", "model_repo_builder/Dockerfile", "e2e/Dockerfile"
DOCKERFILES = (OPERATOR, BUILDER, BENCH)
PINNED = re.compile(r"@sha256:[0-9a-f]{64}$|:\d+\.\d+[\w.-]*$")
every_dockerfile = pytest.mark.parametrize("path", DOCKERFILES)


@dataclass(frozen=True)
class Dockerfile:
    """One file's instructions as (name, value) pairs, whole and by stage."""

    path: str

    @cached_property
    def parser(self) -> DockerfileParser:
        return DockerfileParser(fileobj=(ROOT / self.path).open("rb"))

    @cached_property
    def instructions(self) -> list[tuple[str, str]]:
        found = [(item["instruction"], item["value"]) for item in self.parser.structure]
        return [pair for pair in found if pair[0] != "COMMENT"]

    @property
    def arguments(self) -> dict[str, str]:
        """The defaults of ARG before the first FROM."""
        first = [name for name, _ in self.instructions].index("FROM")
        return dict(value.split("=", 1) for name, value in self.instructions[:first] if name == "ARG")

    @property
    def final(self) -> list[tuple[str, str]]:
        """The last stage: what becomes the image."""
        last = max(index for index, (name, _) in enumerate(self.instructions) if name == "FROM")
        return self.instructions[last:]

    @property
    def bases(self) -> list[str]:
        """What FROM names, with the defaults of the arguments filled in."""
        values = [value.split()[0] for name, value in self.instructions if name == "FROM"]
        return [re.sub(r"\$\{(\w+)\}", lambda found: self.arguments[found[1]], value) for value in values]

    def last(self, name: str) -> str:
        return [value for found, value in self.final if found == name][-1]

    @property
    def environment(self) -> dict[str, str]:
        values = [value for name, value in self.final if name == "ENV"]
        return dict(re.findall(r"(\w+)=(\S+)", " ".join(values)))

    @property
    def copied(self) -> list[str]:
        """The paths of the repository that COPY takes."""
        own = [value for name, value in self.instructions if name == "COPY" and not value.startswith("--from=")]
        return [source for value in own for source in value.split()[:-1]]

    @property
    def runs(self) -> list[str]:
        return [value for name, value in self.instructions if name == "RUN"]


def ignored(dockerfile: str, path: str) -> bool:
    """Whether Docker would not see a path; of .dockerignore's language only what ours says is understood here."""
    own = ROOT / f"{dockerfile}.dockerignore"
    lines = (own if own.exists() else ROOT / ".dockerignore").read_text().splitlines()
    verdict = False
    for line in (line for line in lines if line and not line.startswith("#")):
        plain = line.removeprefix("!").removeprefix("**/")
        assert plain == "*" or "*" not in plain.lstrip("."), f"teach this test what {line!r} means"
        if plain == "*" or path.split("/", maxsplit=1)[0] == plain or plain in path.split("/"):
            verdict = not line.startswith("!")
    return verdict


@every_dockerfile
def test_every_base_is_pinned_by_version_or_digest(path):
    bases = Dockerfile(path).bases
    assert bases
    assert [base for base in bases if not PINNED.search(base)] == []


@every_dockerfile
def test_everything_that_is_copied_is_there_and_docker_sees_it(path):
    copied = Dockerfile(path).copied
    assert copied
    missing = [source for source in copied if not (ROOT / source).exists()]
    hidden = [source for source in copied if source != "." and ignored(path, source)]
    assert (missing, hidden) == ([], [])


def test_what_is_made_from_the_tree_stays_away_from_docker():
    assert ignored(OPERATOR, ".git")
    assert ignored(OPERATOR, "e2e")
    assert ignored(BUILDER, "operator/src/yolofleet/__pycache__")
    assert ignored(BENCH, ".venv")
    assert not ignored(BENCH, ".git")


@every_dockerfile
def test_nothing_is_fetched_by_add_or_piped_into_a_shell(path):
    read = Dockerfile(path)
    assert "ADD" not in {name for name, _ in read.instructions}
    assert not [run for run in read.runs if re.search(r"\b(curl|wget)\b|\|\s*(ba)?sh\b", run)]


@every_dockerfile
def test_apt_leaves_no_lists_and_brings_no_recommendations(path):
    for run in Dockerfile(path).runs:
        if "apt-get install" in run:
            assert "--no-install-recommends" in run
        if "apt-get" in run or "prerequisites.sh" in run:
            assert "rm -rf /var/lib/apt/lists/*" in run


@pytest.mark.parametrize("path", [OPERATOR, BUILDER])
def test_packages_come_from_hashed_locks_only(path):
    installs = [part for run in Dockerfile(path).runs for part in run.split("&&") if "pip install" in part]
    assert installs
    for install in installs:
        assert "--no-deps" in install
        assert "/wheel/" in install or ("--require-hashes" in install and "--only-binary=:all:" in install)
        for lock in re.findall(r"locks/\S+", install):
            assert (ROOT / lock).is_file()
            assert lock in Dockerfile(path).copied


@pytest.mark.parametrize("lock", ["operator", "image-tools", "image-builder-triton"])
def test_every_requirement_of_a_lock_has_a_version_and_a_hash(lock):
    blocks = re.split(r"\n(?=\S)", (ROOT / f"locks/{lock}.txt").read_text().strip())
    assert blocks
    assert [block.split()[0] for block in blocks if not re.match(r"[\w.-]+(\[[\w,-]+\])?==\S", block)] == []
    assert [block.split()[0] for block in blocks if "--hash=sha256:" not in block] == []


@pytest.mark.parametrize("path", [OPERATOR, BUILDER])
def test_images_of_the_cluster_run_as_a_numeric_user_that_is_not_root(path):
    assert Dockerfile(path).last("USER") == Image("x", (), {}).user == "1000:1000"
    assert Dockerfile(path).last("WORKDIR") == json.loads(Image("x", (), {}).config)["config"]["WorkingDir"]


def test_the_bench_runs_as_root_and_says_so_in_numbers():
    assert Dockerfile(BENCH).last("USER") == "0:0"


def test_the_operators_image_is_the_benchs_operator_image():
    """Same lock, same wheel, same environment; the bench's own image has neither pip nor a compiler either."""
    read = Dockerfile(OPERATOR)
    assert read.environment == catalogue._PYTHON_ENV
    assert "locks/operator.txt" in read.copied
    assert (catalogue._LOCKS / "operator.txt").read_bytes() == (ROOT / "locks/operator.txt").read_bytes()
    assert "pip uninstall --quiet --yes pip setuptools wheel" in read.last("RUN")
    assert not {"ENTRYPOINT", "CMD"} & {name for name, _ in read.final}
    assert [value for name, value in read.final if name == "COPY"] == [
        "--from=build /site /usr/local/lib/python3.11/site-packages"
    ]
    assert read.arguments["PYTHON_IMAGE"].startswith("python:3.11.")


def test_the_builders_environment_is_that_of_the_benchs_builder():
    expected = catalogue._PYTHON_ENV | catalogue._ULTRALYTICS_ENV
    environment = Dockerfile(BUILDER).environment
    del expected["PATH"]  # Triton's own stays
    assert {key: environment.get(key) for key in expected} == expected
    assert environment["NVIDIA_VISIBLE_DEVICES"] == "void"


def test_the_builder_stands_on_the_triton_that_the_chart_and_the_kind_cluster_serve_with():
    chart = yaml.safe_load((ROOT / "charts/yolofleet/values.yaml").read_text())["images"]["triton"]
    kind = yaml.safe_load((ROOT / "e2e/values-kind-gpu.yaml").read_text())["images"]["triton"]
    base = Dockerfile(BUILDER).bases[-1]
    for triton in (chart, kind):
        assert base == f"{triton['registry']}/{triton['repository']}:{triton['tag']}"


def test_the_builder_checks_its_tensorrt_after_all_is_in_place():
    names = [(name, value) for name, value in Dockerfile(BUILDER).final if name in {"COPY", "RUN", "USER"}]
    assert [name for name, _ in names] == ["USER", "COPY", "COPY", "COPY", "RUN", "USER"]
    assert names[-2][1].endswith("python3 /opt/yolofleet/check_tensorrt.py")


def test_the_builders_lock_is_for_the_python_of_that_triton():
    assert "ARG TRITON_PYTHON=3.12" in (ROOT / BUILDER).read_text()
    assert "--python-version 3.12 model_repo_builder/image/requirements.in" in (ROOT / "Makefile").read_text()


def test_both_builders_have_the_same_ultralytics():
    wanted = [line for line in (ROOT / "pyproject.toml").read_text().splitlines() if "ultralytics==" in line]
    (version,) = {re.search(r"ultralytics==([\w.]+)", line)[1] for line in wanted}
    for lock in ("image-builder", "image-builder-triton"):
        assert f"\nultralytics=={version} " in (ROOT / f"locks/{lock}.txt").read_text()


def test_all_build_stages_are_of_one_python_image():
    assert Dockerfile(OPERATOR).arguments["PYTHON_IMAGE"] == Dockerfile(BUILDER).arguments["PYTHON_IMAGE"]


def test_the_benchs_go_is_new_enough_for_every_module():
    image = re.search(r"golang:(\d+)\.(\d+)", Dockerfile(BENCH).bases[0])
    for module in (ROOT / "e2e/clusters/bare/go").glob("*/go.mod"):
        needed = re.search(r"^go (\d+)\.(\d+)", module.read_text(), re.MULTILINE)
        assert tuple(map(int, image.groups())) >= tuple(map(int, needed.groups())), module


def test_the_benchs_packages_are_those_of_the_prerequisites():
    assert any(run.startswith("e2e/prerequisites.sh") for run in Dockerfile(BENCH).runs)
    assert "make setup" in Dockerfile(BENCH).runs
    assert json.loads(Dockerfile(BENCH).last("CMD")) == ["make", "test"]
