"""Lists: for a stored user, for a session, and of items like an item."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from recsvc.api.context import Context, context
from recsvc.api.fields import ItemIdPath, UserIdPath
from recsvc.api.limits import check_features, check_k, check_time
from recsvc.api.models import (
    ItemOut,
    ListParameters,
    RecommendIn,
    RecommendOut,
    SimilarOut,
    SupportRow,
)
from recsvc.api.parameters import document_parameters, read_parameters
from recsvc.api.problems import guarded, taking_body
from recsvc.api.routes import ServiceRoute
from recsvc.recommender import Answer, RankedItem, SessionEvent
from recsvc.recommender import Query as ListQuery

router = APIRouter(tags=["recommendations"], route_class=ServiceRoute)

K = Annotated[
    int,
    Query(ge=1, description="Longest list; shorter where fewer items are left.", examples=[10]),
]


@router.get(
    "/v1/users/{user_id}/recommendations",
    operation_id="getRecommendations",
    summary="Recommend to a stored user",
    responses=guarded(),
    response_model=RecommendOut,
    openapi_extra=document_parameters(ListParameters),
)
async def get_recommendations(request: Request, user_id: UserIdPath) -> Response:
    """An unknown user is a new one and gets a list from the prior."""
    here = context(request)
    wanted = read_parameters(request, ListParameters)
    query = ListQuery(
        k=check_k(wanted.k, here.settings),
        user_id=user_id,
        exclude_seen=wanted.exclude_seen,
        categories=tuple(wanted.category),
        diversity=wanted.diversity,
        explore=wanted.explore,
        explain=wanted.explain,
    )
    return _answer(await here.recommender.recommend(query))


@router.post(
    "/v1/recommendations",
    operation_id="recommend",
    summary="Recommend to a session, an anonymous visitor, or a stored user in context",
    responses=taking_body(),
    response_model=RecommendOut,
)
async def recommend(body: RecommendIn, request: Request) -> Response:
    """One call, nothing stored: adapts to `support`, on top of the user's own events if named."""
    here = context(request)
    query = ListQuery(
        k=check_k(body.k, here.settings),
        user_id=body.user_id,
        user_features=check_features("user_features", body.user_features or {}, here.settings),
        support=_session(body.support or [], here),
        candidates=None if body.candidates is None else tuple(body.candidates),
        exclude=tuple(body.exclude),
        exclude_seen=body.exclude_seen,
        filters={
            column: tuple(value) if isinstance(value, list) else (value,)
            for column, value in body.filter.items()
        },
        diversity=body.diversity,
        explore=body.explore,
        explain=body.explain,
    )
    return _answer(await here.recommender.recommend(query))


@router.get(
    "/v1/items/{item_id}/similar",
    operation_id="similarItems",
    summary="Items like this one",
    responses=guarded(404),
    response_model_exclude_none=True,
)
async def similar_items(request: Request, item_id: ItemIdPath, k: K = 10) -> SimilarOut:
    """By the cosine of the item vectors."""
    here = context(request)
    items = here.recommender.similar(item_id, check_k(k, here.settings))
    return SimilarOut(
        item_id=item_id, items=[ItemOut(item_id=i.item_id, score=i.score) for i in items]
    )


def _session(rows: list[SupportRow], here: Context) -> tuple[SessionEvent, ...]:
    now_ms = int(here.clock().timestamp() * 1000)
    for number, row in enumerate(rows):
        if row.timestamp is not None:
            check_time(f"support.{number}", row.timestamp, now_ms, here.settings)
    return tuple(SessionEvent(r.item_id, r.event, r.value, r.timestamp) for r in rows)


def _answer(answer: Answer) -> Response:
    """A `RecommendOut`, written without one: to make one, check it and write it takes longer."""
    document = {
        "recommendation_id": answer.recommendation_id,
        "model_version": answer.model_version,
        "strategy": answer.strategy,
        "degraded": answer.degraded,
        "items": [_item(i) for i in answer.items],
        "adaptation": {
            "steps": answer.steps,
            "support_size": answer.support_size,
            "skipped": answer.skipped,
        },
    }
    return Response(orjson.dumps(document), media_type="application/json")


def _item(item: RankedItem) -> dict[str, Any]:
    shown: dict[str, Any] = {"item_id": item.item_id, "score": item.score}
    if item.reasons is not None:
        shown["reasons"] = [
            {"item_id": r.item_id, "contribution": r.contribution} for r in item.reasons
        ]
    return shown
