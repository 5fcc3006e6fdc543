"""``make e2e-label-studio``: three batches labeled by simulated people on a real server, with all that goes wrong.

The commands are those of a user, each a process of its own. People answer over the API as their browsers would; the
server and the run that waits for it are killed in between. It ends with a comparison of what the server acknowledged
with what the ledger holds.
"""

from __future__ import annotations

import argparse
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path

import pandas as pd

from browser import Browser
from label_studio import LEGACY, OWNER, ROOT, Server, install, owner, personal_access_token, session
from label_studio_scene import NAME, QUERY, ROUNDS, START, Scene, build_project, photograph, until
from rlmba_pipelines.ledger import ADJUDICATOR

STARTED = time.monotonic()


def say(words: str) -> None:
    print(f"{time.monotonic() - STARTED:6.1f} s  {words}", flush=True)


def first_batch(scene: Scene) -> None:
    """Nobody knows the classes: people type. The run dies while it sends, the server while people answer."""
    scene.start("--manifest", str(scene.commands.manifest))
    until(lambda: scene.projects(0), 120, "a project")
    assert scene.stop(signal.SIGKILL) == -signal.SIGKILL
    say("round 0: the run was killed by SIGKILL while it sent the batch")
    scene.start()
    tasks = scene.batch(0, START)
    say(f"round 0: {len(tasks)} tasks in {len(scene.projects(0))} projects, none twice")
    skipped, doubted, disputed, doubled, two_ways, *others = tasks
    for name in ("ann", "bob"):
        scene.says(name, skipped, None)
    scene.says("ann", doubted, scene.right(doubted), typed=True)
    scene.says("bob", doubted, None)
    scene.says("ann", disputed, scene.right(disputed), typed=True)
    scene.says("bob", disputed, scene.wrong(disputed), typed=True)
    assert scene.says("ann", doubled, scene.right(doubled), typed=True) == 201
    assert scene.says("ann", doubled, scene.right(doubled), typed=True) == 409, "sent twice by one browser"
    scene.people["ann"].answer(doubled, scene.right(doubled), typed=True, again="once more")
    scene.says("bob", doubled, scene.right(doubled), typed=True)
    scene.says("cat", doubled, scene.right(doubled), typed=True, counts=False)
    scene.server.kill()
    say("round 0: the server was killed by SIGKILL while people answered")
    scene.printed("It is asked again")
    scene.server.start()
    for task in others[: len(others) // 2]:
        scene.both_say(task, scene.right(task), typed=True)
    scene.printed("has its 2 answers already")
    assert scene.stop(signal.SIGINT) == 130
    scene.says("bob", two_ways, scene.right(two_ways), typed=True)
    scene.people["ann"].answer(two_ways, scene.wrong(two_ways), typed=True, again="at once")
    scene.says("ann", two_ways, scene.right(two_ways), typed=True)
    scene.start()
    scene.printed("is answered in two ways at once")
    say("round 0: Ctrl-C and on again; two answers of one person at once were told")
    scene.person_takes_back("ann", 0, two_ways, scene.wrong(two_ways))
    for task in others[len(others) // 2 :]:
        scene.both_say(task, scene.right(task), typed=True)
    assert "1 of these are disputed" in scene.ended()
    folder = scene.folder / "disputed"
    scene.commands("export", str(folder), "--disputed")
    sheet = pd.read_csv(folder / f"{NAME}-round_00-disputed.csv", dtype=str, keep_default_na=False)
    assert sheet["sample_id"].tolist() == [disputed["data"]["sample_id"]]
    sheet.assign(label=scene.right(disputed)).to_csv(folder / "judged.csv", index=False)
    scene.said[disputed["data"]["sample_id"], ADJUDICATOR] = scene.right(disputed)
    scene.commands("import", str(folder / "judged.csv"), "--adjudicate")
    say("round 0: a dispute was settled by the adjudicator; round 1 is chosen")


def second_batch(scene: Scene, picture: Path) -> None:
    """By a personal access token; the server dies while it is sent to. Unknown labels, an edited answer."""
    scene.commands.token = personal_access_token(scene.server.url)
    scene.start()
    until(lambda: scene.projects(1), 120, "a project")
    scene.server.kill()
    time.sleep(1)
    scene.server.start()
    if scene.gave_up():
        scene.start()
    tasks = scene.batch(1, QUERY)
    say(f"round 1: the server was killed by SIGKILL while the batch was sent; {len(tasks)} tasks, none twice")
    look(scene, picture)
    unknown, novel, edited, *others = tasks
    scene.says("ann", unknown, "flaem", counts=False)
    scene.both_say(novel, "mist")
    scene.says("ann", edited, scene.wrong(edited))
    scene.says("bob", edited, scene.right(edited))
    scene.printed("'flaem' is not one of the 4 classes")
    scene.printed("1 disputed")
    print(scene.patiently("status"))
    scene.person_changes("ann", 1, unknown, "flaem", scene.right(unknown))
    scene.says("bob", unknown, scene.right(unknown))
    scene.patiently("classes", "mist")
    scene.person_changes("ann", 1, edited, scene.wrong(edited), scene.right(edited))
    scene.printed("--correct lets the new answer count")
    assert "1 corrected" in scene.patiently("pull", "--correct")
    say("round 1: an unknown label was set aside and mended, a new class made known, an answer corrected")
    for task in others:
        scene.both_say(task, scene.right(task))


def third_batch(scene: Scene) -> None:
    """Somebody deletes a project in between."""
    tasks = scene.batch(2, QUERY)
    for task in tasks[:QUERY // 2]:
        scene.both_say(task, scene.right(task))
    scene.printed(f"round 2: {QUERY // 2}/{QUERY} answered")
    with owner(scene.server.url) as client:
        for project in scene.projects(2):
            client.delete(f"/api/projects/{project['id']}/").raise_for_status()
    assert "'kedro rounds push --experiment e2e' sends them again" in scene.ended(2)
    scene.start()
    tasks = scene.batch(2, QUERY - QUERY // 2)
    say(f"round 2: its projects were deleted on the server; {len(tasks)} samples that were open went there again")
    first, second = scene.label_stream("ann", 2, skips=1), scene.label_stream("bob", 2)
    assert all(ranks == sorted(ranks) for ranks in first), "the server shows the best first"
    assert list(map(sorted, second)) == first, "the second sees the same, what was skipped too, in any order"
    assert sum(map(len, first)) == len(tasks)
    assert scene.label_stream("cat", 2) == [[] for _ in scene.projects(2)], "two have answered: nobody else is asked"
    assert "report" in scene.ended()


def look(scene: Scene, picture: Path) -> None:
    """The page in a browser: image, sound and text are there, and the guess is marked."""
    if not Browser.program():
        say("there is no Chromium here: no picture")
        return
    wanted = {"image", "audio", "text"}
    project = next(p for p in scene.projects(1) if "image+audio+text" in p["title"])
    task = next(t for t in scene.people["ann"].tasks(project["id"]) if t["predictions"] and wanted <= t["data"].keys())
    person = session(scene.server.url, OWNER)
    guess = photograph(scene.server.url, dict(person.cookies), project["id"], task, picture)
    say(f"the page shows image, sound, text and the guess {guess!r}: {picture}")


def compare(scene: Scene) -> None:
    """Nothing lost, nothing doubled, no token anywhere."""
    rows = scene.commands.ledger()
    held = {(s, who): label for s, who, label in rows[["sample_id", "annotator", "label"]].itertuples(index=False)}
    assert len(held) == len(rows), "an answer stands in the ledger twice"
    assert held == scene.said, f"lost or changed: {dict(held.items() ^ scene.said.items())}"
    assert rows["cost"].sum() == len(rows), "something was billed twice"
    keys = Counter(task["data"]["key"] for k in range(ROUNDS + 1) for task in scene.tasks(k))
    assert max(keys.values()) == 1, "a task is on the server twice"
    scene.commands("verify")
    print(scene.commands("status"))
    secrets = {LEGACY.encode(), scene.commands.token.encode()}
    for path in [*scene.commands.project.rglob("*"), *scene.folder.glob("*.log")]:
        data = path.read_bytes() if path.is_file() else b""
        assert not any(secret in data for secret in secrets), f"{path} holds a token"
        assert path.suffix != ".log" or b"Traceback" not in data, path
    say(f"{len(rows)} answers of {rows['annotator'].nunique()} people in the ledger, as the server acknowledged them")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--picture", type=Path, default=ROOT / "build" / "label_studio.png")
    parser.add_argument("--keep", type=Path, help="folder for everything, which stays; default: a temporary one")
    options = parser.parse_args()
    install()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.keep or Path(temporary)).resolve()
        with Server(folder / "server") as server:
            say(f"Label Studio runs at {server.url}")
            scene = Scene(folder, server, build_project(folder, server.url))
            try:
                first_batch(scene)
                second_batch(scene, options.picture.resolve())
                third_batch(scene)
                compare(scene)
            finally:
                scene.close()
    say("lost 0, doubled 0; everything that was started is stopped")


if __name__ == "__main__":
    main()
