from datetime import UTC, datetime

from e2e.fakes.external_metrics import server

PAGE = """# HELP demand Frames.
# TYPE demand gauge
demand{kind="observed",namespace="site",yolodeployment="gate"} 12.5
demand{kind="declared",namespace="site",yolodeployment="gate"} 40.0
demand{kind="observed",namespace="other",yolodeployment="gate"} 7.0
up 1.0
"""


def chosen(**asked):
    return [one.value for one in server.chosen(server.parse(PAGE), **asked)]


def test_a_selector_and_the_namespace_choose_the_series():
    assert chosen(name="demand", namespace="site", selector="kind=observed,yolodeployment=gate") == [12.5]
    assert chosen(name="demand", namespace="site", selector="") == [12.5, 40.0]
    assert chosen(name="demand", namespace="none", selector="") == []
    assert chosen(name="supply", namespace="site", selector="") == []


def test_the_answer_is_the_apis():
    found = server.chosen(server.parse(PAGE), name="demand", namespace="site", selector="kind=observed")
    (item,) = server.value_list(found, datetime(2026, 1, 2, tzinfo=UTC))["items"]
    assert item["value"] == "12500m"
    assert item["timestamp"] == "2026-01-02T00:00:00Z"


def test_discovery_is_answered_without_the_page_and_strange_paths_are_refused():
    assert server.answer(server.ROOT, "http://nowhere.invalid")["groupVersion"] == "external.metrics.k8s.io/v1beta1"
    assert server.answer("/apis/other/v1", "http://nowhere.invalid") is None
    assert server.answer(f"{server.ROOT}/namespaces/site", "http://nowhere.invalid") is None
