"""Reads protobuf's text format, as far as Caffe's nets use it, without a schema.

The peers get their nets from the same prototxt files as dsd, so that nothing but the engine differs.
"""

import re

TOKEN = re.compile(
    r"""\s+ | \#[^\n]*
      | (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<word>[-+.\w]+)
      | (?P<mark>[{}\[\]:;,<>])""",
    re.VERBOSE,
)


class Word(str):
    """A bare word, such as an enum's value: it prints without quotes."""


class Message:
    """Fields by name, each with all the values that the text gives it."""

    def __init__(self):
        self.fields = {}

    def add(self, name, value):
        """Appends a value to a field."""
        self.fields.setdefault(name, []).append(value)

    def all(self, name):
        """Every value of a repeated field."""
        return self.fields.get(name, [])

    def get(self, name, default=None):
        """The last value of a field, as protobuf has it."""
        return self.fields.get(name, [default])[-1]

    def sub(self, name):
        """A message field; an empty message where the text has none."""
        return self.get(name) or Message()


def parse(source):
    """The message that a text describes."""
    tokens = list(_tokens(source))
    tokens.reverse()
    return _message(tokens, end=None)


def _tokens(text):
    at = 0
    while at < len(text):
        match = TOKEN.match(text, at)
        if not match:
            line = text.count("\n", 0, at) + 1
            raise ValueError(f"prototxt line {line}: unexpected {text[at]!r}")
        if match.lastgroup:
            yield match.lastgroup, match.group()
        at = match.end()


def _message(tokens, end):
    message = Message()
    while tokens:
        kind, token = tokens.pop()
        if token == end and kind == "mark":
            return message
        if token in (";", ",") and kind == "mark":
            continue
        if kind != "word":
            raise ValueError(f"prototxt: expected a field's name, found {token}")
        if tokens and tokens[-1] == ("mark", ":"):
            tokens.pop()
        if tokens and tokens[-1] == ("mark", "["):
            tokens.pop()
            while tokens[-1] != ("mark", "]"):
                if tokens[-1] == ("mark", ","):
                    tokens.pop()
                else:
                    message.add(token, _value(tokens))
            tokens.pop()
        else:
            message.add(token, _value(tokens))
    if end is not None:
        raise ValueError(f"prototxt: ends without {end}")
    return message


def _value(tokens):
    kind, token = tokens.pop()
    if kind == "mark" and token in "{<":
        return _message(tokens, "}" if token == "{" else ">")
    if kind == "string":
        return re.sub(r"\\(.)", r"\1", token[1:-1])
    if token in ("true", "false"):
        return token == "true"
    for number in (int, float):
        try:
            return number(token)
        except ValueError:
            pass
    return Word(token)


def text(message, indent=""):
    """The message as text again, fields in the order in which they first came."""
    lines = []
    for name, values in message.fields.items():
        for value in values:
            if isinstance(value, Message):
                lines.append(f"{indent}{name} {{\n{text(value, indent + '  ')}{indent}}}\n")
            else:
                lines.append(f"{indent}{name}: {_printed(value)}\n")
    return "".join(lines)


def _printed(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and not isinstance(value, Word):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return str(value)
