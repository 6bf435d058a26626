"""Items at run time: new ones, changed ones, hidden ones."""

from fastapi import APIRouter, Request

from recsvc.api.context import context
from recsvc.api.fields import ItemIdPath
from recsvc.api.limits import check_features
from recsvc.api.problems import guarded, taking_body
from recsvc.api.record_models import ItemIn, ItemsOut, ItemsPost, ItemView
from recsvc.api.routes import ServiceRoute
from recsvc.recommender import Unused

router = APIRouter(tags=["items"], route_class=ServiceRoute)


@router.put(
    "/v1/items/{item_id}",
    operation_id="putItem",
    summary="Add or change an item; recommendable at once",
    responses=taking_body(),
)
async def put_item(request: Request, item_id: ItemIdPath, body: ItemIn) -> ItemsOut:
    """Replaces its features. A trained item keeps the vector it learned; any other moves with its
    first interactions from what they say.
    """
    here = context(request)
    features = check_features("features", body.features, here.settings)
    return _changed(await here.recommender.put_items({item_id: features}))


@router.post(
    "/v1/items",
    operation_id="postItems",
    summary="Add or change one item or many",
    responses=taking_body(),
)
async def post_items(request: Request, body: ItemsPost) -> ItemsOut:
    """The same as PUT, with the ids in the body. A wrong item refuses them all."""
    here = context(request)
    items = {
        item_id: check_features(f"item {item_id!r}: features", features, here.settings)
        for item_id, features in body.by_id().items()
    }
    return _changed(await here.recommender.put_items(items))


@router.get(
    "/v1/items/{item_id}",
    operation_id="getItem",
    summary="An item as it is known now",
    responses=guarded(404),
)
async def get_item(request: Request, item_id: ItemIdPath) -> ItemView:
    """Its features, whether its vector was learned, else how many interactions have moved it."""
    item = context(request).recommender.item(item_id)
    return ItemView(
        item_id=item.item_id,
        features=item.features,
        trained=item.trained,
        interactions=item.interactions,
    )


@router.delete(
    "/v1/items/{item_id}",
    operation_id="hideItem",
    summary="Leave an item out of every answer",
    status_code=204,
    responses=guarded(404),
)
async def hide_item(request: Request, item_id: ItemIdPath) -> None:
    """PUT brings it back. Harmless when repeated."""
    await context(request).recommender.hide_item(item_id)


def _changed(unused: dict[str, Unused]) -> ItemsOut:
    return ItemsOut(
        accepted=len(unused),
        ignored={item: u.columns for item, u in unused.items() if u.columns},
        unknown_values={item: u.values for item, u in unused.items() if u.values},
    )
