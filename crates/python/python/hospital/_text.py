"""Text from elsewhere, in which nothing controls a terminal: escaped as the command line `hospital` does it."""
from __future__ import annotations

import re

#: What Python itself colours tracebacks with.
_COLOUR = re.compile(r'\x1b\[[\d;]*m')


#: What is obeyed instead of shown: controls, line ends of Unicode's and marks that reorder a line. And halves of a character.
_OBEYED = re.compile(r'[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]')


def lines(text: str) -> str:
    """Return the text, with its line ends and tabs."""
    return _OBEYED.sub(lambda found: f'\\u{ord(found[0]):04x}', _COLOUR.sub('', text))


def line(text: str) -> str:
    """Return the text as one line."""
    return lines(text).replace('\n', '\\n').replace('\t', '\\t')
