"""GDS learns to be watched: the control plane is started anew in watch mode, and no customer notices."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

from edge_harness import until
from looking_up import looking_up


def test_from_lookup_to_watch_known_customers_are_served_all_along(tmp_path: Path) -> None:
    with looking_up(tmp_path) as looked:
        edge, system = looked.edge, looked.edge.system
        known = [f"w{n}.example.com" for n in range(20)]
        edge.load(*({"op": "put", "domain": name, "pod": "pod2"} for name in known))
        looked.all_learned(dict.fromkeys(known, "pod2"))
        settings = system.folder / "pointsman.toml"
        text = settings.read_text()
        wanted = text.replace('mode = "lookup"', 'mode = "watch"').replace(looked.gds.url, system.gds_url)
        assert wanted != text
        settings.write_text(wanted)

        wrong: list[str] = []
        done = threading.Event()

        def ask() -> None:
            while not done.is_set():
                wrong.extend(name for name in known if edge.ask(name).pod != "pod2")

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            system.kill("pointsman", signal.SIGTERM)
            system.start_control_plane()
            system.wait_control_plane()
            until(lambda: len(edge.nodes()) > 0, "Envoy is back")
            edge.put("late.example.com", "pod3")
            edge.becomes("late.example.com", "pod3")
        finally:
            done.set()
            asking.join()
        assert wrong == []
        assert edge.ask("nobody-at-all.example.com").status == 404
        assert "nobody-at-all.example.com" not in looked.gds.asked
