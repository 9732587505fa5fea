"""What of a Dockerfile is carried out without a container engine, and what is a reason for one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ml_delivery.containers import dockerfile, packer

TEMPLATE = Path(__file__).parent.parent / "{{cookiecutter.project_slug}}"
ARCHIVES = frozenset(packer.ARCHIVES.values())
BASE = {
    "Env": ["PATH=/usr/bin", "HOME=/root"],
    "Cmd": ["python3"],
    "Entrypoint": ["/entry"],
    "WorkingDir": "/app",
    "Labels": {"a": "base", "b": "base"},
    "Hostname": "builder",
}


def made(*lines: str, base: dict[str, Any] | None = None, **arguments: str) -> dict[str, Any]:
    """The configuration that these instructions after FROM make."""
    plan = dockerfile.read("\n".join(("FROM base", *lines)), arguments, ARCHIVES)
    assert isinstance(plan, dockerfile.Plan), plan
    done = dockerfile.configured(plan, BASE if base is None else base, "srv/service", {"b": "ours"})
    assert not isinstance(done, dockerfile.Needs), done
    return done[0]


@pytest.mark.parametrize("name", sorted(path.name for path in TEMPLATE.glob("Dockerfile*")))
def test_shipped_files_need_no_engine(name: str) -> None:
    """Each Dockerfile of the template is carried out without one, with the base of the service's Python or of build.base."""
    text = (TEMPLATE / name).read_text()
    plan = dockerfile.read(text, {"PYTHON": "3.13"}, ARCHIVES)
    assert isinstance(plan, dockerfile.Plan)
    assert ":3.13" in plan.base
    assert plan.archives == ("dependencies.tar.gz", "model.tar", "source.tar")
    own = dockerfile.read(text, {"PYTHON": "3.13", "BASE": "here/own:1"}, ARCHIVES)
    assert isinstance(own, dockerfile.Plan)
    assert own.base == "here/own:1"


def test_what_is_not_set_is_the_bases() -> None:
    """Without instructions, the configuration is the base's, but for the builder's own fields; labels are added."""
    kept = {name: value for name, value in BASE.items() if name != "Hostname"}
    assert made() == {**kept, "Labels": {"a": "base", "b": "ours"}}


@pytest.mark.parametrize(
    ("lines", "name", "value"),
    [
        (["ENV A=1 B=${A}2", "ENV C=$A"], "Env", ["PATH=/usr/bin", "HOME=/root", "A=1", "B=2", "C=1"]),
        (["ENV PATH=/x:$PATH"], "Env", ["PATH=/x:/usr/bin", "HOME=/root"]),
        (['ENV A="x y" B=\'$HOME "z"\''], "Env", ["PATH=/usr/bin", "HOME=/root", "A=x y", 'B=$HOME "z"']),
        (["ARG A=1", "ENV A=2", "LABEL c=$A"], "Labels", {"a": "base", "b": "ours", "c": "2"}),
        (
            ["ARG A", "LABEL a=${A:-none} c=${A:+some} d=${HOME:+some}"],
            "Labels",
            {"a": "none", "b": "ours", "c": "", "d": "some"},
        ),
        (['ENTRYPOINT ["/x"]'], "Cmd", None),
        (["CMD a $b", 'ENTRYPOINT ["/x"]'], "Cmd", ["/bin/sh", "-c", "a $b"]),
        (['CMD ["a", 1]'], "Cmd", ["/bin/sh", "-c", '["a", 1]']),
        (["EXPOSE 8080 53/udp"], "ExposedPorts", {"8080/tcp": {}, "53/udp": {}}),
        (["ADD source.tar /", "WORKDIR /srv", "WORKDIR service/"], "WorkingDir", "/srv/service"),
        (["WORKDIR ."], "WorkingDir", "/app"),
        (["USER $HOME"], "User", "/root"),
        (['cmd ["a", \\', "# within", "", '  "b"]'], "Cmd", ["a", "b"]),
    ],
)
def test_settings_are_docker_s(lines: list[str], name: str, value: object) -> None:
    """Variables, quotes, both forms of commands, relative folders and continued lines mean what they mean to docker."""
    assert made(*lines).get(name) == value


def test_arguments_come_from_the_build_then_the_file_then_before_from() -> None:
    """An argument of the build replaces each default; one before FROM is visible after it once it is declared again."""
    text = "ARG A=outer\nARG B=$A-b\nFROM x:$B\nENV N=[$A]\nARG A\nENV A2=$A\nARG A=inner\nENV A3=$A"

    def found(**arguments: str) -> tuple[str, list[str]]:
        plan = dockerfile.read(text, arguments, ARCHIVES)
        assert isinstance(plan, dockerfile.Plan)
        done = dockerfile.configured(plan, {}, "srv", {})
        assert not isinstance(done, dockerfile.Needs)
        return plan.base, done[0]["Env"]

    assert found() == ("x:outer-b", ["N=[]", "A2=outer", "A3=inner"])
    assert found(A="given") == ("x:given-b", ["N=[]", "A2=given", "A3=given"])


@pytest.mark.parametrize(
    "line",
    [
        "RUN true",
        "COPY model.tar /another",
        "ADD model.tar /another",
        "ADD --chown=1 model.tar /",
        "ADD https://example.org/x /",
        'ADD ["model.tar", "/"]',
        "WORKDIR /made/by/the/engine",
        "VOLUME /data",
        "HEALTHCHECK CMD true",
        'SHELL ["/bin/bash", "-c"]',
        "STOPSIGNAL 9",
        "ONBUILD RUN true",
        "FROM other",
        "ARG TARGETARCH",
        "ARG HTTP_PROXY=x",
        "ENV A 1",
        "ENV A=a\\ b",
        "ENV A=${B%x}",
        "ENV A=$1",
        'ENV A="open',
        "EXPOSE 8000-8010",
        "USER a b",
        "CMD",
        "LABEL a=1 \\",
    ],
)
def test_whatever_else_there_is_needs_an_engine(line: str) -> None:
    """What would have to be run, or is not certain to mean the same here, is named with its line."""
    plan = dockerfile.read(f"# file\nFROM base\n{line}\n", {}, ARCHIVES)
    needs = plan if isinstance(plan, dockerfile.Needs) else dockerfile.configured(plan, BASE, "srv/service", {})
    assert isinstance(needs, dockerfile.Needs)
    assert needs.line == 3
    assert needs.what.startswith(line.split()[0])


@pytest.mark.parametrize(
    "text", ["", "# escape=`\nFROM a\n", "FROM scratch\n", "FROM --platform=linux/arm64 a\n", "FROM $NONE\n"]
)
def test_file_without_a_plain_base_needs_an_engine(text: str) -> None:
    """Neither another escape character, nor another platform, nor no base at all is guessed at."""
    assert isinstance(dockerfile.read(text, {}, ARCHIVES), dockerfile.Needs)


def test_base_with_triggers_needs_an_engine() -> None:
    """ONBUILD instructions of the base would be run."""
    plan = dockerfile.read("FROM base\n", {}, ARCHIVES)
    assert isinstance(plan, dockerfile.Plan)
    needs = dockerfile.configured(plan, {"OnBuild": ["RUN true"]}, "srv", {})
    assert needs == dockerfile.Needs(1, "the base image has ONBUILD instructions")
