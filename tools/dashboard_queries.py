"""What the dashboards share: variables, the choices that they make in a query, legends, units and bounds."""

from __future__ import annotations

from grafana import Variable

D = 'namespace=~"$namespace", yolodeployment=~"$yolodeployment"'
G = 'Hostname=~"$node", gpu=~"$gpu"'
BY = "by (namespace, yolodeployment)"
NAMESPACE = Variable("namespace", "Namespace", "label_values(yolofleet_desired_replicas, namespace)")
DEPLOYMENT = Variable(
    "yolodeployment",
    "YoloDeployment",
    'label_values(yolofleet_desired_replicas{namespace=~"$namespace"}, yolodeployment)',
)
NODE = Variable("node", "Node", "label_values(gpu:dcgm_power:watts, Hostname)")
GPU = Variable("gpu", "GPU", 'label_values(gpu:dcgm_power:watts{Hostname=~"$node"}, gpu)')
FPS, SECONDS, RATIO = "suffix: fps", "s", "percentunit"
ONE, OF_POD = "{{namespace}}/{{yolodeployment}}", "{{pod}}"
INSTANCE = "{{Hostname}} GPU {{gpu}} · {{GPU_I_PROFILE}} #{{GPU_I_ID}}"
CARD = "{{Hostname}} GPU {{gpu}}"
FULL = ((None, "green"), (0.8, "orange"), (0.95, "red"))
GOOD_AT_ONE = ((None, "red"), (1, "green"))
BAD_ABOVE_ZERO = ((None, "green"), (1, "red"))
TO_DEPLOYMENT = [
    {
        "title": "Show this deployment",
        "url": "/d/yolofleet-deployment?var-namespace=${__data.fields.namespace}"
        "&var-yolodeployment=${__data.fields.yolodeployment}&${datasource:queryparam}",
    }
]


def demand(kind: str) -> str:
    """Return the demand of one kind, of what is chosen."""
    return f'yolofleet_demand_frames_per_second{{kind="{kind}", {D}}}'
