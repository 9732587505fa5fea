"""The tasks as a user types them: what they print, how they end, and what they say to wrong input."""

from __future__ import annotations

import json
import os
import re
import subprocess

import pytest
from tiny import TEMPLATE, Tiny

from ml_delivery.formats import FORMAT

README = (TEMPLATE / "README.md").read_text()


def test_from_build_to_rollback_by_hand(tiny: Tiny) -> None:
    """Every task does what it says, in lines for people and in JSON for programs."""
    assert tiny.invoke("build").startswith(f"built {tiny.git('rev-parse', 'HEAD')} in ")
    assert tiny.invoke("push").startswith("pushed sha256:")
    assert tiny.invoke("push").startswith("already pushed: sha256:")
    assert "code version: none → " in tiny.invoke("plan", code=2)
    assert "release 1 is verified: deployed version 1 serves production on embedded" in tiny.invoke("deploy")
    assert tiny.invoke("plan") == "production: nothing to do\n"
    assert tiny.invoke("deploy").endswith("nothing to do: release 1 is live in production\n")
    assert json.loads(tiny.invoke("call", "version"))["release"] == 1
    assert "asked for /version" in tiny.invoke("logs")
    tiny.repair("second")
    manifest = json.loads(tiny.invoke("build", "--json"))
    assert manifest["commit"] == tiny.git("rev-parse", "HEAD")
    assert json.loads(tiny.invoke("push", "--json"))["uploaded"]
    assert json.loads(tiny.invoke("plan", "--json", code=2))["changes"][0]["what"] == "code"
    assert json.loads(tiny.invoke("deploy", "--json"))["release"]["state"] == "verified"
    assert json.loads(tiny.invoke("status", "--json"))["live"]["release"] == 2
    assert "release 1 is verified" in tiny.invoke("rollback")
    assert [r["state"] for r in json.loads(tiny.invoke("releases", "--json"))] == ["rolled-back", "verified"]
    assert "rolled back to release 1 by tests@localhost" in tiny.invoke("releases")
    assert "release 1 serves as deployed version 1" in tiny.invoke("status")
    assert json.loads(tiny.invoke("rollback", "--to", "2", "--json"))["release"]["number"] == 2
    assert 'service.region = "eu-west-1"' in tiny.invoke("config")
    assert json.loads(tiny.invoke("config", "--json"))["service"]["name"] == tiny.name
    assert "answers at http://127.0.0.1:" in tiny.invoke("cloud.status")
    assert f"{tiny.name}-production: nothing to do\n" in tiny.invoke("bootstrap")


def test_branch_picks_the_environment(tiny: Tiny) -> None:
    """What is on develop goes to staging, and what is live there is its own."""
    tiny.deploy()
    tiny.git("checkout", "--quiet", "-b", "develop")
    tiny.repair("on develop")
    tiny.invoke("build")
    tiny.invoke("push")
    assert "serves staging" in tiny.invoke("deploy")
    assert "on develop" in tiny.invoke("call", "/version", "--branch", "develop")
    assert "on develop" not in tiny.invoke("call", "/version", "--branch", "main")
    tiny.git("checkout", "--quiet", "main")
    assert "nothing to do" in tiny.invoke("deploy", "--branch", "develop")  # its head is what counts, not the tree


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["deploy", "--branch", "feature"], "no environment names the branch 'feature'"),
        (["deploy", "--cloud", "azure"], "'azure' is not a cloud"),
        (["deploy"], "has not been pushed"),
        (["push"], "nothing has been built yet"),
        (["call", "/version"], "does not exist yet on embedded"),
        (["rollback", "--branch", "develop"], "does not exist yet on embedded"),
        (["deploy", "--cloud", "aws"], "environments.production.account: empty"),
    ],
)
def test_wrong_input_is_one_message_with_the_next_command(tiny: Tiny, words: list[str], says: str) -> None:
    """A fault names what is wrong and ends with exit code 1, without a traceback."""
    output = tiny.invoke(*words, code=1)
    assert says in output
    assert output.startswith("✗ ") or "\n✗ " in output


def test_query_that_does_not_exist_is_one_fault(tiny: Tiny) -> None:
    """The nearest query and all others are listed, and no count of problems."""
    tiny.deploy()
    printed = tiny.invoke("logs", "--query", "slwo", code=1)
    assert printed.startswith("✗ --query: there is no query 'slwo'; did you mean slow?\n")
    assert "problem" not in printed
    assert printed.endswith("next: invoke logs --query slow --branch main\n")


def test_without_git_commit_or_branch(tiny: Tiny) -> None:
    """No repository, no commit and a detached head are each said in words."""
    tiny.git("checkout", "--quiet", "--detach")
    assert "no branch is checked out (detached HEAD)" in tiny.invoke("deploy", code=1)
    os.rename(tiny.root / ".git", tiny.root.parent / "git")
    assert "is not in a git repository" in tiny.invoke("build", code=1)
    tiny.git("init", "--quiet", "--initial-branch", "main")
    assert "has no commit yet" in tiny.invoke("build", code=1)


def test_broken_configuration_stops_every_task(tiny: Tiny) -> None:
    """All problems of pipeline.toml are shown, whatever was asked for."""
    tiny.replace("pipeline.toml", "memory = 256", 'memory = "x"\nmemori = 1')
    for task in ("build", "deploy", "status", "config"):
        output = tiny.invoke(task, code=1)
        assert "✗ pipeline.toml: 2 problems" in output
        assert "function.memori: unknown key; did you mean memory?" in output


def test_output_that_can_not_be_written_is_one_message(tiny: Tiny) -> None:
    """A folder that is not there is named; a reader that has gone, as `head` goes, stops nothing."""
    tiny.deploy()
    assert "nowhere/page.html" in tiny.invoke("releases", "--html", "nowhere/page.html", code=1)
    words = {"cwd": tiny.root, "env": tiny.environment, "stderr": subprocess.PIPE}
    with subprocess.Popen(tiny.command("releases"), stdout=subprocess.PIPE, **words) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (0, b"")


def test_ledger_of_a_later_version_is_one_message(tiny: Tiny) -> None:
    """A record that this version can't read is named, with what to do."""
    tiny.deploy()
    opened = tiny.open()
    key = "releases/production/head.json"
    s3, bucket = opened.cloud.client("s3"), opened.foundation.bucket
    head = json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    s3.put_object(Bucket=bucket, Key=key, Body=json.dumps({**head, "format": FORMAT + 1, "package": "9.0.0"}).encode())
    said = tiny.invoke("status", code=1)
    assert f"{key} was written by ml-delivery 9.0.0, in format {FORMAT + 1}" in said
    assert "next: invoke upgrade" in said


def test_values_that_others_set_are_shown_nowhere(tiny: Tiny) -> None:
    """A variable that somebody else set may be a secret: plans and status name it at most."""
    tiny.deploy()
    aws, name = tiny.open().cloud.client("lambda"), f"{tiny.name}-production"
    there = aws.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    aws.update_function_configuration(FunctionName=name, Environment={"Variables": {**there, "THEIRS": "hunter2"}})
    aws.get_waiter("function_updated_v2").wait(FunctionName=name)
    tiny.repair("second")
    tiny.deploy()
    tiny.repair("third")
    tiny.push()
    (tiny.root / "build/plan.json").write_text(planned := tiny.invoke("plan", "--json", code=2))
    assert '"THEIRS"' in planned
    tiny.replace("pipeline.toml", "memory = 256", "memory = 512")
    tiny.commit()
    tiny.push()
    refused = tiny.invoke("deploy", "--plan", "build/plan.json", code=1)
    assert "hunter2" not in planned + refused + tiny.invoke("status", "--json") + tiny.invoke("plan", code=2)
    assert json.loads(tiny.invoke("call", "/variables"))["THEIRS"] == "hunter2"


def test_build_that_is_not_of_the_tree_is_not_pushed(tiny: Tiny) -> None:
    """A build of an earlier commit is refused, so that what is pushed is what the commit says."""
    tiny.invoke("build")
    tiny.repair()
    assert "the last build is of" in tiny.invoke("push", code=1)


def test_no_model_yet(tiny: Tiny) -> None:
    """Without a promoted model there is nothing to build."""
    (tiny.root / "model.lock").unlink()
    tiny.commit()
    output = tiny.invoke("build", code=1)
    assert "there is no model yet" in output
    assert "next: invoke train" in output


@pytest.mark.parametrize("words", [["--list"], ["--help", "build"], ["config"]], ids=" ".join)
def test_reader_that_has_ended_gets_no_traceback(tiny: Tiny, words: list[str]) -> None:
    """What is printed to a pipe that nothing reads any more, as with ``| head``, is dropped in silence."""
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run(
        tiny.command(*words), cwd=tiny.root, env=tiny.environment, stdout=writes, stderr=subprocess.PIPE, check=False
    )
    os.close(writes)
    assert done.stderr == b""


def test_every_task_has_help_and_is_in_the_readme(tiny: Tiny) -> None:
    """Each task explains itself and its options, and the service's README names it."""
    listed = json.loads(tiny.invoke("--list", "--list-format=json"))
    names = [(t["name"], t["help"]) for t in listed["tasks"]]
    names += [(f"{c['name']}.{t['name']}", t["help"]) for c in listed["collections"] for t in c["tasks"]]
    for name, help_text in names:
        assert help_text, name
        shown = tiny.invoke("--help", name)
        options = shown.partition("Options:")[2]
        for option in re.findall(r"^  (?:-\w(?:=\w+|, | \w+)*)*--[\w-]+.*$", options, re.M):
            assert len(option.split()) > 1, f"{name}: {option} has no help"
        word = name.partition(".")[2] or name
        assert re.search(rf"`(invoke )?(cloud\.)?{word}\b", README), name


def test_fault_of_the_package_is_one_message(tiny: Tiny) -> None:
    """What none of the error tree covers is still one message; the traceback is in a file that a report needs."""
    (tiny.root / "tasks.py").unlink()  # a link
    tiny.write(
        "tasks.py", "from ml_delivery import config\nfrom ml_delivery.tasks import namespace\n\nconfig.load = None\n"
    )
    done = subprocess.run(
        tiny.command("config"), cwd=tiny.root, env=tiny.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "✗ internal error in ml-delivery: TypeError: 'NoneType' object is not callable" in done.stderr
    assert "Traceback" not in done.stderr
    assert "TypeError" in (tiny.root / ".pipeline/internal-error.txt").read_text()
