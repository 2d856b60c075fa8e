"""The lines that the agent writes, and secrets taken out of them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from geusemaker.agent.document import Json

LINE_LIMIT: Final = 15_000  # pulumi-command can hang on a line of 64 KiB; 16 KiB is what is promised


class Reporter:
    """Writes the lines. Everything that leaves goes through here, so this is where secrets are taken out."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._secrets: tuple[str, ...] = ()
        self.gone = False
        """True once nobody reads our output any more."""

    def hide(self, values: Iterable[str]) -> None:
        """Never write these values, in any of their forms. Very short ones would hide ordinary words."""
        known = set(self._secrets)
        for value in values:
            for part in (value, *value.splitlines()):
                if len(part) >= 6:
                    known |= secret_forms(part)
        self._secrets = tuple(sorted(known, key=len, reverse=True))

    def redact(self, value: Any) -> Any:
        """The value with every hidden text in it replaced by ``***``, and half characters, which no file takes."""
        if isinstance(value, str):
            value = value if value.isascii() else value.encode(errors="replace").decode()
            for secret in self._secrets:
                if secret in value:
                    value = value.replace(secret, "***")
            return value
        if isinstance(value, Mapping):
            return {key: self.redact(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.redact(item) for item in value]
        return value

    def emit(self, event: str, **values: Any) -> None:
        document = self.redact({"event": event, **values})
        line = json.dumps(document)
        for longest in (2000, 500, 120, 40):
            if len(line) <= LINE_LIMIT:
                break
            line = json.dumps(_shortened(document, longest))
        self._line(line if len(line) <= LINE_LIMIT else _too_long(document))

    def phase(self, name: str, state: str, message: str = "") -> None:
        self.emit("phase", name=name, state=state, message=message)

    def service(self, name: str, state: str, detail: str = "") -> None:
        self.emit("service", service=name, state=state, detail=detail)

    def note(self, message: str) -> None:
        self.emit("note", message=message)

    def result(self, answer: Json) -> None:
        """The last line. An answer too long for one goes before it in pieces: unlike an event, it is never cut."""
        text = json.dumps(self.redact(answer))
        if len(text) <= LINE_LIMIT - 100:
            self._line(json.dumps({"event": "result", "ok": True, **json.loads(text)}))
            return
        size = LINE_LIMIT // 2 - 200  # escaped once more, a piece at most doubles
        pieces = [text[start : start + size] for start in range(0, len(text), size)]
        for piece in pieces:
            self._line(json.dumps({"event": "part", "text": piece}))
        self._line(json.dumps({"event": "result", "ok": True, "parts": len(pieces)}))

    def _line(self, line: str) -> None:
        if self.gone:
            return
        try:
            self._write(line + "\n")
        except OSError:
            # The other end hung up. A change under way is finished all the same: half-done is the worse state.
            self.gone = True


def secret_forms(text: str) -> set[str]:
    """A secret as it is, as JSON has it (in JSON once more, too), percent-encoded, and in base64, wherever in what was
    encoded it stood.

    Three bytes make four characters, so there are three ways to begin; characters that its neighbours have a part in
    are left out. A form of under six characters is left out as well: it would hide ordinary words.
    """
    data = text.encode()
    forms = {text, "".join(f"{byte:c}" if chr(byte) in _UNESCAPED else f"%{byte:02X}" for byte in data)}
    for in_ascii in (True, False):
        quoted = json.dumps(text, ensure_ascii=in_ascii)[1:-1]
        forms |= {quoted, json.dumps(quoted, ensure_ascii=in_ascii)[1:-1]}
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + data + bytes(2)).decode()
        form = encoded[-(-before * 8 // 6) : (before + len(data)) * 8 // 6]
        forms |= {form, form.translate(_URLSAFE)}
    return {form for form in forms if len(form) >= 6}


_UNESCAPED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_URLSAFE: Final = str.maketrans("+/", "-_")


def _too_long(document: Json) -> str:
    """A line of what makes an event one, with the beginning of its message: an error's code is acted on."""
    said = {key: str(document[key])[:1000] for key in ("event", "code", "message") if key in document}
    return json.dumps({"message": "(too long to show)", **said})


def _shortened(value: Any, longest: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= longest else value[: longest - 1] + "…"
    if isinstance(value, dict):
        return {key: _shortened(item, longest) for key, item in value.items()}
    if isinstance(value, list):
        return [_shortened(item, longest) for item in value[-max(5, longest // 20) :]]
    return value
