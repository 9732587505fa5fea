"""What is masked and what is not; and that no foreign line commands a terminal or GitHub's runner."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from urllib.parse import quote

import pytest
from tiny import Tiny

from ml_delivery import masking
from ml_delivery.errors import SetupError
from ml_delivery.masking import inert, masked
from ml_delivery.release import foreign
from ml_delivery.targets.lambda_function.http import read_answer
from ml_delivery.tasks import console

DIGEST = "sha256:" + "0123456789abcdef" * 4
KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIcanary\nmore\n-----END RSA PRIVATE KEY-----"
SECRETS = {
    "access key": ("the key AKIAIOSFODNN7EXAMPLE is no good", "AKIAIOSFODNN7EXAMPLE"),
    "session key": ("ASIAIOSFODNN7EXAMPLE", "ASIAIOSFODNN7EXAMPLE"),
    "secret key": ("aws_secret_access_key = wJalr1UtnFEMI/K7MDENG", "wJalr1UtnFEMI/K7MDENG"),
    "bearer": ("Authorization: Bearer canary.canary-1", "canary.canary-1"),
    "basic": ("authorization: basic Y2FuYXJ5OnB3", "Y2FuYXJ5OnB3"),
    "Slack": ("token xoxb-1234-canary", "xoxb-1234-canary"),
    "webhook": ("https://hooks.slack.com/services/T00/B00/canary", "T00/B00/canary"),
    "GitHub": ("ghp_canarycanarycanary", "ghp_canarycanarycanary"),
    "GitHub, fine-grained": ("github_pat_11CANARYCANARY_x", "github_pat_11CANARYCANARY_x"),
    "URL": ("can't reach https://user:canary@index.example/simple", "user:canary"),
    "URL with a token alone": ("https://canary@index.example/simple", "canary"),
    "database": ("postgresql+psycopg://admin:canary@db.example:5432/x", "canary"),
    "PEM": (f"could not load {KEY} at line 1", "MIIcanary"),
    "PEM, cut off": (KEY[:45], "MIIcanary"),
    "PEM in JSON": (json.dumps({"key": KEY}), "MIIcanary"),
    "password": ("connect(password='canary')", "canary"),
    "password in JSON": ('{"db_password": "canary", "x": 1}', "canary"),
    "password in YAML": ("password: canary", "canary"),
    "password in a query": ("/login?user=x&password=canary&z=1", "canary"),
    "JWT": ("eyJhbGciOiJub25l.eyJzdWIiOiJjYW5hcnki.c2ln", "eyJzdWIiOiJjYW5hcnki"),
    "API key": ("api_key=canary-0123", "canary-0123"),
}
PUBLIC = [
    f"release 3 is {DIGEST} of 0123456789abcdef0123456789abcdef01234567",
    f"123456789012.dkr.ecr.eu-west-1.amazonaws.com/a-service@{DIGEST}",
    'a table of references: API_KEY = "ssm:/path" or "secretsmanager:name"',
    "variable API_KEY=ssm:/a-service/key1234",
    "reading the secret: AccessDenied: not authorized",
    "git@github.com:an-owner/a-repository.git, ssh://git@github.com/an-owner/a-repository",
    "arn:aws:iam::123456789012:role/a-service-production-deploy",
    "the fencing token 1234567890 is old; --auth-type PERSONAL_ACCESS_TOKEN --token …",
    "s3://a-service-production-123456789012/artifacts/0123456789abcdef/x.zip",
    "token.actions.githubusercontent.com:sub is 'repo:an-owner@1/a-repository@2:ref:refs/heads/main'",
]


@pytest.mark.parametrize("name", SECRETS)
def test_what_has_a_secrets_form_is_masked(name: str) -> None:
    """Each form, alone and in a text, without the value and with what surrounds it; masking again changes nothing."""
    text, secret = SECRETS[name]
    for whole in (text, f"before {text}", f"{text}\nafter"):
        assert secret not in masked(whole)
        assert "***" in masked(whole)
        assert masked(masked(whole)) == masked(whole)
    assert masked("a b c") == "a b c"


@pytest.mark.parametrize("text", PUBLIC)
def test_what_is_public_stays(text: str) -> None:
    """Digests, commits, ARNs, images, references to secrets and words about them are shown as they are."""
    assert masked(text) == text


def test_known_values_are_masked_in_every_spelling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of variables that are named like a secret, and those that were learned; ordinary words are not."""
    value = 'can"ary with/slash'
    monkeypatch.setenv("DATABASE_PASSWORD", value)
    monkeypatch.setenv("CI_API_TOKEN", "true")
    monkeypatch.setenv("SECRET_NAME", "a-service")
    monkeypatch.setenv("UV_INDEX_URL", "https://user:p%40canary@index.example/simple")
    for written in (value, json.dumps(value), quote(value, safe=""), base64.b64encode(value.encode()).decode()):
        assert "***" in masked(f"x {written} y")
        assert "ary" not in masked(f"x {written} y")
    assert masked("p@canary and p%40canary") == "*** and ***"
    assert masked("true: a-service is named") == "true: a-service is named"
    masking.learn("learned-canary\nsecond-line-canary")
    assert masked("learned-canary; second-line-canary") == "***; ***"


COMMANDS = [
    "::add-mask::x",
    "  ::set-output name=a::b",
    "\t::stop-commands::x",
    "ok\r::error::x",
    "a\n::add-path::/x",
    "##[add-path]/x",
    "text ##[group]x",
    "\x1b[0m::warning::x",
    "\u2002::debug::x",
]


def commands(text: str) -> list[str]:
    """The lines that GitHub's runner would obey, as its ActionCommand reads them: trimmed, or anywhere with ##[."""
    return [line for line in re.split(r"\r\n|\r|\n", text) if line.strip().startswith("::") or "##[" in line]


@pytest.mark.parametrize("text", COMMANDS)
def test_foreign_text_commands_no_runner(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is printed on a runner, as line, warning, body, document or log; elsewhere only control characters go."""
    assert inert("a :: b ::add-mask::") == "a :: b ::add-mask::"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    for show in (console.say, console.warn, console.body, console.document):
        show(text)
        seen = capsys.readouterr()
        assert not commands(seen.out + seen.err)
    console.document({"x": text})
    printed = capsys.readouterr().out
    assert not commands(printed)
    assert json.loads(printed) == {"x": text}
    console.body(json.dumps({"x": text}))
    assert json.loads(capsys.readouterr().out) == {"x": text}
    with console.foreign() as say:
        say(text)
    first, *between, last = capsys.readouterr().out.splitlines()
    assert (first, last) == (f"::stop-commands::{last[2:-2]}", f"::{first.rpartition('::')[2]}::")
    assert re.fullmatch(r"[0-9a-f]{32}", last[2:-2])
    assert not commands("\n".join(between))


def test_each_block_has_its_own_token(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A log can't know what ends the block, and an error inside it ends it too."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    with console.foreign():
        pass
    with pytest.raises(ValueError, match="x"), console.foreign():
        raise ValueError("x")
    tokens = re.findall(r"::stop-commands::(\w+)\n::(\w+)::\n", capsys.readouterr().out)
    assert [a == b for a, b in tokens] == [True, True]
    assert tokens[0] != tokens[1]


@pytest.mark.parametrize(
    "text", ["\x1b[2Jx", "x\x1b]0;title\x07", "x\x1b]8;;http://h\x1b\\", "\x08x\x07\x9b", "\u202ex"]
)
def test_terminals_are_not_commanded(text: str) -> None:
    """No escape sequence and no control character but tab and newline; nothing that reorders text."""
    assert inert(text).strip("\t\n") == "x"
    assert inert("a\tb\nc ü → ✓") == "a\tb\nc ü → ✓"


def test_summary_is_no_markdown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line of it is code, also after a paragraph of another step, and an output is one line."""
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "output"))
    (tmp_path / "summary").write_text("a paragraph\n")
    console.summary("one\n\n# two\u2028<img src=x>\x0b| a |\r\n```\n</details>\npassword=canary")
    before, *lines = (tmp_path / "summary").read_text().split("\n")
    assert (before, lines[0]) == ("a paragraph", "")
    assert all(line.startswith("    ") for line in lines if line)
    assert "canary" not in "".join(lines)
    console.output(digest="a\nextra=b")
    assert (tmp_path / "output").read_text() == "digest=a extra=b\n"


def test_files_of_a_workflow_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a container that has a workflow's variables and not its files: a deploy is not called failed for its page's sake."""
    for name in ("GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT"):
        monkeypatch.setenv(name, str(tmp_path / "none/file"))
    console.summary("deployed")
    assert "! GITHUB_STEP_SUMMARY can't be written: " in capsys.readouterr().err
    with pytest.raises(SetupError, match="GITHUB_OUTPUT can't be written"):
        console.output(digest="sha256:0")


def test_what_a_service_wrote_is_masked_and_then_cut(tiny: Tiny) -> None:
    """A secret at the cut, in a JSON secret, or that looks like a digest; without the right to read it, only the error's type."""
    path = f"/{tiny.name}/key"
    secrets = f'[function.secrets]\nONE = "ssm:{path}"\nTWO = "secretsmanager:{tiny.name}"\n\n[promote]'
    tiny.replace("pipeline.toml", "[promote]", secrets)
    delivery = tiny.open()
    secret = "0123456789abcdef" * 2
    hidden = foreign.shown(delivery, f"Unhandled: KeyError: {secret}")
    assert hidden.startswith("Unhandled: KeyError: (not shown")
    assert foreign.shown(delivery, f"starting | ValueError: {secret} | ends").startswith("ValueError: (not shown")
    assert foreign.shown(delivery, secret).startswith("(not shown")
    assert foreign.shown(delivery, f"not an HTTP response: {secret}").startswith("(not shown")
    assert foreign.named(delivery, 7) == "7"
    assert foreign.named(delivery, "secret of another form").startswith("(not shown")
    delivery.cloud.client("ssm").put_parameter(Name=path, Value=secret, Type="SecureString")
    document = json.dumps({"user": "someone-here", "inner": [{"password": "canary-inside"}]})
    delivery.cloud.client("secretsmanager").create_secret(Name=tiny.name, SecretString=document)
    assert foreign.shown(delivery, f"{'x' * 290}{secret}{'y' * 90}") == f"{'x' * 290}***{'y' * 7}…"
    assert foreign.shown(delivery, f"KeyError: {secret} and canary-inside") == "KeyError: *** and ***"
    payload = json.dumps({"errorType": "ValueError", "errorMessage": f"{'z' * 480}{secret}"})
    answer = read_answer({"Payload": io.BytesIO(payload.encode()), "FunctionError": "Unhandled"}, 1.0)
    assert secret[:8] not in foreign.shown(delivery, answer.fault, 600)
    answer = read_answer({"Payload": io.BytesIO(f"{'z' * 190}{secret}".encode())}, 1.0)
    assert secret[:8] not in foreign.shown(delivery, answer.fault, 600)


def test_codebuilds_log_commands_no_runner(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build whose commands print the runner's: they are shown between a stop and a restart, and do nothing."""
    spec = "version: 0.2\nphases:\n  build:\n    commands:\n"
    lines = ["::add-mask::x", "::add-path::/evil", "##[add-path]/evil", "\\033[31mred", "password=canary"]
    tiny.write("buildspec.yml", spec + "".join(f"      - printf '{line}\\n'\n" for line in lines))
    tiny.commit("Print")
    monkeypatch.setattr(Tiny, "environment", {**tiny.environment, "GITHUB_ACTIONS": "true"})
    printed = tiny.invoke("build", "--on", "codebuild")
    stop, *_, start = commands(printed)
    assert commands(printed) == [f"::stop-commands::{start[2:-2]}", stop.replace("stop-commands::", "") + "::"]
    assert "add-path" in printed
    assert "\x1b" not in printed
    assert "canary" not in printed
