import dataclasses
import tomllib

import pytest

from e2e.clusters.kind.host import Host, KindError, accepts_volume_mounts, choose, gpus_in, lacking, look
from e2e.clusters.programs import Answer
from tests.e2e.kind.recording import H100_IN_SEVEN, READY_TOOLKIT, absent, gpu_machine, machine

READY = Host("nvidia", ("NVIDIA H100 80GB HBM3",), mig_devices=7, volume_mounts=True, toolkit="1.19.0")


@pytest.fixture
def toolkit_config(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(READY_TOOLKIT)
    return path


def test_gpus_and_mig_devices_are_told_from_nvidia_smi():
    assert gpus_in(H100_IN_SEVEN) == (("NVIDIA H100 80GB HBM3",), 7)
    two = "GPU 0: NVIDIA A30 (UUID: GPU-1)\nGPU 1: NVIDIA A30 (UUID: GPU-2)\n"
    assert gpus_in(two) == (("NVIDIA A30", "NVIDIA A30"), 0)


@pytest.mark.parametrize(
    "said", ["", "No devices were found\n", "NVIDIA-SMI has failed because it couldn't communicate"]
)
def test_what_lists_no_gpu_is_no_gpu(said):
    assert gpus_in(said) == ((), 0)


def test_a_ready_machine_is_seen_as_such(toolkit_config):
    assert look(gpu_machine(), toolkit_config=toolkit_config) == READY


def test_a_machine_without_nvidia_is_seen_as_such(tmp_path):
    assert look(machine(), toolkit_config=tmp_path / "none.toml") == Host("runc")


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        (READY_TOOLKIT, True),
        ("accept-nvidia-visible-devices-as-volume-mounts = false\n", False),
        ("#accept-nvidia-visible-devices-as-volume-mounts = true\n", False),
        ("", False),
    ],
)
def test_volume_mounts_are_accepted_only_where_the_toolkit_says_so(tmp_path, text, accepted):
    path = tmp_path / "config.toml"
    path.write_text(text)
    assert accepts_volume_mounts(path) is accepted
    tomllib.loads(text)


@pytest.mark.parametrize(
    ("program", "remedy"),
    [
        ("docker", "docs.docker.com"),
        ("kind", "go install sigs.k8s.io/kind@v0.33.0"),
        ("kubectl", "kubernetes.io"),
        ("helm", "helm.sh"),
    ],
)
def test_a_missing_program_is_named_with_its_remedy(program, remedy):
    run = machine()
    run.answers[f"{program} "] = absent(program)
    if program == "docker":
        run.answers.pop("docker info")
    with pytest.raises(KindError, match=f"{program} is not on PATH: .*{remedy}"):
        look(run)


def test_a_daemon_that_does_not_answer_is_told_in_its_words_with_the_remedy():
    run = machine()
    words = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
    run.answers["docker info"] = Answer(1, "{}", f"errors pretty printing info\n{words}\n")
    with pytest.raises(KindError) as refused:
        look(run)
    assert words in str(refused.value)
    assert "systemctl start docker" in str(refused.value)


def test_real_gpus_are_taken_where_all_is_ready_and_the_reason_says_what_they_are():
    choice = choose(READY, "auto")
    assert choice.real
    assert choice.reason == "1 × NVIDIA H100 80GB HBM3, cut into 7 MIG devices"
    assert choice.toolkit == "1.19.0"


def test_gpus_that_are_not_cut_are_offered_whole_and_said_to_be():
    assert choose(dataclasses.replace(READY, mig_devices=0), "auto").reason.endswith("not cut: offered whole")


def test_fake_gpus_can_be_asked_for_on_any_machine():
    assert choose(READY, "fake") == choose(Host("runc"), "fake")
    assert not choose(READY, "fake").real


def test_without_a_gpu_they_are_fake_and_the_reason_says_so():
    choice = choose(Host("runc"), "auto")
    assert (choice.real, choice.reason) == (False, "no GPU on this machine (nvidia-smi -L lists none)")


LACKS = {
    "gpus": ((), "NVIDIA's driver"),
    "toolkit": ("", "install NVIDIA's container toolkit"),
    "default_runtime": ("runc", "--set-as-default"),
    "volume_mounts": (False, "accept-nvidia-visible-devices-as-volume-mounts=true"),
}


@pytest.mark.parametrize("field", LACKS)
def test_each_lack_alone_keeps_real_gpus_away_and_has_its_remedy(field):
    value, remedy = LACKS[field]
    host = dataclasses.replace(READY, **{field: value})
    (told,) = lacking(host)
    assert remedy in told
    assert not choose(host, "auto").real
    with pytest.raises(KindError) as refused:
        choose(host, "real")
    assert told in str(refused.value)


def test_a_gpu_that_kind_cannot_reach_yet_is_not_passed_over_in_silence():
    choice = choose(dataclasses.replace(READY, volume_mounts=False), "auto")
    assert not choice.real
    assert "H100" in choice.reason
    assert "nvidia-ctk config --set" in choice.reason


def test_all_lacks_are_told_at_once():
    with pytest.raises(KindError) as refused:
        choose(Host("runc"), "real")
    assert len(str(refused.value).splitlines()) == 5


def test_another_word_is_refused_with_those_that_are_known():
    with pytest.raises(KindError, match=r"'cuda': use one of auto, real, fake"):
        choose(READY, "cuda")
