"""The pod of a build: fetch, convert and publish in a row, each with what it needs and nothing that another one has.

Fetch has the network and what can be read of the store, convert the weights and nothing else, publish the right to
write: docs/adr/0010-three-containers.md.
"""

from __future__ import annotations

import json

from yolofleet.api.build import (
    BUILD_ENV,
    CALIBRATION_PATH,
    DATASET_PATH,
    ENGINE_PATH,
    FETCHED_FILE,
    FETCHED_PATH,
    PHASES,
    PROGRESS_PORT,
    SOURCE_PATH,
    STORE_PATH,
    WEIGHTS_PATH,
    BuildRequest,
)
from yolofleet.api.store import GRANT_ENV, Grant
from yolofleet.planning.builds.building import EnginePlan
from yolofleet.planning.builds.slices import Stock
from yolofleet.planning.snapshot import EngineView
from yolofleet.render.meta import CONTAINER_SECURITY, POD_SECURITY, Object, on_products
from yolofleet.settings import Settings


def build_pod(planned: EnginePlan, settings: Settings, grant: Grant | None) -> Object:
    """Return the spec of a build's pod; with an S3 store it holds a grant, else it mounts the store's claim."""
    view, given = planned.view, planned.slice
    fetch, convert, publish = (_container(name, planned, settings) for name in PHASES)
    fetch["env"] += _builtin_url(settings) + _granted(grant and grant.model_copy(update={"files": {}}))
    fetch["volumeMounts"] += [_at("weights", WEIGHTS_PATH), *_sources(view, settings, grant)]
    convert["volumeMounts"] += [_at("weights", WEIGHTS_PATH, readOnly=True), _at("engine", ENGINE_PATH)]
    publish["env"] += _granted(grant)
    publish["volumeMounts"] += [
        _at("weights", FETCHED_PATH, subPath=FETCHED_FILE, readOnly=True),
        _at("engine", ENGINE_PATH, readOnly=True),
    ]
    if grant is None:
        fetch["volumeMounts"].append(_at("store", STORE_PATH, readOnly=True))
        publish["volumeMounts"].append(_at("store", STORE_PATH))
    spec: Object = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 10,
        "securityContext": POD_SECURITY,
        "nodeSelector": settings.builds.node_selector,
        "initContainers": [fetch, convert],
        "containers": [publish],
        "volumes": _volumes(view, settings, grant),
    }
    if given is not None:
        convert["resources"] = _with_slice(settings.builds.resources, given.taken.resource)
        spec |= _placed(given.stock, settings)
    if settings.images.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in settings.images.pull_secrets]
    return spec


def _with_slice(base: Object, resource: str) -> Object:
    return base | {side: {**base.get(side, {}), resource: 1} for side in ("requests", "limits")}


def _placed(stock: Stock, settings: Settings) -> Object:
    """Return what brings a pod to the slice it was given: the pool's nodes, in place of those of builds without one."""
    runtime_class = settings.serving.runtime_class_name
    told: Object = {
        "nodeSelector": dict(stock.node_selector),
        "tolerations": settings.serving.gpu_tolerations,
        "runtimeClassName": runtime_class,
        "affinity": on_products(stock.product_labels) if stock.product_labels else None,
    }
    return {key: value for key, value in told.items() if value is not None}


def _container(name: str, planned: EnginePlan, settings: Settings) -> Object:
    view = planned.view
    request = BuildRequest(
        key=view.spec.key,
        name=view.name,
        source=view.spec.source,
        labelled=view.spec.labelled,
        calibration=view.spec.calibration,
        recipe=view.spec.recipe,
        target=view.spec.target,
        builder=view.spec.builder,
        timings_of=planned.timings_of,
        measure_seconds=(settings.builds.measure_seconds or None) if view.spec.target else None,
    )
    return {
        "name": name,
        "image": settings.images.builder,
        "imagePullPolicy": settings.images.pull_policy,
        # -sP: no modules from /tmp, its working folder and home, which weights could write.
        "command": ["python3", "-sP", "-m", "model_repo_builder", name],
        "env": [{"name": BUILD_ENV, "value": json.dumps(request.wire(), sort_keys=True)}],
        "ports": [{"name": "progress", "containerPort": PROGRESS_PORT, "protocol": "TCP"}],
        "resources": settings.builds.resources,
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "File",
        # A folder of its own: what opens weights must not lay out what publish finds.
        "volumeMounts": [_at(f"tmp-{name}", "/tmp")],  # noqa: S108 - an emptyDir of the pod
    }


def _at(volume: str, path: str, **more: str | bool) -> Object:
    return {"name": volume, "mountPath": path} | more


def _builtin_url(settings: Settings) -> list[Object]:
    url = settings.builds.builtin_url
    return [{"name": "YOLOFLEET_BUILTIN_URL", "value": url}] if url else []


def _granted(grant: Grant | None) -> list[Object]:
    return [{"name": GRANT_ENV, "value": json.dumps(grant.wire(), sort_keys=True)}] if grant else []


def _volumes(view: EngineView, settings: Settings, grant: Grant | None) -> list[Object]:
    limit = {"sizeLimit": settings.builds.scratch_size}
    scratch = ["weights", "engine", *(f"tmp-{name}" for name in PHASES)]
    made: list[Object] = [{"name": name, "emptyDir": limit} for name in scratch]
    if grant is None:
        made.append({"name": "store", "persistentVolumeClaim": {"claimName": settings.store.claim_name}})
    for volume, claim in sorted({(found, claim) for _, found, claim in _claims(view, settings, grant)}):
        if volume != "store":
            made.append({"name": volume, "persistentVolumeClaim": {"claimName": claim}})
    return made


def _sources(view: EngineView, settings: Settings, grant: Grant | None) -> list[Object]:
    return [_at(volume, path, readOnly=True) for path, volume, _ in _claims(view, settings, grant)]


def _claims(view: EngineView, settings: Settings, grant: Grant | None) -> list[tuple[str, str, str]]:
    """Return path, volume and claim of what fetch reads from claims: the weights, and the sets of pictures.

    A claim that is named twice in one pod is mounted once: read-only for one would be read-only for both.
    """
    volumes = {settings.store.claim_name: "store"} if grant is None else {}
    labelled, calibration = view.spec.labelled, view.spec.calibration
    told = []
    for name, path, source in (
        ("source", SOURCE_PATH, view.spec.source),
        ("dataset", DATASET_PATH, labelled.source if labelled else None),
        ("calibration", CALIBRATION_PATH, calibration.source if calibration else None),
    ):
        if source is not None and source.pvc is not None:
            claim = source.pvc.claim_name
            told.append((path, volumes.setdefault(claim, name), claim))
    return told
