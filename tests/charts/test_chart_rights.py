"""The operator's rights are the least that it needs, and people's rights are about our kinds only."""

from collections.abc import Iterator

import pytest

from tests.charts.rendering import RELEASE, VALUE_SETS, Helm, Object, named, of_kind, operator_pod

every_set = pytest.mark.parametrize("name", VALUE_SETS)
WATCH = {"get", "list", "watch"}
WRITE = WATCH | {"create", "patch", "delete"}
CLUSTER = {
    ("", "nodes"): WATCH,
    ("yolofleet.dev", "migpools"): WATCH,
    ("yolofleet.dev", "migpools/status"): {"patch"},
    ("authentication.k8s.io", "tokenreviews"): {"create"},
    ("authorization.k8s.io", "subjectaccessreviews"): {"create"},
}
TOP = {("", "services/proxy"): {"get"}}
PEOPLE = ("-view", "-edit", "-top", "-viewer")
"""Roles with these endings are people's, not the operator's."""
NAMESPACED = {
    ("yolofleet.dev", "yolodeployments"): WATCH,
    ("yolofleet.dev", "yolodeployments/status"): {"patch"},
    ("yolofleet.dev", "yolodeployments/finalizers"): {"update"},
    ("yolofleet.dev", "yoloengines"): WRITE,
    ("yolofleet.dev", "yoloengines/status"): {"patch"},
    ("yolofleet.dev", "yoloengines/finalizers"): {"update"},
    ("apps", "deployments"): WRITE,
    ("batch", "jobs"): WRITE - {"patch"},
    ("policy", "poddisruptionbudgets"): WRITE,
    ("", "services"): WRITE,
    ("", "persistentvolumeclaims"): WATCH | {"create"},
    ("", "pods"): WATCH,
    ("autoscaling", "horizontalpodautoscalers"): WATCH,
    ("events.k8s.io", "events"): {"create", "patch"},
}


def _roles(objects: list[Object]) -> list[Object]:
    return of_kind(objects, "Role", "ClusterRole")


def _grants(role: Object) -> Iterator[tuple[str, str, str]]:
    for rule in role["rules"]:
        yield from ((g, r, v) for g in rule["apiGroups"] for r in rule["resources"] for v in rule["verbs"])


def _matrix(role: Object) -> dict[tuple[str, str], set[str]]:
    made: dict[tuple[str, str], set[str]] = {}
    for group, resource, verb in _grants(role):
        made.setdefault((group, resource), set()).add(verb)
    return made


@every_set
def test_no_role_has_a_wildcard_a_secret_or_a_way_up(helm: Helm, name: str) -> None:
    grants = [grant for role in _roles(helm.objects(*VALUE_SETS[name])) for grant in _grants(role)]
    assert len(grants) > 20
    assert not [grant for grant in grants if "*" in "".join(grant)]
    assert not [grant for grant in grants if grant[1].split("/")[0] in ("secrets", "serviceaccounts")]
    assert not [grant for grant in grants if grant[1] in ("pods/exec", "pods/attach", "nodes/proxy")]
    assert not [grant for grant in grants if grant[2] in ("escalate", "bind", "impersonate")]
    assert not [grant for grant in grants if grant[0] == "rbac.authorization.k8s.io"]


def test_everywhere_means_one_cluster_role(helm: Helm) -> None:
    objects = helm.objects()
    assert _matrix(named(objects, "ClusterRole", RELEASE)) == CLUSTER | NAMESPACED
    assert [role["metadata"]["name"] for role in of_kind(objects, "Role")] == [f"{RELEASE}-top"]


def test_watched_namespaces_get_a_role_each_and_the_cluster_only_nodes_and_pools(helm: Helm) -> None:
    objects = helm.objects(*VALUE_SETS["watched"])
    roles = {role["metadata"].get("namespace", ""): _matrix(role) for role in of_kind(objects, "Role")}
    events = {("events.k8s.io", "events"): {"create", "patch"}}
    assert _matrix(named(objects, "ClusterRole", RELEASE)) == CLUSTER
    assert roles == {"cameras": NAMESPACED, "gates": NAMESPACED, "default": events, "": TOP}


def test_a_watched_default_namespace_needs_no_second_role(helm: Helm) -> None:
    objects = helm.objects("--set", "watchNamespaces={default}")
    assert {role["metadata"].get("namespace") for role in of_kind(objects, "Role")} == {"default", None}


def test_the_dcgm_exporter_is_found_by_a_role_in_its_own_namespace(helm: Helm) -> None:
    objects = helm.objects("--set", "dcgm.enabled=true,dcgm.namespace=gpus")
    (role,) = (role for role in of_kind(objects, "Role") if role["metadata"].get("namespace") == "gpus")
    assert _matrix(role) == {("discovery.k8s.io", "endpointslices"): {"list"}}


@every_set
def test_every_binding_binds_a_role_of_the_chart_to_the_operator(helm: Helm, name: str) -> None:
    objects = helm.objects(*VALUE_SETS[name])
    bindings = [
        b for b in of_kind(objects, "RoleBinding", "ClusterRoleBinding") if not b["metadata"]["name"].endswith(PEOPLE)
    ]
    places = {(role["kind"], role["metadata"]["name"], role["metadata"].get("namespace")) for role in _roles(objects)}
    bound = {(b["roleRef"]["kind"], b["roleRef"]["name"], b["metadata"].get("namespace")) for b in bindings}
    subject = {"kind": "ServiceAccount", "name": RELEASE, "namespace": "yolofleet-system"}
    assert bound == {place for place in places if not place[1].endswith(PEOPLE)}
    assert all(binding["subjects"] == [subject] for binding in bindings)


def test_people_get_rights_on_our_kinds_only_and_viewers_change_nothing(helm: Helm) -> None:
    objects = helm.objects()
    view, edit = (named(objects, "ClusterRole", f"{RELEASE}-{who}") for who in ("view", "edit"))
    assert {group for role in (view, edit) for group, _, _ in _grants(role)} == {"yolofleet.dev"}
    assert {verb for _, _, verb in _grants(view)} == WATCH
    assert not [grant for grant in _grants(edit) if grant[1] == "migpools" or grant[1].endswith("/status")]
    assert view["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"] == "true"
    assert edit["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"] == "true"


def test_whoever_is_logged_in_reaches_one_port_of_the_operator_and_nothing_else(helm: Helm) -> None:
    objects = helm.objects()
    role, binding = named(objects, "Role", f"{RELEASE}-top"), named(objects, "RoleBinding", f"{RELEASE}-top")
    (port,) = [p for p in named(objects, "Service", f"{RELEASE}-metrics")["spec"]["ports"] if p["name"] == "top"]
    assert _matrix(role) == TOP
    assert role["rules"][0]["resourceNames"] == [f"{RELEASE}-metrics:{port['name']}"]
    assert [subject["name"] for subject in binding["subjects"]] == ["system:authenticated"]
    ports = {p["name"]: p["containerPort"] for p in operator_pod(objects)["spec"]["containers"][0]["ports"]}
    assert (ports[port["targetPort"]], port["port"]) == (8081, 8081)


def test_the_viewer_may_list_what_top_shows_and_no_pod_bears_its_token(helm: Helm) -> None:
    objects = helm.objects()
    viewer = named(objects, "ServiceAccount", f"{RELEASE}-viewer")
    assert viewer["automountServiceAccountToken"] is False
    assert _matrix(named(objects, "ClusterRole", f"{RELEASE}-viewer")) == {
        ("yolofleet.dev", "yolodeployments"): {"list"},
        ("yolofleet.dev", "migpools"): {"list"},
    }
    (subject,) = named(objects, "ClusterRoleBinding", f"{RELEASE}-viewer")["subjects"]
    assert (subject["name"], subject["namespace"]) == (f"{RELEASE}-viewer", "yolofleet-system")


def test_nobody_gets_to_top_when_it_is_not_wanted(helm: Helm) -> None:
    objects = helm.objects("--set", "rbac.top=false")
    assert not [found for found in objects if found["metadata"]["name"].endswith(("-top", "-viewer"))]


def test_rights_can_be_left_to_somebody_else(helm: Helm) -> None:
    assert not _roles(helm.objects("--set", "rbac.create=false,rbac.aggregate=false"))
