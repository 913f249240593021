import json

import pytest

from e2e.fakes.gpus import GpuState, UnknownResourceError, labels

SLICE = "nvidia.com/mig-1g.10gb"
LARGE = "nvidia.com/mig-3g.40gb"


@pytest.fixture
def state(tmp_path):
    found = GpuState(tmp_path / "gpus.json")
    found.set_layout({SLICE: 2}, node="node1")
    return found


def test_a_new_layout_offers_none_of_what_is_gone(state):
    state.set_layout({LARGE: 1}, node="node1")
    assert {name: len(devices) for name, devices in state.read().items()} == {SLICE: 0, LARGE: 1}


def test_devices_have_names_of_their_own_within_the_kubelets_limit(state):
    state.set_layout({SLICE: 7, "nvidia.com/gpu": 8}, node="node12")
    names = [device.uuid for devices in state.read().values() for device in devices]
    assert len(set(names)) == 15
    assert max(map(len, names)) <= 63


def test_health_is_per_device(state):
    state.set_health(SLICE, 1, healthy=False)
    assert [device.healthy for device in state.read()[SLICE]] == [True, False]
    assert json.loads(state.path.read_text())[SLICE][1]["healthy"] is False


@pytest.mark.parametrize(("resource", "index"), [(SLICE, 2), (SLICE, -1), (LARGE, 0)])
def test_a_device_that_is_not_there_is_refused(state, resource, index):
    with pytest.raises(UnknownResourceError):
        state.set_health(resource, index, healthy=False)


def test_a_profile_that_no_h100_has_is_refused(state):
    with pytest.raises(UnknownResourceError, match=r"nvidia\.com/mig-1g\.5gb"):
        state.set_layout({"nvidia.com/mig-1g.5gb": 7}, node="node1")


def test_labels_name_what_is_there_and_only_that():
    found = labels({SLICE: 3, LARGE: 0})
    assert found["nvidia.com/mig-1g.10gb.count"] == "3"
    assert found["nvidia.com/mig-1g.10gb.product"] == "NVIDIA-H100-80GB-HBM3-MIG-1g.10gb"
    assert found["nvidia.com/mig-1g.10gb.multiprocessors"] == "16"
    assert found["nvidia.com/mig.strategy"] == "mixed"
    assert not [key for key in found if "3g.40gb" in key]


def test_labels_are_legal_for_kubernetes():
    values = labels({SLICE: 3, LARGE: 1, "nvidia.com/gpu": 2}).values()
    assert all(len(value) <= 63 and value.replace("-", "").replace(".", "").isalnum() for value in values)
