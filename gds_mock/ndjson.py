"""The body of ``POST /backends``, read in blocks: bytes in, checked rows on a stage out."""

from __future__ import annotations

import msgspec

from gds_mock.bulk import Stage

_LONGEST_LINE = 16_384


class _Put(msgspec.Struct, tag_field="op", tag="put", forbid_unknown_fields=True):
    domain: str
    pod: str


class _Delete(msgspec.Struct, tag_field="op", tag="delete", forbid_unknown_fields=True):
    domain: str


_LINE = msgspec.json.Decoder(_Put | _Delete)


class NdjsonReader:
    """Feeds a stage. Blocks may end anywhere; blank lines are passed over."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._rest = b""
        self._line = 0
        self._overlong = False  # inside a line that is too long to be kept, and has been rejected

    def feed(self, block: bytes) -> None:
        """Takes the next bytes of the body."""
        *lines, rest = (self._rest + block).split(b"\n")
        if lines and self._overlong:
            lines[0] = b""  # its end
            self._overlong = False
        self._take(lines)
        if self._overlong or len(rest) > _LONGEST_LINE:
            if not self._overlong:
                self._stage.reject(self._line + 1, f"longer than {_LONGEST_LINE} bytes")
            self._overlong, rest = True, b""
        self._rest = rest

    def finish(self) -> None:
        """Takes the last line, which need not end in a newline. Raises BadLines if any line was bad."""
        self._take([self._rest])
        self._rest = b""
        self._stage.check()

    def _take(self, lines: list[bytes]) -> None:
        rows = []
        for raw in lines:
            self._line += 1
            if not raw or raw.isspace():
                continue
            try:
                entry = _LINE.decode(raw)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                self._stage.reject(self._line, str(error))
                continue
            row = self._stage.row(self._line, entry.domain, entry.pod if isinstance(entry, _Put) else None)
            if row is not None:
                rows.append(row)
        self._stage.add(rows)
