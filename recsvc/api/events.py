"""POST /v1/events: what users did."""

from collections.abc import Callable

from fastapi import APIRouter, Request

from recsvc.api.context import context
from recsvc.api.limits import check_time
from recsvc.api.models import EventIn, EventsIn, EventsOut
from recsvc.api.problems import taking_body
from recsvc.api.routes import ServiceRoute
from recsvc.errors import PayloadTooLargeError
from recsvc.state.events import Event

router = APIRouter(tags=["events"], route_class=ServiceRoute)


@router.post(
    "/v1/events",
    operation_id="recordEvents",
    summary="Record interactions; durable before the answer",
    responses=taking_body(),
    response_model_exclude_none=True,
)
async def record_events(body: EventsIn, request: Request) -> EventsOut:
    """Events may come out of order and from clocks that are ahead, by at most a day unless the
    setting `max_event_lead_s` says otherwise; each changes its user's next list.

    After a 503 send the same events again with the same `event_id`s: none counts twice.
    """
    here = context(request)
    limit = here.settings.max_events_per_request
    if len(body.events) > limit:
        raise PayloadTooLargeError(
            f"{len(body.events)} events in one call; at most {limit} are allowed "
            "(max_events_per_request): send them in parts"
        )
    now_ms = int(here.clock().timestamp() * 1000)
    for number, event in enumerate(body.events):
        if event.timestamp is not None:
            check_time(f"events.{number}", event.timestamp, now_ms, here.settings)
    events = [_event(e, now_ms, here.new_id) for e in body.events]
    recorded = await here.recommender.record(events)
    return EventsOut(
        accepted=recorded.accepted,
        duplicates=recorded.duplicates,
        unknown_items=recorded.unknown_items or None,
    )


def _event(given: EventIn, now_ms: int, new_id: Callable[[], str]) -> Event:
    is_ahead = given.timestamp is not None and given.timestamp > now_ms
    return Event(
        user_id=given.user_id,
        item_id=given.item_id,
        event=given.event,
        value=given.value,
        timestamp_ms=now_ms if given.timestamp is None else given.timestamp,
        event_id=new_id() if given.event_id is None else given.event_id,
        recommendation_id=given.recommendation_id,
        arrived_ms=now_ms if is_ahead else None,
    )
