"""Addresses of servers are told in logs and warnings, so none may hold a secret."""

from __future__ import annotations


def holds_secret(address: str) -> bool:
    """Whether a URL has a user, a password, a query or a fragment, where tokens are put; a path of a file has none."""
    place = address.partition("://")[2]
    is_file = place.startswith("/")  # as sqlite:////home/me@work/runs.db
    return "?" in place or (not is_file and ("@" in place or "#" in place))
