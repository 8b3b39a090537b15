"""Whether there are traces: what needs OpenTelemetry is imported here, and only when an endpoint is set."""

from __future__ import annotations

from collections.abc import Callable

from xds.errors import SettingsError
from xds.traces.settings import Traces
from xds.traces.tracer import Tracer


def started(settings: Traces, name_of: Callable[[int], str]) -> Tracer | None:
    """None when traces are off. Raises SettingsError when they are on and the extra isn't installed."""
    if settings.endpoint is None:
        return None
    try:
        from xds.traces.otel import Otlp
    except ImportError as error:
        raise SettingsError(
            f"traces.endpoint is set, and {error.name} isn't installed: pip install 'pointsman[otel]'"
        ) from None
    return Tracer(Otlp(str(settings.endpoint), settings.share), name_of, settings.envoys)
