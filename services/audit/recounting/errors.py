"""Why an audit may be impossible."""

from __future__ import annotations


class AuditError(RuntimeError):
    """An export cannot be written or read. The message is one line that says which file, and why."""


class ExportRejectedError(AuditError):
    """The folder holds other files, which an export would overwrite."""


class NotAnExportError(AuditError):
    """The folder is no export, or one of another version of the format."""


class DamagedExportError(AuditError):
    """Files of the export are missing, changed or added: they are not what was exported."""
