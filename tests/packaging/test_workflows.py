"""Tests of the automation: pinned actions, least privilege, and the same checks everywhere."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text()


def workflow(name: str) -> dict[str, Any]:
    """Return a workflow as YAML 1.2 reads it: its key "on" is text."""
    found: dict[str, Any] = yaml.load((ROOT / ".github/workflows" / name).read_text(), Loader=yaml.BaseLoader)  # noqa: S506 -- it makes nothing but texts
    return found


def recipe(target: str) -> list[str]:
    """Return the commands of a target of the Makefile."""
    found = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert found is not None
    return [line.strip().replace("$(BIN)", ".venv/bin") for line in found[1].splitlines()]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned(path: Path) -> None:
    """Each action is a commit, with its version next to it for people and for Dependabot."""
    uses = re.findall(r"^.*uses: *(.*)$", path.read_text(), re.MULTILINE)

    assert [each for each in uses if not re.fullmatch(r"[\w-]+/[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each)] == []
    assert uses


def test_one_action_has_one_version() -> None:
    """All workflows use the same commit of an action."""
    pairs = {
        (action.partition("@")[0], action)
        for path in WORKFLOWS
        for action in re.findall(r"uses: *(\S+)", path.read_text())
    }

    assert len(pairs) == len({name for name, _ in pairs})


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_jobs_have_what_they_need_and_no_more(path: Path) -> None:
    """A workflow grants nothing by default; each job says its permissions and ends in time."""
    found = workflow(path.name)

    assert found["permissions"] == {}
    for name, job in found["jobs"].items():
        assert job["permissions"], name
        assert int(job["timeout-minutes"]) <= 90, name


def test_checks_run_on_every_supported_python() -> None:
    """CI runs .ci/run on the versions that the package's classifiers name."""
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    supported = [each.rpartition(" ")[2] for each in classifiers if re.search(r":: 3\.\d+$", each)]
    job = workflow("ci.yml")["jobs"]["checks"]

    assert job["strategy"]["matrix"]["python"] == supported == ["3.11", "3.12", "3.13", "3.14"]
    assert [step["run"] for step in job["steps"] if "run" in step][-1] == "bash .ci/run"


def test_suite_runs_on_every_supported_postgresql() -> None:
    """CI runs the suite with the programs of each version of PostgreSQL."""
    job = workflow("ci.yml")["jobs"]["postgresql"]

    assert job["strategy"]["matrix"]["postgresql"] == ["14", "15", "16", "17", "18"]
    assert job["env"]["POSTGRES_BIN"] == "/usr/lib/postgresql/${{ matrix.postgresql }}/bin"
    assert "make test" in [step.get("run") for step in job["steps"]]


def test_release_publishes_what_was_built_once() -> None:
    """PyPI, the image and the GitHub release wait for the build, which checks the tag; only they may write."""
    jobs = workflow("release.yml")["jobs"]
    writes = {
        name: {key for key, value in job["permissions"].items() if value == "write"} for name, job in jobs.items()
    }

    assert any("release_notes.py" in step.get("run", "") for step in jobs["build"]["steps"])
    assert writes == {
        "build": set(),
        "pypi": {"id-token"},
        "image": {"packages", "id-token"},
        "github": {"contents"},
    }
    assert (jobs["pypi"]["needs"], jobs["image"]["needs"], jobs["github"]["needs"]) == (
        "build",
        "build",
        ["pypi", "image"],
    )


def test_image_is_signed_with_its_contents() -> None:
    """The image has two architectures, a bill of materials and its provenance, and is signed by digest."""
    steps = workflow("release.yml")["jobs"]["image"]["steps"]
    [build] = [step["with"] for step in steps if "build-push-action" in step.get("uses", "")]

    assert build["platforms"] == "linux/amd64,linux/arm64"
    assert (build["sbom"], build["provenance"]) == ("true", "mode=max")
    assert "cosign sign --yes" in steps[-1]["run"]
    assert steps[-1]["env"]["DIGEST"] == "${{ steps.push.outputs.digest }}"


def test_newest_frameworks_are_tried_on_a_schedule() -> None:
    """The scheduled run names the frameworks that pyproject.toml bounds, alone and together."""
    found = workflow("newest.yml")
    packages = found["jobs"]["newest"]["strategy"]["matrix"]["packages"]

    assert found["on"]["schedule"]
    assert {name for each in packages for name in each.split()} == {
        *("uvicorn", "fastapi", "starlette", "sqlalchemy", "httpx", "pydantic", "all")
    }


def test_dependabot_watches_every_kind_of_package() -> None:
    """Each folder that pins packages, images or actions is watched weekly."""
    updates = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text())["updates"]
    ecosystems = {each["package-ecosystem"]: each for each in updates}
    npm = {f"/{path.parent.relative_to(ROOT)}" for path in ROOT.glob("t*/*/package-lock.json")}

    assert ecosystems.keys() == {"pip", "npm", "docker", "docker-compose", "github-actions"}
    assert {each["schedule"]["interval"] for each in updates} == {"weekly"}
    assert set(ecosystems["npm"]["directories"]) == npm


def test_hooks_are_the_linters() -> None:
    """pre-commit runs each command of `make lint`, from the same environment."""
    [local] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    hooks = {" ".join(each["entry"].replace("--force-exclude", "").split()) for each in local["hooks"]}

    assert local["repo"] == "local"
    assert hooks == {line.removesuffix(" .") if "ruff" in line else line for line in recipe("lint")}
