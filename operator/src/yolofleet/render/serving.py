"""The serving side of one YoloDeployment: Deployment per profile, Service, PodDisruptionBudget."""

from __future__ import annotations

import json
import math
from typing import Any

from yolofleet.api.build import MODELS_PATH, SERVE_ENV, STORE_PATH, ServeRequest
from yolofleet.api.store import CREDENTIAL_PATH, STORE_ENV
from yolofleet.api.yolodeployment import Serving
from yolofleet.planning.groups.grouping import GroupPlan
from yolofleet.planning.placing.choice import Choice
from yolofleet.planning.plan import DeploymentPlan
from yolofleet.planning.slices.profiles import slug
from yolofleet.planning.snapshot import DeploymentView
from yolofleet.render.meta import (
    CANARY,
    CONTAINER_SECURITY,
    ENGINE_KEY_ANNOTATION,
    ENGINE_LABEL,
    IMAGE_ANNOTATION,
    INSTANCES_ANNOTATION,
    OVERFLOW_ANNOTATION,
    POD_SECURITY,
    PROFILE_ANNOTATION,
    PROFILE_LABEL,
    SURGE_ANNOTATION,
    TEMPLATE_ANNOTATION,
    TRACK_LABEL,
    Object,
    digest,
    group_name,
    hashed,
    on_products,
    owned_by_deployment,
    serving_labels,
)
from yolofleet.render.store import bucket, in_s3
from yolofleet.settings import ServingSettings, Settings

HTTP_PORT, GRPC_PORT, METRICS_PORT = 8000, 8001, 8002
AGE_JITTER = 1.1
"""gRPC spreads a connection's maximum age by ±10 %."""
PROBE_PERIOD_S = 1
SPARE_S = 5
ZONE, HOST = "topology.kubernetes.io/zone", "kubernetes.io/hostname"


def serving(plan: DeploymentPlan, settings: Settings) -> list[Object]:
    """Return the manifests of one planned YoloDeployment; none while nothing can serve and nothing did."""
    groups = [deployment(plan.view, group, settings) for group in plan.groups]
    if not groups and not plan.view.groups and not plan.view.spec.suspend:
        return []
    return [*groups, service(plan.view), disruption_budget(plan.view)]


def deployment(view: DeploymentView, group: GroupPlan, settings: Settings) -> Object:
    """Return the Deployment of one group: one pod, one device."""
    track = {TRACK_LABEL: CANARY} if group.canary else {}
    labels = serving_labels(view) | {PROFILE_LABEL: slug(group.choice.profile)} | track
    template = pod_template(view, group, settings, labels)
    annotations = {
        PROFILE_ANNOTATION: group.choice.profile,
        ENGINE_KEY_ANNOTATION: group.engine.spec.key,
        IMAGE_ANNOTATION: template["spec"]["containers"][0]["image"],
        SURGE_ANNOTATION: str(group.surge).lower(),
        TEMPLATE_ANNOTATION: digest(template),
    } | ({OVERFLOW_ANNOTATION: "true"} if group.overflow else {})
    # A canary that is given another revision in the middle has no replica to spare.
    rolling = (
        {"maxSurge": 1, "maxUnavailable": 0}
        if group.surge and not group.canary
        else {"maxSurge": 0, "maxUnavailable": 1}
    )
    return hashed(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {
                "name": group_name(view.name, group.choice.profile, canary=group.canary),
                "namespace": view.namespace,
                "labels": labels | {ENGINE_LABEL: group.engine.name},
                "annotations": annotations,
                "ownerReferences": owned_by_deployment(view),
            },
            "spec": {
                "replicas": group.replicas,
                "revisionHistoryLimit": 2,
                "minReadySeconds": 1,
                "progressDeadlineSeconds": settings.serving.load_timeout_seconds + 60,
                "selector": {"matchLabels": labels},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
                "template": template,
            },
        }
    )


def pod_template(view: DeploymentView, group: GroupPlan, settings: Settings, labels: dict[str, str]) -> Object:
    """Return the pod: an init container that assembles the repository, and Triton on one device."""
    asked = view.spec.serving
    spec: Object = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": POD_SECURITY,
        "terminationGracePeriodSeconds": drain_s(settings.serving) + settings.serving.exit_timeout_seconds + SPARE_S,
        "nodeSelector": dict(group.choice.node_selector) | asked.node_selector,
        "tolerations": [*settings.serving.gpu_tolerations, *[t.wire() for t in asked.tolerations]],
        "topologySpreadConstraints": [_spread(labels, key) for key in _spread_over(group.choice)],
        "initContainers": [_assemble(view, group, settings)],
        "containers": [_triton(group, settings, asked)],
        "volumes": _volumes(settings),
    }
    if group.choice.product_labels:
        spec["affinity"] = on_products(group.choice.product_labels)
    return {
        "metadata": {"labels": labels | {ENGINE_LABEL: group.engine.name}} | _annotations(group, settings),
        "spec": spec | _optional(view, settings),
    }


def _annotations(group: GroupPlan, settings: Settings) -> Object:
    told: dict[str, str] = {}
    if settings.monitoring.scrape_annotations:
        scrape = {"scrape": "true", "port": str(METRICS_PORT), "path": "/metrics"}
        told |= {f"prometheus.io/{key}": value for key, value in scrape.items()}
    if (instances := max((one.model.instances for one in group.tuning), default=1)) > 1:
        told[INSTANCES_ANNOTATION] = str(instances)
    return {"annotations": told} if told else {}


def drain_s(serving: ServingSettings) -> int:
    """Return how long a pod sleeps before Triton is told to stop: until the last connection led to it has aged out."""
    aged_out = math.ceil(serving.max_connection_age_seconds * AGE_JITTER) + serving.connection_grace_seconds
    return serving.endpoint_propagation_seconds + aged_out


def _optional(view: DeploymentView, settings: Settings) -> Object:
    asked = view.spec.serving
    runtime_class = asked.runtime_class_name or settings.serving.runtime_class_name
    secrets = [{"name": name} for name in settings.images.pull_secrets] + [s.wire() for s in asked.image_pull_secrets]
    priority = view.spec.placement.priority_class_name
    told: Object = {"runtimeClassName": runtime_class, "imagePullSecrets": secrets, "priorityClassName": priority}
    return {key: value for key, value in told.items() if value}


def _spread_over(choice: Choice) -> tuple[str, ...]:
    """Return what to spread over: a node without one of the labels would not be scored by the other either."""
    return (ZONE, HOST) if ZONE in dict(choice.labels) else (HOST,)


def _spread(labels: dict[str, str], key: str) -> Object:
    return {
        "maxSkew": 1,
        "topologyKey": key,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": labels},
    }


def _assemble(view: DeploymentView, group: GroupPlan, settings: Settings) -> Object:
    request = ServeRequest(
        key=group.engine.spec.key,
        model_name=view.name,
        max_batch_size=group.engine.spec.recipe.max_batch_size,
        tuning=[one.model for one in group.tuning] or None,
        **_endpoints(view, group),
    )
    return {
        "name": "assemble",
        "image": settings.images.operator,
        "imagePullPolicy": settings.images.pull_policy,
        "command": ["python3", "-m", "model_repo_builder", "assemble"],
        "env": [{"name": SERVE_ENV, "value": json.dumps(request.wire(), sort_keys=True)}, *_where(view, settings)],
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}},
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "store", "mountPath": CREDENTIAL_PATH if in_s3(settings) else STORE_PATH, "readOnly": True},
            {"name": "models", "mountPath": MODELS_PATH},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - an emptyDir of the pod
        ],
    }


def _where(view: DeploymentView, settings: Settings) -> list[Object]:
    """Return what tells the init container of an S3 store: its own namespace's part, through the door for readers."""
    if not in_s3(settings):
        return []
    place = bucket(settings, read_only=True).of_namespace(view.namespace)
    return [{"name": STORE_ENV, "value": json.dumps(place.wire(), sort_keys=True)}]


def _endpoints(view: DeploymentView, group: GroupPlan) -> dict[str, Any]:
    """Say nothing where Ultralytics alone is served: so a change of thresholds moves no pod that has none."""
    made = group.engine.spec.recipe.endpoints
    if made == ["Ultralytics"]:
        return {}
    return {"endpoints": made, "postprocess": view.spec.postprocess}


def _triton(group: GroupPlan, settings: Settings, asked: Serving) -> Object:
    ports = {"http": HTTP_PORT, "grpc": GRPC_PORT, "metrics": METRICS_PORT}
    return {
        "name": "triton",
        "image": group.image or asked.image or settings.images.triton,
        "imagePullPolicy": settings.images.pull_policy,
        "command": ["tritonserver"],
        "args": triton_args(settings.serving),
        "ports": [{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in ports.items()],
        "resources": _resources(group, settings, asked),
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "startupProbe": _probe("/v2/health/ready", failures=settings.serving.load_timeout_seconds // PROBE_PERIOD_S),
        "readinessProbe": _probe("/v2/health/ready", failures=2),
        "livenessProbe": _probe("/v2/health/live", failures=6) | {"periodSeconds": 5, "timeoutSeconds": 5},
        "lifecycle": {"preStop": {"sleep": {"seconds": drain_s(settings.serving)}}},
        "volumeMounts": [
            {"name": "models", "mountPath": MODELS_PATH, "readOnly": True},
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - Triton's Python backends talk through it
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - an emptyDir of the pod
        ],
    }


def triton_args(serving: ServingSettings) -> list[str]:
    """Return tritonserver's arguments; GPU metrics are off because they do not work per MIG slice."""
    return [
        f"--model-repository={MODELS_PATH}",
        "--model-control-mode=explicit",
        "--load-model=*",
        "--disable-auto-complete-config",
        "--exit-on-error=true",
        "--strict-readiness=true",
        f"--exit-timeout-secs={serving.exit_timeout_seconds}",
        f"--grpc-max-connection-age={serving.max_connection_age_seconds * 1000}",
        f"--grpc-max-connection-age-grace={serving.connection_grace_seconds * 1000}",
        "--allow-gpu-metrics=false",
        "--metrics-config=summary_latencies=true",
        "--log-format=ISO8601",
        *serving.extra_args,
    ]


def _resources(group: GroupPlan, settings: Settings, asked: Serving) -> Object:
    wire: Object = asked.resources.wire() if asked.resources else {}
    base = settings.serving.resources
    requests = {**base.get("requests", {}), **wire.get("requests", {})}
    limits = {**base.get("limits", {}), **wire.get("limits", {}), group.choice.resource: 1}
    return {"requests": requests | {group.choice.resource: 1}, "limits": limits}


def _probe(path: str, *, failures: int) -> Object:
    return {
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": PROBE_PERIOD_S,
        "timeoutSeconds": 2,
        "failureThreshold": failures,
    }


def _volumes(settings: Settings) -> list[Object]:
    claim = {"persistentVolumeClaim": {"claimName": settings.store.claim_name, "readOnly": True}}
    secret = {"secret": {"secretName": settings.store.s3.read_secret, "defaultMode": 0o440}}
    return [
        {"name": "store"} | (secret if in_s3(settings) else claim),
        {"name": "models", "emptyDir": {}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": settings.serving.shared_memory}},
        {"name": "tmp", "emptyDir": {}},
    ]


def service(view: DeploymentView) -> Object:
    """Return the Service in front of all groups."""
    ports = [("grpc", GRPC_PORT), ("http", HTTP_PORT), ("metrics", METRICS_PORT)]
    asked = view.spec.serving.service
    return hashed(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": view.name,
                "namespace": view.namespace,
                "labels": serving_labels(view),
                "annotations": dict(asked.annotations),
                "ownerReferences": owned_by_deployment(view),
            },
            "spec": {
                "type": asked.type,
                "selector": serving_labels(view),
                "ports": [{"name": name, "port": port, "targetPort": name, "protocol": "TCP"} for name, port in ports],
            },
        }
    )


def disruption_budget(view: DeploymentView) -> Object:
    """Return the budget that lets a node drain one replica at a time."""
    return hashed(
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {
                "name": view.name,
                "namespace": view.namespace,
                "labels": serving_labels(view),
                "ownerReferences": owned_by_deployment(view),
            },
            "spec": {
                "maxUnavailable": 1,
                "selector": {"matchLabels": serving_labels(view)},
                "unhealthyPodEvictionPolicy": "AlwaysAllow",
            },
        }
    )
