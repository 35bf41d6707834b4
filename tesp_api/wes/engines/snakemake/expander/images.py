"""Images as Snakemake names them, and as TES does."""

from __future__ import annotations

import re

_NAME = re.compile(r"[A-Za-z0-9][^\s]*")
_FILES = (".sif", ".simg", ".img", ".sqsh")


def image_of(container: str) -> str | None:
    """The image that a `container:` names; None for what is no name of an image in a registry."""
    scheme, sign, name = container.partition("://")
    if sign and scheme != "docker":
        return None
    name = name if sign else container
    if not _NAME.fullmatch(name) or (not sign and name.endswith(_FILES)):
        return None
    return name
