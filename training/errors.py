"""Errors of the offline side. Each class carries the exit code of the command that it ends.

TrainingError            1
├── DataError            2   a data set, or a file of one, is not usable as it is
├── SettingError         2   a flag or an environment variable has a value that is not allowed
└── FetchError           1   a data set could not be had from any of its sources
"""

from typing import ClassVar


class TrainingError(Exception):
    """Base of every error that the offline side raises on purpose."""

    exit_code: ClassVar[int] = 1


class DataError(TrainingError):
    """A data set, or a file of one, is not usable as it is. Names file, line, value and remedy."""

    exit_code: ClassVar[int] = 2


class SettingError(TrainingError):
    """A setting has a value that is not allowed. Names the flag, the value and what is allowed."""

    exit_code: ClassVar[int] = 2


class FetchError(TrainingError):
    """A data set could not be had from any of its sources."""
