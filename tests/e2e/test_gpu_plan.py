"""No minute on a GPU is lost to a typo: every step of the benchmark parses, and the runner goes on where it ended."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from e2e.gpu import build, everything
from e2e.gpu.plan import BLOCK_S, Plan, Step
from model_repo_builder import command

OUT = Path("OUT")
BLOCKS = Plan(OUT).blocks()
STEPS = [step for steps in BLOCKS.values() for step in steps]
ON_A_GPU_BOX = ("torch", "torch.nn", "torchvision", "torchvision.ops", "ultralytics", "cuda", "cuda.bindings")


class ParsedError(Exception):
    """What a command line means; nothing behind it runs."""


def begun(module: str) -> None:
    if module == "model_repo_builder":
        command.parse(sys.argv[1:])
    else:
        importlib.import_module(module).main()


@pytest.fixture
def parse(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, object]]:
    for name in ON_A_GPU_BOX:
        monkeypatch.setitem(sys.modules, name, sys.modules.get(name) or MagicMock(name=name))
    real = argparse.ArgumentParser.parse_args

    def parsed(parser: argparse.ArgumentParser, args: list[str] | None = None) -> argparse.Namespace:
        raise ParsedError(vars(real(parser, args)))

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parsed)

    def ask(line: str) -> dict[str, object]:
        module, *arguments = line.split()
        monkeypatch.setattr(sys, "argv", [module, *arguments])
        before = set(sys.modules)
        try:
            with pytest.raises(ParsedError) as told:
                begun(module)
        finally:
            for name in set(sys.modules) - before:
                if name.startswith("e2e."):  # it holds what stands in for torch
                    del sys.modules[name]
        return dict(told.value.args[0])

    return ask


@pytest.mark.parametrize("step", STEPS, ids=[step.name for step in STEPS])
def test_every_step_parses(step: Step, parse: Callable[[str], dict[str, object]]) -> None:
    line = step.command
    if line.startswith("e2e.gpu.under_mps"):
        line = line.split(maxsplit=2)[2]
    assert parse(line)


def test_a_block_is_as_short_as_a_lent_machine_wants() -> None:
    for name, steps in BLOCKS.items():
        assert sum(step.expected_s for step in steps) <= BLOCK_S, name


def test_steps_wait_for_steps_that_are_there() -> None:
    seen: set[str] = set()
    for step in STEPS:
        assert seen.issuperset(step.needs), step
        assert step.name not in seen, "names are how a second run knows what was done"
        seen.add(step.name)


def engines() -> list[str]:
    commands = [
        step.command.partition("e2e.gpu.build ")[2].split() for step in STEPS if "e2e.gpu.build " in step.command
    ]
    told = [vars(build.parser().parse_args(words)) for words in commands]
    outside = ("models", "out", "cache", "rebuild")
    return [build.Wanted(**{k: v for k, v in each.items() if k not in outside}).name for each in told]


def test_no_engine_is_written_over_another() -> None:
    assert len(set(engines())) == len(engines())


def test_the_engines_that_steps_name_are_built() -> None:
    named = {Path(word).name for step in STEPS for word in step.command.split() if word.endswith(".plan")}
    assert named
    assert named <= set(engines())


def steps(*told: tuple[str, str, tuple[str, ...], int]) -> list[Step]:
    return [Step(name, command, needs, alone=True, expected_s=seconds) for name, command, needs, seconds in told]


def test_a_second_run_goes_on_where_one_ended(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "logs").mkdir()
    wanted = steps(
        ("one", "timeit -n 1 -r 1 pass", (), 1),
        ("breaks", "no_such_module", (), 1),
        ("behind", "timeit -n 1 -r 1 pass", ("breaks",), 1),
        ("long", "timeit -n 1 -r 1 pass", ("one",), 900),
    )
    everything.Run(tmp_path, 60).all([wanted])
    told = json.loads((tmp_path / "state.json").read_text())
    assert (told["one"], told["breaks"]) == ("ok", "1")
    said = capfd.readouterr().out
    assert "behind: left for another run" in said
    assert "long: left for another run" in said
    assert "No module named no_such_module" in (tmp_path / "logs/breaks.log").read_text()
    everything.Run(tmp_path, 3600).all([[wanted[0], wanted[3]]])
    said = capfd.readouterr().out
    assert "one …" not in said
    assert json.loads((tmp_path / "state.json").read_text())["long"] == "ok"


def test_what_needs_quiet_has_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "logs").mkdir()
    beside = [Step(f"beside{n}", "timeit -n 1 -r 1 pass") for n in "12"]
    alone = Step("alone", "timeit -n 1 -r 1 pass", alone=True)
    everything.Run(tmp_path).all([[*beside, alone, Step("last", "this")]])
    order = [line.split()[1].rstrip(":") for line in capfd.readouterr().out.splitlines()]
    at = [place for place, name in enumerate(order) if name == "alone"]
    assert at[1] == at[0] + 1, f"nothing begins or ends beside it: {order}"


def test_blocks_run_at_once_each_on_a_gpu_of_its_own(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of each waits until the other has begun; a third block takes the GPU that is free first."""
    (tmp_path / "logs").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def step(name: str, *needs: str, meets: str = "") -> Step:
        """Return a step that waits until `meets` has begun, and says on which GPU it is."""
        (tmp_path / f"{name}.py").write_text(
            "import os, pathlib, time\n"
            f"here = pathlib.Path({str(tmp_path)!r})\n"
            f"(here / '{name}.begun').touch()\n"
            f"while {meets!r} and not (here / '{meets}.begun').exists(): time.sleep(0.01)\n"
            "print(os.environ['CUDA_VISIBLE_DEVICES'])\n"
        )
        return Step(name, name, needs, alone=True)

    blocks = [
        [step("one", meets="two"), step("after_one", "one")],
        [step("two", meets="one"), step("until_third", meets="third")],
        [step("third", "after_one"), step("fourth", "never")],
    ]
    everything.Run(tmp_path, gpus=("GPU-x", "GPU-y")).all(blocks)
    ran = ("one", "after_one", "two", "until_third", "third")
    on = {name: (tmp_path / f"logs/{name}.log").read_text().strip() for name in ran}
    assert on == {"one": "GPU-x", "after_one": "GPU-x", "two": "GPU-y", "until_third": "GPU-y", "third": "GPU-x"}
    assert "fourth: left for another run" in capfd.readouterr().out
