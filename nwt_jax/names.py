"""Names of splits, and of clips, recordings and episodes in one form, so that what reads the same is the same."""

import os
import unicodedata

SPLITS = ("train", "validation", "test")
MEAN = "mean"  # names, where an episode is wanted, the mean of all episodes


def plain(text: str) -> str:
  """A name as it is stored and compared: letters and their accents in one piece (Unicode's NFC).

  File systems of macOS and zip files hold them apart (NFD), tables and keyboards together. Paths keep their own form.
  """
  return unicodedata.normalize("NFC", text)


def printable(name: str) -> str:
  """The name of a clip from that of a file, which may hold line breaks and bytes that are no UTF-8."""
  readable = os.fsencode(name).decode("utf-8", "replace")
  return plain("".join("\ufffd" if unicodedata.category(letter) == "Cc" else letter for letter in readable))
