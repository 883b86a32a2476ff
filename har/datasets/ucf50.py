"""UCF50: 50 actions from web videos, 25 groups a class, 320 × 240.

K. Reddy, M. Shah, Recognizing 50 human action categories of web videos, Machine Vision and
Applications 24, 2012. Papers count 6,618 clips, the archive of today 6,681: the table of clips
says what there is.
"""

from pathlib import Path

from har.datasets import ucf
from har.params import DatasetParams

SOURCE = ucf.Source(
    name="UCF50",
    classes=tuple(
        """
        BaseballPitch Basketball BenchPress Biking Billiards BreastStroke CleanAndJerk Diving
        Drumming Fencing GolfSwing HighJump HorseRace HorseRiding HulaHoop JavelinThrow
        JugglingBalls JumpingJack JumpRope Kayaking Lunges MilitaryParade Mixing Nunchucks
        PizzaTossing PlayingGuitar PlayingPiano PlayingTabla PlayingViolin PoleVault PommelHorse
        PullUps Punch PushUps RockClimbingIndoor RopeClimbing Rowing SalsaSpin SkateBoarding
        Skiing Skijet SoccerJuggling Swing TaiChi TennisSwing ThrowDiscus TrampolineJumping
        VolleyballSpiking WalkingWithDog YoYo
        """.split()  # noqa: SIM905
    ),
    url="https://www.crcv.ucf.edu/data/UCF50.rar",
    # UCF publishes neither size nor checksum; the size is from another project's download script.
    known={"UCF50.rar": (3_233_554_570, None)},
)


def fetch(params: DatasetParams, destination: Path) -> None:
    """Fill `destination` with `Class/clip.avi`; see `ucf.fetch`."""
    ucf.fetch(SOURCE, params, destination)
