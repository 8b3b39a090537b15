"""``pointsman edge-lint`` of an edge that asks for unknown hosts."""

from __future__ import annotations

from pathlib import Path

from command import ROOT, pointsman


def test_an_edge_in_lookup_mode_holds_the_checklist(tmp_path: Path) -> None:
    (tmp_path / "pointsman.toml").write_text('[gds]\nmode = "lookup"\n[xds]\nplaintext = true\n')
    bootstrap = ROOT / "envoy" / "envoy.yaml"
    lint = pointsman("edge-lint", "--bootstrap", bootstrap, "-c", tmp_path / "pointsman.toml")
    assert lint.returncode == 0, lint.stdout
