"""What may stand as a label: classes in one spelling, and what stands in place of a label where there is none."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

# what stands in place of a label where there is none: paid for, never learned from, never asked again
ABSTAINED, NONE_OF_THESE, DISPUTED, WITHDRAWN = "(abstain)", "(none of these)", "(disputed)", "(withdrawn)"
NOT_LABELS = (ABSTAINED, NONE_OF_THESE, DISPUTED, WITHDRAWN)
ABSTAINING = "?"  # what people write to abstain
UNWRITABLE = ("Cc", "Cs", "Zl", "Zp")  # Unicode's control characters, half characters, ends of lines and paragraphs


def canonical_label(text: str) -> str:
    """The one spelling of all that looks alike: composed characters (NFC), and no space around.

    >>> canonical_label(" cafe\\u0301 ") == canonical_label("caf\\u00e9")
    True
    """
    return unicodedata.normalize("NFC", text).strip()


def spellings(names: Iterable[str]) -> dict[str, str]:
    """Canonical -> as it is stored: experiments of before keep their classes as the manifest spelled them.

    >>> spellings(["cat ", "dog", "dog "])
    {'cat': 'cat ', 'dog': 'dog'}
    """
    found: dict[str, str] = {}
    for name in sorted(names, key=lambda name: (canonical_label(name), name != canonical_label(name))):
        found.setdefault(canonical_label(name), name)
    return found


def is_writable(label: str) -> bool:
    """Whether people can give it as an answer: no control character, no end of a line."""
    return not any(unicodedata.category(letter) in UNWRITABLE for letter in label)


def fault_of_class(name: str) -> str | None:
    """Why a canonical name cannot be that of a class, as the end of a sentence; None where it can.

    >>> fault_of_class("?"), fault_of_class("\\u0645\\u06cc\\u200c\\u0634\\u0648\\u062f")
    ('stands for an answer that gives no label', None)
    """
    if not name:
        return "is empty"
    if name.lower() in (ABSTAINING, *NOT_LABELS):
        return "stands for an answer that gives no label"
    return None if is_writable(name) else "holds a control character or the end of a line"
