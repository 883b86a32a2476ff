"""UCF101: 101 actions from web videos, 13,320 clips, 25 groups a class, with official splits.

K. Soomro, A. Roshan Zamir, M. Shah, UCF101: a dataset of 101 human actions classes from videos
in the wild, CRCV-TR-12-01, 2012.
"""

import tempfile
from pathlib import Path, PurePosixPath

from har import files
from har.datasets import official_splits, ucf
from har.errors import UserError
from har.params import DatasetParams
from har.transfer.archive import Archive
from har.transfer.checksums import Known
from har.transfer.download import download

_TABLE = "the table in har/datasets/ucf101.py"

SOURCE = ucf.Source(
    name="UCF101",
    classes=(
        *("ApplyEyeMakeup", "ApplyLipstick", "Archery", "BabyCrawling", "BalanceBeam"),
        *("BandMarching", "BaseballPitch", "Basketball", "BasketballDunk", "BenchPress", "Biking"),
        *("Billiards", "BlowDryHair", "BlowingCandles", "BodyWeightSquats", "Bowling"),
        *("BoxingPunchingBag", "BoxingSpeedBag", "BreastStroke", "BrushingTeeth", "CleanAndJerk"),
        *("CliffDiving", "CricketBowling", "CricketShot", "CuttingInKitchen", "Diving"),
        *("Drumming", "Fencing", "FieldHockeyPenalty", "FloorGymnastics", "FrisbeeCatch"),
        *("FrontCrawl", "GolfSwing", "Haircut", "Hammering", "HammerThrow", "HandstandPushups"),
        *("HandstandWalking", "HeadMassage", "HighJump", "HorseRace", "HorseRiding", "HulaHoop"),
        *("IceDancing", "JavelinThrow", "JugglingBalls", "JumpingJack", "JumpRope", "Kayaking"),
        *("Knitting", "LongJump", "Lunges", "MilitaryParade", "Mixing", "MoppingFloor"),
        *("Nunchucks", "ParallelBars", "PizzaTossing", "PlayingCello", "PlayingDaf"),
        *("PlayingDhol", "PlayingFlute", "PlayingGuitar", "PlayingPiano", "PlayingSitar"),
        *("PlayingTabla", "PlayingViolin", "PoleVault", "PommelHorse", "PullUps", "Punch"),
        *("PushUps", "Rafting", "RockClimbingIndoor", "RopeClimbing", "Rowing", "SalsaSpin"),
        *("ShavingBeard", "Shotput", "SkateBoarding", "Skiing", "Skijet", "SkyDiving"),
        *("SoccerJuggling", "SoccerPenalty", "StillRings", "SumoWrestling", "Surfing", "Swing"),
        *("TableTennisShot", "TaiChi", "TennisSwing", "ThrowDiscus", "TrampolineJumping"),
        *("Typing", "UnevenBars", "VolleyballSpiking", "WalkingWithDog", "WallPushups"),
        *("WritingOnBoard", "YoYo"),
    ),
    # The copy that TensorFlow Datasets uses: its size and SHA-256 are public, and a zip gives a
    # few classes without unpacking the rest. UCF's own is https://www.crcv.ucf.edu/data/UCF101/
    # UCF101.rar; dataset.url takes it.
    url="https://storage.googleapis.com/thumos14_files/UCF101_videos.zip",
    known={
        # tensorflow_datasets/url_checksums/ucf101.txt
        "UCF101_videos.zip": Known(
            6_960_400_115,
            "dabf56f573cd19c79e096563529fec8126a2a34e18e10c72eb621dd687532b0d",
            _TABLE,
        ),
        # The size that UCF's server gives, by three projects' records; UCF publishes no checksum.
        "UCF101.rar": Known(6_932_971_618, None, _TABLE),
    },
)

LISTS_URL = "https://www.crcv.ucf.edu/data/UCF101/UCF101TrainTestSplits-RecognitionTask.zip"
# tensorflow_datasets/url_checksums/ucf101.txt
LISTS = Known(113_943, "5c0d1a53b8ed364a2ac830a73f405e51bece7d98ce1254fd19ed4a36b224bd27", _TABLE)


def fetch(params: DatasetParams, destination: Path) -> None:
    """Fill `destination` with `Class/clip.avi`; see `ucf.fetch`."""
    _lists(params)  # before gigabytes: where the lists fail, fail soon
    ucf.fetch(SOURCE, params, destination)


def official_splits(params: DatasetParams, videos: Path) -> list[official_splits.Row]:
    """Tell on which side of the three official splits each clip is.

    Args:
        params: as of `fetch`.
        videos: the folder that `fetch` filled.

    Returns:
        One row a clip, sorted.
    """
    clips = sorted(
        file.relative_to(videos).as_posix() for file in videos.glob("*/*") if file.is_file()
    )
    with tempfile.TemporaryDirectory(dir=files.folder("downloads")) as folder:
        unpacked = Archive(_lists(params)).unpack(Path(folder, "lists"), _list_name)
        texts = {
            file.name: Path(folder, "lists", file).read_text(encoding="utf-8") for file in unpacked
        }
    return official_splits.rows(clips, texts)


def _list_name(name: str) -> PurePosixPath | None:
    path = PurePosixPath(name)
    return PurePosixPath(path.name) if path.name in official_splits.FILES else None


def _lists(params: DatasetParams) -> Path:
    """Return the archive of the lists: beside the user's own clips, else downloaded."""
    name = ucf.file_name(LISTS_URL)
    own = (params.path if params.path.is_dir() else params.path.parent) / name
    if own.is_file():
        return own
    target = files.folder("downloads") / name
    try:
        download(LISTS_URL, target, LISTS, insecure_tls=params.insecure_tls)
    except UserError as error:
        raise UserError(f"{error} For these lists: put the file {name} at {own}.") from None
    return target
