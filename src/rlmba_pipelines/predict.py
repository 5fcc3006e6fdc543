"""``python -m rlmba_pipelines.predict --bundle DIR manifest.csv``: score raw media with the bundle alone."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from rlmba_pipelines.disk import replacing
from rlmba_pipelines.handoff.parcel import opened
from rlmba_pipelines.handoff.scoring import score
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.records import disarmed, share_of


@click.command()
@click.argument("manifest", type=click.Path(path_type=Path))
@click.option("--bundle", required=True, help="A folder that 'kedro rounds bundle' wrote, or its address (s3://…).")
@click.option("--to", type=click.Path(path_type=Path, dir_okay=False), help="CSV to write; default: standard output.")
@click.option("--media-root", type=click.Path(path_type=Path), help="Folder of the media; default: the manifest's own.")
@click.option(
    "--max-bad-media",
    default="0",
    help="Share of unreadable samples to put up with, as 0.02 or 2%.",
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True, help="Processes that decode, encode.")
def predict(
    manifest: Path,
    bundle: str,
    to: Path | None,
    media_root: Path | None,
    max_bad_media: str,
    device: str,
    workers: int,
) -> None:
    """Class probabilities of every sample of MANIFEST, as CSV."""
    try:
        with opened(bundle) as folder:
            scores = score(
                folder, manifest, media_root=media_root, max_bad_share=share_of(max_bad_media), device=device,
                workers=workers, progress=sys.stderr.isatty(),
            )
        text = scores.table.map(disarmed).to_csv(index=False, float_format="%.9g")
        if to is None:
            click.echo(text, nl=False)
        else:
            with replacing(to) as temporary:
                temporary.write_text(text, encoding="utf-8")
    except UserError as error:
        if os.environ.get("RLMBA_DEBUG"):
            raise
        click.secho(f"Error: {error}", err=True, fg="red")
        raise SystemExit(2) from None
    for medium in scores.set_aside.itertuples():
        click.echo(f"set aside: {medium.modality} of {medium.sample_id} {medium.reason}", err=True)


if __name__ == "__main__":
    predict()
