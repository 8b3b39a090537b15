"""The rim: gRPC streams that carry the protocol's messages, and the mTLS that guards them."""
