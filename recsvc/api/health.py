"""Whether the process lives, whether it can answer, and its metrics."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from recsvc.api.context import context
from recsvc.api.problems import documented
from recsvc.api.record_models import Alive, Ready
from recsvc.errors import StateUnavailableError

router = APIRouter(tags=["operations"])


@router.get(
    "/livez",
    operation_id="livez",
    summary="Whether the process lives",
    responses=documented(),
)
async def livez() -> Alive:
    """Never touches Redis."""
    return Alive()


@router.get(
    "/readyz",
    operation_id="readyz",
    summary="Whether requests are answered",
    responses=documented(503),
)
async def readyz(request: Request) -> Ready:
    """200 once a model is loaded. Redis is reported, not required: reads go on without it."""
    here = context(request)
    version = here.recommender.model.version
    try:
        await here.state.ping()
    except StateUnavailableError:
        return Ready(model_version=version, redis="unavailable")
    return Ready(model_version=version, redis="ok")


@router.get(
    "/metrics",
    operation_id="metrics",
    summary="Prometheus metrics of all workers",
    response_class=Response,
    responses={
        **documented(),
        200: {"content": {"text/plain": {"example": "recsvc_events_accepted_total 1.0"}}},
    },
)
async def metrics(request: Request) -> Response:
    """In Prometheus' text format."""
    body, content_type = context(request).metrics.render()
    return Response(body, media_type=content_type)
