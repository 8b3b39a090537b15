"""The status page: what the control plane knows, for people. Server-rendered, live by server-sent events; it only
reads."""
