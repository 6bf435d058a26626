"""Errors of the contract between training and service.

ContractError
├── SchemaError          a feature schema or a feature value is wrong
├── ManifestError        a manifest is missing, unreadable, or of an unknown format
├── BundleCorruptError   a file of a bundle is not what its manifest says
├── BundleRefusedError   a bundle is intact, but must not be served
├── RegistryError        the registry cannot be read or written
│   └── VersionNotFoundError
└── ArchiveBusyError     somebody else reads or writes the archive, and does not end
"""


class ContractError(Exception):
    """Base of every error that the contract package raises."""


class SchemaError(ContractError):
    """A feature schema, or a value given for one of its columns, is wrong."""


class ManifestError(ContractError):
    """A bundle's manifest is missing, unreadable, or of a format this version does not know."""


class BundleCorruptError(ContractError):
    """A file of a bundle differs from what the manifest recorded."""


class BundleRefusedError(ContractError):
    """A bundle is intact but must not be served: an unsafe graph, a wrong shape, a wrong answer."""


class RegistryError(ContractError):
    """The registry cannot be read or written."""


class VersionNotFoundError(RegistryError):
    """The registry holds no such version."""


class ArchiveBusyError(ContractError):
    """The archive is read or written by another process for longer than it was waited for."""
