"""What GDS says of its calls in its OpenAPI document is what it answers."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from gds_harness import Gds

from gds_mock.api import BASE, router

NOBODY = "nobody.example.com"


def calls(gds: Gds) -> list[tuple[str, str, httpx.Response]]:
    """Each call as it goes well, and the ways in which it is refused: the path as the document has it."""
    client, one = gds.client, "/backend/{host}"
    pod = {"datacenter": "dc1", "endpoints": [{"address": "127.0.0.1", "port": 20001}]}
    stale = {"If-Match": '"99"'}
    asked = [
        ("put", "/pods/{name}", client.put("/pods/pod7", json=pod)),
        ("put", "/pods/{name}", client.put("/pods/pod7", json=pod)),
        ("put", "/pods/{name}", client.put("/pods/pod7", json={"endpoints": 1})),
        ("put", one, client.put("/backend/a.example.com", json={"pod": "pod7"})),
        ("put", one, client.put("/backend/a.example.com", json={"pod": "pod7"})),
        ("put", one, client.put("/backend/a.example.com", json={"pod": "none"})),
        ("put", one, client.put("/backend/a.example.com", json={"pod": "pod7"}, headers=stale)),
        ("put", one, client.put("/backend/a.example.com", content=b"x" * 2_000_000)),
        ("put", one, client.put("/backend/no host", json={"pod": "pod7"})),
        ("get", one, client.get("/backend/a.example.com")),
        ("get", one, client.get("/backend/a.example.com", headers={"Accept": "application/json"})),
        ("delete", "/pods/{name}", client.delete("/pods/none", headers={"GDS-Actor": ""})),
        ("get", one, client.get(f"/backend/{NOBODY}")),
        ("get", one, client.get("/backend/no host")),
        ("get", "/backends", client.get("/backends")),
        ("post", "/backends", client.post("/backends", content=b'{"op":"put","domain":"b.test","pod":"pod7"}\n')),
        ("post", "/backends", client.post("/backends", content=b"nonsense\n")),
        ("get", "/pods", client.get("/pods")),
        ("get", "/pods/{name}", client.get("/pods/pod7")),
        ("get", "/pods/{name}", client.get("/pods/none")),
        ("delete", "/pods/{name}", client.delete("/pods/pod7")),
        ("delete", "/pods/{name}", client.delete("/pods/none")),
        ("get", "/watch", client.get("/watch", params={"epoch": "other", "after": "0"})),
        ("get", "/watch", client.get("/watch", params={"epoch": "e", "after": "x"})),
        ("delete", one, client.delete("/backend/a.example.com", headers=stale)),
        ("delete", one, client.delete("/backend/a.example.com")),
        ("delete", one, client.delete(f"/backend/{NOBODY}")),
        ("get", "/healthz", client.get("/healthz")),
    ]
    return asked


def test_every_answer_is_one_that_the_document_has(gds: Gds) -> None:
    document: dict[str, Any] = gds.client.get(str(gds.client.base_url.join("/openapi.json"))).json()
    seen = set()
    for method, path, answer in calls(gds):
        said = document["paths"][f"{BASE}{path}"][method]["responses"]
        assert str(answer.status_code) in said, f"{method} {path}: {answer.status_code} {answer.text}"
        kinds = said[str(answer.status_code)].get("content", {})
        kind = answer.headers.get("content-type", "").partition(";")[0]
        assert kind in kinds or not (kinds or answer.content), f"{method} {path}: {kind}"
        seen.add((method, path))
    assert seen == {
        (method, path.removeprefix(BASE)) for path in document["paths"] for method in document["paths"][path]
    }


@pytest.mark.parametrize("path", sorted({getattr(route, "path", "") for route in router.routes}))
def test_every_call_is_in_the_document(gds: Gds, path: str) -> None:
    document = gds.client.get(str(gds.client.base_url.join("/openapi.json"))).json()
    assert path.replace(":path", "") in document["paths"]
