"""The process that starts scripts: what a child tells and returns is a script's own."""

import subprocess

import pytest
import starter

TELLS = """
import os, sys
print(__name__, sys.argv[1:], os.getcwd(), os.environ.get("OF_THIS_TEST"), sys.stdin.read() == "")
print("error", file=sys.stderr)
sys.exit({})
"""


@pytest.mark.parametrize(("code", "exit_code", "said"), [("3", 3, ""), ("'why'", 1, "why\n")])
def test_a_child_is_the_script(code, exit_code, said, tmp_path, monkeypatch):
    (tmp_path / "tells.py").write_text(TELLS.format(code))
    monkeypatch.setenv("OF_THIS_TEST", "here")
    done = starter.run(tmp_path / "tells.py", "--a", 1, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (exit_code, "error\n" + said)
    assert done.stdout == f"__main__ ['--a', '1'] {tmp_path} here True\n"


def test_a_first_phase_is_a_script_too(tmp_path, monkeypatch):
    (tmp_path / "first.py").write_text(TELLS.format(3))
    begins = "import sys\nfrom training import phases\n"
    begins += "print(phases.run_beside([sys.executable, 'first.py', '--b']), sys.argv[1:])\n"
    (tmp_path / "train.py").write_text(begins)
    monkeypatch.setenv("OF_THIS_TEST", "here")
    done = starter.run(tmp_path / "train.py", "--a", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "error\n")
    assert done.stdout == f"__main__ ['--b'] {tmp_path} here True\n3 ['--a']\n"


def test_an_error_has_its_traceback_and_a_long_wait_its_end(tmp_path):
    (tmp_path / "fails.py").write_text("import time\nprint('x', flush=True)\n1 / 0\n")
    done = starter.run(tmp_path / "fails.py", cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.rstrip().endswith(
        "ZeroDivisionError: division by zero"
    )
    (tmp_path / "waits.py").write_text("import time\ntime.sleep(60)\n")
    with pytest.raises(subprocess.TimeoutExpired):
        starter.run(tmp_path / "waits.py", cwd=tmp_path, timeout=1)
    assert starter.run(tmp_path / "fails.py", cwd=tmp_path).stdout == "x\n"
