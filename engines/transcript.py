"""An answer that a server has taken apart, as the one text that a model would have written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mull.answers.splitter import CLOSE, OPEN
from mull.engines import told
from mull.form import Thoughts

THOUGHTS = Thoughts()
CALL = OPEN["hermes"]


class Transcript:
    """Writes thoughts between `<think>` marks, and calls between `<tool_call>` marks, as they come.

    Thoughts that come after the answer has begun are left out.
    """

    def __init__(self) -> None:
        self._thinking = False
        self._begun = False
        self._call: int | None = None
        self._arguments = False

    def write(self, delta: Mapping[str, Any]) -> str:
        """What a delta adds to the text.

        Raises:
            ValueError: something in it is no text.
        """
        text = ""
        thought = told.text(delta.get("reasoning") or delta.get("reasoning_content"))
        if thought and not self._begun:
            text += ("" if self._thinking else THOUGHTS.open) + thought
            self._thinking = True
        if content := told.text(delta.get("content")):
            text += self.end() + content
            self._begun = True
        for call in delta.get("tool_calls") or ():
            text += self._write_call(call)
        return text

    def end(self) -> str:
        """What closes the part that is being written."""
        text = THOUGHTS.close if self._thinking else ""
        if self._call is not None:
            text += ("" if self._arguments else "{}") + "}" + CLOSE
        self._thinking, self._call = False, None
        return text

    def _write_call(self, call: Mapping[str, Any]) -> str:
        text, function, index = "", call.get("function") or {}, call.get("index", 0)
        if index != self._call:
            text = self.end() + f'{CALL}{{"name": {json.dumps(function.get("name"))}, "arguments": '
            self._call, self._arguments, self._begun = index, False, True
        arguments = told.text(function.get("arguments"))
        self._arguments = self._arguments or bool(arguments)
        return text + arguments
