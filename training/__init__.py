"""Offline meta-training: data sets, tasks, MAML, evaluation, export. Needs the `training` extra."""
