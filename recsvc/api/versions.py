"""Model versions: which there are, which serves, what failed; and which is to serve."""

from collections.abc import Awaitable
from typing import Annotated

from fastapi import APIRouter, Path, Request

from recsvc.api.context import context
from recsvc.api.problems import guarded
from recsvc.api.record_models import ActiveModel, ModelsOut, Promoted, VersionOut
from recsvc.api.routes import ServiceRoute
from recsvc.contract.errors import ContractError, VersionNotFoundError
from recsvc.contract.registry import VERSION_PATTERN, Current
from recsvc.errors import ConflictError, ModelNotFoundError, NotReadyError
from recsvc.recommender import Recommender

router = APIRouter(tags=["models"], route_class=ServiceRoute)

Version = Annotated[
    str,
    Path(
        pattern=VERSION_PATTERN,
        description="As GET /v1/models names it.",
        examples=["20260131T120000.000000Z"],
    ),
]


@router.get(
    "/v1/models",
    operation_id="listModels",
    summary="The versions, and which one serves",
    responses=guarded(),
    response_model_exclude_none=True,
)
async def list_models(request: Request) -> ModelsOut:
    """A version that could not be loaded shows why; the one before serves on."""
    recommender = context(request).recommender
    status = await recommender.rollout.status()
    roles = {status.previous: "previous", status.active: "active"}
    names = sorted({*status.versions, *status.failures, *(v for v in roles if v)})
    versions = [
        VersionOut.model_validate(
            {
                "version": name,
                "role": roles.get(name, "failed" if name in status.failures else "available"),
                "error": status.failures.get(name),
            }
        )
        for name in names
    ]
    return ModelsOut(
        active=_active(recommender),
        current=status.current,
        versions=versions,
        registry_error=status.registry_error,
    )


@router.post(
    "/v1/models/{version}/activate",
    operation_id="activateModel",
    summary="Put a version to work",
    responses=guarded(404, 409),
)
async def activate_model(request: Request, version: Version) -> Promoted:
    """Verifies it, makes it the current one, and serves it from the answer on; other workers and
    replicas follow within a second. Harmless when repeated. Needs a key of scope `admin`.
    """
    return await _promoted(context(request).recommender.rollout.activate(version))


@router.post(
    "/v1/models/rollback",
    operation_id="rollBackModel",
    summary="Put the version before the current one to work again",
    responses=guarded(404, 409),
)
async def roll_back_model(request: Request) -> Promoted:
    """The two change places, so a repeat undoes it: name a version to `activate` where a request
    may be sent twice. Needs a key of scope `admin`.
    """
    return await _promoted(context(request).recommender.rollout.roll_back())


async def _promoted(promotion: Awaitable[Current]) -> Promoted:
    try:
        pointer = await promotion
    except VersionNotFoundError as exc:
        raise ModelNotFoundError(str(exc)) from exc
    except ContractError as exc:
        raise ConflictError(f"{exc}; the version that serves stays") from exc
    return Promoted(**pointer.model_dump())


def _active(recommender: Recommender) -> ActiveModel:
    loaded = recommender.rollout.active
    if loaded is None:
        raise NotReadyError("no model is loaded yet", retry_after_s=1)
    manifest = loaded.model.manifest
    return ActiveModel(
        version=manifest.version,
        created_at=manifest.created_at,
        loaded_at=loaded.loaded_at.isoformat(),
        dataset=manifest.dataset.name,
        users=manifest.dataset.users,
        items=loaded.model.catalogue.n_visible,
        algorithm=manifest.adaptation.algorithm,
        dims=manifest.adaptation.dims,
        steps=manifest.adaptation.steps,
    )
