import pytest

from har import errors
from har.errors import UserError

STAGE = """
from har.errors import UserError, run
def main():
    {body}
run(main)
"""


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ("print('done')", 0, ""),
        ("raise UserError('Expected a. Received: b. Do c.')", 2, "Error: Expected a. "),
        ("raise KeyboardInterrupt", 130, "goes on where it stopped"),
        ("raise ValueError('a bug')", 1, "Traceback"),
    ],
)
def test_exit_codes_and_what_is_said(run_python, body, code, said):
    process = run_python(STAGE.format(body=body))
    assert process.returncode == code
    assert said in process.stderr
    assert ("Traceback" in process.stderr) == (code == 1)
    if code in (0, 2):
        assert process.stderr.count("\n") == code // 2


def test_fail_prints_one_line_and_returns_2(capsys):
    assert errors.fail(UserError("Expected more. Received: less. Add.")) == 2
    assert capsys.readouterr() == ("", "Error: Expected more. Received: less. Add.\n")
