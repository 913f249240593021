"""The operator's `/top`, asked through the API server's service proxy by whoever may list what it shows."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from http import HTTPStatus

from pydantic import ValidationError

from yolofleet.api.top import AUDIENCE, AUDIENCE_HEADER, PATH, PORT_NAME, TOKEN_HEADER, Top
from yolofleet.cli.session import UNKNOWN_USER, Cluster
from yolofleet.errors import ApiServerError, CannotAskError, NotLiveError
from yolofleet.kube import Object, Resource
from yolofleet.observe.resources import SERVICE

TOKEN_SECONDS = 600
SERVICE_ACCOUNT = Resource("v1", "ServiceAccount", "serviceaccounts")


@dataclass(frozen=True)
class Operator:
    """Where the operator runs, and what the names of its objects begin with."""

    namespace: str = "yolofleet-system"
    name: str = "yolofleet"

    @property
    def service(self) -> str:
        """Return the name of its Service."""
        return f"{self.name}-metrics"

    @property
    def viewer(self) -> str:
        """Return the name of the ServiceAccount that may list what `/top` shows."""
        return f"{self.name}-viewer"

    def proxy(self, port: str, path: str) -> str:
        """Return the path on the API server that leads to a port of its Service."""
        return SERVICE.path(self.namespace, f"{self.service}:{port}", f"proxy{path}")


def operator_argument(parser: argparse.ArgumentParser) -> None:
    """Add the argument by which one says where the operator runs."""
    default = Operator()
    parser.add_argument(
        "--operator",
        default=default,
        type=_operator,
        metavar="NAMESPACE/NAME",
        help=f"where the chart is installed, and its full name ({default.namespace}/{default.name})",
    )


def _operator(told: str) -> Operator:
    namespace, _, name = told.partition("/")
    if not namespace or not name:
        raise argparse.ArgumentTypeError(f"{told!r}: say NAMESPACE/NAME, as in yolofleet-system/yolofleet")
    return Operator(namespace, name)


class Asking:
    """Asks again and again; a token made for this purpose is kept while it is good."""

    def __init__(self, cluster: Cluster, operator: Operator) -> None:
        self._cluster = cluster
        self._operator = operator
        self._headers: dict[str, str] | None = None

    async def ask(self) -> Top:
        """Return the fleet now; NotLiveError says why not, and what to do."""
        kept = self._headers is not None
        try:
            return await self._ask()
        except NotLiveError as error:
            if not (kept and error.status == 401):  # noqa: PLR2004 - the token has run out
                raise
        self._headers = None
        return await self._ask()

    async def _ask(self) -> Top:
        if self._headers is None:
            self._headers = await self._credentials()
        namespace = self._cluster.namespace
        try:
            told = await self._cluster.kube.request(
                "GET",
                self._operator.proxy(PORT_NAME, PATH),
                params={"namespace": namespace} if namespace else {},
                headers=self._headers,
            )
        except ApiServerError as error:
            raise NotLiveError(_why(error, self._operator), status=error.status) from error
        try:
            return Top.model_validate(told)
        except ValidationError as error:
            words = f"the operator answers in a form that this plugin does not know ({error.error_count()} fields)"
            raise NotLiveError(f"{words}; bring plugin and operator to the same version") from error

    async def _credentials(self) -> dict[str, str]:
        """Return headers that say who asks: a token that opens nothing else where one may be made, else one's own."""
        account = SERVICE_ACCOUNT.path(self._operator.namespace, self._operator.viewer, "token")
        wish: Object = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": [AUDIENCE], "expirationSeconds": TOKEN_SECONDS},
        }
        try:
            made = await self._cluster.kube.request("POST", account, body=wish)
            return {TOKEN_HEADER: made["status"]["token"], AUDIENCE_HEADER: AUDIENCE}
        except ApiServerError as error:
            if error.status not in (403, 404):
                raise
        if own := await self._cluster.kube.token():
            return {TOKEN_HEADER: own}
        who = f"ServiceAccount {self._operator.namespace}/{self._operator.viewer}"
        raise NotLiveError(
            f"your user has no token to show (a client certificate is none), and may not make one for {who}; "
            f"ask for `create serviceaccounts/token` on it, or use a context with a token"
        )


def _why(error: ApiServerError, operator: Operator) -> str:
    """Say why the operator did not answer; what it said itself stands as it is."""
    told = " ".join(error.message.split())
    where = f"{operator.namespace}/{operator.service}"
    if error.reason in ("NoToken", "UnknownToken", "NotAllowed", "TooManyRequests", "BadRequest"):
        return told
    if error.status == HTTPStatus.UNAUTHORIZED:
        raise CannotAskError(UNKNOWN_USER)
    if error.status == HTTPStatus.FORBIDDEN:
        return f"{told}; the chart gives this right to whoever is logged in (rbac.top): ask for it"
    if error.status == HTTPStatus.NOT_FOUND:
        return f"no Service {where}; install or upgrade the chart, or say --operator NAMESPACE/NAME"
    if "no service port" in told:
        return f"Service {where} has no port {PORT_NAME}: this operator is older than the plugin; upgrade the chart"
    return (
        f"the operator does not answer ({error.status}: {told[:200]}); "
        f"look at it: kubectl -n {operator.namespace} get pods"
    )
