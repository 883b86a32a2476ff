"""UCF101: 101 actions from web videos, 13,320 clips, 25 groups a class, with official splits.

K. Soomro, A. Roshan Zamir, M. Shah, UCF101: a dataset of 101 human actions classes from videos
in the wild, CRCV-TR-12-01, 2012.

The official splits are three pairs of lists with lines `Class/clip.avi`. Lists and folders disagree
about case (`HandstandPushups`), so case is ignored.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from har import files
from har.datasets import ucf
from har.errors import UserError
from har.params import DatasetParams
from har.transfer.archive import Archive
from har.transfer.download import download

SOURCE = ucf.Source(
    name="UCF101",
    classes=tuple(
        """
        ApplyEyeMakeup ApplyLipstick Archery BabyCrawling BalanceBeam BandMarching BaseballPitch
        Basketball BasketballDunk BenchPress Biking Billiards BlowDryHair BlowingCandles
        BodyWeightSquats Bowling BoxingPunchingBag BoxingSpeedBag BreastStroke BrushingTeeth
        CleanAndJerk CliffDiving CricketBowling CricketShot CuttingInKitchen Diving Drumming
        Fencing FieldHockeyPenalty FloorGymnastics FrisbeeCatch FrontCrawl GolfSwing Haircut
        Hammering HammerThrow HandstandPushups HandstandWalking HeadMassage HighJump HorseRace
        HorseRiding HulaHoop IceDancing JavelinThrow JugglingBalls JumpingJack JumpRope Kayaking
        Knitting LongJump Lunges MilitaryParade Mixing MoppingFloor Nunchucks ParallelBars
        PizzaTossing PlayingCello PlayingDaf PlayingDhol PlayingFlute PlayingGuitar PlayingPiano
        PlayingSitar PlayingTabla PlayingViolin PoleVault PommelHorse PullUps Punch PushUps
        Rafting RockClimbingIndoor RopeClimbing Rowing SalsaSpin ShavingBeard Shotput
        SkateBoarding Skiing Skijet SkyDiving SoccerJuggling SoccerPenalty StillRings
        SumoWrestling Surfing Swing TableTennisShot TaiChi TennisSwing ThrowDiscus
        TrampolineJumping Typing UnevenBars VolleyballSpiking WalkingWithDog WallPushups
        WritingOnBoard YoYo
        """.split()  # noqa: SIM905
    ),
    # The copy that TensorFlow Datasets uses: its size and SHA-256 are public, and a zip gives a
    # few classes without unpacking the rest. UCF's own is https://www.crcv.ucf.edu/data/UCF101/
    # UCF101.rar; dataset.url takes it.
    url="https://storage.googleapis.com/thumos14_files/UCF101_videos.zip",
    known={
        # tensorflow_datasets/url_checksums/ucf101.txt
        "UCF101_videos.zip": (
            6_960_400_115,
            "dabf56f573cd19c79e096563529fec8126a2a34e18e10c72eb621dd687532b0d",
        ),
        # The size that UCF's server gives, by three projects' records; UCF publishes no checksum.
        "UCF101.rar": (6_932_971_618, None),
    },
)

LISTS_URL = "https://www.crcv.ucf.edu/data/UCF101/UCF101TrainTestSplits-RecognitionTask.zip"
# tensorflow_datasets/url_checksums/ucf101.txt
LISTS_SHA256 = "5c0d1a53b8ed364a2ac830a73f405e51bece7d98ce1254fd19ed4a36b224bd27"
LISTS = {f"{use}list0{i}.txt": (use, i - 1) for i in (1, 2, 3) for use in ("train", "test")}

Row = tuple[str, str, str, str]


def fetch(params: DatasetParams, destination: Path) -> None:
    """Fill `destination` with `Class/clip.avi`; see `ucf.fetch`."""
    _archive_of_lists(params)  # before gigabytes: where the lists fail, fail soon
    ucf.fetch(SOURCE, params, destination)


def official_splits(params: DatasetParams, videos: Path) -> list[Row]:
    """Return the rows of official.csv: the clips in `videos`, sorted, with three sides each.

    A side is `train`, `test`, or '' for a clip in neither list.
    """
    found = [file.relative_to(videos) for file in videos.glob("*/*") if file.is_file()]
    with tempfile.TemporaryDirectory(dir=files.folder("downloads")) as folder:
        lists = Path(folder, "lists")
        names = Archive(_archive_of_lists(params)).unpack(lists, _list_name)
        texts = {name.name: (lists / name).read_text(encoding="utf-8") for name in names}
    return rows(sorted(path.as_posix() for path in found), texts)


def rows(clips: Sequence[str], texts: Mapping[str, str]) -> list[Row]:
    """Look the clips `Class/clip.ext` up in the six lists, given by file name."""
    again = "Delete the archive of the lists and run again."
    if missing := sorted(set(LISTS) - set(texts)):
        raise UserError(
            f"Expected the lists {', '.join(sorted(LISTS))}. Received: none named "
            f"{', '.join(missing)}. {again}"
        )
    sides: dict[str, list[str]] = {}
    for name, (use, split) in sorted(LISTS.items()):
        for clip in (line.split()[0] for line in texts[name].splitlines() if line.strip()):
            if clip.count("/") != 1:
                raise UserError(
                    f"Expected lines `Class/clip.avi` in {name}. Received: {clip!r}. {again}"
                )
            entry = sides.setdefault(_key(clip), ["", "", ""])
            if entry[split] not in ("", use):
                raise UserError(
                    f"Expected every clip on one side of official split {split + 1}. Received: "
                    f"{clip} on both. {again}"
                )
            entry[split] = use
    if not any(_key(clip) in sides for clip in clips):
        raise UserError(
            f"Expected clips of the official lists, as {next(iter(sides), 'Class/clip')}. "
            f"Received: {len(clips)} clips, none of them listed. Name UCF101 with dataset.path."
        )
    return [(clip, *sides.get(_key(clip), ("", "", ""))) for clip in clips]


def _key(clip: str) -> str:
    # A repacked data set may have another container than the lists' .avi.
    return str(PurePosixPath(clip).with_suffix("")).casefold()


def _list_name(name: str) -> PurePosixPath | None:
    path = PurePosixPath(name)
    return PurePosixPath(path.name) if path.name in LISTS else None


def _archive_of_lists(params: DatasetParams) -> Path:
    name = ucf.file_name(LISTS_URL)
    own = (params.path if params.path.is_dir() else params.path.parent) / name
    if own.is_file():
        return own
    target = files.folder("downloads") / name
    try:
        download(LISTS_URL, target, sha256=LISTS_SHA256)
    except UserError as error:
        raise UserError(f"{error} For these lists: put the file {name} at {own}.") from None
    return target
