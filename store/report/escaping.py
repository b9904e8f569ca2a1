"""Text on a page: its letters and nothing else."""

import html
import re

# What no page may hold (C0 without tab and line ends, DEL, C1) or what reorders a line: written out.
_DANGEROUS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def escape(text: str) -> str:
    """`text` for HTML, in an element or in a quoted attribute."""
    return html.escape(_DANGEROUS.sub(lambda match: f"\\x{ord(match[0]):02x}", text))
