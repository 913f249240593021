"""What Helm makes of the chart: golden for several sets of values, and true to what the parts need of each other."""

import shutil
import tempfile
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.charts.rendering import (
    CHART,
    RELEASE,
    ROOT,
    VALUE_SETS,
    Helm,
    named,
    of_kind,
    operator_pod,
    settings_file,
)
from tests.charts.restricted import violations
from tests.golden import assert_golden
from yolofleet.api.yolodeployment import spec_from
from yolofleet.settings import Settings, load

GOLDEN = Path(__file__).parent / "golden"
every_set = pytest.mark.parametrize("name", VALUE_SETS)


def _notes(helm: Helm, *arguments: str) -> str:
    """Render the notes, which Helm shows after an install only, as a template of a copy of the chart."""
    chart = Path(tempfile.mkdtemp(dir=helm.home)) / "yolofleet"
    shutil.copytree(CHART, chart)
    (chart / "templates/NOTES.txt").rename(chart / "notes.tpl")
    (chart / "templates/notes.yaml").write_text('notes: {{ tpl (.Files.Get "notes.tpl") . | toJson }}\n')
    text = helm.template("--show-only", "templates/notes.yaml", *arguments, crds=None, chart=chart)
    notes: str = yaml.safe_load(text)["notes"]
    return notes


@every_set
def test_rendering_is_golden(helm: Helm, name: str) -> None:
    assert_golden(GOLDEN / f"{name}.yaml", helm.template(*VALUE_SETS[name]))


def test_chart_and_distribution_have_one_version() -> None:
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert (about["version"], about["appVersion"]) == (version, version)


@every_set
def test_lint_is_strict(helm: Helm, name: str) -> None:
    values = [
        argument for argument in VALUE_SETS[name] if argument not in ("--api-versions", "monitoring.coreos.com/v1")
    ]
    done = helm.run("lint", "--strict", str(CHART), "--kube-version", "1.36.0", *values)
    assert done.returncode == 0, done.stdout


@every_set
def test_the_operator_reads_its_settings(helm: Helm, name: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(settings_file(helm.objects(*VALUE_SETS[name])))
    assert load(path).images.pull_policy == "IfNotPresent"


def test_the_charts_defaults_are_the_operators_own(helm: Helm) -> None:
    told = Settings.model_validate(yaml.safe_load(settings_file(helm.objects())))
    assert told == Settings.model_validate({"images": told.images, "builds": {"version": told.builds.version}})


def test_every_setting_that_is_no_empty_default_is_told(helm: Helm) -> None:
    told = yaml.safe_load(
        settings_file(helm.objects("--set", "builds.tensorrtVersion=10.13,builds.builtinUrl=http://m"))
    )
    wanted = Settings.model_validate(told).model_dump(by_alias=True, exclude_none=True)
    assert told == wanted


@pytest.mark.parametrize(("given", "told"), [("", None), ("-", ""), ("fast", "fast")])
def test_the_storage_class_is_default_none_or_named(helm: Helm, given: str, told: str | None) -> None:
    document = yaml.safe_load(settings_file(helm.objects("--set", f"store.storageClassName={given}")))
    assert Settings.model_validate(document).store.storage_class_name == told


def test_watched_namespaces_reach_the_operator(helm: Helm) -> None:
    document = yaml.safe_load(settings_file(helm.objects(*VALUE_SETS["watched"])))
    assert Settings.model_validate(document).watch_namespaces == ["cameras", "gates"]


@pytest.mark.parametrize(
    ("values", "image"),
    [
        ((), "yolofleet/operator:0.1.0"),
        (("images.registry=mirror.example:5000/team/",), "mirror.example:5000/team/yolofleet/operator:0.1.0"),
        (("images.operator.registry=quay.example", "images.operator.tag=v1"), "quay.example/yolofleet/operator:v1"),
        ((f"images.operator.digest=sha256:{'a' * 64}",), f"yolofleet/operator:0.1.0@sha256:{'a' * 64}"),
    ],
)
def test_an_image_is_registry_repository_tag_and_digest(helm: Helm, values: tuple[str, ...], image: str) -> None:
    objects = helm.objects(*(part for value in values for part in ("--set-string", value)))
    told = yaml.safe_load(settings_file(objects))["images"]["operator"]
    assert (operator_pod(objects)["spec"]["containers"][0]["image"], told) == (image, image)


@every_set
def test_the_operator_pod_is_restricted(helm: Helm, name: str) -> None:
    spec = operator_pod(helm.objects(*VALUE_SETS[name]))["spec"]
    context = spec["containers"][0]["securityContext"]
    assert violations(spec) == []
    assert (spec["securityContext"]["runAsUser"], context["readOnlyRootFilesystem"]) == (1000, True)


def test_the_operators_token_is_bound_and_nobody_elses(helm: Helm) -> None:
    objects = helm.objects()
    spec = operator_pod(objects)["spec"]
    tokens = [
        s for v in spec["volumes"] for s in v.get("projected", {}).get("sources", []) if "serviceAccountToken" in s
    ]
    assert [named(objects, "ServiceAccount", RELEASE), spec][0]["automountServiceAccountToken"] is False
    assert spec["automountServiceAccountToken"] is False
    assert len(tokens) == 1


def test_one_operator_at_a_time(helm: Helm) -> None:
    spec = named(helm.objects(), "Deployment", RELEASE)["spec"]
    assert (spec["replicas"], spec["strategy"]["type"]) == (1, "Recreate")


@pytest.mark.parametrize(("value", "rolls"), [("operator.logLevel=DEBUG", True), ("rbac.aggregate=false", False)])
def test_the_operator_restarts_when_its_settings_change_and_only_then(helm: Helm, value: str, rolls: bool) -> None:
    before, after = operator_pod(helm.objects()), operator_pod(helm.objects("--set", value))
    assert (before != after) is rolls


def test_services_and_monitors_find_the_operators_pod(helm: Helm) -> None:
    objects = helm.objects(*VALUE_SETS["monitors"])
    labels = operator_pod(objects)["metadata"]["labels"].items()
    service = named(objects, "Service", f"{RELEASE}-metrics")
    monitor = named(objects, "ServiceMonitor", RELEASE)
    assert service["spec"]["selector"].items() <= labels
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]


def test_monitors_are_left_out_where_their_api_is_missing(helm: Helm) -> None:
    values = ("--set", "monitoring.podMonitor.enabled=true")
    assert not of_kind(helm.objects(*values), "PodMonitor", "ServiceMonitor")
    assert "no monitor was made" in _notes(helm, *values)


def test_only_roles_in_other_namespaces_name_a_namespace(helm: Helm) -> None:
    objects = helm.objects(*VALUE_SETS["watched"])
    elsewhere = [found for found in objects if "namespace" in found["metadata"]]
    assert {found["kind"] for found in elsewhere} == {"Role", "RoleBinding"}
    assert {found["metadata"]["namespace"] for found in elsewhere} == {"cameras", "gates", "default"}


@pytest.mark.parametrize("path", sorted((ROOT / "crds").glob("*.yaml")), ids=lambda path: path.stem)
def test_definitions_are_installed_as_they_are_and_kept(helm: Helm, path: Path) -> None:
    wanted = yaml.safe_load(path.read_text())
    objects = helm.objects("--set", "crds.annotations.team=video", crds=True)
    found = named(objects, "CustomResourceDefinition", wanted["metadata"]["name"])
    assert found["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep", "team": "video"}
    assert found == wanted


def test_definitions_can_be_left_to_another_release(helm: Helm) -> None:
    assert not of_kind(helm.objects(), "CustomResourceDefinition")
    assert "another release" in _notes(helm, "--set", "crds.install=false")


def test_an_old_cluster_is_refused(helm: Helm) -> None:
    done = helm.try_template(kube_version="1.28.9")
    assert done.returncode != 0
    assert "requires kubeVersion" in done.stderr


@pytest.mark.parametrize("name", ["default", "watched"])
def test_notes_say_what_to_do_next(helm: Helm, name: str) -> None:
    assert_golden(GOLDEN / f"{name}.notes.txt", _notes(helm, *VALUE_SETS[name]))


def test_the_manifest_in_the_notes_is_a_valid_one(helm: Helm) -> None:
    inner = _notes(helm).partition("<<'MANIFEST'\n")[2].partition("\nMANIFEST\n")[0]
    assert spec_from(yaml.safe_load(inner)).model.builtin == "yolo26n-shapes"


def test_long_names_stay_within_bounds(helm: Helm) -> None:
    names = [found["metadata"]["name"] for found in helm.objects("--set", f"fullnameOverride={'n' * 63}")]
    assert max(map(len, names)) <= 63
