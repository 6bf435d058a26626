"""Coordinate search over a grid of settings.

Knows nothing of what a setting means.
"""

from collections.abc import Callable, Mapping, Sequence

Settings = dict[str, float]


def search(
    axes: Mapping[str, Sequence[float]],
    starts: Sequence[Mapping[str, float]],
    figure: Callable[[Settings], float],
    *,
    sweeps: int = 2,
) -> tuple[Settings, int]:
    """Walk uphill from the best of several starts, one axis at a time, until nothing changes.

    On each axis the walk goes from the present value to its neighbours and on while the figure
    grows, so it visits few of the grid's points where the figure has one summit.

    Args:
        axes: ascending values of each setting.
        starts: one value of each axis in each; dense and sparse data have summits far apart.
        figure: what is to be large; called once for each point visited.
        sweeps: most passes over all axes.

    Returns:
        The best settings found, and how many points were visited.
    """
    seen: dict[tuple[float, ...], float] = {}

    def value(settings: Settings) -> float:
        key = tuple(settings.values())
        if key not in seen:
            seen[key] = figure(settings)
        return seen[key]

    best = max(({name: start[name] for name in axes} for start in starts), key=value)
    for _ in range(sweeps):
        before = dict(best)
        for name, values in axes.items():
            best = _climb(best, name, list(values), value)
        if best == before:
            break
    return best, len(seen)


def _climb(
    settings: Settings,
    name: str,
    values: Sequence[float],
    value: Callable[[Settings], float],
) -> Settings:
    """The best point along one axis, found by walking from the present one both ways."""
    best, top = settings, value(settings)
    for step in (1, -1):
        at = values.index(settings[name]) + step
        while 0 <= at < len(values):
            candidate = {**settings, name: values[at]}
            found = value(candidate)
            if found <= top:
                break
            best, top = candidate, found
            at += step
    return best
