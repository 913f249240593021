"""What must hold for every manifest, whatever is set: security, devices, draining, names, hashes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.charts.restricted import violations
from tests.planning.worlds import H100, deployment, engine, labelled, node, snapshot, spec
from tests.raw_objects import settings
from tests.render.cases import (
    EVERYTHING,
    HTTP,
    MIG,
    MIG_NODE,
    OWN_SETTINGS,
    PVC,
    SETTINGS,
    Object,
    build_job,
    full,
    manifests,
    planned,
)
from tests.render.test_s3_store import GRANT, S3
from yolofleet.api.build import BUILD_ENV, PHASES, SERVE_ENV, BuildRequest, BuildSlice, ServeRequest
from yolofleet.api.store import GRANT_ENV, Grant
from yolofleet.planning.builds.slices import Given, Shelf, shelf_of
from yolofleet.planning.plan import plan
from yolofleet.render import engines, serving
from yolofleet.render.meta import HASH_ANNOTATION, SLICE_ANNOTATION, digest, hashed


def measured_on(claim: str) -> Object:
    """Return the part of a spec that names a labelled set on a claim."""
    dataset = {"pvc": {"claimName": claim, "path": "val.zip"}}
    return {"engine": {"backend": "ONNXRuntime", "accuracyGate": {"dataset": dataset}}}


def calibrated_on(claim: str) -> Object:
    """Return the part of a spec that takes scales from pictures on a claim."""
    source = {"pvc": {"claimName": claim, "path": "frames.zip"}}
    return {"engine": {"backend": "ONNXRuntime", "precision": "INT8", "calibration": {"source": source, "images": 64}}}


PODS: dict[str, Object] = {
    "serving": manifests()["Deployment"]["spec"]["template"]["spec"],
    "serving, all set": full()["Deployment"]["spec"]["template"]["spec"],
    "build": build_job()["spec"]["template"]["spec"],
    "build, http": build_job(HTTP, OWN_SETTINGS)["spec"]["template"]["spec"],
    "build, pvc": build_job(PVC)["spec"]["template"]["spec"],
    "build, labelled": build_job(PVC | measured_on("labels"))["spec"]["template"]["spec"],
    "build, calibrated": build_job(PVC | calibrated_on("frames"))["spec"]["template"]["spec"],
    "build, labelled, one claim": build_job(PVC | measured_on("weights"))["spec"]["template"]["spec"],
}
every_pod = pytest.mark.parametrize("pod", PODS.values(), ids=PODS.keys())


def triton(pod: Object) -> Object:
    (container,) = pod["containers"]
    return container


@every_pod
def test_every_pod_keeps_to_the_restricted_profile(pod: Object) -> None:
    assert violations(pod) == []


@every_pod
def test_every_pod_has_no_token_a_read_only_root_and_a_place_to_write(pod: Object) -> None:
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsUser"] == 1000
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
        assert "/tmp" in writable


@every_pod
def test_every_mount_has_its_volume_and_no_claim_is_named_twice(pod: Object) -> None:
    names = {volume["name"] for volume in pod["volumes"]}
    claims = [v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"] if "persistentVolumeClaim" in v]
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        assert {mount["name"] for mount in container["volumeMounts"]} <= names
    assert len(claims) == len(set(claims))


def test_weights_on_the_stores_own_claim_are_mounted_from_it() -> None:
    job = build_job({"model": {"pvc": {"claimName": "yolofleet-engines", "path": "best.pt"}}})
    pod = job["spec"]["template"]["spec"]
    fetch, publish = mounts_of(pod, "fetch"), mounts_of(pod, "publish")
    assert [v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"] if "persistentVolumeClaim" in v] == [
        "yolofleet-engines"
    ]
    assert (fetch["/source"]["name"], fetch["/source"]["readOnly"]) == ("store", True)
    assert fetch["/store"]["readOnly"]
    assert not publish["/store"].get("readOnly")


@pytest.mark.parametrize(
    ("claim", "volume", "claims"),
    [
        ("labels", "dataset", ["yolofleet-engines", "labels", "weights"]),
        ("weights", "source", ["yolofleet-engines", "weights"]),
        ("yolofleet-engines", "store", ["yolofleet-engines", "weights"]),
    ],
)
def test_a_labelled_set_is_for_fetch_to_read_and_its_claim_is_mounted_once(claim, volume, claims) -> None:
    pod = build_job(PVC | measured_on(claim))["spec"]["template"]["spec"]
    fetch = mounts_of(pod, "fetch")
    assert (fetch["/dataset"]["name"], fetch["/dataset"]["readOnly"]) == (volume, True)
    assert all("/dataset" not in mounts_of(pod, name) for name in ("convert", "publish"))
    assert [v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"] if "persistentVolumeClaim" in v] == claims
    for container in [*pod["initContainers"], *pod["containers"]]:
        asked = BuildRequest.model_validate_json(container["env"][0]["value"])
        assert asked.labelled is not None
        assert asked.recipe.dataset == asked.labelled.identity == f"pvc:{claim}/val.zip x500"


@pytest.mark.parametrize(
    ("claim", "volume", "claims"),
    [
        ("frames", "calibration", ["frames", "yolofleet-engines", "weights"]),
        ("weights", "source", ["yolofleet-engines", "weights"]),
        ("yolofleet-engines", "store", ["yolofleet-engines", "weights"]),
    ],
)
def test_pictures_for_scales_are_for_fetch_to_read_and_their_claim_is_mounted_once(claim, volume, claims) -> None:
    pod = build_job(PVC | calibrated_on(claim))["spec"]["template"]["spec"]
    fetch = mounts_of(pod, "fetch")
    assert (fetch["/calibration"]["name"], fetch["/calibration"]["readOnly"]) == (volume, True)
    assert all("/calibration" not in mounts_of(pod, name) for name in ("convert", "publish"))
    found = [v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"] if "persistentVolumeClaim" in v]
    assert sorted(found) == sorted(claims)
    for container in [*pod["initContainers"], *pod["containers"]]:
        asked = BuildRequest.model_validate_json(container["env"][0]["value"])
        assert asked.calibration is not None
        assert asked.recipe.calibration == asked.calibration.identity == f"pvc:{claim}/frames.zip x64"


def mounts_of(pod: Object, name: str) -> dict[str, Object]:
    """Return what a container mounts, by path."""
    return {mount["mountPath"]: mount for mount in container_of(pod, name)["volumeMounts"]}


def container_of(pod: Object, name: str) -> Object:
    """Return a container of a build's pod."""
    found: Object = next(one for one in [*pod["initContainers"], *pod["containers"]] if one["name"] == name)
    return found


BUILDS = [name for name in PODS if name.startswith("build")]
S3_BUILD = build_job(None, S3, GRANT)["spec"]["template"]["spec"]


@pytest.mark.parametrize("pod", [*(PODS[name] for name in BUILDS), S3_BUILD], ids=[*BUILDS, "build, S3"])
def test_who_opens_weights_holds_nothing_that_is_worth_stealing(pod: Object) -> None:
    """No token, no variable but the request, no claim, no Secret; weights read-only; no temporary files in common."""
    assert [one["name"] for one in [*pod["initContainers"], *pod["containers"]]] == list(PHASES)
    convert = container_of(pod, "convert")
    assert [variable["name"] for variable in convert["env"]] == [BUILD_ENV]
    assert "value" in convert["env"][0]
    assert "envFrom" not in convert
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for mount in convert["volumeMounts"]:
        assert "emptyDir" in volumes[mount["name"]], mount
    assert mounts_of(pod, "convert").keys() == {"/weights", "/engine", "/tmp"}
    assert mounts_of(pod, "convert")["/weights"]["readOnly"]
    assert pod["automountServiceAccountToken"] is False
    writable = {
        name: {m["name"] for m in mounts_of(pod, name).values() if not m.get("readOnly")} & set(volumes)
        for name in PHASES
    }
    assert not writable["convert"] & (writable["fetch"] | writable["publish"])
    assert all(volume["emptyDir"] == {"sizeLimit": "8Gi"} for volume in volumes.values() if "emptyDir" in volume)


@pytest.mark.parametrize("pod", [*(PODS[name] for name in BUILDS), S3_BUILD], ids=[*BUILDS, "build, S3"])
def test_who_publishes_never_sees_the_weights_and_fetch_cannot_write_the_store(pod: Object) -> None:
    publish, fetch = mounts_of(pod, "publish"), mounts_of(pod, "fetch")
    assert [m["subPath"] for m in publish.values() if m["name"] == "weights"] == ["fetched.json"]
    assert publish["/engine"]["readOnly"]
    assert "/source" not in publish
    assert all(mount.get("readOnly") for path, mount in fetch.items() if path in {"/store", "/source"})
    told = {variable["name"]: variable["value"] for variable in container_of(pod, "fetch")["env"]}
    if GRANT_ENV in told:
        assert Grant.model_validate_json(told[GRANT_ENV]).files == {}


@pytest.mark.parametrize(
    ("devices", "resource"), [({MIG: 7}, MIG), ({"nvidia.com/gpu": 2}, "nvidia.com/gpu")], ids=["mixed", "whole"]
)
@pytest.mark.parametrize("asked", [{}, {"serving": EVERYTHING["serving"]}], ids=["plain", "all set"])
def test_a_replica_asks_for_exactly_one_device(devices, resource, asked) -> None:
    made = manifests(asked, nodes=(node("n1", devices),))["Deployment"]
    resources = triton(made["spec"]["template"]["spec"])["resources"]
    for side in ("requests", "limits"):
        assert {k: v for k, v in resources[side].items() if k.startswith("nvidia.com/")} == {resource: 1}


def test_single_strategy_finds_its_slices_by_the_product_label() -> None:
    label = f"{H100}-MIG-1g.10gb"
    made = manifests(nodes=(node("n1", {"nvidia.com/gpu": 14}, labels=labelled(label)),))["Deployment"]
    pod = made["spec"]["template"]["spec"]
    (term,) = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert made["metadata"]["name"] == "gate-1g-10gb"
    assert term["matchExpressions"] == [{"key": "nvidia.com/gpu.product", "operator": "In", "values": [label]}]


@given(st.integers(0, 600), st.integers(1, 3600), st.integers(1, 600), st.integers(1, 600))
def test_a_pod_drains_past_every_connection_and_is_killed_only_after_tritons_own_patience(
    heard, age, grace, leave
) -> None:
    """The last connection comes when the last node hears of its end, and lives its age, a tenth more, at most."""
    asked = {"endpointPropagationSeconds": heard, "maxConnectionAgeSeconds": age}
    own = settings(serving=asked | {"connectionGraceSeconds": grace, "exitTimeoutSeconds": leave})
    pod = manifests(chosen=own)["Deployment"]["spec"]["template"]["spec"]
    sleep = triton(pod)["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert heard + 1.1 * age + grace - 1e-6 < sleep < heard + 1.1 * age + grace + 1.01
    assert pod["terminationGracePeriodSeconds"] > sleep + leave
    assert f"--grpc-max-connection-age={age * 1000}" in triton(pod)["args"]


@given(st.integers(1, 86_400))
def test_loading_may_take_as_long_as_the_settings_say_and_a_rollout_waits_longer(load_s: int) -> None:
    made = manifests(chosen=settings(serving={"loadTimeoutSeconds": load_s}))["Deployment"]["spec"]
    probe = triton(made["template"]["spec"])["startupProbe"]
    assert probe["failureThreshold"] * probe["periodSeconds"] == load_s
    assert made["progressDeadlineSeconds"] > load_s


def test_probes_ask_what_they_are_for() -> None:
    container = triton(PODS["serving"])
    paths = {kind: container[kind]["httpGet"]["path"] for kind in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert paths == {
        "startupProbe": "/v2/health/ready",
        "readinessProbe": "/v2/health/ready",
        "livenessProbe": "/v2/health/live",
    }


def test_the_init_container_is_told_what_to_assemble() -> None:
    (env,) = PODS["serving, all set"]["initContainers"][0]["env"]
    request = ServeRequest.model_validate_json(env["value"])
    assert (env["name"], request.model_name, request.max_batch_size) == (SERVE_ENV, "gate", 8)


@pytest.mark.parametrize("asked", [{}, HTTP, PVC], ids=["builtin", "http", "pvc"])
def test_the_build_is_told_what_to_make(asked: Object) -> None:
    view = engine(spec(**asked))
    for name in PHASES:
        container = container_of(build_job(asked)["spec"]["template"]["spec"], name)
        env = {e["name"]: e["value"] for e in container["env"]}
        request = BuildRequest.model_validate_json(env[BUILD_ENV])
        assert (request.key, request.name, request.source) == (view.spec.key, view.name, view.spec.source)
        assert container["command"] == ["python3", "-sP", "-m", "model_repo_builder", name]


def slice_given() -> Given:
    """Return one of seven slices of the MIG node."""
    (stock,) = [one for one in shelf_of(snapshot(nodes=(MIG_NODE,))).stocks if one.resource == MIG]
    told, _ = Shelf((stock,)).give(stock.target, frozenset({stock.pool}))
    assert isinstance(told, Given)
    return told


def test_a_build_that_was_given_a_slice_asks_for_it_in_convert_alone_and_goes_where_it_is() -> None:
    job = build_job(None, OWN_SETTINGS, slice=slice_given())
    pod = job["spec"]["template"]["spec"]
    asked = {
        name: {key for side in container_of(pod, name)["resources"].values() for key in side if "nvidia" in key}
        for name in PHASES
    }
    assert asked == {"fetch": set(), "convert": {MIG}, "publish": set()}
    assert container_of(pod, "convert")["resources"]["limits"][MIG] == 1
    (term,) = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert term["matchExpressions"][0]["values"] == [H100]
    assert pod["nodeSelector"] == {}, "not that of builds without a slice"
    assert pod["runtimeClassName"] == "other"
    assert {one["key"] for one in pod["tolerations"]} == {"nvidia.com/gpu"}
    assert BuildSlice.model_validate_json(job["metadata"]["annotations"][SLICE_ANNOTATION]).way == "Free"
    assert violations(pod) == []


def test_a_build_without_a_slice_asks_for_none() -> None:
    assert "nvidia" not in json.dumps(build_job())


def test_a_build_is_never_restarted_by_kubernetes_and_its_refusal_ends_it_at_once() -> None:
    job = build_job()
    assert job["metadata"]["name"] == engine().name
    assert job["spec"]["backoffLimit"] == 0
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    assert job["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [42]


def test_children_belong_to_their_deployment_and_select_only_its_pods() -> None:
    made = manifests()
    labels = made["Deployment"]["spec"]["template"]["metadata"]["labels"]
    for document in made.values():
        (owner,) = document["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"], owner["controller"]) == ("YoloDeployment", "uid-gate", True)
    for selector in (
        made["Service"]["spec"]["selector"],
        made["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        made["Deployment"]["spec"]["selector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
        assert selector["yolofleet.dev/deployment"] == "gate"


def test_what_a_selector_holds_never_changes_with_the_engine() -> None:
    one = manifests()["Deployment"]["spec"]["selector"]
    other = manifests({"engine": {"backend": "ONNXRuntime", "maxBatchSize": 4}})["Deployment"]["spec"]["selector"]
    assert one == other


def test_nothing_is_written_before_there_is_an_engine_and_the_service_stays_when_suspended() -> None:
    (fresh,) = plan(snapshot(deployment())).deployments
    assert serving.serving(fresh, SETTINGS) == []
    kinds = [made["kind"] for made in serving.serving(planned({"suspend": True}), SETTINGS)]
    assert kinds == ["Service", "PodDisruptionBudget"]


# Hashes

documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=5), documents, max_size=4))
def test_a_hash_knows_content_not_order(document: dict[str, Any]) -> None:
    turned = dict(reversed(document.items()))
    assert digest(document) == digest(turned) == digest(json.loads(json.dumps(document)))
    assert digest(document) != digest(document | {"more": 1})


def test_the_same_plan_has_the_same_hash_and_a_changed_one_another() -> None:
    def hash_of(**asked: Any) -> str:
        made = manifests(asked, nodes=(MIG_NODE,))["Deployment"]
        return str(made["metadata"]["annotations"][HASH_ANNOTATION])

    assert hash_of() == hash_of()
    assert hash_of() != hash_of(scaling={"minReplicas": 2})


def test_scaling_leaves_the_pods_as_they_are() -> None:
    def template(**asked: Any) -> Object:
        made: Object = manifests(asked)["Deployment"]["spec"]["template"]
        return made

    assert template() == template(scaling={"minReplicas": 2})
    assert template() == template(postprocess={"confidence": "0.5"})


def test_hashing_keeps_annotations_and_does_not_touch_what_it_was_given() -> None:
    document = {"metadata": {"annotations": {"a": "b"}}}
    made = hashed(document)
    assert made["metadata"]["annotations"].keys() == {"a", HASH_ANNOTATION}
    assert document == {"metadata": {"annotations": {"a": "b"}}}


def test_the_claim_outlives_its_deployments() -> None:
    assert "ownerReferences" not in engines.claim("cams", SETTINGS)["metadata"]
