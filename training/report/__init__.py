"""An evaluation as one self-contained HTML page: where we lose, plots, tables, data and settings.

Knows nothing of protocols: it reads the one JSON shape of `training.evaluate.Evaluation`, so a
result that was kept as a file renders like a fresh one.
"""

from training.report.page import render, render_all

__all__ = ["render", "render_all"]
