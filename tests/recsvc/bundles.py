"""A tiny world with known right answers, written as a bundle without torch.

A checkerboard: items are black or white, and so are tastes. An item's vector is one unit along its
colour, its bias falls with its number, and the adapt graph walks `steps` times the weighted mean
of the support vectors (negatives count backwards). So a user who liked black items gets black
items in the order of their numbers, and nothing else can be right.

Shape legend: B rows, S support rows, N items, D dims, F feature positions.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import orjson
from numpy.typing import NDArray
from onnx import TensorProto, helper

from recsvc.contract.manifest import (
    AdaptationSpec,
    DatasetSpec,
    GraphSpec,
    InteractionRules,
    ItemAdaptationSpec,
    KernelSpec,
    Lineage,
    Manifest,
    PositiveRule,
    hash_file,
    read_manifest,
    write_manifest,
)
from recsvc.contract.registry import Registry
from recsvc.contract.schema import Column, FeatureSchema
from tests.recsvc import world_items
from tests.recsvc.kernels import WorldKernel, colour_kernel
from tests.recsvc.onnx_models import graph_spec, make_model

COLOURS = ("black", "white")
PER_COLOUR = 32
DIMS = 2
MAX_SUPPORT = 50
NOW = datetime(2026, 1, 1, tzinfo=UTC)

ITEM_SCHEMA = FeatureSchema(
    columns=(
        Column(name="colour", kind="categorical", vocabulary=COLOURS),
        Column(name="tags", kind="multi-categorical", vocabulary=("even", "odd", "low")),
        Column(name="year", kind="numeric", mean=2000.0, scale=10.0),
    )
)
USER_SCHEMA = FeatureSchema(columns=(Column(name="side", kind="categorical", vocabulary=COLOURS),))
RULES = InteractionRules(
    positive=PositiveRule(threshold=4.0), event_weights={"buy": 2.0, "impression": 0.0}
)


def item_id(colour: str, number: int) -> str:
    return f"{colour}-{number:02d}"


ITEM_IDS = [item_id(colour, n) for colour in COLOURS for n in range(PER_COLOUR)]
BLACK = ITEM_IDS[:PER_COLOUR]
WHITE = ITEM_IDS[PER_COLOUR:]

COLOUR_KERNEL = colour_kernel(PER_COLOUR, n_trained=len(ITEM_IDS) - 4)
"""Changes scores, but no list of the checkerboard: whom it speaks for is on top anyway."""


def publish_world(root: Path, version: str, *, promote: bool = True, **changes: Any) -> Registry:
    """Write a version of the world to a registry; see `write_world` for the changes."""
    registry = Registry(root)
    staging = registry.staging()
    write_world(staging, version, **changes)
    registry.publish(staging, version)
    if promote:
        registry.promote(version, NOW)
    return registry


def write_world(
    directory: Path,
    version: str,
    *,
    inverted: bool = False,
    swapped: bool = False,
    kernel: WorldKernel | None = None,
    adapts_items: bool = False,
) -> Manifest:
    """Write every file of a bundle.

    Args:
        directory: exists and is empty.
        version: of the bundle.
        inverted: make users dislike what they liked: another model with other right answers.
        swapped: the inner loop sees trained items by vectors of their own, of the other colour.
        kernel: joins the vector's scores; with one, only its items count as trained.
        adapts_items: untrained items move as `world_items` says.
    """
    vectors_ND = np.repeat(np.eye(DIMS, dtype=np.float32), PER_COLOUR, axis=0)
    numbers_N = np.tile(np.arange(PER_COLOUR, dtype=np.float32), len(COLOURS))
    bias_N = (-0.01 * numbers_N).astype(np.float32)
    rate = -1.0 if inverted else 1.0
    graphs = {
        "user_prior": _user_prior(),
        "item_prior": _item_prior(),
        "adapt_user": _adapt_user(rate),
    }
    if adapts_items:
        graphs["adapt_item"] = world_items.adapt_item_model(DIMS)
        world_items.write_samples(directory)
    for role, model in graphs.items():
        (directory / f"{role}.onnx").write_bytes(model.SerializeToString())
    np.save(directory / "item_vectors.npy", vectors_ND)
    np.save(directory / "item_bias.npy", bias_N)
    n_trained = kernel.n_trained if kernel else len(ITEM_IDS)
    inner_MD = vectors_ND[:n_trained]
    if swapped:
        inner_MD = np.ascontiguousarray(inner_MD[:, ::-1])
        np.save(directory / "inner_vectors.npy", inner_MD)
    (directory / "item_ids.json").write_bytes(orjson.dumps(ITEM_IDS))
    columns = {
        "colour": [colour for colour in COLOURS for _ in range(PER_COLOUR)],
        "tags": [tags_of(n) for _ in COLOURS for n in range(PER_COLOUR)],
        "year": [1990 + n for _ in COLOURS for n in range(PER_COLOUR)],
        "title": [f"The {i}" if i != WHITE[-1] else None for i in ITEM_IDS],
    }
    (directory / "item_attributes.json").write_bytes(orjson.dumps({"columns": columns}))
    golden = _golden(vectors_ND, inner_MD, bias_N, rate, kernel)
    if adapts_items:
        golden |= world_items.golden()
    np.savez(directory / "golden.npz", allow_pickle=False, **golden)
    (directory / "metrics.json").write_bytes(b"{}")
    kernel_spec = kernel.write(directory) if kernel else None
    specs = {role: graph_spec(role, m) for role, m in graphs.items()}
    return seal(
        directory,
        version,
        specs,
        kernel_spec,
        kernel.n_trained if kernel else None,
        inner_vectors=swapped,
        item_adaptation=world_items.SPEC if adapts_items else None,
    )


def seal(
    directory: Path,
    version: str,
    graphs: dict[str, GraphSpec],
    kernel: KernelSpec | None = None,
    catalogue_items: int | None = None,
    *,
    inner_vectors: bool = False,
    item_adaptation: ItemAdaptationSpec | None = None,
) -> Manifest:
    """Hash what lies in the directory and write the manifest over it."""
    files = {p.name: hash_file(p) for p in sorted(directory.iterdir()) if p.name != "manifest.json"}
    manifest = Manifest(
        version=version,
        created_at=NOW.isoformat(),
        adaptation=AdaptationSpec(
            algorithm="mean",
            dims=DIMS,
            state_dims=DIMS,
            steps=1,
            max_steps=1,
            window=20,
            max_support=MAX_SUPPORT,
            catalogue_items=catalogue_items,
            inner_vectors=inner_vectors,
        ),
        graphs=graphs,
        files=files,
        dataset=DatasetSpec(
            name="checkerboard",
            users=2,
            items=len(ITEM_IDS),
            interactions=10,
            positives=10,
            sha256="0" * 64,
            rules=RULES,
            user_features=USER_SCHEMA,
            item_features=ITEM_SCHEMA,
            title_column="title",
        ),
        lineage=Lineage(code_version="test", seed=0),
        kernel=kernel,
        item_adaptation=item_adaptation,
    )
    return write_manifest(directory, manifest)


def reseal(directory: Path, **changes: Any) -> Manifest:
    """Record the directory as it is now: an exporter that was wrong, not a disk."""
    manifest = read_manifest(directory)
    files = {name: hash_file(directory / name) for name in manifest.files}
    return write_manifest(directory, manifest.model_copy(update={"files": files, **changes}))


def tags_of(number: int) -> str:
    parity = "odd" if number % 2 else "even"
    return f"{parity}|low" if number < 4 else parity


def user_weights() -> NDArray[np.float32]:
    """No intercept: a user of whom nothing is known starts at zero."""
    W_FD = np.zeros((USER_SCHEMA.width, DIMS), dtype=np.float32)
    W_FD[-2, 0] = W_FD[-1, 1] = 0.5
    return W_FD


def item_weights() -> NDArray[np.float32]:
    W_FD = np.zeros((ITEM_SCHEMA.width, DIMS), dtype=np.float32)
    first = 1 + len(ITEM_SCHEMA.columns)
    W_FD[first, 0] = W_FD[first + 1, 1] = 1.0
    return W_FD


def _user_prior() -> onnx.ModelProto:
    return make_model(
        [helper.make_node("MatMul", ["features_BF", "W"], ["prior_BD"])],
        {"features_BF": ["B", USER_SCHEMA.width]},
        {"prior_BD": ["B", DIMS]},
        {"W": user_weights()},
    )


def _item_prior() -> onnx.ModelProto:
    """Vector along the colour; bias 0.05, so that a new item leads its colour."""
    bias_F1 = np.zeros((ITEM_SCHEMA.width, 1), dtype=np.float32)
    bias_F1[0] = 0.05
    return make_model(
        [
            helper.make_node("MatMul", ["features_BF", "W"], ["vectors_BD"]),
            helper.make_node("MatMul", ["features_BF", "w"], ["bias_B1"]),
            helper.make_node("Squeeze", ["bias_B1", "one"], ["bias_B"]),
        ],
        {"features_BF": ["B", ITEM_SCHEMA.width]},
        {"vectors_BD": ["B", DIMS], "bias_B": ["B"]},
        {"W": item_weights(), "w": bias_F1, "one": np.asarray([1], dtype=np.int64)},
    )


def _adapt_user(rate: float) -> onnx.ModelProto:
    """prior + steps * rate * sum(w (2 label - 1) v) / max(sum w, tiny)."""
    nodes = [
        helper.make_node("Mul", ["support_label_BS", "two"], ["double_BS"]),
        helper.make_node("Sub", ["double_BS", "one"], ["sign_BS"]),
        helper.make_node("Mul", ["sign_BS", "support_weight_BS"], ["signed_BS"]),
        helper.make_node("Unsqueeze", ["signed_BS", "axis"], ["signed_B1S"]),
        helper.make_node("MatMul", ["signed_B1S", "support_vectors_BSD"], ["sum_B1D"]),
        helper.make_node("Squeeze", ["sum_B1D", "axis"], ["sum_BD"]),
        helper.make_node("ReduceSum", ["support_weight_BS", "axis"], ["total_B1"], keepdims=1),
        helper.make_node("Max", ["total_B1", "tiny"], ["safe_B1"]),
        helper.make_node("Div", ["sum_BD", "safe_B1"], ["mean_BD"]),
        helper.make_node("Cast", ["steps"], ["steps_f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["steps_f", "rate"], ["walk"]),
        helper.make_node("Mul", ["mean_BD", "walk"], ["step_BD"]),
        helper.make_node("Add", ["prior_BD", "step_BD"], ["state_BP"]),
    ]
    inputs = {
        "prior_BD": ["B", DIMS],
        "support_vectors_BSD": ["B", "S", DIMS],
        "support_bias_BS": ["B", "S"],
        "support_label_BS": ["B", "S"],
        "support_weight_BS": ["B", "S"],
        "steps": [],
        "catalogue_vectors_MD": ["M", DIMS],
        "catalogue_bias_M": ["M"],
    }
    constants = {
        "two": np.float32(2),
        "one": np.float32(1),
        "tiny": np.float32(1e-9),
        "rate": np.float32(rate),
        "axis": np.asarray([1], dtype=np.int64),
    }
    return make_model(nodes, inputs, {"state_BP": ["B", DIMS]}, constants)


def _golden(
    vectors_ND: NDArray[np.float32],
    inner_MD: NDArray[np.float32],
    bias_N: NDArray[np.float32],
    rate: float,
    kernel: WorldKernel | None,
) -> dict[str, Any]:
    """Answers computed here by hand, not by the graphs."""
    user_features_GF = USER_SCHEMA.encode([{}, {"side": "white"}, {}])
    prior_GD = user_features_GF @ user_weights()
    support_GS = np.asarray([[0, 2], [33, -1], [40, 1]], dtype=np.int64)
    label_GS = np.asarray([[1, 1], [1, 0], [1, 0]], dtype=np.float32)
    weight_GS = np.asarray([[1, 2], [1, 0], [1, 1]], dtype=np.float32)
    signed_GS = weight_GS * (2 * label_GS - 1)
    mean_GD = np.einsum("gs,gsd->gd", signed_GS, inner_MD[support_GS])
    state_GD = prior_GD + rate * mean_GD / weight_GS.sum(axis=1, keepdims=True)
    scores_GN = state_GD @ vectors_ND.T + bias_N
    top_G10 = []
    for g, scores_N in enumerate(scores_GN):
        seen = {int(s) for s in support_GS[g] if s >= 0}
        if kernel is not None:
            positive_S = (weight_GS[g] * label_GS[g]).tolist()
            scores_N = kernel.served(scores_N, support_GS[g].tolist(), positive_S)
        order = sorted(range(len(ITEM_IDS)), key=lambda i: (-scores_N[i], ITEM_IDS[i]))
        top_G10.append([i for i in order if i not in seen][:10])
    item_features_HF = ITEM_SCHEMA.encode([{"colour": "black"}, {"colour": "white"}, {}])
    return {
        "user_features_GF": user_features_GF,
        "prior_GD": prior_GD.astype(np.float32),
        "support_items_GS": support_GS,
        "support_label_GS": label_GS,
        "support_weight_GS": weight_GS,
        "steps": np.asarray(1, dtype=np.int64),
        "state_GP": state_GD.astype(np.float32),
        "top_items_G10": np.asarray(top_G10, dtype=np.int64),
        "item_features_HF": item_features_HF,
        "item_prior_vectors_HD": item_features_HF @ item_weights(),
        "item_prior_bias_H": np.full(3, 0.05, dtype=np.float32),
    }
