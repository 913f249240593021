"""What a person can do about a condition, by its reason: the message has the facts, this has the next step."""

from __future__ import annotations

WAIT = "wait: it goes on by itself"
TO_DO = {
    "NotServing": "see the other conditions; `kubectl yolofleet explain NAME` tells the whole story",
    "Suspended": "set spec.suspend to false to serve again",
    "Building": "wait: `kubectl get yeng` shows stage and percent",
    "WaitingForBuild": "wait, or raise builds.maxConcurrent of MigPool default, or free a slice",
    "WaitingForBuildSlice": "wait, free a slice, reserve one for builds in the MigPool, or lower scaling.minReplicas",
    "WaitingForEngine": WAIT,
    "Loading": WAIT,
    "RollingOut": WAIT,
    "Scaling": WAIT,
    "Queued": WAIT,
    "BackingOff": "read the message: the build is tried again by itself; delete the YoloEngine to try at once",
    "BuildFailed": "read the message: the build is tried again by itself; delete the YoloEngine to try at once",
    "BuildRefused": "mend the field that the message names: the same build would fail again",
    "EngineDamaged": "wait: it is built anew by itself; if it comes again, look at the disk under the store",
    "BuildQuotaExceeded": "raise the namespace's ResourceQuota, or lower builds.resources of the chart",
    "NotSupported": "choose what the message offers: this version cannot do it",
    "NoMatchingProfile": "ask for a profile that nodes offer in spec.placement, or add nodes",
    "PoolNotFound": "name a MigPool that exists in spec.placement.poolRef: `kubectl get migpools`",
    "NoRoom": "free a slice, add nodes, lower scaling.minReplicas, or allow another profile",
    "QuotaExceeded": "raise the namespace's ResourceQuota, or lower spec.serving.resources",
    "PodRefused": "mend the field that the message names in spec.serving or spec.placement",
    "ModelNotLoaded": "read the pod's log: `kubectl logs -l yolofleet.dev/deployment=NAME --all-containers`",
    "ServingPortable": "wait: the exact engine takes over by itself once it is built and proved",
    "HeldBack": "mend what holds the successor back; the former engine serves meanwhile",
    "Canary": "wait: `kubectl yolofleet rollout status NAME` shows how it does",
    "RolledBack": "change the spec, or say `kubectl yolofleet rollout retry NAME` or `promote NAME`",
    "InvalidSpec": "mend the field that the message names, or upgrade the operator",
    "SignalsMissing": "read what is missing; replicas are held until the operator can see again",
    "AtMaxReplicas": "raise scaling.maxReplicas, or allow a larger profile, if more demand is to be served",
    "ObjectiveMissed": "give it what the message names, or a longer objective.p99LatencyMilliseconds",
    "RequestsFailing": "read the log of the pod that the message names; delete it if a process of its backend has died",
    "AutoscalerIgnored": "delete the HorizontalPodAutoscaler, or set scaling.mode to External",
    "NoNodes": "mend spec.nodeSelector, or label nodes",
    "NodesShared": "let spec.nodeSelector of one of the two pools leave these nodes out",
}


def what_to_do(kind: str, reason: str) -> str:
    """Return the next step for a condition, "" when there is none."""
    if kind == "Progressing" and reason == "WaitingForBuild":
        return WAIT
    return TO_DO.get(reason, "")
