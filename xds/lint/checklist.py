"""The whole checklist: every rule, in the order in which the document has them."""

from __future__ import annotations

from xds.lint import hosts, lookup, process, requests, tls, unknown
from xds.lint.config import Config
from xds.lint.rule import Rule, Verdict, judged

RULES: tuple[Rule, ...] = (*process.RULES, *requests.RULES, *hosts.RULES, *tls.RULES, *unknown.RULES, *lookup.RULES)


def verdicts(config: Config) -> list[Verdict]:
    return [judged(rule, config) for rule in RULES]
