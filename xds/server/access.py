"""Who may connect, as whom, and with which secrets: decisions about a certificate and a claim, without I/O.

Without rules, every certificate that the client CA signed may claim every node, and may have every secret. With rules,
an identity may claim what at least one of them grants, and may have the secrets of all that grant it; there is no
order, and no rule takes away.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from xds.server.identity import Identity, Kind, Name
from xds.server.patterns import Glob, Template, glob, template

STOPS = "./"
_ANYTHING = glob("*")


class RevokedList(Protocol):
    """What `xds.server.revocation.Revocations` is to this module."""

    def revoked(self, identity: Identity) -> bool: ...


@dataclass(frozen=True, slots=True)
class Grant:
    """The claim is allowed."""

    secrets: tuple[Glob, ...]

    def may_have_secret(self, name: str) -> bool:
        return any(secret.match(name) is not None for secret in self.secrets)


@dataclass(frozen=True, slots=True)
class Refusal:
    """``reason`` is for the log and for the peer: it says what was claimed, and nothing of what would be allowed."""

    reason: str


@dataclass(frozen=True, slots=True)
class Rule:
    """Made by `rule`; the settings' section `xds.access.rules` says what each field means."""

    kinds: frozenset[Kind]
    san: Glob
    node: Template
    cluster: Template
    secrets: tuple[Template, ...]

    def is_for(self, name: Name) -> bool:
        return name.kind in self.kinds and self.san.match(name.value) is not None

    def grants(self, name: Name, node: str, cluster: str) -> tuple[Glob, ...] | None:
        """The secrets, when this rule lets who bears ``name`` claim ``node`` in ``cluster``."""
        found = self.san.match(name.value) if name.kind in self.kinds else None
        if found is None:
            return None
        claims = ((self.node, node), (self.cluster, cluster))
        if any(pattern.fill(name.value, found).match(claim) is None for pattern, claim in claims):
            return None
        return tuple(secret.fill(name.value, found) for secret in self.secrets)


def rule(san: str, node: str = "*", cluster: str = "*", secrets: Sequence[str] = ("*",)) -> Rule:
    """Raises SettingsError."""
    kinds = _kinds(san)
    names = glob(san.lower() if "dns" in kinds and san != "*" else san, STOPS)
    return Rule(
        kinds,
        names,
        template(node, names.stars),
        template(cluster, names.stars),
        tuple(template(secret, names.stars) for secret in secrets),
    )


class Access:
    """``plaintext``: a peer without a certificate is let in; the settings allow that on loopback only."""

    def __init__(
        self, rules: Sequence[Rule] = (), *, revocations: RevokedList | None = None, plaintext: bool = False
    ) -> None:
        self._rules = tuple(rules)
        self._revocations = revocations
        self._plaintext = plaintext

    @classmethod
    def open(cls) -> Access:
        """Everybody may everything."""
        return cls(plaintext=True)

    def decide(self, identity: Identity | None, node: str, cluster: str) -> Grant | Refusal:
        """May ``identity`` (None: no certificate) be ``node`` of ``cluster``?"""
        if identity is None:
            return Grant((_ANYTHING,)) if self._plaintext else Refusal("there is no client certificate")
        if not self._rules:
            return Grant((_ANYTHING,))
        granted = list(self._granted(identity, node, cluster))
        if not granted:
            return Refusal(
                f"the certificate of {_short(str(identity))} may not claim node {_short(node)} in cluster "
                f"{_short(cluster)} (settings xds.access.rules)"
            )
        return Grant(tuple(dict.fromkeys(secret for secrets in granted for secret in secrets)))

    def knows(self, identity: Identity | None) -> bool:
        """Does any rule speak of ``identity``? For what claims no node, such as the fleet's state."""
        if identity is None:
            return self._plaintext
        return not self._rules or any(each.is_for(name) for each in self._rules for name in identity.names)

    def revoked(self, identity: Identity | None) -> bool:
        """Is it on a revocation list? Cheap: to be asked for each new stream, and now and then for each open one."""
        return identity is not None and self._revocations is not None and self._revocations.revoked(identity)

    def _granted(self, identity: Identity, node: str, cluster: str) -> Iterator[tuple[Glob, ...]]:
        for each in self._rules:
            for name in identity.names:
                secrets = each.grants(name, node, cluster)
                if secrets is not None:
                    yield secrets


def _kinds(san: str) -> frozenset[Kind]:
    """A pattern is for names of its own form only, so that no host name is taken for a URI."""
    if san == "*":
        return frozenset(("dns", "uri", "email", "ip", "cn"))
    if "://" in san or san.startswith("urn:"):
        return frozenset(("uri",))
    if "@" in san:
        return frozenset(("email",))
    return frozenset(("dns", "ip", "cn"))


def _short(text: str) -> str:
    """Of a peer, so of any length and with any characters."""
    return repr(text[:100]) + ("…" if len(text) > 100 else "")
