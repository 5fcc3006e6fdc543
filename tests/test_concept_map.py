"""The concept map leads to code that is there, and every science module says what it takes from where."""

from __future__ import annotations

import ast
import re
import typing
from pathlib import Path

import pytest
from pydantic import BaseModel

from rlmba_pipelines.config import Parameters
from rlmba_pipelines.learning.policy import policy_names

ROOT = Path(__file__).resolve().parents[1]
MAP = ROOT / "docs" / "concept_map.md"
LEARNING = ROOT / "src" / "rlmba_pipelines" / "learning"
LINK = re.compile(r"\[([^\]]+)\]\(([^)#]+)\)")
SWITCH = re.compile(r"`([a-z_]+(?:\.[a-z_]+)+)(?:: (\w+))?`")
PARTS = ("Concept", "Source", "Stated", "Chosen")

# what is no idea of its own: doors, checks, containers and the arithmetic that strategies share
TOOLS = {
    "door.py",
    "inputs.py",
    "skactiveml_adapter.py",
    "testing.py",
    "acquisition/linear_head.py",
    "acquisition/one_modality.py",
    "acquisition/registry.py",
    "acquisition/views.py",
    "metrics/calibration.py",
    "metrics/classification.py",
    "metrics/evaluation.py",
    "metrics/learning_curve.py",
    "metrics/statistics.py",
    "selection/balls.py",
    "selection/batch.py",
    "selection/linkage.py",
    "selection/nearest.py",
    "selection/oracles.py",
    "selection/remembered.py",
    "selection/sample.py",
    "types/ids.py",
    "types/rounds.py",
    "types/samples.py",
}


def science_modules() -> list[str]:
    every = (p.relative_to(LEARNING).as_posix() for p in LEARNING.rglob("*.py") if p.name != "__init__.py")
    return sorted(set(every) - TOOLS)


def defined_in(path: Path) -> set[str]:
    """Top-level functions and classes, ``Class.method`` included."""
    names = set()
    for item in ast.parse(path.read_text()).body:
        if isinstance(item, ast.FunctionDef | ast.ClassDef):
            names.add(item.name)
            names |= {f"{item.name}.{sub.name}" for sub in ast.walk(item) if isinstance(sub, ast.FunctionDef)}
    return names


def links() -> list[tuple[str, str]]:
    return sorted(set(LINK.findall(MAP.read_text())))


def test_the_map_is_not_empty() -> None:
    assert len(links()) > 60


@pytest.mark.parametrize(("text", "target"), links())
def test_a_link_of_the_map_leads_to_a_file_that_defines_what_it_names(text: str, target: str) -> None:
    path = (MAP.parent / target).resolve()
    assert path.is_file()
    assert path.is_relative_to(ROOT)
    if target.endswith(".py"):
        assert text.strip("`") in defined_in(path)


def test_every_switch_of_the_map_is_a_parameter_with_that_choice() -> None:
    found = sorted(set(SWITCH.findall(MAP.read_text())))
    assert len(found) > 30
    for dotted, choice in found:
        block: type[BaseModel] = Parameters
        for name in dotted.split("."):
            assert name in block.model_fields, dotted
            kind = block.model_fields[name].annotation
            block = kind if isinstance(kind, type) and issubclass(kind, BaseModel) else Parameters
        options = typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()
        if dotted == "policy.name":
            options = policy_names()
        if choice and options:
            assert choice in options, f"{dotted}: {choice}"


def test_what_is_listed_as_a_tool_is_there() -> None:
    assert [name for name in sorted(TOOLS) if not (LEARNING / name).is_file()] == []


@pytest.mark.parametrize("name", science_modules())
def test_a_science_module_opens_with_concept_source_stated_and_chosen(name: str) -> None:
    docstring = ast.get_docstring(ast.parse((LEARNING / name).read_text())) or ""
    opening = [line.split(maxsplit=1)[0] for line in docstring.splitlines() if line.startswith(PARTS)]
    assert opening == list(PARTS)
