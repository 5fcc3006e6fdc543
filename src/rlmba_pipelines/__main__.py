"""``python -m rlmba_pipelines``: run the packaged project."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from kedro.framework.cli.utils import find_run_command
from kedro.framework.project import configure_project


def main(argv: Sequence[str] | None = None) -> None:
    """Run a pipeline of the packaged project, with the options of ``kedro run``."""
    package_name = Path(__file__).parent.name
    configure_project(package_name)
    find_run_command(package_name)(list(argv) if argv is not None else sys.argv[1:], standalone_mode=True)


if __name__ == "__main__":
    main()
