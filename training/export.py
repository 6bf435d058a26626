"""Export a meta-trained model as a bundle: ONNX graphs, vectors, golden rows, manifest.

Knows nothing of how the model was trained. The bundle is built aside and published whole, so a
full disk or a kill leaves the registry as it was.

Shape legend: B rows, S support rows, M catalogue rows, N items, D dims, F feature positions.
"""

import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import orjson
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import Dim

from recsvc.contract.manifest import (
    AdaptationSpec,
    DatasetSpec,
    GraphSpec,
    KernelSpec,
    Lineage,
    Manifest,
    TensorSpec,
    hash_file,
    write_manifest,
)
from recsvc.contract.pooling import Edges, Kernel
from recsvc.contract.registry import Registry
from recsvc.contract.word_files import write_words
from training.errors import TrainingError
from training.golden import golden_rows
from training.inner_loop import InnerParameters, adapt
from training.item_prior import ItemPrior
from training.posterior import ItemAdaptation, PosteriorParameters, adapt_items

_ORT_TYPES: dict[int, str] = {
    onnx.TensorProto.FLOAT: "tensor(float)",
    onnx.TensorProto.INT64: "tensor(int64)",
}


@dataclass(frozen=True, slots=True)
class Exportable:
    """All that a bundle holds, as arrays."""

    item_ids: list[str]
    """N ids; the first M of them took part in training."""
    item_vectors_ND: NDArray[np.float32]
    inner_vectors_MD: NDArray[np.float32]
    """The trained items as the inner loop sees them; written where they have vectors of their own.
    """
    item_bias_N: NDArray[np.float32]
    item_attributes: dict[str, list[Any]]
    item_features_NF: NDArray[np.float32]
    """A few encoded item rows, for golden rows."""
    user_features_BF: NDArray[np.float32]
    """A few encoded user rows, for golden rows."""
    user_prior_FD: NDArray[np.float32]
    item_prior: ItemPrior
    inner: InnerParameters
    kernel: Kernel | None = None
    """Edges between trained items, and how they join the vector."""
    kernel_parameters: dict[str, NDArray[Any]] = field(default_factory=dict)
    """What made the edges."""
    item_adaptation: ItemAdaptation | None = None
    """How items follow their first interactions; None: they keep what their content says."""
    report: str | None = None
    """A page about the version, as HTML."""

    @property
    def kernel_spec(self) -> KernelSpec | None:
        """What the manifest says of the kernel."""
        if self.kernel is None:
            return None
        return KernelSpec(edges=len(self.kernel.edges.item_E), pooling=self.kernel.pooling)


class AdaptUser(nn.Module):
    """The adapt_user graph."""

    def __init__(self, inner: InnerParameters) -> None:
        super().__init__()
        for name, value in inner._asdict().items():
            self.register_buffer(name, value.detach().clone().cpu())

    def forward(
        self,
        prior_BD: Tensor,
        support_vectors_BSD: Tensor,
        support_bias_BS: Tensor,
        support_label_BS: Tensor,
        support_weight_BS: Tensor,
        steps: Tensor,
        catalogue_vectors_MD: Tensor,
        catalogue_bias_M: Tensor,
    ) -> Tensor:
        inner = InnerParameters(*(self.get_buffer(name) for name in InnerParameters._fields))
        return adapt(
            prior_BD,
            support_vectors_BSD,
            support_bias_BS,
            support_label_BS,
            support_weight_BS,
            steps,
            catalogue_vectors_MD,
            catalogue_bias_M,
            inner,
        )


class UserPrior(nn.Module):
    """The user_prior graph: features to where a user starts."""

    def __init__(self, weight_FD: NDArray[np.float32]) -> None:
        super().__init__()
        self.register_buffer("weight_FD", torch.as_tensor(weight_FD))

    def forward(self, features_BF: Tensor) -> Tensor:
        prior_BD: Tensor = features_BF @ self.get_buffer("weight_FD")
        return prior_BD


class AdaptItem(nn.Module):
    """The adapt_item graph."""

    def __init__(self, parameters: PosteriorParameters) -> None:
        super().__init__()
        for name, value in parameters._asdict().items():
            self.register_buffer(name, value.detach().clone().cpu())

    def forward(
        self,
        prior_vectors_BD: Tensor,
        prior_bias_B: Tensor,
        support_states_BSD: Tensor,
        support_offset_BS: Tensor,
        support_weight_BS: Tensor,
        exposure_B: Tensor,
        sample_states_MD: Tensor,
        sample_offset_M: Tensor,
    ) -> tuple[Tensor, Tensor]:
        del support_offset_BS  # the same for every item, so no part of a gradient
        adapted_BP = adapt_items(
            torch.cat([prior_vectors_BD, prior_bias_B.unsqueeze(1)], dim=1),
            support_states_BSD,
            support_weight_BS,
            exposure_B,
            sample_states_MD,
            sample_offset_M,
            PosteriorParameters(*(self.get_buffer(n) for n in PosteriorParameters._fields)),
        )
        return adapted_BP[:, :-1], adapted_BP[:, -1]


def export_graph(
    module: nn.Module,
    example: dict[str, Tensor],
    dynamic: dict[str, dict[int, Any]],
    outputs: list[str],
    path: Path,
) -> GraphSpec:
    """Write one graph, and check that what should be dynamic is.

    Raises:
        TrainingError: a dimension that must be dynamic came out fixed.
    """
    with warnings.catch_warnings(), _quiet(logging.getLogger("torch.onnx")):
        warnings.simplefilter("ignore")  # torch and onnxscript warn of their own deprecations
        program = torch.onnx.export(
            module.eval(),
            kwargs=example,
            dynamic_shapes=dynamic,
            input_names=list(example),
            output_names=outputs,
            dynamo=True,
            external_data=False,
            verbose=False,
            optimize=True,
        )
    assert program is not None, "torch.onnx.export gave no program. This is a bug."
    model = program.model_proto
    path.write_bytes(model.SerializeToString())
    spec = GraphSpec(
        file=path.name,
        inputs=tuple(_tensor_spec(v) for v in model.graph.input),
        outputs=tuple(_tensor_spec(v) for v in model.graph.output),
    )
    for tensor in spec.inputs:
        for axis in dynamic.get(tensor.name, {}):
            if not isinstance(tensor.shape[axis], str):
                raise TrainingError(
                    f"{path.name}: dimension {axis} of {tensor.name} was fixed at "
                    f"{tensor.shape[axis]} during export. This is a bug."
                )
    return spec


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Keep the exporter's remarks on packages that are not needed off the terminal."""
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _tensor_spec(value: onnx.ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    shape = tuple(d.dim_param or d.dim_value for d in tensor.shape.dim)
    return TensorSpec(name=value.name, dtype=_ORT_TYPES[tensor.elem_type], shape=shape)


def export_adapt_user(inner: InnerParameters, dims: int, path: Path) -> GraphSpec:
    """Write adapt_user.onnx: batch, support size and catalogue size dynamic, K an input."""
    b, s, m = Dim("B"), Dim("S"), Dim("M")
    example = {
        "prior_BD": torch.zeros(2, dims),
        "support_vectors_BSD": torch.zeros(2, 3, dims),
        "support_bias_BS": torch.zeros(2, 3),
        "support_label_BS": torch.ones(2, 3),
        "support_weight_BS": torch.ones(2, 3),
        "steps": torch.tensor(1),
        "catalogue_vectors_MD": torch.zeros(5, dims),
        "catalogue_bias_M": torch.zeros(5),
    }
    dynamic: dict[str, dict[int, Any]] = {
        "prior_BD": {0: b},
        "support_vectors_BSD": {0: b, 1: s},
        "support_bias_BS": {0: b, 1: s},
        "support_label_BS": {0: b, 1: s},
        "support_weight_BS": {0: b, 1: s},
        "steps": {},
        "catalogue_vectors_MD": {0: m},
        "catalogue_bias_M": {0: m},
    }
    return export_graph(AdaptUser(inner), example, dynamic, ["state_BP"], path)


def export_adapt_item(parameters: PosteriorParameters, path: Path) -> GraphSpec:
    """Write adapt_item.onnx: batch, support size and number of sample users dynamic."""
    dims = len(parameters.root_PP) - 1
    b, s, m = Dim("B"), Dim("S"), Dim("M")
    example = {
        "prior_vectors_BD": torch.zeros(2, dims),
        "prior_bias_B": torch.zeros(2),
        "support_states_BSD": torch.zeros(2, 3, dims),
        "support_offset_BS": torch.zeros(2, 3),
        "support_weight_BS": torch.ones(2, 3),
        "exposure_B": torch.full((2,), 9.0),
        "sample_states_MD": torch.zeros(5, dims),
        "sample_offset_M": torch.zeros(5),
    }
    sizes = {"B": b, "S": s, "M": m}
    dynamic: dict[str, dict[int, Any]] = {
        name: {i: sizes[c] for i, c in enumerate(name.rpartition("_")[2]) if c in sizes}
        for name in example
    }
    return export_graph(AdaptItem(parameters), example, dynamic, ["vectors_BD", "bias_B"], path)


def export_priors(
    user_prior_FD: NDArray[np.float32], item_prior: ItemPrior, directory: Path
) -> dict[str, GraphSpec]:
    """Write user_prior.onnx and item_prior.onnx."""
    dynamic: dict[str, dict[int, Any]] = {"features_BF": {0: Dim("B")}}
    return {
        "user_prior": export_graph(
            UserPrior(user_prior_FD),
            {"features_BF": torch.zeros(2, len(user_prior_FD))},
            dynamic,
            ["prior_BD"],
            directory / "user_prior.onnx",
        ),
        "item_prior": export_graph(
            item_prior,
            {"features_BF": torch.zeros(2, item_prior.features)},
            dynamic,
            ["vectors_BD", "bias_B"],
            directory / "item_prior.onnx",
        ),
    }


def export_bundle(
    registry: Registry,
    version: str,
    now: datetime,
    model: Exportable,
    adaptation: AdaptationSpec,
    dataset: DatasetSpec,
    lineage: Lineage,
    metrics: dict[str, Any],
) -> Manifest:
    """Write a version into the registry, all or nothing.

    Raises:
        TrainingError: a file cannot be written (a full disk); nothing of the version remains.
        RegistryError: the registry cannot be written, or holds the version already.
    """
    with staged(registry, version) as staging:
        graphs = _write_files(staging, model, adaptation, metrics)
        write_words(staging, dataset)
        manifest = Manifest(
            version=version,
            created_at=now.isoformat(),
            adaptation=adaptation,
            graphs=graphs,
            files={p.name: hash_file(p) for p in sorted(staging.iterdir())},
            dataset=dataset,
            lineage=lineage,
            kernel=model.kernel_spec,
            item_adaptation=None if model.item_adaptation is None else model.item_adaptation.spec,
        )
        return write_manifest(staging, manifest)


@contextmanager
def staged(registry: Registry, version: str) -> Iterator[Path]:
    """A directory that becomes a version when the block ends, all or nothing.

    Raises:
        TrainingError: a file cannot be written (a full disk); nothing of the version remains.
        RegistryError: the registry cannot be written, or holds the version already.
    """
    staging = registry.staging()
    try:
        yield staging
        registry.publish(staging, version)
    except OSError as exc:
        raise TrainingError(
            f"version {version} could not be written to {registry.url}: {exc}; nothing of it "
            "remains there; free disk space and run the same command again"
        ) from exc
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _write_files(
    staging: Path, model: Exportable, adaptation: AdaptationSpec, metrics: dict[str, Any]
) -> dict[str, GraphSpec]:
    graphs = export_priors(model.user_prior_FD, model.item_prior, staging)
    graphs["adapt_user"] = export_adapt_user(
        model.inner, adaptation.dims, staging / "adapt_user.onnx"
    )
    items = model.item_adaptation
    if items is not None:
        graphs["adapt_item"] = export_adapt_item(items.parameters, staging / "adapt_item.onnx")
        np.save(staging / "sample_states.npy", items.sample_states_MD, allow_pickle=False)
        np.save(staging / "sample_offset.npy", items.sample_offset_M, allow_pickle=False)
    np.save(staging / "item_vectors.npy", model.item_vectors_ND, allow_pickle=False)
    if adaptation.inner_vectors:
        np.save(staging / "inner_vectors.npy", model.inner_vectors_MD, allow_pickle=False)
    np.save(staging / "item_bias.npy", model.item_bias_N, allow_pickle=False)
    if model.kernel is not None:
        write_edges(staging, model.kernel.edges)
        with (staging / "kernel.npz").open("wb") as stream:
            np.savez(stream, allow_pickle=False, **model.kernel_parameters)
    (staging / "item_ids.json").write_bytes(orjson.dumps(model.item_ids))
    (staging / "item_attributes.json").write_bytes(orjson.dumps({"columns": model.item_attributes}))
    (staging / "metrics.json").write_bytes(orjson.dumps(metrics, option=orjson.OPT_INDENT_2))
    if model.report is not None:
        (staging / "report.html").write_text(model.report, encoding="utf-8")
    rows = golden_rows(
        model.user_features_BF,
        model.user_prior_FD,
        model.item_features_NF,
        model.item_prior,
        model.item_vectors_ND,
        model.item_bias_N,
        model.inner_vectors_MD,
        model.inner,
        adaptation.steps,
        model.kernel,
        items,
    )
    with (staging / "golden.npz").open("wb") as stream:
        np.savez(stream, allow_pickle=False, **rows)
    return graphs


def write_edges(directory: Path, edges: Edges) -> None:
    """Write the edges, each array on its own so that they are memory-mapped."""
    np.save(directory / "edges_indptr.npy", edges.indptr_M1, allow_pickle=False)
    np.save(directory / "edges_item.npy", edges.item_E, allow_pickle=False)
    np.save(directory / "edges_strength.npy", edges.strength_E, allow_pickle=False)
