"""The worker as text, for messages that carry nothing else: a program that unpacks the worker and becomes it.

Five characters for four bytes, where base64 takes 5.33: those of `base64.b85encode`, none of which JSON
escapes. Python's own decoder would take 20 to 60 ms of each start, so all groups are decoded at once, as
lanes of one large number: 2 ms.
"""

import base64
from functools import lru_cache

UNPACKER = """import os, sys, zipimport
digits = bytes.maketrans(ALPHABET, bytes(range(85)))
text = TEXT.translate(digits)
count = len(text) // 5
words = 0
for place in range(5):
    lanes = bytearray(8 * count)
    lanes[::8] = text[place::5]
    words = 85 * words + int.from_bytes(lanes, "little")
lanes = words.to_bytes(8 * count, "little")
worker = bytearray(4 * count)
for place in range(4):
    worker[place::4] = lanes[3 - place :: 8]
archive = os.path.splitext(os.path.abspath(__file__))[0] + ".pyz"
part = f"{archive}.{os.getpid()}"
with open(part, "wb") as file:
    file.write(worker[:SIZE])
os.replace(part, archive)
sys.argv[0] = archive
__loader__ = zipimport.zipimporter(archive)
exec(__loader__.get_code("__main__"))
"""
ALPHABET = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"


@lru_cache(maxsize=2)  # every job has the same one
def as_text(archive: bytes) -> str:
    """A Python program in ASCII that puts this zipapp beside itself, as `.pyz`, and becomes it."""
    coded = base64.b85encode(archive, pad=True)
    program = UNPACKER.replace("ALPHABET", repr(ALPHABET)).replace("SIZE", str(len(archive)))
    return program.replace("TEXT", repr(coded))
