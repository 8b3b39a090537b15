"""The one exception tree. A boundary turns it into a gRPC status, a problem+json or an exit code."""

from __future__ import annotations


class PointsmanError(Exception):
    """Anything Pointsman refuses or can't do; the message names the thing, what was wrong and what to do."""


class SettingsError(PointsmanError):
    """A setting, or the file that holds the settings, can't be used."""


class LintError(PointsmanError):
    """What is to be checked can't be read, or isn't an Envoy's configuration."""


class CertificateError(PointsmanError):
    """A certificate or its key can't be read or doesn't fit. ``kind`` is one word for metrics."""

    def __init__(self, message: str, *, kind: str = "file") -> None:
        super().__init__(message)
        self.kind = kind


class GdsError(PointsmanError):
    """GDS can't be reached, or what it answers isn't the contract."""


class HistoryGone(GdsError):
    """GDS can't resume the watch from our revision: take a new snapshot (410, a gap, another epoch)."""


class RecordError(PointsmanError):
    """One record of the directory isn't valid; it is set aside and never stops the rest."""


class StateError(PointsmanError):
    """What is on disk can't be read or written; the directory in memory goes on."""


class HoldError(PointsmanError):
    """A hold or a rollback can't be done as it was asked."""


class OrderError(PointsmanError):
    """A running control plane can't be asked, or won't do what was ordered. ``status``: of its answer, 0 for none."""

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class CompareError(PointsmanError):
    """A comparison can't be made, or not to its end."""


class MapError(PointsmanError):
    """A map file can't be read or imported."""


class PublishError(PointsmanError):
    """What was to be published can't be right: nothing of it was."""


class ProtocolError(PointsmanError):
    """A peer broke the xDS protocol in a way that ends its stream."""


class LimitError(ProtocolError):
    """A peer asked for more than it may have; the message names the limit's setting."""


class Overdue(LimitError):
    """A peer didn't say in time what it must."""


class AccessError(ProtocolError):
    """A peer claims what its certificate doesn't allow. ``revoked``: it is on a list; ``unknown``: it can't be read."""

    def __init__(self, message: str, *, revoked: bool = False, unknown: bool = False) -> None:
        super().__init__(message)
        self.revoked = revoked
        self.unknown = unknown


class WaitError(PointsmanError):
    """Too many wait for something already."""
