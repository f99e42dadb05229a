"""Receiving a file: a multipart form, its file written to disk as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from mull.errors import InvalidRequest
from mull.server.body import TooLarge, WrongMediaType, in_time

FIELD_BYTES = 4096
"""The most that all fields but the file may hold, their names included."""


class Form:
    """A form with one file, read piece by piece.

    Args:
        sink: Where the file's content goes.
    """

    def __init__(self, sink: BinaryIO) -> None:
        self.filename: str | None = None
        """The file's name, once there is a file."""
        self.fields: dict[str, str] = {}
        self.ended = False
        self._sink = sink
        self._header, self._value = b"", b""
        self._disposition = b""
        self._name: str | None = None
        self._text = b""
        self._room = FIELD_BYTES

    def parser(self, boundary: bytes) -> MultipartParser:
        """What has to be fed the body."""
        return MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._on_header,
                "on_header_value": self._on_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._on_data,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
        )

    def _begin(self) -> None:
        self._disposition, self._text = b"", b""

    def _on_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header, self._value = b"", b""

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode(errors="replace")
        self._name = name
        if b"filename" not in options:
            self._take(len(name))
            return
        if name != "file" or self.filename is not None:
            raise InvalidRequest("send one file, as the field file", param="file")
        self._name, self.filename = None, options[b"filename"].decode(errors="replace")

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._name is None:
            left = memoryview(data)[start:end]
            while left:  # a disk that is nearly full takes a part, and says no to the rest
                left = left[self._sink.write(left) :]
            return
        self._take(end - start)
        self._text += data[start:end]

    def _take(self, size: int) -> None:
        self._room -= size
        if self._room < 0:
            raise InvalidRequest(
                f"the fields hold more than {FIELD_BYTES} bytes", param=(self._name or "")[:80]
            )

    def _end_part(self) -> None:
        if self._name is not None:
            self.fields[self._name] = self._text.decode(errors="replace")

    def _end(self) -> None:
        self.ended = True


async def receive(parts: AsyncIterator[bytes], content_type: str, path: Path, *, most: int) -> Form:
    """Write the file of a form to `path`, which is new.

    Args:
        parts: The request's body.
        content_type: Its type.
        path: Where to write.
        most: Bytes that the body may have.

    Raises:
        WrongMediaType: it is no multipart form.
        TooLarge: it is larger than `most`.
        TooSlow: it stops coming.
        InvalidRequest: it is torn, or does not hold exactly one file.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data" or b"boundary" not in options:
        raise WrongMediaType("send the file as Content-Type: multipart/form-data")
    size = 0
    with await asyncio.to_thread(path.open, "xb", 0) as sink:
        form = Form(sink)
        try:
            parser = form.parser(options[b"boundary"])
            async for part in in_time(parts):
                if (size := size + len(part)) > most:
                    raise TooLarge(f"the file is larger than the allowed {most} bytes")
                await asyncio.to_thread(parser.write, part)
        except FormParserError as error:
            raise InvalidRequest(f"the form cannot be read: {error}", code="invalid_form") from None
    if not form.ended:
        raise InvalidRequest("the form ends before its last boundary", code="invalid_form")
    if form.filename is None:
        raise InvalidRequest("file is required", param="file", code="missing_required_parameter")
    return form
