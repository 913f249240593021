"""With an S3 store: builds hold a grant, serving pods a credential in their init container, and neither a claim."""

from __future__ import annotations

import json

from tests.planning.worlds import engine
from tests.raw_objects import settings
from tests.render.cases import PVC, build_job, manifests
from yolofleet.api.store import CREDENTIAL_PATH, GRANT_ENV, STORE_ENV, Bucket, Grant, Published
from yolofleet.render.meta import ATTEMPT_ANNOTATION, REPLACES_ANNOTATION

S3 = settings(
    store={"kind": "S3", "s3": {"endpoint": "http://s3:7070", "readEndpoint": "http://s3:7071", "prefix": "f/"}}
)
KEY = engine().spec.key
GRANT = Grant(
    key=KEY,
    uri=f"s3://engines/f/cams/{KEY}",
    attempt="20260101T000000Z-1",
    files={"manifest.json": "http://s3:7070/engines/x?signed"},
    published=Published(sha256="e" * 64, manifest="http://s3:7070/engines/m", files={}),
)


def environment(container):
    return {variable["name"]: variable["value"] for variable in container["env"]}


def test_a_build_holds_its_grant_and_mounts_no_store() -> None:
    job = build_job(None, S3, GRANT)
    pod = job["spec"]["template"]["spec"]
    (publish,), (fetch, convert) = pod["containers"], pod["initContainers"]
    assert Grant.model_validate_json(environment(publish)[GRANT_ENV]) == GRANT
    assert Grant.model_validate_json(environment(fetch)[GRANT_ENV]) == GRANT.model_copy(update={"files": {}})
    assert GRANT_ENV not in environment(convert)
    assert all("emptyDir" in volume for volume in pod["volumes"])
    assert [mount["mountPath"] for mount in publish["volumeMounts"]] == ["/tmp", "/fetched.json", "/engine"]
    assert job["metadata"]["annotations"] == {ATTEMPT_ANNOTATION: GRANT.attempt, REPLACES_ANNOTATION: "e" * 64}


def test_a_first_build_replaces_nothing() -> None:
    job = build_job(None, S3, GRANT.model_copy(update={"published": None}))
    assert job["metadata"]["annotations"] == {ATTEMPT_ANNOTATION: GRANT.attempt}
    assert "annotations" not in build_job()["metadata"]


def test_weights_on_a_claim_named_like_the_stores_are_mounted_all_the_same() -> None:
    asked = {"model": {"pvc": {"claimName": "yolofleet-engines", "path": "best.pt"}}}
    for source in (PVC, asked):
        pod = build_job(source, S3, GRANT)["spec"]["template"]["spec"]
        claims = [v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"] if "persistentVolumeClaim" in v]
        assert claims == [source["model"]["pvc"]["claimName"]]
        assert {"name": "source", "mountPath": "/source", "readOnly": True} in pod["initContainers"][0]["volumeMounts"]


def test_only_the_init_container_of_a_serving_pod_sees_the_credential() -> None:
    pod = manifests(chosen=S3)["Deployment"]["spec"]["template"]["spec"]
    (assemble,), (triton,) = pod["initContainers"], pod["containers"]
    (volume,) = [volume for volume in pod["volumes"] if "secret" in volume]
    assert volume["secret"] == {"secretName": "yolofleet-store-read", "defaultMode": 0o440}
    assert {"name": volume["name"], "mountPath": CREDENTIAL_PATH, "readOnly": True} in assemble["volumeMounts"]
    assert volume["name"] not in {mount["name"] for mount in triton["volumeMounts"]}
    assert "persistentVolumeClaim" not in json.dumps(pod)
    told = Bucket.model_validate_json(environment(assemble)[STORE_ENV])
    assert told == Bucket(endpoint="http://s3:7071", name="engines", prefix="f/cams/")
