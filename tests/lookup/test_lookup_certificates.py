"""Customers' own certificates: there is one at the handshake of the very first visit, before the host is known."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from edge_harness import envoy_is, until
from looking_up import looking_up
from tls_harness import refused

from demo.issuer import Issuer, write_flat

pytestmark = pytest.mark.skipif(envoy_is("1.36"), reason="certificates on demand need Envoy 1.37 or newer")


def test_a_first_visit_is_shown_the_customers_own_certificate_and_is_routed(tmp_path: Path) -> None:
    more = {"edge": {"tables": 16}, "edge.tls": {"unknown_sni": "refuse"}, "edge.tls.on_demand": {"enabled": True}}
    with looking_up(tmp_path, more=more) as looked:
        edge = looked.edge
        write_flat(tmp_path / "certs" / "certificates", "shop.test", Issuer().issue("shop.test"))
        edge.put("shop.test", "pod2")
        url = f"https://127.0.0.1:{edge.system.ports.edge_https}/"

        def visited() -> bool:
            with httpx.Client(verify=False, trust_env=False) as client:
                try:
                    answer = client.get(url, headers={"host": "shop.test"}, extensions={"sni_hostname": "shop.test"})
                except httpx.ConnectError:  # the folder's new file isn't seen yet
                    return False
            return answer.headers.get("x-pod") == "pod2"

        assert not looked.knows("shop.test")
        until(visited, "the first visit")
        assert refused(edge.system.ports.edge_https, "nobody.test")
