"""The commands there are. To add one: a function in a module of its subject, and a row in `COMMANDS`."""

from __future__ import annotations

from collections.abc import Callable

import typer
from typer.main import get_command

from xds.cli import (
    audit,
    bootstrap,
    certs,
    check,
    compare,
    completion,
    diff,
    domains,
    edge_lint,
    explain,
    hold,
    import_map,
    import_pods,
    nodes,
    refresh,
    revisions,
    serve,
    shell,
    status,
    trace,
    version,
    wait,
    watch,
)

RUN, SEE, FOLLOW, ACT, MORE = "Run", "See and explain", "Follow changes", "Decide", "More"

GROUPS = {
    "import": (ACT, "What is known from the old proxy."),
    "hold": (ACT, "What of GDS is held back from the edge: show it, release it, refuse it."),
    "rollback": (ACT, "Earlier states of the directory: list them, go back to one."),
}

COMMANDS: tuple[tuple[str, str, Callable[..., None]], ...] = (
    (RUN, "serve", serve.serve),
    (RUN, "check", check.check),
    (RUN, "bootstrap", bootstrap.bootstrap),
    (RUN, "edge-lint", edge_lint.edge_lint),
    (SEE, "status", status.status),
    (SEE, "explain", explain.explain),
    (SEE, "nodes", nodes.nodes),
    (SEE, "domains", domains.domains),
    (SEE, "pods", domains.pods),
    (SEE, "set-aside", domains.set_aside),
    (SEE, "certs", certs.certs),
    (SEE, "diff", diff.diff),
    (FOLLOW, "watch", watch.watch),
    (FOLLOW, "history", revisions.history),
    (FOLLOW, "trace", trace.trace),
    (FOLLOW, "wait", wait.wait),
    (SEE, "compare", compare.compare),
    (ACT, "hold show", hold.show),
    (ACT, "hold release", hold.release),
    (ACT, "hold refuse", hold.refuse),
    (ACT, "rollback list", hold.states),
    (ACT, "rollback to", hold.to),
    (ACT, "import haproxy-map", import_map.haproxy_map),
    (ACT, "import haproxy-cfg", import_pods.haproxy_cfg),
    (ACT, "import show", import_map.show),
    (ACT, "refresh", refresh.refresh),
    (ACT, "audit", audit.audit),
    (MORE, "completion", completion.completion),
    (MORE, "version", version.version),
)
"""Where `--help` lists it, its words, and what it runs. The docstring is its help, and ends with examples."""


def _made() -> shell.Group:
    root = _group("An external Envoy control plane that routes every customer domain to its pod.")
    groups = {name: _group(text) for name, (_, text) in GROUPS.items()}
    for name, (panel, _) in GROUPS.items():
        root.add_typer(groups[name], name=name, rich_help_panel=panel)
    for panel, words, function in COMMANDS:
        group, _, name = words.rpartition(" ")
        shell.add(groups[group] if group else root, name, "" if group else panel, function)
    made = get_command(root)
    assert isinstance(made, shell.Group)
    made.commands = {name: made.commands[name] for name in (words.partition(" ")[0] for _, words, _ in COMMANDS)}
    return made


def _group(text: str) -> typer.Typer:
    made = typer.Typer(
        name="pointsman",
        cls=shell.Group,
        help=text,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    )
    made.callback()(lambda: None)
    return made


app = _made()
