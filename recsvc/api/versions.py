"""GET /v1/models: which versions there are, which serves, and what failed."""

from fastapi import APIRouter, Request

from recsvc.api.context import context
from recsvc.api.problems import documented
from recsvc.api.record_models import ActiveModel, ModelsOut, VersionOut
from recsvc.errors import NotReadyError
from recsvc.recommender import Recommender

router = APIRouter(tags=["models"])


@router.get(
    "/v1/models",
    operation_id="listModels",
    summary="The versions, and which one serves",
    responses=documented(503),
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
