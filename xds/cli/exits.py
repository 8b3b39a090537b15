"""The exit codes of every command: one meaning each, wherever it comes from."""

from __future__ import annotations

OK = 0
FAILED = 1
USAGE = 2
FOUND = 3
LATE = 4
REJECTED = 5
INTERRUPTED = 130
CLOSED = 141

MEANINGS = {
    OK: "done; what was looked at is as it should be",
    FAILED: "it couldn't be done; the one line on stderr says why, and what to do",
    USAGE: "the command line isn't right: an unknown option, an argument that is missing or no value of its kind",
    FOUND: "it was looked at, and isn't as it should be: something is held, a check fails, a row is broken, a host has "
    "no pod, there is a difference",
    LATE: "it isn't so within the time that was given",
    REJECTED: "an Envoy rejected it, or a record of it can't be used",
    INTERRUPTED: "ended by Ctrl-C",
    CLOSED: "who read its output went away, such as `head`",
}
