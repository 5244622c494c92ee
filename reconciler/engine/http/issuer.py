"""The documents by which clouds check the engine's identity tokens; anybody may read them."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from reconciler.engine.http.document import TEXT, Operation, listed, record
from reconciler.engine.oidc.issuer import CONFIGURATION_PATH, ISSUER_PATH, JWKS_PATH, Issuer
from reconciler.engine.service import AnswerError, Service

__all__ = ["OPERATIONS", "routes"]

# A new key is shown for longer than that before it signs.
_KEPT = {"Cache-Control": "public, max-age=300"}

OPERATIONS = (
    Operation(
        id="GetIssuerConfiguration",
        method="GET",
        path=ISSUER_PATH + CONFIGURATION_PATH,
        tag="Issuer",
        about="The discovery document of the engine as an issuer of identity tokens",
        answers={200: record({"issuer": TEXT, "jwks_uri": TEXT})},
        refusals=(404,),
        public=True,
    ),
    Operation(
        id="GetIssuerKeys",
        method="GET",
        path=ISSUER_PATH + JWKS_PATH,
        tag="Issuer",
        about="The keys that identity tokens are checked by",
        answers={200: record({"keys": listed({"type": "object"})})},
        refusals=(404,),
        public=True,
    ),
)


def routes(service: Service) -> list[Route]:
    """Return the routes of the issuer."""
    api = _Issuer(service)
    return [
        Route(ISSUER_PATH + CONFIGURATION_PATH, api.configuration, methods=["GET"]),
        Route(ISSUER_PATH + JWKS_PATH, api.key_set, methods=["GET"]),
    ]


class _Issuer:
    """The endpoints."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def configuration(self, _: Request) -> Response:
        return JSONResponse(self._issuer().configuration(), headers=_KEPT)

    def key_set(self, _: Request) -> Response:
        return JSONResponse(self._issuer().key_set(), headers=_KEPT)

    def _issuer(self) -> Issuer:
        issuer = self._service.issuer
        if issuer is None:
            raise AnswerError(
                404, "this engine issues no tokens: it was started without --public-url"
            )
        return issuer
