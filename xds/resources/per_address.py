"""How often one client address may ask for unknown hosts: what is more, Envoy answers 429 itself, and the control plane
doesn't hear of it.

No request for a known host is counted: the filter is off for them, and where a split pair turns it on for both, only
what is marked as unknown has a descriptor.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from envoy_data_plane.envoy.config.core.v3 import RuntimeFractionalPercent
from envoy_data_plane.envoy.config.route.v3 import (
    RateLimit,
    RateLimitAction,
    RateLimitActionMaskedRemoteAddress,
    RateLimitActionMetaData,
    RateLimitActionMetaDataSource,
)
from envoy_data_plane.envoy.extensions.common.ratelimit.v3 import LocalRateLimitDescriptor, RateLimitDescriptorEntry
from envoy_data_plane.envoy.extensions.filters.http.local_ratelimit.v3 import LocalRateLimit
from envoy_data_plane.envoy.type.metadata.v3 import MetadataKey, MetadataKeyPathSegment
from envoy_data_plane.envoy.type.v3 import FractionalPercent, TokenBucket

REMEMBERED = 10_000
"""Addresses that a filter chain of an Envoy counts for at a time; it forgets the one that asked longest ago."""
NETWORK = 64
"""Bits of an IPv6 address that are one client's."""

_EACH = "masked_remote_address"
_MARKED = "unknown"
_ALL = RuntimeFractionalPercent(default_value=FractionalPercent(numerator=100))


@dataclass(frozen=True, slots=True)
class PerAddress:
    """``rate`` requests a second for unknown hosts; after a quiet while ``burst`` at once."""

    rate: int
    burst: int


def limit(each: PerAddress, namespace: str, key: str, marked: str) -> LocalRateLimit:
    """Counts requests whose dynamic metadata ``namespace`` say ``marked`` at ``key``. One for a whole listener: a limit
    that stood in the tables would be another one in each."""
    bucket = TokenBucket(max_tokens=each.burst, tokens_per_fill=each.rate, fill_interval=timedelta(seconds=1))
    mark = RateLimitActionMetaData(
        descriptor_key=_MARKED,
        metadata_key=MetadataKey(key=namespace, path=[MetadataKeyPathSegment(key=key)]),
        source=RateLimitActionMetaDataSource.DYNAMIC,
    )
    address = RateLimitActionMaskedRemoteAddress(v4_prefix_mask_len=32, v6_prefix_mask_len=NETWORK)
    return LocalRateLimit(
        stat_prefix="pointsman",
        filter_enabled=_ALL,
        filter_enforced=_ALL,
        # The mark comes first: without it nothing else is looked at, and nothing is counted.
        rate_limits=[
            RateLimit(actions=[RateLimitAction(metadata=mark), RateLimitAction(masked_remote_address=address)])
        ],
        descriptors=[
            LocalRateLimitDescriptor(
                # Without a value it stands for every address, each with a bucket of its own.
                entries=[RateLimitDescriptorEntry(key=_MARKED, value=marked), RateLimitDescriptorEntry(key=_EACH)],
                token_bucket=bucket,
            )
        ],
        max_dynamic_descriptors=REMEMBERED,
    )
