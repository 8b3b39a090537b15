"""The xDS transport protocol without I/O: requests in, responses out, one stream at a time."""
