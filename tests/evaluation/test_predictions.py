import numpy as np
import pytest

from har.errors import UserError
from har.evaluation import predictions
from har.evaluation.predictions import Predictions


def test_predictions_are_read_as_they_were_written(tmp_path):
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(3), 4)
    classes = ["A", "predicted", "group"]  # names that a column has too
    labels = np.array([0, 1, 2, 0])
    path = tmp_path / "predictions.csv"
    predictions.write(path, Predictions(list("abcd"), list("wxyz"), labels, probabilities, classes))
    found = predictions.read(path)
    assert "".join([*found.clips, *found.groups]) == "abcdwxyz"
    assert found.classes == classes
    assert found.labels.tolist() == [0, 1, 2, 0]
    np.testing.assert_allclose(found.probabilities, probabilities, atol=1e-6)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "does not exist"),
        (b"", "is damaged"),
        (b"clip,group,actual,predicted\n", "is damaged"),
        (b"clip,group,actual,predicted,A,B\n", "is damaged"),
        (b"clip,group,actual,A,B\nx,y,A,1,0\n", "no column predicted"),
        (b"clip,group,actual,predicted,A,B\nx,y,A\n", "row 2 has 3 fields"),
        (b"clip,group,actual,predicted,A,B\nx,y,C,A,1,0\n", "is damaged"),
        (b"clip,group,actual,predicted,A,B\nx,y,A,A,one,0\n", "is damaged"),
        (b"\xff\xfe\x00", "is damaged"),
    ],
)
def test_a_damaged_table_is_one_line(tmp_path, content, reason):
    path = tmp_path / "predictions.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=reason) as caught:
        predictions.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
