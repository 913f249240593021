"""The whole life of a kind cluster against a scripted machine."""

import json
import sys

import pytest

from e2e.clusters.kind.cluster import IMAGES_VARIABLE, KindCluster
from e2e.clusters.kind.host import KindError
from e2e.clusters.programs import Answer
from e2e.clusters.protocol import BENCH_VALUES, UnsupportedError
from e2e.fakes.dcgm_exporter.defects import Defects
from tests.e2e.kind.recording import READY_TOOLKIT, Recording, gpu_machine, machine, node_json

SLICE = "nvidia.com/mig-1g.10gb"


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    for name in ("YOLOFLEET_KIND_GPUS", "YOLOFLEET_KIND_IMAGES", "YOLOFLEET_KIND_NODE_IMAGE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def make(tmp_path):
    """Make a cluster `lab` on a scripted machine."""
    toolkit = tmp_path / "config.toml"
    toolkit.write_text(READY_TOOLKIT)

    def made(run: Recording, **options) -> KindCluster:
        kubeconfig = tmp_path / "kind/lab/kubeconfig"
        bound = f"kubectl --kubeconfig {kubeconfig} --context kind-yolofleet-lab"
        run.answers.setdefault(f"{bound} get node yolofleet-lab-worker", Answer(stdout=node_json()))
        return KindCluster("lab", run=run, cache=tmp_path, toolkit_config=toolkit, **options)

    return made


def runs(run: Recording) -> None:
    run.answers["docker ps"] = Answer(stdout="yolofleet-lab-worker\n")


def test_up_on_a_machine_without_gpus(make, tmp_path):
    run = machine()
    cluster = make(run).up()
    assert run.told(f"{sys.executable} -m e2e.images")
    assert run.told("kind create cluster")
    assert run.told("kind load image-archive")
    assert not run.told("helm upgrade")
    assert len(cluster._place.gpu_state().read()[SLICE]) == 7
    labelled = next(line for line in run.commands if " label node yolofleet-lab-worker " in line)
    assert "nvidia.com/mig.strategy=mixed" in labelled
    assert "nvidia.com/mig-9g.old-" in labelled
    assert cluster.values == (BENCH_VALUES,)
    assert (cluster.node_name(), cluster.context) == ("yolofleet-lab-worker", "kind-yolofleet-lab")


def test_up_on_real_gpus(make):
    run = gpu_machine()
    cluster = make(run).up()
    assert [line.split()[3] for line in run.told("docker build")] == [
        "operator/Dockerfile",
        "model_repo_builder/Dockerfile",
    ]
    (helm,) = run.told("helm upgrade")
    assert "migStrategy=mixed" in helm
    assert "--version 0.20.0" in helm
    assert not [line for line in run.commands if "e2e.images" in line or " label node " in line]
    assert [path.name for path in cluster.values] == ["values-bench.yaml", "values-kind-gpu.yaml"]
    assert all(path.is_file() for path in cluster.values)


def test_fake_gpus_where_real_ones_are_ready(make, monkeypatch):
    assert not make(gpu_machine(), gpus="fake").up()._choice.real
    monkeypatch.setenv("YOLOFLEET_KIND_GPUS", "fake")
    assert not make(gpu_machine()).up()._choice.real


def test_up_again_only_brings_images(make):
    run = machine()
    cluster = make(run).up()
    runs(run)
    run.commands.clear()
    cluster.up()
    assert cluster.running
    assert [line for line in run.commands if line.startswith("kind ") and "version" not in line] == run.told(
        "kind load"
    )


def test_a_name_that_somebody_elses_cluster_has_is_refused_and_left_alone(make):
    run = machine()
    run.answers["kind get clusters"] = Answer(stdout="kind\nyolofleet-lab\n")
    with pytest.raises(KindError, match=r"made by somebody else: take another --name, or end it with `kind delete"):
        make(run).up()
    assert not run.told("kind delete")
    assert not run.told("kind create")


def test_one_of_ours_that_is_stopped_is_not_taken_for_somebody_elses(make):
    run = machine()
    make(run).up()
    run.answers["kind get clusters"] = Answer(stdout="yolofleet-lab\n")
    with pytest.raises(KindError, match="is stopped, or was left half-made"):
        make(run).up()


FAILURES = {
    "kind create cluster": ("create the cluster", "fs.inotify.max_user_instances"),
    "kind load image-archive": ("load images into the nodes", "Docker's disk needs room"),
    f"{sys.executable} -m e2e.images": ("make the bench's images", IMAGES_VARIABLE),
    "docker exec yolofleet-lab-worker sh": ("make the volumes' folders", ""),
}


@pytest.mark.parametrize("command", FAILURES)
def test_a_failing_command_is_told_in_its_words_with_a_remedy_and_nothing_is_left(make, tmp_path, command):
    purpose, remedy = FAILURES[command]
    run = machine()
    run.answers[command] = Answer(3, "", "its own words")
    with pytest.raises(KindError) as failed:
        make(run).up()
    told = str(failed.value)
    assert f"could not {purpose}" in told
    assert "(exit 3): its own words" in told
    assert remedy in told
    assert run.told("kind delete cluster --name yolofleet-lab")
    assert not (tmp_path / "kind/lab").exists()


def test_a_node_that_sees_no_gpu_is_found_before_anything_is_installed(make):
    run = gpu_machine()
    run.answers["docker exec yolofleet-lab-worker nvidia-smi"] = Answer(127, "", "not found")
    with pytest.raises(KindError, match="docker run --rm -v /dev/null:/var/run/nvidia-container-devices/all"):
        make(run).up()
    assert not run.told("helm upgrade")
    assert not [line for line in run.commands if "apt-get" in line]


def test_an_archive_that_is_not_there_is_refused_by_name(make, monkeypatch):
    monkeypatch.setenv(IMAGES_VARIABLE, "/nowhere/images.tar")
    with pytest.raises(KindError, match=f"{IMAGES_VARIABLE}=/nowhere/images.tar: no such file"):
        make(machine()).up()


def test_down_deletes_the_cluster_and_its_files(make, tmp_path):
    run = machine()
    cluster = make(run).up()
    cluster.down()
    assert run.commands[-1].startswith("kind delete cluster --name yolofleet-lab")
    assert not (tmp_path / "kind/lab").exists()
    assert not cluster.running


def test_a_cluster_that_is_not_there_says_how_to_make_it(make):
    with pytest.raises(KindError, match=r"python -m e2e.clusters up --provider kind --name lab"):
        make(machine()).values  # noqa: B018


def test_a_new_layout_is_written_labelled_and_waited_for(make):
    run = machine()
    cluster = make(run).up()
    large = {"nvidia.com/mig-3g.40gb": 2}
    get = next(begin for begin in run.answers if begin.endswith("get node yolofleet-lab-worker"))
    run.answers[get] = Answer(stdout=node_json({"nvidia.com/mig-3g.40gb": 2}))
    cluster.set_layout(large)
    assert {name: len(group) for name, group in cluster._place.gpu_state().read().items()} == {**large, SLICE: 0}
    run.answers[get] = Answer(stdout=node_json({"nvidia.com/mig-3g.40gb": 1}))
    cluster.set_health("nvidia.com/mig-3g.40gb", 0, healthy=False)


REFUSED = {
    "set_layout": lambda cluster: cluster.set_layout({SLICE: 1}),
    "set_health": lambda cluster: cluster.set_health(SLICE, 0, healthy=False),
}


@pytest.mark.parametrize("asked", REFUSED)
def test_real_gpus_are_never_touched(make, asked):
    cluster = make(gpu_machine()).up()
    with pytest.raises(UnsupportedError, match=r"real GPUs .*nvidia-smi mig on the host, or .* --gpus fake"):
        REFUSED[asked](cluster)


def test_no_double_of_dcgm_exporter_is_there_to_be_made_defective(make):
    with pytest.raises(UnsupportedError, match="bare cluster only"):
        make(machine()).up().set_dcgm(Defects())


def test_an_address_inside_the_network_cannot_be_forwarded_to(make):
    with pytest.raises(UnsupportedError, match=r"forward to service\.namespace"):
        make(machine()).up().forward("10.96.0.1", 443)


def test_the_api_server_goes_with_its_manifest_and_comes_back_with_it(make):
    run = machine()
    cluster = make(run).up()
    ready = next(begin for begin in run.answers if begin.endswith("get node yolofleet-lab-worker"))
    readyz = ready.replace("get node yolofleet-lab-worker", "get --raw /readyz")
    run.answers[readyz] = Answer(1, "", "connection refused")
    cluster.stop_apiserver()
    run.answers[readyz] = Answer(stdout="ok")
    cluster.start_apiserver()
    away, back = run.told("docker exec yolofleet-lab-control-plane mv")
    assert away.split()[-2:] == back.split()[-2:][::-1]


def test_the_kubelet_restarts_in_the_node(make):
    run = machine()
    make(run).up().restart_kubelet()
    assert run.commands[-1] == "docker exec yolofleet-lab-worker systemctl restart kubelet"


def test_volumes_whose_claims_are_gone_are_emptied_and_offered_anew(make):
    run = machine()
    cluster = make(run).up()
    phases = {"pv-00": "Bound", "pv-01": "Released", "pv-02": "Available", "pv-03": "Failed"}
    volumes = {"items": [{"metadata": {"name": n}, "status": {"phase": p}} for n, p in phases.items()]}
    kubectl = next(line for line in run.commands if " rollout status " in line).split(" -n ")[0]
    run.answers[f"{kubectl} get persistentvolumes"] = Answer(stdout=json.dumps(volumes))
    cluster.recycle_volumes()
    deleted, emptied, created = run.commands[-3:]
    assert deleted.endswith("delete persistentvolume pv-01 pv-03")
    assert "cd /var/lib/yolofleet/volumes\nfor volume in pv-01 pv-03; do\n" in emptied
    assert [item["metadata"]["name"] for item in json.loads(run.fed[created])["items"]] == ["pv-01", "pv-03"]


def test_a_failed_story_leaves_the_nodes_logs_too(make, tmp_path):
    run = machine()
    make(run).up().dump(["default"], tmp_path / "dump")
    assert run.commands[-1] == f"kind export logs {tmp_path}/dump/nodes --name yolofleet-lab"


def test_logs_that_cannot_be_had_do_not_hide_the_storys_own_failure(make, tmp_path):
    run = machine()
    cluster = make(run).up()
    run.answers["kind export logs"] = Answer(1, "", "the node is gone")
    cluster.dump(["default"], tmp_path / "dump")
    assert "the node is gone" in (tmp_path / "dump/nodes-logs.txt").read_text()
