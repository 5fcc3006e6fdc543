"""Addresses of servers are told in files, logs and warnings, so none may hold a secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rlmba_pipelines.config import Parameters
from rlmba_pipelines.learning.types import UserError


def holds_secret(address: str) -> bool:
    """Whether a URL has a user, a password, a query or a fragment, where tokens are put; a path of a file has none."""
    place = address.partition("://")[2]
    is_file = place.startswith("/")  # as sqlite:////home/me@work/runs.db
    return "?" in place or (not is_file and ("@" in place or "#" in place))


def without_passwords(text: str) -> str:
    """Text that tells of addresses, as it may be shown.

    >>> without_passwords("sftp://ann:secret@host/a is no bundle; try file:///home/me@work")
    'sftp://ann@host/a is no bundle; try file:///home/me@work'
    """
    return re.sub(r"(://[^/\s:@]*):[^/\s]*@", r"\1@", text)


def without_secrets(remembered: Any) -> Any:
    """Parameters that an earlier version remembered, nested as they are; of addresses in them what may be told.

    >>> without_secrets({"tracking": {"uri": "https://ann:secret@host/runs?key=secret"}})
    {'tracking': {'uri': 'https://host/runs'}}
    """
    if isinstance(remembered, Mapping):
        return {key: without_secrets(value) for key, value in remembered.items()}
    if isinstance(remembered, list):
        return [without_secrets(value) for value in remembered]
    if isinstance(remembered, str) and holds_secret(remembered):
        return re.sub(r"^(\w+://)(?:[^/\s]*@)?([^\s?#]*)\S*$", r"\1\2", remembered)
    return remembered


def refuse_secrets(parameters: Parameters) -> None:
    """
    Raises:
        UserError: an address in the parameters holds a secret; the sentence does not.
    """
    held = "holds a user, a password or something after '?' or '#'"
    if holds_secret(parameters.tracking.uri):
        raise UserError(
            f"tracking.uri {held}; put them into the environment variables MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or a token into MLFLOW_TRACKING_TOKEN, and leave the address."
        )
    if any(holds_secret(place) for place in parameters.tracking.openlineage):
        raise UserError(
            f"An address in tracking.openlineage {held}; put a token into the environment variable "
            "OPENLINEAGE_API_KEY, and leave the address."
        )
    if any(mark in parameters.label_studio.url for mark in "@?#"):
        raise UserError(
            f"label_studio.url {held}; put the token into the environment variable LABEL_STUDIO_API_KEY, and leave the "
            "address."
        )
