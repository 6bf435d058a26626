"""The bundle's ONNX graphs as functions of numpy arrays.

Opens sessions from bytes that were checked for external data and foreign operators. Knows nothing
of users or of what the numbers mean.

Shape legend: B rows, F feature positions, S support rows, M catalogue rows or sample
users, D dims, P state width.
"""

from typing import Any, Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from recsvc.bundle.onnx_file import MalformedOnnxError, inspect
from recsvc.contract.errors import BundleRefusedError
from recsvc.contract.manifest import GraphSpec, TensorSpec

Device = Literal["cpu", "cuda"]
Floats = NDArray[np.float32]

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_QUIET = 4  # ONNX Runtime prints errors that it also raises; only fatal ones are left to print


class Graphs:
    """The sessions of one bundle.

    Args:
        sessions: by role; user_prior, item_prior and adapt_user must be there, adapt_item may be.
        specs: the manifest's graphs, by role.
    """

    def __init__(
        self, sessions: dict[str, ort.InferenceSession], specs: dict[str, GraphSpec]
    ) -> None:
        self._sessions = sessions
        self._inputs = {role: [t.name for t in spec.inputs] for role, spec in specs.items()}

    def user_prior(self, features_BF: Floats) -> Floats:
        """Where users start, from their encoded features: (B, D)."""
        (prior_BD,) = self._run("user_prior", ["prior_BD"], {"features_BF": features_BF})
        return prior_BD

    def item_prior(self, features_BF: Floats) -> tuple[Floats, Floats]:
        """Vectors (B, D) and biases (B,) of items nobody has touched, from encoded features."""
        vectors_BD, bias_B = self._run(
            "item_prior", ["vectors_BD", "bias_B"], {"features_BF": features_BF}
        )
        return vectors_BD, bias_B

    def adapt_user(
        self,
        prior_BD: Floats,
        support_vectors_BSD: Floats,
        support_bias_BS: Floats,
        support_label_BS: Floats,
        support_weight_BS: Floats,
        steps: int,
        catalogue_vectors_MD: Floats,
        catalogue_bias_M: Floats,
    ) -> Floats:
        """K gradient steps from the prior on the support rows: (B, P). Weight 0 is padding."""
        feeds = {
            "prior_BD": prior_BD,
            "support_vectors_BSD": support_vectors_BSD,
            "support_bias_BS": support_bias_BS,
            "support_label_BS": support_label_BS,
            "support_weight_BS": support_weight_BS,
            "steps": np.asarray(steps, dtype=np.int64),
            "catalogue_vectors_MD": catalogue_vectors_MD,
            "catalogue_bias_M": catalogue_bias_M,
        }
        (state_BP,) = self._run("adapt_user", ["state_BP"], feeds)
        return state_BP

    def adapt_item(
        self,
        prior_vectors_BD: Floats,
        prior_bias_B: Floats,
        support_states_BSD: Floats,
        support_offset_BS: Floats,
        support_weight_BS: Floats,
        exposure_B: Floats,
        sample_states_MD: Floats,
        sample_offset_M: Floats,
    ) -> tuple[Floats, Floats]:
        """Vectors (B, D) and biases (B,) of items that users took; see `ItemAdaptationSpec`."""
        feeds = {
            "prior_vectors_BD": prior_vectors_BD,
            "prior_bias_B": prior_bias_B,
            "support_states_BSD": support_states_BSD,
            "support_offset_BS": support_offset_BS,
            "support_weight_BS": support_weight_BS,
            "exposure_B": exposure_B,
            "sample_states_MD": sample_states_MD,
            "sample_offset_M": sample_offset_M,
        }
        vectors_BD, bias_B = self._run("adapt_item", ["vectors_BD", "bias_B"], feeds)
        return vectors_BD, bias_B

    def _run(self, role: str, outputs: list[str], feeds: dict[str, Any]) -> list[Floats]:
        wanted = {name: feeds[name] for name in self._inputs[role]}
        results: list[Floats] = self._sessions[role].run(outputs, wanted)
        return results


def open_session(raw: bytes, source: str, spec: GraphSpec, device: Device) -> ort.InferenceSession:
    """Open one graph after checking what it asks for.

    Args:
        raw: the file's content.
        source: what an error calls it.
        spec: inputs and outputs that the manifest promises.
        device: where it runs; "cuda" is refused where ONNX Runtime falls back to the CPU.

    Raises:
        BundleRefusedError: it needs external data or foreign operators, does not load, differs
            from the manifest, or the device is not there.
    """
    _check_self_contained(raw, source)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = _QUIET
    try:
        session = ort.InferenceSession(raw, options, providers=[_PROVIDERS[device]])
    except Exception as exc:  # ONNX Runtime's own exceptions share no base class but this
        raise BundleRefusedError(f"{source} does not load: {exc}; export it again") from exc
    if _PROVIDERS[device] not in session.get_providers():
        raise BundleRefusedError(
            f"{source} was to run on {device!r}, but ONNX Runtime offers only "
            f"{session.get_providers()}; set RECSVC_DEVICE=cpu or install a working driver"
        )
    _check_tensors(session.get_inputs(), spec.inputs, f"{source}: inputs")
    _check_tensors(session.get_outputs(), spec.outputs, f"{source}: outputs")
    return session


def _check_self_contained(raw: bytes, source: str) -> None:
    try:
        findings = inspect(raw)
    except MalformedOnnxError as exc:
        raise BundleRefusedError(f"{source} is no ONNX model: {exc}; export it again") from exc
    if findings.external_tensors:
        raise BundleRefusedError(
            f"{source} keeps {findings.external_tensors} tensors in other files; export it with "
            "its weights inside"
        )
    if findings.foreign_domains:
        raise BundleRefusedError(
            f"{source} uses operators of {sorted(findings.foreign_domains)}; only ONNX's standard "
            "operators are served"
        )


def _check_tensors(actual: list[Any], expected: tuple[TensorSpec, ...], what: str) -> None:
    found = {(t.name, t.type, len(t.shape)) for t in actual}
    promised = {(t.name, t.dtype, len(t.shape)) for t in expected}
    if found != promised:
        raise BundleRefusedError(
            f"{what} are {sorted(found)}, the manifest says {sorted(promised)}; export it again"
        )
