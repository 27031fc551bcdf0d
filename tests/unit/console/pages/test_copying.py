from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from watchllm_proxy.console.pages.copying import as_curl, as_python

URL = "http://127.0.0.1:8787/v1/chat/completions"
HEADERS = {"Content-Type": "application/json"}
BODIES = [
    b'{"model":"m","messages":[{"role":"user","content":"it\'s 100 % $HOME `id` \\\\ \\n \xe2\x82\xac"}]}',
    b'{"a": "%s %d", "b": "\'\'\'\\"\\"\\"", "c": "line\\u0000"}\n\n',
    json.dumps({"long": "x" * 300_000}).encode(),  # longer than an argument of a program may be
]


@pytest.mark.parametrize("body", BODIES, ids=["quotes", "formats", "long"])
def test_the_shell_sends_the_same_bytes_and_reads_the_key_from_its_environment(
    body: bytes, tmp_path: Path
) -> None:
    curl = tmp_path / "curl"
    curl.write_text('#!/bin/sh\ncat > "$OUT.body"\nprintf "%s\\n" "$@" > "$OUT.args"\n')
    curl.chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "OUT": str(tmp_path / "sent"), "OPENAI_API_KEY": "sk-mine"}
    subprocess.run(["/bin/sh"], input=as_curl(URL, HEADERS, body), text=True, env=env, check=True)
    assert (tmp_path / "sent.body").read_bytes() == body
    args = (tmp_path / "sent.args").read_text().splitlines()
    assert URL in args
    assert "Authorization: Bearer sk-mine" in args
    assert "sk-mine" not in as_curl(URL, HEADERS, body)


@pytest.mark.parametrize("body", BODIES, ids=["quotes", "formats", "long"])
def test_python_sends_the_same_bytes(body: bytes) -> None:
    program = as_python(URL, HEADERS, body).partition("with urllib")[0]
    program += "import sys\nsys.stdout.buffer.write(request.data)\n"
    program += "assert request.get_header('Authorization') == 'Bearer sk-mine'\n"
    env = {"OPENAI_API_KEY": "sk-mine"}
    done = subprocess.run([sys.executable], input=program.encode(), capture_output=True, env=env, check=True)
    assert done.stdout == body
