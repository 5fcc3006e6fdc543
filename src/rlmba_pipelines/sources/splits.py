"""Which samples are pool, validation and test: never two rows of one group in different splits."""

from __future__ import annotations

import hashlib

import pandas as pd

from rlmba_pipelines.learning.types import UserError


def assign_splits(manifest: pd.DataFrame, *, validation_share: float, test_share: float, seed: int) -> pd.Series:
    """The split of every row of the manifest.

    Given splits are kept and empty cells beside them are pool. Where no split is given and every row has a label, whole
    groups are drawn by a hash of (seed, group), so rows that are added later never move the old ones. Where labels are
    missing, everything is pool: the labels that happen to be there are no fair sample to measure on.

    Args:
        manifest: of ``read_manifest``.
        validation_share: expected share of the groups, in [0, 1].
        test_share: expected share of the groups, in [0, 1].
        seed: another seed draws other groups.

    Returns:
        str[N] named ``split``, each ``pool``, ``validation`` or ``test``, with the manifest's index.

    Raises:
        UserError: a group lies in two of the given splits, or the shares leave no pool.
    """
    if (manifest["split"] != "").any():
        split = manifest["split"].where(manifest["split"] != "", "pool")
        _check_groups(manifest["group"], split)
        return split
    if validation_share + test_share >= 1:
        raise UserError(
            f"validation_share {validation_share} and test_share {test_share} leave nothing to select from; "
            f"lower them until they sum to less than 1."
        )
    if (manifest["label"] == "").any():
        return pd.Series("pool", index=manifest.index, dtype=object, name="split")
    drawn = {g: _draw(g, validation_share, test_share, seed) for g in set(manifest["group"])}
    return manifest["group"].map(drawn).astype(object).rename("split")


def later_splits(added: pd.DataFrame, before: pd.DataFrame) -> pd.Series:
    """The split of rows that come to samples which were divided before: as given, else that of their group, else pool.

    Args:
        added: of ``read_manifest``.
        before: with ``group`` and ``split``.

    Returns:
        str[N] named ``split``, with the index of ``added``.

    Raises:
        UserError: a group would lie in two splits.
    """
    # by the alphabet the pool is the least: a group that an earlier version tore counts as held out
    of_group = added["group"].map(before.groupby("group")["split"].max())
    split = added["split"].where(added["split"] != "", of_group.fillna("pool"))
    known = of_group.notna()
    _check_groups(pd.concat([added["group"], added["group"][known]]), pd.concat([split, of_group[known]]))
    return split


def draw_validation(manifest: pd.DataFrame, *, share: float, seed: int) -> pd.Series:
    """The given splits, with about ``share`` of the pool's groups moved to ``validation``, unless some were given.

    For data sets that publish a training and a test part; drawn as in ``assign_splits``.

    Returns:
        str[N] named ``split``, with the manifest's index.
    """
    split = manifest["split"]
    if (split == "validation").any():
        return split
    drawn = manifest["group"].map({g: _draw(g, share, 0.0, seed) for g in set(manifest["group"])})
    return split.where(~split.isin(("", "pool")), drawn)


def _draw(group: str, validation_share: float, test_share: float, seed: int) -> str:
    digest = hashlib.sha256(f"{seed}\0{group}".encode("utf-8", errors="surrogatepass")).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place < test_share:
        return "test"
    return "validation" if place < test_share + validation_share else "pool"


def _check_groups(group: pd.Series, split: pd.Series) -> None:
    splits_of_group = split.groupby(group).unique()
    torn = splits_of_group[splits_of_group.map(len) > 1]
    if len(torn):
        where = " and ".join(sorted(torn.iloc[0]))
        raise UserError(
            f"The group {torn.index[0]!r} lies in {where} ({len(torn)} such groups); give all rows of a group the "
            f"same split, or the test would be on samples that were all but trained on."
        )
