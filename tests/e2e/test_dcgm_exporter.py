"""What the double of dcgm-exporter promises: the real one's page, and activity that follows tritonserver's."""

import threading
import urllib.error
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from e2e.fakes.dcgm_exporter.activity import ActivityMeter, Counters, busy
from e2e.fakes.dcgm_exporter.defects import Defects, DefectsFile
from e2e.fakes.dcgm_exporter.exporter import Exporter, Sources, server
from e2e.fakes.dcgm_exporter.hardware import entities
from e2e.fakes.dcgm_exporter.page import FAMILIES, Holder
from e2e.fakes.gpus import GpuState

SMALL, LARGE, WHOLE = "nvidia.com/mig-1g.10gb", "nvidia.com/mig-3g.40gb", "nvidia.com/gpu"
GATE = Holder("triton", "cameras", "gate-1g-10gb-abc")
ACTIVE = "DCGM_FI_PROF_GR_ENGINE_ACTIVE"
TRITON = """\
# HELP nv_inference_request_success Number of successful inference requests, all batch sizes
# TYPE nv_inference_request_success counter
nv_inference_request_success{{model="gate",version="1"}} {requests}
# TYPE nv_inference_exec_count counter
nv_inference_exec_count{{model="gate",version="1"}} {executions}
# TYPE nv_inference_compute_infer_duration_us counter
nv_inference_compute_infer_duration_us{{model="gate",version="1"}} {compute_us}
"""


class World:
    """A node with one GPU in slices, a tritonserver on one of them, and a clock."""

    def __init__(self, tmp_path):
        self.now = 1000.0
        self.state = GpuState(tmp_path / "gpus.json")
        self.state.set_layout({SMALL: 7}, node="node1")
        self.defects = DefectsFile(tmp_path / "dcgm.json")
        self.held = {"MIG-node1-mig-1g.10gb-2": GATE}
        self.triton = {"requests": 0, "executions": 0, "compute_us": 0}
        sources = Sources(
            self.state.read,
            lambda: self.held,
            lambda wanted: dict.fromkeys(wanted, "10.79.1.9"),
            self.defects.read,
        )
        self.exporter = Exporter(sources, self._fetch, node="node1", now=lambda: self.now)
        self.exporter.collect()

    def _fetch(self, address):
        if self.triton is None:
            raise ConnectionRefusedError(address)
        return TRITON.format(**self.triton)

    def serve(self, *, seconds=1.0, requests=10, executions=10, compute_us=0):
        """Let time pass in which the server answers requests, and collect."""
        for key, value in (("requests", requests), ("executions", executions), ("compute_us", compute_us)):
            self.triton[key] += value
        self.now += seconds
        self.exporter.collect()

    def samples(self, family=ACTIVE):
        families = {found.name: found for found in text_string_to_metric_families(self.exporter.page())}
        name = family.removesuffix("_total")
        return families[name].samples if name in families else []

    def active(self):
        return {sample.labels["GPU_I_ID"]: sample.value for sample in self.samples()}


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_a_row_reads_as_the_real_exporter_prints_it(world):
    line = next(line for line in world.exporter.page().splitlines() if line.startswith(ACTIVE) and "pod=" in line)
    uuid = entities(world.state.read(), node="node1")[0].uuid
    assert line == (
        f'{ACTIVE}{{gpu="0",UUID="{uuid}",pci_bus_id="00000000:18:00.0",device="nvidia0",'
        'modelName="NVIDIA H100 80GB HBM3",GPU_I_PROFILE="1g.10gb",GPU_I_ID="9",Hostname="node1",'
        'DCGM_FI_DRIVER_VERSION="580.159.04",container="triton",namespace="cameras",pod="gate-1g-10gb-abc"} 0.000000'
    )


def test_every_family_has_its_help_and_type_once_and_parses(world):
    text = world.exporter.page()
    told = {family.name for family in text_string_to_metric_families(text)}
    assert told == {family.name for family in FAMILIES} - {"DCGM_FI_DEV_GPU_UTIL"}
    for name in told:
        assert text.count(f"# TYPE {name} ") == text.count(f"# HELP {name} ") == 1


def test_instances_have_no_gpu_util_and_whole_gpus_have(world):
    assert world.samples("DCGM_FI_DEV_GPU_UTIL") == []
    world.state.set_layout({WHOLE: 2}, node="node1")
    world.serve()
    rows = world.samples("DCGM_FI_DEV_GPU_UTIL")
    assert [row.labels["gpu"] for row in rows] == ["0", "1"]
    assert all("GPU_I_ID" not in row.labels for row in rows)


def test_free_slices_have_no_pod_and_held_ones_their_holder(world):
    holders = {row.labels["GPU_I_ID"]: row.labels.get("pod") for row in world.samples("DCGM_FI_DEV_FB_USED")}
    assert holders == {str(i): "gate-1g-10gb-abc" if i == 9 else None for i in range(7, 14)}


def test_activity_is_the_servers_compute_time(world):
    world.serve(seconds=2, requests=10, executions=10, compute_us=500_000)
    assert world.active() == pytest.approx({str(i): 0.25 if i == 9 else 0.0 for i in range(7, 14)})
    world.serve(seconds=2)
    assert set(world.active().values()) == {0.0}


def test_a_batch_is_counted_once_though_triton_adds_it_for_each_request(world):
    world.serve(seconds=1, requests=80, executions=10, compute_us=80 * 50_000)
    assert world.active()["9"] == pytest.approx(0.5)


def test_a_server_that_starts_anew_or_is_away_is_idle(world):
    world.serve(requests=50, executions=50, compute_us=900_000)
    world.triton = {"requests": 1, "executions": 1, "compute_us": 10}
    world.serve(requests=0, executions=0)
    assert world.active()["9"] == 0.0
    fetched = ActivityMeter(lambda _: (_ for _ in ()).throw(TimeoutError()), now=lambda: 0.0)
    assert fetched.measure({"cameras/gate": "10.79.1.9"}) == {}


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_no_time_no_activity(seconds):
    assert busy(Counters(5.0, 0, 0, 0), Counters(5.0 + seconds, 1e6, 5, 5)) == 0.0


def test_the_whole_gpu_follows_its_instances_by_their_share(world):
    world.serve(seconds=1, compute_us=700_000)
    power = {row.value for row in world.samples("DCGM_FI_DEV_POWER_USAGE")}
    assert sorted(power) == pytest.approx([72 + 560 * 0.7 / 7])
    assert {row.value for row in world.samples("DCGM_FI_DEV_SM_CLOCK")} == {1980}


def test_memory_adds_up_to_the_slice(world):
    rows = [world.samples(f"DCGM_FI_DEV_FB_{part}") for part in ("FREE", "USED", "RESERVED")]
    assert {sum(row.value for row in same) for same in zip(*rows, strict=True)} == {9984}


def test_energy_only_grows(world):
    before = world.samples("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION")[0].value
    world.serve(seconds=10)
    assert world.samples("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION")[0].value == pytest.approx(before + 720_000)


def test_no_two_instances_of_a_gpu_share_an_id_and_none_is_overfull(world):
    world.state.set_layout({SMALL: 9, LARGE: 3, WHOLE: 1, "nvidia.com/mig-4g.40gb": 1}, node="node1")
    found = entities(world.state.read(), node="node1")
    keys = [(entity.gpu, entity.instance_id) for entity in found]
    assert len(keys) == len(set(keys)) == 14
    shares = [sum(e.share for e in found if e.gpu == gpu) for gpu in {e.gpu for e in found}]
    assert max(shares) <= 1.0 + 1e-9


def test_defect_lost_pod_labels(world):
    world.defects.write(Defects(lost_pod_labels=True))
    assert not any({"pod", "namespace", "container"} & set(row.labels) for row in world.samples())
    assert len(world.samples()) == 7


def test_defect_missing_family(world):
    world.defects.write(Defects(missing_families=(ACTIVE,)))
    assert world.samples() == []
    assert len(world.samples("DCGM_FI_DEV_FB_USED")) == 7


def test_a_family_that_is_not_there_cannot_be_missing(world):
    world.defects.write(Defects(missing_families=("DCGM_FI_DEV_TYPO",)))
    with pytest.raises(ValueError, match="DCGM_FI_DEV_TYPO"):
        world.exporter.page()


def test_defect_late_series(world):
    world.serve(seconds=1, compute_us=800_000)
    for _ in range(10):
        world.serve(seconds=1)
    assert world.active()["9"] == 0.0
    world.defects.write(Defects(late_s=10))
    assert world.active()["9"] == pytest.approx(0.8)


def test_defect_frozen_page(world):
    world.serve(seconds=1, compute_us=800_000)
    world.defects.write(Defects(frozen=True))
    energy = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"
    for _ in range(3):
        world.serve(seconds=300)
        assert world.active()["9"] == pytest.approx(0.8)
    before = world.samples(energy)[0].value
    world.defects.write(Defects())
    world.serve()
    assert world.active()["9"] == 0.0
    assert world.samples(energy)[0].value > before + 60_000_000


def test_defect_new_slices_missing(world):
    world.defects.write(Defects(new_slices_missing=True))
    world.serve()
    world.state.set_layout({SMALL: 4, LARGE: 1}, node="node1")
    world.serve()
    assert {row.labels["GPU_I_PROFILE"] for row in world.samples()} == {"1g.10gb"}
    world.defects.write(Defects())
    world.serve()
    assert {row.labels["GPU_I_PROFILE"] for row in world.samples()} == {"1g.10gb", "3g.40gb"}


def test_faults_of_the_gpu_itself(world):
    world.defects.write(Defects(hot_gpus=(0,), fallen_gpus=(0,), without_persistence=(0,)))
    found = {
        name: {row.value for row in world.samples(f"DCGM_FI_DEV_{name}")}
        for name in ("GPU_TEMP", "XID_ERRORS", "PERSISTENCE_MODE")
    }
    assert found == {"GPU_TEMP": {93}, "XID_ERRORS": {79}, "PERSISTENCE_MODE": {0}}


def test_it_is_served_over_http_and_can_be_down(world):
    made = server(world.exporter, ("127.0.0.1", 0))
    threading.Thread(target=made.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{made.server_port}/metrics"
    with urllib.request.urlopen(url) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert answer.read().decode() == world.exporter.page()
    world.defects.write(Defects(down=True))
    with pytest.raises(urllib.error.HTTPError, match="503") as told:
        urllib.request.urlopen(url)
    told.value.close()
    made.shutdown()
    made.server_close()
