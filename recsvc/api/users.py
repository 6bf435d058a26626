"""Users: their features, all that is kept about them, and its erasure."""

from fastapi import APIRouter, Request

from recsvc.api.context import context
from recsvc.api.fields import UserIdPath, format_timestamp
from recsvc.api.limits import check_features
from recsvc.api.problems import guarded, taking_body
from recsvc.api.record_models import Erased, Merged, UserExport, UserIn, UserOut
from recsvc.api.routes import ServiceRoute

router = APIRouter(tags=["users"], route_class=ServiceRoute)


@router.put(
    "/v1/users/{user_id}",
    operation_id="putUser",
    summary="Set a user's features",
    responses=taking_body(),
)
async def put_user(request: Request, user_id: UserIdPath, body: UserIn) -> UserOut:
    """Replaces those given before. The user's next list starts from them."""
    here = context(request)
    features = check_features("features", body.features, here.settings)
    unused = await here.recommender.put_user(user_id, features)
    return UserOut(user_id=user_id, ignored=unused.columns, unknown_values=unused.values)


@router.get(
    "/v1/users/{user_id}",
    operation_id="exportUser",
    summary="All that is kept about a user",
    responses=guarded(404),
)
async def export_user(request: Request, user_id: UserIdPath) -> UserExport:
    """Features, events, adapted states."""
    kept = await context(request).recommender.export_user(user_id)
    events = [{**e, "timestamp": format_timestamp(e["timestamp"])} for e in kept["events"]]
    for event in events:
        if (arrived_ms := event.pop("arrived_ms", None)) is not None:
            event["arrived"] = format_timestamp(arrived_ms)
    return UserExport(**{**kept, "events": events})


@router.delete(
    "/v1/users/{user_id}",
    operation_id="eraseUser",
    summary="Erase a user, verified",
    responses=guarded(),
)
async def erase_user(request: Request, user_id: UserIdPath) -> Erased:
    """Removes features, events, log entries and adapted states. Harmless when repeated."""
    return Erased(user_id=user_id, erased=await context(request).recommender.erase_user(user_id))


@router.post(
    "/v1/users/{target}/merge/{source}",
    operation_id="mergeUsers",
    summary="An anonymous user turns out to be a known one",
    responses=guarded(404, 409),
)
async def merge_users(request: Request, target: UserIdPath, source: UserIdPath) -> Merged:
    """Events and features of `source` become those of `target`; where both have a feature, the
    target's stays. The source is erased; a hash of the target's id is kept for as long as a user's
    state, so that it cannot become somebody else. Repeat it after a 503: nothing counts twice.
    """
    moved = await context(request).recommender.merge_users(target, source)
    return Merged(user_id=target, merged=source, events=moved.events, features=list(moved.features))
