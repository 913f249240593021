"""The command line: which verb, which cluster, and one line with a remedy for whatever goes wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
import yaml

from yolofleet.cli.__main__ import VERBS, main, parsed, verb
from yolofleet.cli.session import in_words
from yolofleet.errors import ApiServerError

ROOT = Path(__file__).parents[2]


def kubeconfig(folder: Path, server: str = "http://127.0.0.1:1") -> Path:
    """Write a kubeconfig with two contexts; `cams` is the current one."""
    made = folder / "config"
    contexts = [
        {"name": name, "context": {"cluster": "c", "user": "u", "namespace": name}} for name in ("cams", "gates")
    ]
    clusters = [{"name": "c", "cluster": {"server": server}}]
    document = {"contexts": contexts, "clusters": clusters, "users": [{"name": "u", "user": {}}]}
    made.write_text(yaml.safe_dump(document | {"current-context": "cams", "kind": "Config", "apiVersion": "v1"}))
    return made


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_is_a_module_with_help(name, capsys) -> None:
    assert verb(name).run
    with pytest.raises(SystemExit) as ended:
        parsed([name, "--help"])
    assert ended.value.code == 0
    assert "--context" in capsys.readouterr().out


def test_kubectls_own_flags_are_understood() -> None:
    told = parsed(["status", "gate", "-n", "cams", "--context", "there", "--kubeconfig", "file", "-o", "json"])
    assert (told.name, told.namespace, told.context, told.kubeconfig, told.output) == (
        "gate",
        "cams",
        "there",
        "file",
        "json",
    )


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Run the plugin; return its exit code and the one line that it says."""
    code = main(arguments)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1, said.err
    return code, said.err


def test_no_kubeconfig_is_one_line(capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    code, line = told(capsys, "status", "--kubeconfig", str(tmp_path / "none"))
    assert code == 2
    assert "no kubeconfig at" in line
    assert "--kubeconfig" in line


def test_an_unknown_context_is_told_with_those_that_are_there(capsys, tmp_path) -> None:
    code, line = told(capsys, "status", "--kubeconfig", str(kubeconfig(tmp_path)), "--context", "mars")
    assert code == 2
    assert "no context 'mars'; it has: cams, gates" in line


@pytest.mark.parametrize("text", ["", "[]", "a: [", "kind: Config", "contexts: 7"])
def test_a_broken_kubeconfig_is_one_line(capsys, tmp_path, text) -> None:
    broken = tmp_path / "config"
    broken.write_text(text)
    code, line = told(capsys, "status", "--kubeconfig", str(broken))
    assert code == 2
    assert "mend the file" in line


def test_a_server_that_is_not_there_is_one_line(capsys, tmp_path) -> None:
    code, line = told(capsys, "status", "--kubeconfig", str(kubeconfig(tmp_path)))
    assert code == 2
    assert "cannot be reached" in line
    assert "context cams, http://127.0.0.1:1" in line


def test_a_name_and_all_namespaces_are_refused(capsys) -> None:
    code, line = told(capsys, "status", "gate", "-A")
    assert code == 2
    assert "-n NAMESPACE instead of -A" in line


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ApiServerError(status=401, reason="Unauthorized", message=""), "log in again"),
        (ApiServerError(status=403, reason="Forbidden", message="User x cannot list"), "User x cannot list; ask for"),
        (ApiServerError(status=404, reason="NotFound", message="no such page"), "whether the chart is installed"),
        (ApiServerError(status=500, reason="", message="etcd\nis away"), "etcd is away"),
        (TimeoutError(), "does not answer in time"),
        (aiohttp.ServerDisconnectedError(), "cannot be reached"),
    ],
)
def test_each_failure_says_what_to_do(error, words) -> None:
    line = in_words(error, "context c, https://s")
    assert words in line
    assert "\n" not in line


def test_a_pipe_gets_no_colour_and_no_broken_lines(tmp_path) -> None:
    bare = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT / "operator/src"),
        "TERM": "xterm",
    }
    done = subprocess.run(
        [sys.executable, "-m", "yolofleet.cli", "status"], env=bare, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: no kubeconfig at")
    assert "\x1b" not in done.stderr


def test_a_flag_may_bear_the_name_of_a_verb() -> None:
    told = parsed(["top", "-n", "status", "--sort", "busy"])
    assert (told.verb, told.namespace, told.sort) == ("top", "status", "busy")


def test_the_version_is_told(capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("kubectl-yolofleet ")


def test_nothing_said_is_a_line_of_usage(capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed([])
    assert ended.value.code == 2
    assert "usage: kubectl yolofleet" in capsys.readouterr().err
