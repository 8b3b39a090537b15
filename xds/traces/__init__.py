"""OpenTelemetry traces of changes: from GDS's event to the last Envoy's ACK. Off unless an endpoint is set."""
