"""The command ``pointsman bootstrap``: what an Envoy starts with."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from xds.cli.options import Config, Json
from xds.cli.output import print_json

_ADDRESS = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})")
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}

TLS, LIMITS = "mTLS: paths as Envoy reads them, from its working folder", "Limits"


def _address(text: str) -> tuple[str, int]:
    found = _ADDRESS.fullmatch(text)
    if not found or not 0 < int(found["port"]) < 65_536:
        raise typer.BadParameter(f"{text!r} is not HOST:PORT, such as 10.0.0.5:18000 or [2001:db8::1]:18000")
    return found["host"].strip("[]"), int(found["port"])


def _bytes(text: str) -> int:
    found = re.fullmatch(r"(\d+)([KMG]?)(i?B)?", text)
    if not found or not int(found[1]):
        raise typer.BadParameter(f"{text!r} is not a size, such as 4GiB or 512MiB")
    return int(found[1]) * _UNITS[found[2]]


def bootstrap(
    node: Annotated[str, typer.Argument(help="The Envoy's node id: its machine's name, as a rule.")],
    config: Config = None,
    cluster: Annotated[str, typer.Option("--cluster", help="Its cluster.")] = "edge",
    xds: Annotated[
        list[str] | None,
        typer.Option(
            "--xds",
            metavar="HOST:PORT",
            help="A control plane, or a name of several; give it again for more. Unset: the name `pointsman`, then "
            "loopback.",
            show_default=False,
        ),
    ] = None,
    admin: Annotated[str, typer.Option("--admin", metavar="HOST:PORT", help="Its admin interface.")] = "127.0.0.1:9901",
    sotw: Annotated[
        bool, typer.Option("--sotw", help="Asks for the state of the world, not for what changed.")
    ] = False,
    plaintext: Annotated[bool, typer.Option("--plaintext", help="No mTLS; also when the settings say so.")] = False,
    certificate: Annotated[
        str, typer.Option("--certificate", help="Its certificate chain.", rich_help_panel=TLS)
    ] = "certs/envoy.crt",
    key: Annotated[str, typer.Option("--key", help="The key of it.", rich_help_panel=TLS)] = "certs/envoy.key",
    ca: Annotated[
        str, typer.Option("--ca", help="Who signs the control plane's certificate.", rich_help_panel=TLS)
    ] = "certs/ca.crt",
    name: Annotated[
        str, typer.Option("--name", help="What the control plane's certificate is for.", rich_help_panel=TLS)
    ] = "pointsman",
    heap: Annotated[
        str, typer.Option("--heap", help="Memory that it may have; it sheds load before.", rich_help_panel=LIMITS)
    ] = "4GiB",
    connections: Annotated[
        int, typer.Option("--connections", min=1, help="Clients' connections at a time.", rich_help_panel=LIMITS)
    ] = 50_000,
    as_json: Json = False,
) -> None:
    """Prints the bootstrap that an Envoy starts with: who it is, who tells it the rest, its limits.

    With --config the port, and whether there is mTLS, come from the settings.

    Examples:
        pointsman bootstrap edge-1 > envoy.yaml && envoy -c envoy.yaml
        pointsman bootstrap edge-1 --xds 10.0.0.5:18000 --xds 10.0.0.6:18000 --ca /etc/envoy/ca.crt > envoy.yaml
        pointsman bootstrap edge-1 -c pointsman.toml --heap 16GiB --json
    """
    from xds.bootstrap import Bootstrap, Mtls, document

    port = 18_000
    if config is not None:
        from xds import settings

        loaded = settings.load(config).xds
        port, plaintext = loaded.port, plaintext or loaded.plaintext
    groups = (tuple(map(_address, xds)),) if xds else ((("pointsman", port),), (("127.0.0.1", port),))
    made = document(
        Bootstrap(
            node,
            cluster,
            groups,
            None if plaintext else Mtls(certificate, key, ca, name),
            _address(admin),
            not sotw,
            _bytes(heap),
            connections,
        )
    )
    if as_json:
        print_json(made)
        return
    import yaml

    print(f"# Made by `pointsman bootstrap {node}`. Listeners, routes, clusters and certificates come over xDS.")
    print(yaml.safe_dump(made, sort_keys=False, width=120, allow_unicode=True), end="")
