"""Flags are the keyword arguments of the function behind a command: names, defaults, help."""

from __future__ import annotations

import ast
import importlib
import inspect
from dataclasses import FrozenInstanceError, fields, is_dataclass
from pathlib import Path
from typing import get_args

import pytest
from cyclopts import App

import kinema.cli
from kinema.cli import options
from kinema.cli.app import app, main

# The functions that a command hands its flags to.
FUNCTIONS = {
    "extract": ["features.extraction.extract"],
    "status": ["sharing.status.status"],
    "predict": ["methods.predict.predict"],
    "search": ["finding.search.search"],
    "classify": ["finding.classify.classify"],
    "prepare": ["training.prepare.prepare"],
    "train": ["training.train.train"],
    "ablation": ["evaluation.ablation.ablation"],
    "export": ["engine.export.export"],
    "transfer": ["evaluation.transfer.transfer"],
    "compare": ["evaluation.compare.compare"],
    "embed": ["evaluation.embedding.embed"],
    "compactness": ["evaluation.compactness.compactness"],
    "duplicates": ["finding.duplicates.duplicates"],
    "trajectories": ["features.trajectory_files.write_trajectories"],
    "flow": ["flow.pictures.draw_flow"],
    "runtime": ["evaluation.runtime.runtime"],
    "convolve": ["views.convolve.convolve"],
    "kernels": ["views.filters.kernels"],
    "excite": ["views.excitation.excite"],
    "demo": ["cli.demo.demo"],
    "weights list": [],
    "weights info": ["weights.file.resolve"],
    "weights convert": ["weights.convert.convert"],
    "weights pull": ["weights.known.pull"],
    "weights mean": ["weights.means.mean_volume"],
    "dataset info": [
        "datasets.loaders.load",
        "datasets.inspection.inspect",
        "datasets.near_duplicates.find_near_duplicates",
        "video.loop.Reading",
    ],
}
# What a flag is called where that is not the name of the keyword argument.
RENAMED = {
    ("excite", "map"): "maps",
    ("export", "layer"): "layers",
    ("weights mean", "videos"): "paths",
}
# Flags of the command alone: where to write what is returned, how to print it, the exit code.
OWN = {
    "classify": {"csv", "json", "max_skipped", "model", "page"},
    "compactness": {"model", "max_skipped"},
    "compare": {"max_skipped", "method", "model", "out"},
    "dataset info": {"all", "json", "max_skipped", "near_duplicates"},
    "duplicates": {"csv", "json", "max_skipped", "page"},
    "embed": {"max_skipped", "model"},
    "extract": {"model"},
    "excite": {"max_skipped"},
    "predict": {"json", "max_skipped", "model"},
    "prepare": {"max_skipped"},
    "runtime": {"max_skipped"},
    "search": {"csv", "json", "max_skipped", "model", "page"},
    "status": {"json", "max_skipped"},
    "transfer": {"model", "out", "max_skipped"},
    "weights convert": {"target"},
    "weights info": {"file", "json", "model"},
    "weights mean": {"out", "max_skipped"},
}
# The function asks for it, the command line has a folder to begin with.
CHOSEN = {("demo", "out"): Path("demo")}
# Not handed on unless it is named, so that a layer that weights do not have is refused.
LEFT_OUT = {"layer": "fc6"}


def commands(found: App = app, words: tuple[str, ...] = ()) -> dict[str, App]:
    """All commands by name, with those of commands."""
    result = {}
    for name in found:
        if not name.startswith("-"):
            inner = commands(found[name], (*words, name))
            result.update(inner or {" ".join((*words, name)): found[name]})
    return result


def flags(command: App) -> list:
    return [one for one in command.assemble_argument_collection() if not one.children]


def name_of(flag) -> str:
    return flag.keys[-1] if flag.keys else flag.field_info.name


def functions_of(command: str) -> list:
    found = []
    for address in FUNCTIONS[command]:
        module, _, name = address.rpartition(".")
        if module in ("training.train", "evaluation.ablation"):
            pytest.importorskip("torch")
        found.append(getattr(importlib.import_module(f"kinema.{module}"), name))
    return found


def same(flag, default) -> bool:
    """Whether a flag's default is the function's, which may hold many names at once."""
    value = flag.field_info.default
    if name_of(flag) in ("methods", "systems"):
        value = options.names(value)
    if isinstance(default, tuple):
        return tuple(value or ()) == default
    return value == default and type(value) is type(default)


def test_all_commands_are_held_to_their_functions():
    assert commands().keys() == FUNCTIONS.keys(), "name each command's functions in FUNCTIONS"


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_a_flags_default_is_its_functions(name):
    keywords = [inspect.signature(function).parameters for function in functions_of(name)]
    own = set()
    for flag in flags(commands()[name]):
        keyword = RENAMED.get((name, name_of(flag)), name_of(flag))
        held = [known[keyword] for known in keywords if keyword in known]
        if not held:
            own.add(name_of(flag))
            continue
        if (name, keyword) in CHOSEN:
            assert flag.field_info.default == CHOSEN[name, keyword]
            continue
        if keyword in LEFT_OUT and flag.field_info.default is None:
            assert {parameter.default for parameter in held} == {LEFT_OUT[keyword]}
            continue
        for parameter in held:
            if flag.required:
                assert parameter.default is parameter.empty, f"--{keyword}: {parameter}"
            elif flag.field_info.kind is not inspect.Parameter.VAR_POSITIONAL:
                assert same(flag, parameter.default), f"--{keyword}: {parameter}"
    assert own == OWN.get(name, set())


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_each_flag_has_a_help(name):
    missing = [
        flag.name
        for flag in commands()[name].assemble_argument_collection(parse_docstring=True)
        if not flag.children and not flag.parameter.help
    ]
    assert not missing


def test_what_commands_share_cannot_be_changed():
    groups = [one for one in vars(options).values() if inspect.isclass(one) and is_dataclass(one)]
    assert len(groups) >= 6
    for group in groups:
        for field in fields(group):
            with pytest.raises(FrozenInstanceError):
                setattr(group(), field.name, None)


@pytest.mark.parametrize("path", sorted(Path(kinema.cli.__file__).parent.glob("*.py")))
def test_no_function_takes_too_much(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            found = node.args
            taken = [*found.posonlyargs, *found.args, *found.kwonlyargs, found.vararg, found.kwarg]
            assert sum(one is not None for one in taken) <= 12, node.name


@pytest.mark.parametrize("words", [(), ("weights",), ("dataset",)])
def test_help_of_commands_says_what_each_does(capsys, monkeypatch, words):
    monkeypatch.setenv("COLUMNS", "160")
    assert main([*words, "--help"]) == 0
    out = capsys.readouterr().out
    for name, command in commands().items():
        *before, last = name.split()
        if tuple(before) == words:
            first = command.help.partition("\n")[0].replace("`", "")
            assert f" {last} " in out
            assert first in out


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_usage_names_what_stands_without_a_flag(capsys, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "160")
    assert main([*name.split(), "--help"]) == 0
    usage = capsys.readouterr().out.partition("\n")[0]
    expected = ["Usage:", "kinema", *name.split()]
    for flag in flags(commands()[name]):
        if flag.required and not flag.field_info.is_positional:
            expected += [flag.name, "PATH" if flag.hint is Path else "STR"]
    if any(
        not flag.required and not flag.field_info.is_positional for flag in flags(commands()[name])
    ):
        expected.append("[OPTIONS]")
    for flag in flags(commands()[name]):
        if flag.field_info.is_positional:
            several = flag.field_info.kind is inspect.Parameter.VAR_POSITIONAL
            shown = flag.field_info.name.upper() + "..." * several
            expected.append(shown if flag.required else f"[{shown}]")
    assert usage.split() == expected


def test_help_shows_panels_in_order_and_defaults(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert main(["transfer", "--help"]) == 0
    out = capsys.readouterr().out
    places = [
        out.index(f" {title} ─")
        for title in ("Parameters", "Dataset", "Features", "Protocol", "Computing", "Videos")
    ]
    assert places == sorted(places)
    assert "[default: c3d-mini]" in out
    assert "put side by side" in out  # transfer's own words for a shared flag


def test_an_old_flag_works_and_costs_one_note(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(options.RENAMED, "weights info", {"--as-json": "--json"})
    assert main(["weights", "info", "c3d-mini", "--as-json"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("{")
    assert captured.err == "kinema: --as-json is now --json; the old name will go.\n"


def test_old_flags_are_those_of_their_command_and_not_values(monkeypatch):
    monkeypatch.setattr(options, "RENAMED", {"train": {"--network": "--model"}})
    notes = []
    given = ["train", "v", "--network=c3d", "--out", "o", "--", "--network"]
    assert options.renamed(given, notes.append) == [
        "train", "v", "--model=c3d", "--out", "o", "--", "--network",
    ]  # fmt: skip
    assert len(notes) == 1
    other = ["extract", "--network", "c3d"]
    assert options.renamed(other, notes.append) == other
    assert len(notes) == 1


def test_old_flags_lead_to_flags_that_are_there():
    for name, renamed in options.RENAMED.items():
        known = {word for flag in flags(commands()[name]) for word in flag.names}
        assert set(renamed.values()) <= known
        assert not known & renamed.keys()


def test_the_kinds_of_datasets_are_those_that_can_be_loaded():
    from kinema.datasets.published import KINDS

    assert get_args(options.DatasetKind) == ("auto", *KINDS)


def test_the_recipes_are_those_that_there_are():
    from kinema.training.recipes import RECIPES

    assert get_args(options.Recipe) == tuple(RECIPES)
