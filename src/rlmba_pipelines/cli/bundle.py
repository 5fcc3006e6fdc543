"""``kedro rounds bundle``: a round on its way to those who run models."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from rlmba_pipelines.cli.base import command_on_experiment, short
from rlmba_pipelines.handoff.bundle import build, default_place, stage_to_bundle
from rlmba_pipelines.handoff.parcel import damage, is_address, send
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.rounds.addresses import without_passwords
from rlmba_pipelines.rounds.commits import Experiment


@command_on_experiment("bundle")
@click.option("--round", "round_idx", type=click.IntRange(0), help="Whose model; default: the last one there is.")
@click.option("--to", help="Folder or address (s3://bucket/name, …); default: beside the report.")
@click.option("--verify", "verified", metavar="BUNDLE", help="Hash a bundle again instead; exit code 1 for damage.")
@click.option("--copy", "copied", metavar="BUNDLE", help="Copy a bundle that was built before to --to instead.")
def bundle_command(
    found: Experiment, round_idx: int | None, to: str | None, verified: str | None, copied: str | None
) -> None:
    """Write a round as a folder that stands alone: model, cards, selections, bill, metrics, what made them."""
    if verified is not None:
        _verify(verified)
    elif copied is not None:
        if to is None:
            raise UserError("Say where the copy is to lie:  kedro rounds bundle --copy BUNDLE --to FOLDER_OR_ADDRESS")
        shown = without_passwords(to)
        done = send(copied, to)
        click.echo(f"copied and hashed again: {shown}" if done else f"{shown} holds this bundle already, whole.")
    else:
        stage = stage_to_bundle(found, round_idx)
        place = to or str(default_place(found, stage))
        build(found, stage, place)
        shown = without_passwords(place) if is_address(place) else short(Path(place))
        command = f"python -m rlmba_pipelines.predict --bundle {shlex.quote(shown)} MANIFEST"
        click.echo(f"{stage}:  {shown}\nscore   {command}")


def _verify(where: str) -> None:
    problems, shown = damage(where), without_passwords(where)
    for problem in problems:
        click.secho(problem, fg="red")
    if problems:
        click.echo(f"{shown} is not as it was built; get it again from where it came from.")
        raise SystemExit(1)
    click.echo(f"{shown} is whole.")
