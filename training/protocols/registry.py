"""The methods that rank for new users, by name, as `recsvc-train evaluate` knows them.

Knows nothing of protocols. To add a method, add a line to `METHODS`. Protocols whose methods are
of another kind have their own tuple of `MethodSpec`, and share `find_methods`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from training.baselines.blend import Blended
from training.baselines.demo_pop import DemoPop
from training.baselines.ease import EASE
from training.baselines.ials import IALS
from training.baselines.item_knn import ItemKNN
from training.baselines.popularity import LatePopularity, Popularity, Random
from training.baselines.pure_svd import PureSVD
from training.errors import SettingError
from training.methods import Method

MethodT = TypeVar("MethodT")
MethodT_co = TypeVar("MethodT_co", covariant=True)


@dataclass(frozen=True)
class MethodSpec(Generic[MethodT_co]):
    """How to make a fresh method."""

    name: str
    """As it stands in tables; differs between all methods of one run."""
    make: Callable[[], MethodT_co]
    is_baseline: bool
    """Whether other methods are compared with it."""
    variant: str = ""
    """Tells two specs of one name apart in the store of finished runs."""


def _mult_vae() -> Method:
    # Imported here, as below: torch takes a second, and the other baselines do without.
    from training.baselines.mult_vae import MultVAE

    return Blended(MultVAE())


def _ours() -> Method:
    from training.meta_learned import MetaLearned

    return MetaLearned()


def _plain_maml() -> Method:
    from training.meta_learned import MetaLearned
    from training.outer_loop import TrainConfig

    return MetaLearned(TrainConfig(plain=True, average=0.0), None, "plain-maml")


def _user_vector() -> Method:
    from training.meta_learned import MetaLearned

    return MetaLearned(kernel=None, name="user-vector")


def _item_kernel() -> Method:
    from training.kernel.method import ItemKernelMethod

    return ItemKernelMethod()


METHODS: tuple[MethodSpec[Method], ...] = (
    MethodSpec("random", Random, is_baseline=True),
    MethodSpec("popularity", Popularity, is_baseline=True),
    MethodSpec("late-popularity", LatePopularity, is_baseline=True),
    MethodSpec("demo-pop", DemoPop, is_baseline=True),
    MethodSpec("item-knn", lambda: Blended(ItemKNN()), is_baseline=True),
    MethodSpec("ease", lambda: Blended(EASE()), is_baseline=True),
    MethodSpec("pure-svd", lambda: Blended(PureSVD()), is_baseline=True),
    MethodSpec("ials", lambda: Blended(IALS()), is_baseline=True),
    MethodSpec("mult-vae", _mult_vae, is_baseline=True),
    MethodSpec("plain-maml", _plain_maml, is_baseline=False),
    MethodSpec("item-kernel", _item_kernel, is_baseline=False),
    MethodSpec("user-vector", _user_vector, is_baseline=False),
    MethodSpec("ours", _ours, is_baseline=False),
)


def find_methods(
    names: Sequence[str], methods: Sequence[MethodSpec[MethodT]]
) -> tuple[MethodSpec[MethodT], ...]:
    """The methods of these names, in their own order; all of them where none is named.

    Raises:
        SettingError: a name is unknown.
    """
    known = {spec.name for spec in methods}
    unknown = [name for name in names if name not in known]
    if unknown:
        allowed = ", ".join(spec.name for spec in methods)
        raise SettingError(f"--methods: no method {unknown[0]!r}; there are {allowed}")
    return tuple(spec for spec in methods if not names or spec.name in names)
