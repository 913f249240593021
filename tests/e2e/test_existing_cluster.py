import json

import pytest

from e2e.clusters.existing import CONTEXT_VARIABLE, ExistingCluster, RefusedContextError, choose_context

CONTEXTS = ["prod", "lab"]


@pytest.fixture
def kubeconfig(tmp_path, monkeypatch):
    """A kubeconfig whose current context is the dangerous one, and a kubectl that reads it."""
    path = tmp_path / "config"
    path.write_text(json.dumps({"current-context": "prod", "contexts": [{"name": name} for name in CONTEXTS]}))
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(f"#!/bin/sh\n[ \"$2\" = {path} ] && printf '%s\\n' {' '.join(CONTEXTS)}\n")
    kubectl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv(CONTEXT_VARIABLE, raising=False)
    return path


def test_the_current_context_is_never_taken_by_default(kubeconfig):
    with pytest.raises(RefusedContextError) as refused:
        ExistingCluster(kubeconfig=kubeconfig)
    assert CONTEXT_VARIABLE in str(refused.value)
    assert "--e2e-context" in str(refused.value)
    assert "['lab', 'prod']" in str(refused.value)


def test_a_context_that_is_not_there_is_refused_by_name(kubeconfig):
    with pytest.raises(RefusedContextError, match=r"'staging' is not in the kubeconfig; .*'lab', 'prod'"):
        ExistingCluster("staging", kubeconfig=kubeconfig)


def test_the_named_context_is_used_and_no_other(kubeconfig, monkeypatch):
    assert ExistingCluster("lab", kubeconfig=kubeconfig).context == "lab"
    monkeypatch.setenv(CONTEXT_VARIABLE, "lab")
    assert ExistingCluster(kubeconfig=kubeconfig).context == "lab"


@pytest.mark.parametrize("named", [None, ""])
def test_no_name_is_no_choice(named):
    with pytest.raises(RefusedContextError):
        choose_context(named, present=["only"])
