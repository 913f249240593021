"""What `up` writes and runs, whole, as golden files: `UPDATE_GOLDEN=1` writes them anew."""

import json
import re
import sys
from functools import reduce
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft7Validator

from e2e.clusters.kind import manifests, steps
from e2e.clusters.kind.config import FAKE_GPUS_LABEL, NODE_IMAGE, kind_config
from e2e.clusters.kind.host import Choice
from e2e.clusters.kind.place import GPUS_IN_NODE, KindPlace
from e2e.clusters.kind.show import shown
from e2e.fakes.gpus import GpuState
from e2e.images.catalogue import image_name
from tests.golden import assert_golden

GOLDEN = Path(__file__).parent / "golden"
PLACE = KindPlace("lab", Path("/cache"))
REAL = Choice(real=True, reason="1 × NVIDIA H100 80GB HBM3", toolkit="1.19.0")
FAKE = Choice(real=False, reason="no GPU")


@pytest.mark.parametrize("choice", [REAL, FAKE], ids=["real", "fake"])
def test_the_kind_config(choice):
    config = kind_config(PLACE, real=choice.real)
    assert_golden(GOLDEN / f"kind-{'real' if choice.real else 'fake'}.yaml", yaml.safe_dump(config, sort_keys=False))


@pytest.mark.parametrize("choice", [REAL, FAKE], ids=["real", "fake"])
def test_every_command_of_up(choice):
    text = shown(steps.up(PLACE, choice)).replace(sys.executable, "python")
    text = re.sub(r"(?s)\{\n \"apiVersion\": \"v1\",\n \"kind\": \"List\",.*?\n\}", "(objects)", text)
    assert_golden(GOLDEN / f"up-{'real' if choice.real else 'fake'}.sh", text)


def test_the_objects_of_the_fake_device_plugin():
    assert_golden(
        GOLDEN / "fake-device-plugin.yaml", yaml.safe_dump_all(manifests.fake_device_plugin(), sort_keys=False)
    )


def test_the_first_volume_and_its_class():
    assert_golden(GOLDEN / "storage.yaml", yaml.safe_dump_all(manifests.storage()[:2], sort_keys=False))
    assert len(manifests.storage()) == 1 + manifests.VOLUMES


def test_only_real_gpus_are_asked_of_nvidias_runtime():
    assert "nvidia" not in json.dumps(kind_config(PLACE, real=False))
    assert "/dev/null" in json.dumps(kind_config(PLACE, real=True))


def test_the_node_image_is_pinned_by_digest_and_another_can_be_named():
    assert re.fullmatch(r"kindest/node:v1\.\d+\.\d+@sha256:[0-9a-f]{64}", NODE_IMAGE)
    named = kind_config(PLACE, real=False, image="mirror/node:x")
    assert {node["image"] for node in named["nodes"]} == {"mirror/node:x"}


def test_the_plugin_reads_in_the_node_what_this_machine_writes():
    """State file → mount of the node → hostPath of the pod → argument of the program: one chain, four places."""
    state = PLACE.gpu_state()
    assert isinstance(state, GpuState)
    (mount,) = kind_config(PLACE, real=False)["nodes"][1]["extraMounts"]
    assert (mount["hostPath"], mount["containerPath"]) == (str(state.path.parent), str(GPUS_IN_NODE))
    pod = manifests.fake_device_plugin()[1]["spec"]["template"]["spec"]
    paths = {volume["name"]: volume["hostPath"]["path"] for volume in pod["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert paths["gpus"] == mount["containerPath"]
    assert f"{mounts['gpus']}/{state.path.name}" in pod["containers"][0]["command"]
    assert pod["containers"][0]["command"][-1] == mounts["sockets"] == paths["sockets"]
    assert pod["nodeSelector"] == {FAKE_GPUS_LABEL: "true"} == kind_config(PLACE, real=False)["nodes"][1]["labels"]


def test_the_plugins_image_is_among_those_that_are_made_and_loaded():
    assert manifests.fake_device_plugin()[1]["spec"]["template"]["spec"]["containers"][0]["image"] == image_name(
        "device-plugin"
    )
    made = next(one for one in steps.up(PLACE, FAKE) if "e2e.images" in one.command)
    assert set(made.command) >= set(steps.FAKE_IMAGES)


def test_images_come_first_so_that_their_failure_leaves_no_cluster():
    for choice in (REAL, FAKE):
        purposes = [one.purpose for one in steps.up(PLACE, choice)]
        assert "image" in purposes[0]
        assert purposes.index("create the cluster") < purposes.index("load images into the nodes")


def test_a_named_archive_is_loaded_and_none_is_made():
    todo = steps.up(PLACE, FAKE, archive=Path("/images.tar"))
    assert not [one for one in todo if "e2e.images" in one.command]
    assert ("kind", "load", "image-archive", "/images.tar", "--name", "yolofleet-lab") in [one.command for one in todo]


def test_the_nodes_toolkit_has_the_hosts_version():
    (install,) = [one for one in steps.up(PLACE, REAL) if "install the container toolkit" in one.purpose]
    assert install.command[-1].count("=1.19.0-1") == 4


def test_what_can_fail_for_reasons_outside_says_what_to_do():
    for choice in (REAL, FAKE):
        silent = [one.purpose for one in steps.up(PLACE, choice) if not one.remedy]
        assert set(silent) <= {
            "make the volumes' folders",
            "leave one default class",
            "offer the volumes",
            "start the fake device plugin",
            "name NVIDIA's runtime",
        }


@pytest.mark.parametrize("name", ["", "Lab", "lab_1", "-lab", "x" * 21])
def test_a_name_that_docker_would_not_take_is_refused(name):
    with pytest.raises(ValueError, match="use 1 to 20 of a-z"):
        KindPlace(name, Path("/cache"))


def merged(below: dict, above: dict) -> dict:
    """Values as helm lays one file over another."""
    laid = {key: merged(below[key], value) if isinstance(value, dict) else value for key, value in above.items()}
    return below | laid


def test_the_values_for_real_gpus_fit_the_charts_schema_and_name_the_runtime_that_is_made():
    root = Path(__file__).parents[3]
    schema = json.loads((root / "charts/yolofleet/values.schema.json").read_text())
    files = ("charts/yolofleet/values.yaml", "e2e/values-bench.yaml", "e2e/values-kind-gpu.yaml")
    values = reduce(merged, [yaml.safe_load((root / path).read_text()) for path in files])
    assert [error.message for error in Draft7Validator(schema).iter_errors(values)] == []
    assert values["images"]["triton"]["registry"] == "nvcr.io"
    runtime = values["serving"]["runtimeClassName"]
    assert runtime == manifests.runtime_class()["metadata"]["name"]
    (plugin,) = [one for one in steps.up(PLACE, REAL) if one.command[0] == "helm"]
    assert f"runtimeClassName={runtime}" in plugin.command
