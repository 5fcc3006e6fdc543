"""Pinned Debian packages: fetched by ``apt-get download``, checked against their sha256, never installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from rawdata.files import check


class Package(NamedTuple):
    """One version of a package for all architectures, and the sha256 of its file."""

    name: str
    version: str
    sha256: str


def fetch(packages: Iterable[Package], folder: Path) -> dict[str, Path]:
    """Name -> package in ``folder``; what lies there already, put by hand or not, is checked and not fetched again."""
    found = {}
    for name, version, sha256 in packages:
        package = folder / f"{name}_{version}_all.deb"
        by_hand = f"put {package.name} of a Debian archive into {folder} by hand, then run this again."
        if not package.exists():
            if shutil.which("apt-get") is None:
                sys.exit(f"apt-get is missing, which fetches the packages: {by_hand}")
            print(f"fetching {package.name} …")
            command = ["apt-get", "download", "--quiet=2", f"{name}={version}"]
            if subprocess.run(command, cwd=folder, stderr=subprocess.DEVNULL).returncode:
                sys.exit(f"apt-get could not fetch {name} {version}: run apt-get update first, or {by_hand}")
        check(package, sha256)
        found[name] = package
    if shutil.which("dpkg-deb") is None:
        sys.exit("dpkg-deb is missing, which unpacks the packages: install dpkg, then run this again.")
    return found
