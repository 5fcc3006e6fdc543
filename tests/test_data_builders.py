"""Which rows the builders of the benchmark data sets take, how they divide them, and what chance decides."""

from __future__ import annotations

import importlib
import json
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


@pytest.fixture
def rawdata(monkeypatch) -> Iterator[Any]:
    """Import a module of the builders."""
    monkeypatch.syspath_prepend(str(SCRIPTS))

    def module(name: str) -> ModuleType:
        return importlib.import_module(f"rawdata.{name}")

    yield module
    for name in [name for name in sys.modules if name.split(".")[0] == "rawdata"]:
        del sys.modules[name]


def classes_of(rng: np.random.Generator, n_classes: int) -> dict[str, dict[str, int]]:
    return {
        f"class{c}": {f"group{c}-{g}": int(rng.integers(1, 11)) for g in range(rng.integers(12, 40))}
        for c in range(n_classes)
    }


def test_no_split_of_a_class_has_a_group_too_many_or_two_too_few(rawdata):
    """A group goes only where rows are wanted, so each split exceeds its share by less than the largest group."""
    splits = rawdata("splits")
    classes = classes_of(np.random.default_rng(0), 50)
    split_of = splits.divide(classes)
    assert set(split_of) == {group for sizes in classes.values() for group in sizes}
    for sizes in classes.values():
        rows = Counter()
        for group, n in sizes.items():
            rows[split_of[group]] += n
        for split, share in splits.SPLIT_SHARE.items():
            excess = rows[split] - share * sum(sizes.values())
            assert -2 * max(sizes.values()) < excess < max(sizes.values())


def test_splits_do_not_depend_on_the_order_of_classes_and_groups(rawdata):
    divide, rng = rawdata("splits").divide, np.random.default_rng(1)
    classes = classes_of(rng, 10)
    shuffled = {
        label: {group: classes[label][group] for group in rng.permutation(list(classes[label]))}
        for label in rng.permutation(list(classes))
    }
    assert divide(classes) == divide(shuffled)


def test_a_group_with_rows_of_two_classes_has_one_split_and_counts_in_both(rawdata):
    divide = rawdata("splits").divide
    alone = divide({"a": {"both": 90, "a1": 5, "a2": 5}, "b": {"b1": 5, "b2": 5}})
    shared = divide({"a": {"both": 90, "a1": 5, "a2": 5}, "b": {"both": 90, "b1": 5, "b2": 5}})
    assert {group: alone[group] for group in ("both", "a1", "a2")} == {
        group: shared[group] for group in ("both", "a1", "a2")
    }
    assert shared["both"] not in (shared["b1"], shared["b2"])  # its 90 rows filled its share of class b


WORDS = {
    "meta/groups.json": {
        "groups": {"0": "food", "1": "component"},
        "subgroups": {"0": "fruit", "1": "skin-tone"},
    },
    "meta/unicode-names.json": {"1F34F": "Green apple"},
    "en/data.json": [
        {"hexcode": "1F34E", "label": "red apple", "tags": ["red", "apple", "red apple"], "group": 0, "subgroup": 0},
        {"hexcode": "1F34F", "label": "green apple", "tags": ["green"], "group": 0, "subgroup": 0},
        {"hexcode": "1F1E6", "label": "letter without a subgroup", "tags": ["x", "y"]},
        {"hexcode": "1F350", "label": "pear, unnamed in Polish", "tags": ["x", "y"], "group": 0, "subgroup": 0},
    ],
}
NAMED = [{"hexcode": code, "label": f"name {code}"} for code in ("1F34E", "1F34F", "1F1E6", "1F350")]


@pytest.fixture
def words() -> dict[str, bytes]:
    others = {f"{language}/data.json": NAMED for language in ("de", "es", "fr", "it")}
    files = {**WORDS, **others, "pl/data.json": NAMED[:-1]}
    return {name: json.dumps(content).encode() for name, content in files.items()}


def test_concepts_need_a_subgroup_and_all_names_and_as_many_tags_as_asked(rawdata, words):
    read = rawdata("emoji").read_concepts
    assert list(read(words, min_tags=2)) == ["1f34e"]
    assert list(read(words, min_tags=0)) == ["1f34e", "1f34f"]
    apple = read(words, min_tags=2)["1f34e"]
    assert (apple.label, apple.theme, apple.tags) == ("fruit", "food", ["apple", "red"])


def test_drawings_are_found_by_code_point_or_name_and_the_first_of_a_style_counts(rawdata, words):
    def style(chars: dict[str, str], icons: dict[str, Any]) -> dict[str, bytes]:
        icons_of = {"icons": icons, "width": 36, "height": 36}
        return {"chars.json": json.dumps(chars).encode(), "icons.json": json.dumps(icons_of).encode()}

    packages = {
        "coded": style({"1f34e": "apple"}, {"apple": {"body": "<a fill='currentColor'/>"}, "car": {"body": ""}}),
        "named": style({}, {"green-apple": {"body": "first"}, "greenapple": {"body": "second"}}),
        "hidden": style({}, {"green-apple": {"body": "", "hidden": True}}),
        "files": {"assets/1f34e-fe0f.webp": b"RIFF"},
    }
    found = rawdata("emoji").find_drawings(packages, words, min_tags=0)
    assert [drawing.sample_id for drawing in found] == ["coded-1f34e", "named-1f34f", "files-1f34e"]
    assert 'viewBox="0 0 36 36"' in found[0].art
    assert "fill='#000'" in found[0].art
    assert ">first<" in found[1].art
    assert found[2].art == b"RIFF"


def drawings_of(emoji: ModuleType, codes: dict[str, list[str]], styles: int = 2) -> list[Any]:
    return [
        emoji.Drawing(
            f"style{s}-{code}", f"style{s}", emoji.Concept(code, emoji.group_of(code), label, "", ["a"], {}), ""
        )
        for label, some in codes.items()
        for code in some
        for s in range(styles)
    ]


def test_large_subgroups_are_counted_in_concepts_and_not_in_drawings(rawdata):
    emoji = rawdata("emoji")
    drawings = drawings_of(emoji, {"large": ["a", "b", "c"], "small": ["d", "e"]}, styles=5)
    assert emoji.large_subgroups(drawings, 3) == {"large"}


def test_a_man_and_a_woman_of_one_concept_share_a_split(rawdata):
    emoji = rawdata("emoji")
    drawings = drawings_of(emoji, {"role": ["1f468-2695", "1f469-2695", "1f9d1-2695", "1f9d1-1f393"]})
    assert emoji.sizes_of_groups(drawings) == {"role": {"1f9d1-2695": 6, "1f9d1-1f393": 2}}


def test_the_text_of_a_row_is_two_of_its_tags_drawn_by_its_id_or_what_there_is(rawdata):
    emoji = rawdata("emoji")

    def text(sample_id: str, tags: list[str]) -> str:
        return emoji.draw_tags(emoji.Drawing(sample_id, "", emoji.Concept("", "", "", "", tags, {}), ""))

    tags = ["a", "b", "c", "d", "e"]
    drawn = Counter(frozenset(text(f"id{i}", tags).split(", ")) for i in range(1000))
    assert len(drawn) == 10
    assert max(drawn.values()) < 150  # 100 each, on average
    assert text("id1", tags) == text("id1", tags)
    assert (text("x", ["one"]), text("x", [])) == ("one", "")


def test_utterances_are_drawn_by_the_sample_id_with_the_shares_that_are_promised(rawdata):
    utterances = rawdata("utterances")
    drawn = [utterances.draw_utterance(f"id{i}", (0.0, 20.0)) for i in range(4000)]
    assert drawn[7] == utterances.draw_utterance("id7", (0.0, 20.0))
    languages = Counter(u.language for u in drawn)
    assert languages["en"] / 4000 == pytest.approx(0.5, abs=0.03)
    assert all(languages[code] / 4000 == pytest.approx(0.1, abs=0.02) for code in ("de", "es", "fr", "it", "pl"))
    assert len(Counter(u.speaker for u in drawn)) == 10
    snr = np.array([u.snr_db for u in drawn if u.snr_db is not None])
    assert 1 - len(snr) / 4000 == pytest.approx(0.08, abs=0.02)
    assert 0 <= snr.min() < 0.1
    assert 19.9 < snr.max() <= 20
    assert snr.mean() == pytest.approx(10, abs=0.4)


def test_the_committed_manifest_is_what_the_rules_draw(rawdata):
    """Its text, language and splits follow from ids and groups alone; the tags are those of the committed rows."""
    import pandas as pd

    committed = pd.read_csv(SCRIPTS.parent / "data/01_raw/emoji/manifest.csv", dtype=str, keep_default_na=False)
    draw, divide = rawdata("utterances").draw_utterance, rawdata("splits").divide
    languages = [draw(sample_id, (5.0, 20.0)).language for sample_id in committed["sample_id"]]
    assert languages == committed["meta_language"].tolist()
    sizes = committed.groupby(["label", "group"]).size()
    split_of = divide({label: sizes[label].to_dict() for label in sizes.index.levels[0]})
    assert committed["group"].map(split_of).tolist() == committed["split"].tolist()


STAMPS = {
    "animals/frog.png": b"frog",
    "animals/frog.svg": b"<svg>",
    "animals/frog.txt": b"A frog.\nfr.utf8=Une grenouille.\nde.utf8=Ein Frosch.\nel.utf8=\n",
    "animals/frog_desc.ogg": b"en frog",
    "animals/frog_desc_fr.ogg": b"fr frog",
    "animals/frog_desc_el.ogg": b"no words for this",
    "animals/toad.svg": b"<svg toad>",
    "animals/toad.txt": b"A toad.\nfr.utf8=Une crapaud.\n",
    "animals/toad_desc_fr.ogg": b"fr frog",
    "animals/mute.png": b"mute",
    "animals/mute.txt": b"A fish.",
    "food/apple.txt": b"An apple.",
    "food/apple_desc.ogg": b"no picture",
    "food/toad.png": b"toad in the hole",
    "food/toad.txt": b"A dish.\nfr.utf8=Une crapaud.\n",
    "food/toad_desc_fr.ogg": b"fr toad in the hole",
    "food/pie.png": b"pie",
    "food/pie.txt": b"A pie.",
    "food/pie_desc.ogg": b"en pie",
}


def test_stamps_are_kept_with_the_languages_that_have_words_and_speech(rawdata):
    stamps = {stamp.name: stamp for stamp in rawdata("tuxpaint").read_stamps(STAMPS)}
    assert list(stamps) == ["animals/frog", "animals/toad", "food/pie", "food/toad"]
    frog = stamps["animals/frog"]
    assert (frog.label, frog.picture) == ("animals", "animals/frog.png")
    assert frog.texts == {"en": "A frog.", "fr": "Une grenouille."}
    assert frog.speech == {"en": "animals/frog_desc.ogg", "fr": "animals/frog_desc_fr.ogg"}


def test_stamps_that_share_a_medium_are_one_group_though_only_by_way_of_others(rawdata):
    tux = rawdata("tuxpaint")
    stamps = tux.read_stamps(STAMPS)
    group_of = tux.groups_of(stamps, STAMPS)
    # frog and toad share a recording, toad and the dish their French words
    assert [group_of[s.name] for s in stamps] == ["animals/frog", "animals/frog", "food/pie", "animals/frog"]
    assert tux.sizes_of_groups(stamps, group_of) == {
        "animals": {"animals/frog": 3},
        "food": {"food/pie": 1, "animals/frog": 1},
    }


def test_only_folders_of_enough_stamps_are_kept(rawdata):
    tux = rawdata("tuxpaint")
    names = ["a/1", "a/b/2", "a/3", "c/1", "c/2"]
    stamps = [tux.Stamp(name, "", {}, {}) for name in names]
    assert [stamp.name for stamp in tux.in_large_folders(stamps, 3)] == names[:3]


def test_archives_have_the_same_bytes_whenever_they_are_packed_and_shards_stay_under_their_cap(rawdata, tmp_path):
    files = rawdata("files")
    shards, where = files.Shards(tmp_path, "image", 1000), {}
    for i in range(20):
        where[i] = shards.add(f"{i}.webp", bytes([i]) * 150)
    shards.close()
    paths = sorted(tmp_path.iterdir())
    assert [path.name for path in paths] == [f"image-{n:03d}.zip" for n in range(len(paths))]
    assert max(path.stat().st_size for path in paths) <= 1000
    for i, ref in where.items():
        shard, name = ref.split("/")
        with zipfile.ZipFile(tmp_path / shard) as archive:
            assert archive.read(name) == bytes([i]) * 150
    assert files.pack([("a", b"1")]) == files.pack([("a", b"1")])
    assert b"\x00\x00\x21\x00" in files.pack([("a", b"1")])  # 1980-01-01 and not the clock


def test_without_npm_or_with_another_file_there_is_one_sentence_that_says_what_to_do(rawdata, monkeypatch, tmp_path):
    npm = rawdata("npm")
    package = npm.Package("@some/package", "1.0.0", "00")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match=r"^npm is missing: install Node\.js, which brings it, then run this again\.$"):
        npm.fetch({"style": package}, tmp_path)
    (tmp_path / "npm").touch(mode=0o755)
    (tmp_path / "some-package-1.0.0.tgz").write_bytes(b"tampered with")
    with pytest.raises(SystemExit, match="not the pinned: delete it and run this again"):
        npm.fetch({"style": package}, tmp_path)
