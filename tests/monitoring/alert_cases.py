"""A healthy fleet as series, and for each alert the fault that makes it fire, as a change of those."""

from __future__ import annotations

from dataclasses import dataclass, field

Series = dict[str, str]
SAMPLES = 40
"""At one in a minute: 40 minutes."""
GATE = 'namespace="cameras", yolodeployment="gate"'
UUID = "GPU-822fbf57-c73e-9aea-5239-e7d583afc8ba"


def steady(value: float) -> str:
    return f"{value}x{SAMPLES}"


def growing(by: float) -> str:
    """Return a counter that grows by so much in 30 s."""
    return f"0+{2 * by}x{SAMPLES}"


def late(value: float) -> str:
    """Return a series that is not there for 20 minutes, then has one value."""
    return f"_x20 {value}x20"


def condition(kind: str, status: str, reason: str) -> str:
    return f'yolofleet_condition{{{GATE}, type="{kind}", status="{status}", reason="{reason}"}}'


def triton(name: str, pod: str, **more: str) -> str:
    told = {
        "namespace": "cameras",
        "pod": pod,
        "yolofleet_dev_deployment": "gate",
        "yolofleet_dev_profile": "1g-10gb",
        "model": "gate",
        "version": "1",
    }
    return _series(name, told | more)


def dcgm(field_: str, instance: int, pod: str = "", *, honored: bool = True) -> str:
    told = {
        "gpu": "0",
        "UUID": UUID,
        "device": "nvidia0",
        "modelName": "NVIDIA H100 80GB HBM3",
        "GPU_I_PROFILE": "1g.10gb",
        "GPU_I_ID": str(instance),
        "Hostname": "node1",
    }
    own = {"namespace": "gpu-operator", "pod": "nvidia-dcgm-exporter-x"}
    page = {"container": "triton", "namespace": "cameras", "pod": pod} if pod else {}
    if honored:
        return _series(f"DCGM_FI_{field_}", told | own | page)
    return _series(f"DCGM_FI_{field_}", told | own | {f"exported_{key}": value for key, value in page.items()})


def _series(name: str, labels: dict[str, str]) -> str:
    told = ", ".join(f'{key}="{value}"' for key, value in labels.items())
    return f"{name}{{{told}}}"


PODS = {"gate-a": 7, "gate-b": 8}
"""Which GPU instance each pod holds; instance 9 is free."""
FIELDS = {
    "PROF_GR_ENGINE_ACTIVE": steady(0.5),
    "DEV_GPU_TEMP": steady(55),
    "DEV_TOTAL_ENERGY_CONSUMPTION": growing(9000),
    "DEV_PERSISTENCE_MODE": steady(1),
    "DEV_XID_ERRORS": steady(0),
    "DEV_FB_USED": steady(1163),
    "DEV_FB_FREE": steady(8761),
}
WELL = {"Ready": "Serving", "EngineReady": "EngineReady", "Placed": "Placed", "ScalingActive": "FollowingDemand"}


def operator() -> Series:
    """Return what an operator with one YoloDeployment gives."""
    figures = {"desired_replicas": 2, "replicas": 2, "ready_replicas": 2, "served_frames_per_second": 60}
    figures |= {"capacity_frames_per_second": 40, "p99_seconds": 0.02, "objective_p99_seconds": 0.05}
    return {
        "yolofleet_passes_total": growing(3),
        "yolofleet_failed_passes_total": steady(0),
        "yolofleet_dirty_keys": steady(0),
        **{condition(kind, "True", reason): steady(1) for kind, reason in WELL.items()},
        condition("ObjectiveMet", "Unknown", "NotMeasured"): steady(1),
        condition("Progressing", "False", "Stable"): steady(1),
        **{f"yolofleet_{name}{{{GATE}}}": steady(value) for name, value in figures.items()},
        f'yolofleet_demand_frames_per_second{{{GATE}, kind="planned"}}': steady(60),
    }


def servers() -> Series:
    """Return what two tritonservers give, each with 30 requests a second in batches of three."""
    made: Series = {}
    for pod in PODS:
        made |= {
            triton("nv_inference_count", pod): growing(900),
            triton("nv_inference_request_success", pod): growing(900),
            triton("nv_inference_exec_count", pod): growing(300),
            triton("nv_inference_queue_duration_us", pod): growing(900 * 2000),
            triton("nv_inference_request_summary_us", pod, quantile="0.99"): steady(18000),
            **{
                triton("nv_inference_request_failure", pod, reason=reason): steady(0)
                for reason in ("OTHER", "BACKEND", "CANCELED", "REJECTED")
            },
        }
    return made


def gpus(*, honored: bool = True) -> Series:
    """Return what the exporter of a node with one GPU gives, scraped with honorLabels or without."""
    holders = {**{instance: pod for pod, instance in PODS.items()}, 9: ""}
    return {
        dcgm(name, instance, pod, honored=honored): values
        for name, values in FIELDS.items()
        for instance, pod in holders.items()
    }


def healthy() -> Series:
    return operator() | servers() | gpus()


@dataclass(frozen=True)
class Case:
    """A change of the healthy fleet, and the alerts that then fire: these, and no others."""

    name: str
    fires: tuple[str, ...]
    put: Series = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    at_once: bool = False

    def series(self) -> Series:
        """Return all series; what is dropped is named by a part of it."""
        kept = {name: value for name, value in healthy().items() if not any(part in name for part in self.drop)}
        return kept | self.put


def reason(kind: str, status: str, why: str) -> tuple[Series, tuple[str, ...]]:
    """Return a condition in place of the healthy one."""
    return {condition(kind, status, why): steady(1)}, (f'type="{kind}"',)


def _of_condition(alert: str, kind: str, status: str, why: str) -> Case:
    put, drop = reason(kind, status, why)
    return Case(f"{kind} {why}", (alert,), put, drop)


def _on_gpu(alert: str | None, field_: str, values: str, *, at_once: bool = False) -> Case:
    put = {name: values for name in gpus() if f"DCGM_FI_{field_}{{" in name}
    return Case(f"{field_} {values}", (alert,) if alert else (), put, at_once=at_once)


DEMAND = f'yolofleet_demand_frames_per_second{{{GATE}, kind="planned"}}'
DAMAGED = 'yolofleet_damaged_engines_total{namespace="cameras"}'
AT_MAX, NOT_FOLLOWING = reason("ScalingActive", "True", "AtMaxReplicas")
CASES = (
    Case("all is well", ()),
    Case("the operator is away", ("YolofleetOperatorDown",), drop=("yolofleet_passes", "yolofleet_condition", GATE)),
    Case("a pass fails", ("YolofleetPassesFailing",), {"yolofleet_failed_passes_total": "0x20 1x20"}),
    Case(
        "passes stop",
        ("YolofleetPassesStopped",),
        {"yolofleet_passes_total": steady(70), "yolofleet_dirty_keys": steady(3)},
    ),
    Case("there is nothing to do", (), {"yolofleet_passes_total": steady(70)}),
    Case("there is always something to do", (), {"yolofleet_dirty_keys": steady(500)}),
    Case("a watch is silent", ("YolofleetWatchSilent",), {'yolofleet_missed_changes_total{kind="Pod"}': late(3)}),
    Case(
        "a write is refused",
        ("YolofleetWritesRefused",),
        {'yolofleet_refused_writes_total{kind="Job", status="403"}': late(1)},
    ),
    Case("a write meets a newer object", (), {'yolofleet_refused_writes_total{kind="Job", status="409"}': late(1)}),
    Case(
        "labels are not honoured",
        ("YolofleetLabelsNotHonored",),
        {
            'yolofleet_desired_replicas{namespace="yolofleet-system", exported_namespace="cameras", '
            'yolodeployment="gate"}': steady(2)
        },
        (f"yolofleet_desired_replicas{{{GATE}",),
    ),
    _of_condition("YolofleetDeploymentNotReady", "Ready", "False", "NotServing"),
    Case("suspended", (), *reason("Ready", "False", "Suspended")),
    _of_condition("YolofleetEngineBuildFailing", "EngineReady", "False", "BuildFailed"),
    _of_condition("YolofleetEngineBuildFailing", "EngineReady", "False", "BuildRefused"),
    _of_condition("YolofleetEngineBuildFailing", "EngineReady", "False", "NotSupported"),
    Case("a build runs", (), *reason("EngineReady", "False", "Building")),
    Case("an engine is damaged", ("YolofleetEngineDamaged",), {DAMAGED: late(1)}),
    Case("and another one", ("YolofleetEngineDamaged",), {DAMAGED: "1x20 2x20"}, at_once=True),
    _of_condition("YolofleetNoSlicesFree", "Placed", "False", "NoRoom"),
    _of_condition("YolofleetNoSlicesFree", "Progressing", "True", "NoRoom"),
    Case("too slow", ("YolofleetLatencyAboveObjective",), {f"yolofleet_p99_seconds{{{GATE}}}": steady(0.08)}),
    Case("demand beyond maxReplicas", ("YolofleetDemandUnmet",), AT_MAX | {DEMAND: steady(200)}, NOT_FOLLOWING),
    Case("at maxReplicas and enough", (), AT_MAX, NOT_FOLLOWING),
    Case("more demand, and replicas on their way", (), {DEMAND: steady(200)}),
    _of_condition("YolofleetSignalsMissing", "ScalingActive", "False", "SignalsMissing"),
    _of_condition("YolofleetAutoscalerIgnored", "ScalingActive", "False", "AutoscalerIgnored"),
    Case(
        "requests fail",
        ("YolofleetRequestsFailing",),
        {triton("nv_inference_request_failure", "gate-a", reason="BACKEND"): growing(90)},
    ),
    Case("clients cancel", (), {triton("nv_inference_request_failure", "gate-a", reason="CANCELED"): growing(90)}),
    Case(
        "one request in 200 fails", (), {triton("nv_inference_request_failure", "gate-a", reason="OTHER"): growing(9)}
    ),
    Case(
        "a pod is not scraped",
        ("YolofleetPodsNotScraped",),
        drop=('nv_inference_count{namespace="cameras", pod="gate-b"',),
    ),
    Case("no pod is scraped", ("YolofleetPodsNotScraped",), drop=("nv_inference",)),
    Case("no activity", ("YolofleetDcgmSeriesLost",), drop=("DCGM_FI_PROF_GR_ENGINE_ACTIVE",)),
    Case("no exporter at all", ("YolofleetDcgmSeriesLost",), drop=("DCGM_FI_",)),
    Case(
        "pod labels are lost",
        ("YolofleetDcgmPodsMissing",),
        {dcgm("PROF_GR_ENGINE_ACTIVE", instance): steady(0.5) for instance in (7, 8, 9)},
        ("DCGM_FI_PROF_GR_ENGINE_ACTIVE",),
    ),
    Case(
        "a new GPU instance has no row",
        ("YolofleetDcgmPodsMissing",),
        drop=(dcgm("PROF_GR_ENGINE_ACTIVE", 8, "gate-b"),),
    ),
    Case("DCGM is scraped without honorLabels", (), gpus(honored=False), ("DCGM_FI_",)),
    _on_gpu("YolofleetDcgmStale", "DEV_TOTAL_ENERGY_CONSUMPTION", steady(9000)),
    _on_gpu("YolofleetGpuXid", "DEV_XID_ERRORS", steady(79), at_once=True),
    _on_gpu(None, "DEV_XID_ERRORS", steady(31)),
    _on_gpu("YolofleetGpuHot", "DEV_GPU_TEMP", steady(93)),
    _on_gpu("YolofleetGpuPersistenceModeOff", "DEV_PERSISTENCE_MODE", steady(0)),
)
