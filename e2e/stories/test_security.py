"""Who may do what, asked of the real API server: the operator's rights end, and three fences hold."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import yaml

from e2e.acting import APPLY, DRY_RUN, MERGE, Person, client_of, service_account
from e2e.clusters.protocol import Cluster
from e2e.fleet import ROOT, SYSTEM, Fleet, Object, operator_down, operator_up
from e2e.waiting import wait_for
from yolofleet.api import API_VERSION

GOLDEN = ROOT / "tests/render/golden"
CHILDREN = "deployments.apps jobs.batch poddisruptionbudgets.policy services persistentvolumeclaims"
READS = "get list watch"
ALLOWED = [
    (READS, "nodes migpools.yolofleet.dev yolodeployments.yolofleet.dev yoloengines.yolofleet.dev pods"),
    (READS, CHILDREN),
    ("create patch delete", "deployments.apps services poddisruptionbudgets.policy yoloengines.yolofleet.dev"),
    ("create delete", "jobs.batch"),
    ("create", "persistentvolumeclaims"),
    ("patch", "yolodeployments.yolofleet.dev/status yoloengines.yolofleet.dev/status migpools.yolofleet.dev/status"),
    ("create patch", "events.events.k8s.io"),
    ("create", "tokenreviews.authentication.k8s.io subjectaccessreviews.authorization.k8s.io"),
    (READS, "horizontalpodautoscalers.autoscaling"),
]
FORBIDDEN = [
    (f"{READS} create update patch delete", "secrets"),
    ("create update patch delete", "nodes nodes/status pods namespaces serviceaccounts configmaps"),
    ("get create", "pods/exec pods/attach pods/portforward pods/eviction nodes/proxy serviceaccounts/token"),
    ("bind escalate create update patch", "roles.rbac.authorization.k8s.io clusterroles.rbac.authorization.k8s.io"),
    ("create patch", "rolebindings.rbac.authorization.k8s.io clusterrolebindings.rbac.authorization.k8s.io"),
    ("impersonate", "users groups serviceaccounts"),
    ("create update patch delete", "yolodeployments.yolofleet.dev migpools.yolofleet.dev"),
    ("delete update patch", "persistentvolumeclaims"),
    ("patch", "jobs.batch"),
    ("deletecollection", CHILDREN),
    (f"{READS} create", "persistentvolumes customresourcedefinitions.apiextensions.k8s.io daemonsets.apps"),
    ("patch delete", "validatingadmissionpolicies.admissionregistration.k8s.io"),
    ("patch delete", "validatingadmissionpolicybindings.admissionregistration.k8s.io"),
]


@pytest.fixture(scope="session")
def operator(installed: Cluster) -> Person:
    """The operator's ServiceAccount, as the API server sees it."""
    return service_account(client_of(installed), SYSTEM, "yolofleet")


def asked(table: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return every pair of verb and resource of a table."""
    return [(verb, resource) for verbs, resources in table for verb in verbs.split() for resource in resources.split()]


def refused(*asked: str) -> str:
    """Return the message of a refusal without what the API server puts before it."""
    return asked[0].partition("denied request: ")[2]


def test_the_operators_rights_are_those_of_the_table_and_no_more(operator: Person) -> None:
    """As `kubectl auth can-i` says, in a namespace that it serves and in its own."""
    for namespace in ("default", SYSTEM):
        assert [pair for pair in asked(ALLOWED) if not operator.may(*pair, namespace=namespace)] == []
        assert [pair for pair in asked(FORBIDDEN) if operator.may(*pair, namespace=namespace)] == []
    rules = operator.rules("kube-system")
    assert len(rules) > 5
    assert [rule for rule in rules if "*" in (*rule["verbs"], *rule["resources"], *rule["apiGroups"])] == []
    assert [rule for rule in rules if "secrets" in rule["resources"]] == []


@contextmanager
def granted(cluster: Cluster, rule: Object) -> Iterator[None]:
    """Give the operator a right in the whole cluster for the length of a block."""
    api, name = "rbac.authorization.k8s.io", "security-story"
    head: Object = {"apiVersion": f"{api}/v1", "metadata": {"name": name}}
    role: Object = {"kind": "ClusterRole", "rules": [rule]}
    binding: Object = {
        "kind": "ClusterRoleBinding",
        "roleRef": {"apiGroup": api, "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": "yolofleet", "namespace": SYSTEM}],
    }
    cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all([head | role, head | binding]))
    try:
        yield
    finally:
        cluster.kubectl("delete", "clusterrolebinding,clusterrole", name)


@contextmanager
def counted(cluster: Cluster, resource: str) -> Iterator[Callable[[], int]]:
    """Have the API server count what the operator asks of a resource, apart from what anybody else asks of it.

    A FlowSchema that fits the operator's ServiceAccount and this resource alone; every request that it takes is
    counted under its name, watches too.
    """
    rule = {"apiGroups": [""], "resources": [resource], "verbs": ["*"], "namespaces": ["*"], "clusterScope": True}
    account = {"kind": "ServiceAccount", "serviceAccount": {"name": "yolofleet", "namespace": SYSTEM}}
    flow: Object = {
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "kind": "FlowSchema",
        "metadata": {"name": "security-story"},
        "spec": {
            "matchingPrecedence": 2,
            "priorityLevelConfiguration": {"name": "global-default"},
            "rules": [{"subjects": [account], "resourceRules": [rule]}],
        },
    }
    cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(flow))

    def count() -> int:
        page = cluster.kubectl("get", "--raw", "/metrics")
        series = re.findall(
            r"^apiserver_flowcontrol_dispatched_requests_total\{(.*)\} (\S+)$", page, flags=re.MULTILINE
        )
        return int(sum(float(n) for labels, n in series if 'flow_schema="security-story"' in labels))

    try:
        yield count
    finally:
        cluster.kubectl("delete", "flowschema", "security-story")


def test_no_secret_is_asked_for(installed: Cluster, operator: Person) -> None:
    """Even where it may, the operator asks for none from its start until it is ready: the API server counts them."""

    def asks_and_is_counted() -> bool:
        before = count()
        assert operator.ask("GET", "/api/v1/secrets?limit=1").status == 200
        return count() == before + 1

    assert operator.ask("GET", "/api/v1/secrets").status == 403
    rule = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch"]}
    with granted(installed, rule), counted(installed, "secrets") as count:
        wait_for("the right to be known", lambda: operator.may("list", "secrets"), timeout_s=10, interval_s=0.1)
        wait_for("its requests to be counted", asks_and_is_counted, timeout_s=30, interval_s=0.2)
        before = count()
        operator_down(installed)
        operator_up(installed)
        assert count() == before


@pytest.fixture
def node_writer(installed: Cluster, operator: Person) -> Iterator[tuple[Person, str]]:
    """The operator with the right to do anything to nodes, and a node's name."""
    resources = ["nodes", "nodes/status", "nodes/proxy"]
    with granted(installed, {"apiGroups": [""], "resources": resources, "verbs": ["*"]}):
        wait_for("the right to be known", lambda: operator.may("patch", "nodes"), timeout_s=10, interval_s=0.1)
        nodes = installed.kubectl("get", "nodes", "-o", "name").split()
        yield operator, nodes[0].removeprefix("node/")


OWN_TAINT = {"key": "yolofleet.dev/draining", "value": "x", "effect": "NoSchedule"}
FOREIGN_TAINT = {"key": "dedicated", "value": "x", "effect": "NoSchedule"}
NODE_PATCHES: dict[str, tuple[Object, str]] = {
    "its own label": ({"metadata": {"labels": {"nvidia.com/mig.config": "all-1g.10gb"}}}, ""),
    "its own annotation": ({"metadata": {"annotations": {"yolofleet.dev/layout": "7x 1g.10gb"}}}, ""),
    "its own taint": ({"spec": {"taints": [OWN_TAINT]}}, ""),
    "another label": ({"metadata": {"labels": {"team": "x"}}}, "this changes team"),
    "a label that is there": ({"metadata": {"labels": {"kubernetes.io/hostname": "x"}}}, "kubernetes.io/hostname"),
    "a label taken away": ({"metadata": {"labels": {"kubernetes.io/os": None}}}, "kubernetes.io/os"),
    "another annotation": ({"metadata": {"annotations": {"team": "x"}}}, "this changes team"),
    "cordoning": ({"spec": {"unschedulable": True}}, "may not change spec.unschedulable"),
    "another taint": ({"spec": {"taints": [FOREIGN_TAINT]}}, "this changes dedicated"),
    "driving pods out": ({"spec": {"taints": [OWN_TAINT | {"effect": "NoExecute"}]}}, "NoExecute"),
    "a provider": ({"spec": {"providerID": "aws://x"}}, "spec.providerID"),
    "a finalizer": ({"metadata": {"finalizers": ["yolofleet.dev/x"]}}, "metadata.finalizers"),
}


def test_on_nodes_the_operator_writes_its_own_label_taint_and_annotations_only(node_writer: Any) -> None:
    """Whatever RBAC would let it do; all by dry run."""
    operator, node = node_writer
    path = f"/api/v1/nodes/{node}"

    def told(patch: Object, sub: str = "") -> str:
        answer = operator.ask("PATCH", f"{path}{sub}?{DRY_RUN}", patch, MERGE)
        return "" if answer.status == 200 else refused(answer.message)

    answers = {name: told(patch) for name, (patch, _) in NODE_PATCHES.items()}
    wrong = {name: said for name, said in answers.items() if NODE_PATCHES[name][1] not in said}
    assert wrong == {}
    assert [name for name, said in answers.items() if said == ""] == [
        n for n, (_, words) in NODE_PATCHES.items() if not words
    ]
    assert f"node {node}: the operator may only update a node itself" in told(
        {"status": {"phase": "Running"}}, "/status"
    )
    assert "this is DELETE" in operator.ask("DELETE", f"{path}?{DRY_RUN}").message
    assert "this is CONNECT of its proxy" in operator.ask("GET", f"{path}/proxy/healthz").message


def test_a_foreign_taint_stays(node_writer: Any, installed: Cluster) -> None:
    """Neither taken away nor changed; the operator's own comes and goes beside it."""
    operator, node = node_writer
    installed.kubectl("taint", "node", node, "dedicated=x:PreferNoSchedule")
    try:
        foreign = FOREIGN_TAINT | {"effect": "PreferNoSchedule"}

        def told(*taints: Object) -> str:
            patch = {"spec": {"taints": list(taints)}}
            answer = operator.ask("PATCH", f"/api/v1/nodes/{node}?{DRY_RUN}", patch, MERGE)
            return "" if answer.status == 200 else refused(answer.message)

        assert told(OWN_TAINT, foreign) == ""
        assert "this changes dedicated" in told(OWN_TAINT)
        assert "this changes dedicated" in told(foreign | {"value": "y"})
    finally:
        installed.kubectl("taint", "node", node, "dedicated-")


def golden(name: str, namespace: str) -> Object:
    """Return what the operator writes, in a namespace of the bench."""
    document: Object = yaml.safe_load((GOLDEN / f"{name}.yaml").read_text())
    document["metadata"]["namespace"] = namespace
    return document


def pods_of(document: Object) -> Object:
    found: Object = document["spec"]["template"]["spec"]
    return found


def test_every_pod_passes_the_restricted_admission(installed: Cluster, operator: Person, namespace: str) -> None:
    """Pods of the operator, of builds and of Triton, before the API server's own judge; and one that fails."""
    live: Object = yaml.safe_load(installed.kubectl("-n", SYSTEM, "get", "deployment", "yolofleet", "-o", "yaml"))
    rendered = [live, *(golden(name, namespace) for name in ("deployment", "deployment-full", "job-http", "job-pvc"))]
    pods = [pods_of(document) | {"serviceAccountName": "default", "priorityClassName": ""} for document in rendered]
    for pod in pods:
        pod.pop("serviceAccount", None)
        pod.pop("runtimeClassName", None)  # the bench has no classes; admission asks for them after pod security

    def told(spec: Object) -> str:
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "judged"}, "spec": spec}
        answer = administrator.ask("POST", f"/api/v1/namespaces/{namespace}/pods?{DRY_RUN}", pod)
        return "" if answer.status == 201 else answer.message

    administrator = Person(operator.client, "kubernetes-admin", ("system:masters", "system:authenticated"))
    assert [told(pod) for pod in pods] == [""] * 5
    assert 'violates PodSecurity "restricted' in told(pods[1] | {"hostNetwork": True})


SPOILT_PODS: dict[str, tuple[str, Any, str]] = {
    "a Secret": (
        "deployment",
        lambda pod: pod["volumes"].append({"name": "s", "secret": {"secretName": "s"}}),
        "emptyDirs only",
    ),
    "a path of the node": (
        "deployment",
        lambda pod: pod["volumes"].append({"name": "s", "hostPath": {"path": "/"}}),
        "emptyDirs only",
    ),
    "a token": ("deployment", lambda pod: pod.update(automountServiceAccountToken=True), "no token"),
    "another account": ("job-builtin", lambda pod: pod.update(serviceAccountName="admin"), "no token"),
    "a Secret's variable": (
        "job-builtin",
        lambda pod: pod["containers"][0].update(envFrom=[{"secretRef": {"name": "s"}}]),
        "no variable from a Secret",
    ),
    "a claim to write": (
        "deployment",
        lambda pod: pod["volumes"][0]["persistentVolumeClaim"].pop("readOnly"),
        "read-only",
    ),
    "the node's network": ("deployment", lambda pod: pod.update(hostNetwork=True), "restricted"),
    "privileges": (
        "deployment",
        lambda pod: pod["containers"][0]["securityContext"]["capabilities"].update(add=["SYS_ADMIN"]),
        "restricted",
    ),
    "root": ("deployment", lambda pod: pod["securityContext"].update(runAsUser=0), "restricted"),
}
PLURALS = {"Deployment": "apis/apps/v1", "Job": "apis/batch/v1", "Service": "api/v1", "PersistentVolumeClaim": "api/v1"}


def create(person: Person, document: Object) -> str:
    """Create something by dry run; return why not."""
    kind, namespace = document["kind"], document["metadata"]["namespace"]
    base = PLURALS.get(kind, f"apis/{API_VERSION}")
    answer = person.ask("POST", f"/{base}/namespaces/{namespace}/{kind.lower()}s?{DRY_RUN}", document)
    return "" if answer.status == 201 else refused(answer.message) or answer.message


def test_the_operators_pods_hold_no_secret_and_no_token_whatever_is_asked(operator: Person, namespace: str) -> None:
    """What the operator writes passes; each step beyond it is refused, by dry run."""
    names = ("deployment", "job-builtin", "job-pvc", "claim", "service", "deployment-full", "service-full")
    assert {name: create(operator, golden(name, namespace)) for name in names} == dict.fromkeys(names, "")
    for what, (name, spoil, words) in SPOILT_PODS.items():
        document = copy.deepcopy(golden(name, namespace))
        spoil(pods_of(document))
        assert words in create(operator, document), what
    orphan = golden("service", namespace)
    orphan["metadata"].pop("ownerReferences")
    assert "belongs to a YoloDeployment" in create(operator, orphan)
    away = golden("service", namespace)
    away["spec"]["externalIPs"] = ["203.0.113.1"]
    assert "externalIPs" in create(operator, away)


def test_the_name_of_a_yolodeployment_takes_over_nothing(fleet: Fleet, operator: Person) -> None:
    """A Service that is somebody else's stays as it is, and the YoloDeployment says why it has none."""
    theirs: Object = {"selector": {"app": "payments"}, "ports": [{"name": "web", "port": 80}]}
    fleet.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "payments"}, "spec": theirs})
    fleet.deploy("payments", suspend=True, model=BY_CLAIM)  # a claim that is not there: nothing is built meanwhile

    def told() -> Object | None:
        conditions = fleet.get("ydep", "payments").get("status", {}).get("conditions", [])
        return next((one for one in conditions if "rename the YoloDeployment" in one["message"]), None)

    condition = wait_for("a condition that tells of the Service", told, seen=lambda: fleet.get("ydep", "payments"))
    assert f"services {fleet.namespace}/payments is there already" in condition["message"]
    service = fleet.get("service", "payments")
    assert service["spec"]["selector"] == {"app": "payments"}
    assert "ownerReferences" not in service["metadata"]
    path = f"/api/v1/namespaces/{fleet.namespace}/services/payments?{DRY_RUN}"
    assert "is not yolofleet's" in operator.ask("DELETE", path).message


BY_CLAIM = {"pvc": {"claimName": "weights", "path": "best.pt"}}
BY_SECRET = {"s3": {"bucket": "b", "key": "k", "secretRef": {"name": "keys"}}}
CALIBRATED = {"precision": "INT8", "calibration": {"source": BY_CLAIM}}
REACHING: dict[str, Object] = {
    "spec.model.pvc.claimName weights": {"model": BY_CLAIM},
    "spec.model.s3.secretRef.name keys": {"model": BY_SECRET},
    "spec.engine.calibration.source.pvc.claimName weights": {"engine": CALIBRATED},
    "spec.engine.accuracyGate.dataset.pvc.claimName weights": {"engine": {"accuracyGate": {"dataset": BY_CLAIM}}},
    "spec.serving.imagePullSecrets keys": {"serving": {"imagePullSecrets": [{"name": "keys"}]}},
    "spec.serving.image evil": {"serving": {"image": "evil"}},
    "spec.serving.runtimeClassName kata": {"serving": {"runtimeClassName": "kata"}},
    "spec.placement.priorityClassName high": {"placement": {"priorityClassName": "high"}},
    "spec.serving.tolerations": {"serving": {"tolerations": [{"operator": "Exists"}]}},
    "spec.serving.service.type LoadBalancer": {"serving": {"service": {"type": "LoadBalancer"}}},
    "spec.serving.service.annotations": {"serving": {"service": {"annotations": {"lb/scope": "all"}}}},
}
PLAIN: Object = {"model": {"builtin": "yolo26n"}, "serving": {"nodeSelector": {"disk": "fast"}}}
AUTHOR_RULES = [{"apiGroups": ["yolofleet.dev"], "resources": ["yolodeployments", "yoloengines"], "verbs": ["*"]}]


def grant(fleet: Fleet, name: str, user: str, rules: list[Object]) -> None:
    """Give a user some rights in the namespace."""
    api = "rbac.authorization.k8s.io"
    head = {"apiVersion": f"{api}/v1", "metadata": {"name": name}}
    ref = {"apiGroup": api, "kind": "Role", "name": name}
    subjects = [{"apiGroup": api, "kind": "User", "name": user}]
    fleet.apply(head | {"kind": "Role", "rules": rules})
    fleet.apply(head | {"kind": "RoleBinding", "roleRef": ref, "subjects": subjects})


def yolodeployment(fleet: Fleet, spec: Object, name: str = "gate") -> Object:
    meta = {"name": name, "namespace": fleet.namespace}
    return {"apiVersion": API_VERSION, "kind": "YoloDeployment", "metadata": meta, "spec": PLAIN | spec}


def test_an_author_reaches_no_further_through_the_operator_than_alone(
    installed: Cluster, operator: Person, namespace: str
) -> None:
    """Each field that reaches further needs the right with which its author could do the same; all by dry run."""
    fleet = Fleet(installed, namespace)
    author = Person(operator.client, "author@cameras")
    grant(fleet, "author", author.user, AUTHOR_RULES)
    wait_for("the author's right", lambda: author.may("create", "yolodeployments.yolofleet.dev", namespace))
    assert create(author, yolodeployment(fleet, {})) == ""
    for words, spec in REACHING.items():
        told = create(author, yolodeployment(fleet, spec))
        assert words in told
        assert f"{author.user} may n" in told
        assert f"in namespace {namespace}" in told
    engine = golden("engine", namespace)
    assert "may not create pods" in create(author, engine)

    use = {"verbs": ["use"], "apiGroups": [""]}
    named = [
        use | {"resources": ["persistentvolumeclaims"], "resourceNames": ["weights"]},
        use | {"resources": ["secrets"], "resourceNames": ["keys"]},
    ]
    grant(fleet, "user-of-weights", author.user, named)
    wait_for("the right to use", lambda: author.may("use", "persistentvolumeclaims", namespace, "weights"))
    passing = [words for words, spec in REACHING.items() if create(author, yolodeployment(fleet, spec)) == ""]
    assert passing == list(REACHING)[:5]
    other = {"model": {"pvc": {"claimName": "payroll", "path": "a"}}}
    assert "payroll" in create(author, yolodeployment(fleet, other))

    makers = [{"apiGroups": [""], "resources": ["pods", "services"], "verbs": ["create"]}]
    grant(fleet, "maker", author.user, makers)
    wait_for("the right to create pods", lambda: author.may("create", "pods", namespace))
    assert [words for words, spec in REACHING.items() if create(author, yolodeployment(fleet, spec))] == []


def test_what_stood_before_is_not_judged_again(installed: Cluster, operator: Person, namespace: str) -> None:
    """An author without the first author's rights changes other fields, but no place that is read."""
    fleet = Fleet(installed, namespace)
    author = Person(operator.client, "editor@cameras")
    grant(fleet, "editor", author.user, AUTHOR_RULES)
    full = PLAIN | {
        "model": BY_CLAIM,
        "suspend": True,
        "serving": {"image": "theirs", "tolerations": [{"operator": "Exists"}]},
    }
    fleet.apply(yolodeployment(fleet, full))
    wait_for("the editor's right", lambda: author.may("patch", "yolodeployments.yolofleet.dev", namespace))
    path = f"/apis/{API_VERSION}/namespaces/{namespace}/yolodeployments/gate?fieldManager=editor&{DRY_RUN}"
    assert author.ask("PATCH", path, {"spec": {"scaling": {"minReplicas": 3}}}, MERGE).status == 200
    moved = author.ask("PATCH", path, {"spec": {"model": {"pvc": {"path": "other.pt"}}}}, MERGE)
    assert "spec.model.pvc.claimName weights" in moved.message
    assert (
        "spec.serving.image mine" in author.ask("PATCH", path, {"spec": {"serving": {"image": "mine"}}}, MERGE).message
    )
    applied = yolodeployment(fleet, {"model": BY_CLAIM, "serving": {"image": "mine"}})
    assert "spec.serving.image" in author.ask("PATCH", f"{path}&force=true", applied, APPLY).message
