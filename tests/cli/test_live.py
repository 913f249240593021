"""Asking the operator: which token is shown, what each refusal says, and what is shown instead."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.fake_cluster import Cluster, listed, refused
from tests.cli.test_standing import obj
from yolofleet.api.top import AUDIENCE, AUDIENCE_HEADER, TOKEN_HEADER
from yolofleet.cli.__main__ import parsed
from yolofleet.cli.live import Operator
from yolofleet.cli.printing import consoles
from yolofleet.cli.session import Flags, Session
from yolofleet.cli.top import run
from yolofleet.errors import CannotAskError

PROXY = Operator().proxy("top", "/top")
TOKEN = "/api/v1/namespaces/yolofleet-system/serviceaccounts/yolofleet-viewer/token"
DEPLOYMENTS = "/apis/yolofleet.dev/v1alpha1/namespaces/cams/yolodeployments"
ROW = {"namespace": "cams", "name": "gate", "ready": 2, "desired": 2, "servedFps": 690.5}
LIVE = {"version": 1, "takenAt": "2026-01-01T00:00:00Z", "deployments": [ROW], "slices": None, "news": "from later"}


async def top(cluster: Cluster, folder: Path, capsys, *arguments: str, user: dict[str, str] | None = None):
    """Run `top --once -o json`; return its exit code, its document and what it says beside it."""
    cluster.answers.setdefault(TOKEN, [refused(404, "NotFound", "no such service account")])
    config = cluster.kubeconfig(folder, user or {})
    told = parsed(["top", "-o", "json", "--kubeconfig", str(config), *arguments])
    flags = Flags(told.kubeconfig, told.context, told.namespace, told.all_namespaces)
    code = await run(told, Session(flags, *consoles()))
    said = capsys.readouterr()
    return code, json.loads(said.out), said.err


async def test_a_token_made_for_the_operator_alone_is_shown_where_one_may_be_made(cluster, tmp_path, capsys) -> None:
    cluster.answers = {TOKEN: [(201, {"status": {"token": "made"}})], PROXY: [(200, LIVE)]}
    code, told, _ = await top(cluster, tmp_path, capsys, user={"token": "my-own"})
    assert (code, told["source"], told["deployments"][0]["servedFps"]) == (0, "live", 690.5)
    assert cluster.shown[-1] == (PROXY, {TOKEN_HEADER: "made", AUDIENCE_HEADER: AUDIENCE})


async def test_others_show_their_own_token(cluster, tmp_path, capsys) -> None:
    cluster.answers = {TOKEN: [refused(403, "Forbidden", "cannot create")], PROXY: [(200, LIVE)]}
    code, _, _ = await top(cluster, tmp_path, capsys, user={"token": "my-own"})
    assert code == 0
    assert cluster.shown[-1] == (PROXY, {TOKEN_HEADER: "my-own"})


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (refused(404, "NotFound", 'services "yolofleet-metrics" not found'), "install or upgrade the chart"),
        (refused(403, "Forbidden", "User x cannot get services/proxy"), "rbac.top"),
        (refused(403, "NotAllowed", "x may not list yolodeployments"), "x may not list yolodeployments"),
        (refused(401, "UnknownToken", "the API server does not know this token"), "does not know this token"),
        (refused(503, "ServiceUnavailable", "no endpoints available"), "kubectl -n yolofleet-system get pods"),
        (refused(503, "ServiceUnavailable", 'no service port "top" found'), "older than the plugin"),
        ((200, {"version": 1}), "bring plugin and operator to the same version"),
    ],
)
async def test_without_the_operator_status_is_shown_and_why(cluster, tmp_path, capsys, answer, words) -> None:
    cluster.answers = {PROXY: [answer], DEPLOYMENTS: [listed(obj(fps="700/720"))]}
    code, told, said = await top(cluster, tmp_path, capsys, user={"token": "t"})
    (row,) = told["deployments"]
    assert (code, told["source"]) == (1, "status")
    assert words in told["notLive"]
    assert said.startswith("not live, figures from status: ")
    assert (row["servedFps"], row["demandFps"], row["busy"]) == (700.0, 720.0, None)


async def test_a_client_certificate_without_the_right_to_a_token_is_told_what_to_ask_for(
    cluster, tmp_path, capsys
) -> None:
    cluster.answers = {DEPLOYMENTS: [listed()]}
    code, told, _ = await top(cluster, tmp_path, capsys)
    assert code == 1
    assert "create serviceaccounts/token" in told["notLive"]


async def test_whom_the_api_server_does_not_know_gets_one_line(cluster, tmp_path, capsys) -> None:
    cluster.answers = {TOKEN: [refused(403, "Forbidden", "")], PROXY: [refused(401, "Unauthorized", "Unauthorized")]}
    with pytest.raises(CannotAskError, match="log in again"):
        await top(cluster, tmp_path, capsys, user={"token": "stale"})


async def test_all_namespaces_are_asked_for_without_one(cluster, tmp_path, capsys) -> None:
    cluster.answers = {TOKEN: [(201, {"status": {"token": "made"}})], PROXY: [(200, LIVE)]}
    code, _, _ = await top(cluster, tmp_path, capsys, "-A")
    assert code == 0
