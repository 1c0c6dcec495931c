"""What files are, before they are read: from which it follows what to bring them to."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from nescio.data.decoder import Budget
from nescio.data.encoded import DECODERS, WINDOW, Encoded, mend
from nescio.data.images import Preprocessing
from nescio.data.ranges import find_decoding
from nescio.data.reading import Reading
from nescio.decode import Look, Measure, bytes_of, look_at_image, measure, open_image
from nescio.errors import UnreadableImage
from nescio.progress import SILENT, Reporter

BACKGROUND_SAMPLE = 256
"""Transparent images that are looked at for how dark they are."""


def choose_shape(encoded: Encoded, reading: Reading, reporter: Reporter = SILENT) -> Preprocessing:
    """What to bring images to, by what the user asked for and by what they are.

    All are opened to see their sizes and kinds. Deep ones are decoded for their range, and some of
    the transparent ones for their background.

    Raises:
        UnreadableImage: One cannot be read, and none may be skipped.
        DataError: No range suits all deep images.
    """
    if reading.settled is not None:
        return reading.settled
    looks = _look_at_all(encoded, reading, reporter)
    if reading.value_range is not None and not any(look.deep for look in looks.values()):
        reporter.note("no image has more than 8 bits, so that --value-range changes none of them")
    deep = [i for i, look in looks.items() if look.deep and reading.value_range is None]
    clear = [i for i, look in looks.items() if look.transparent and reading.background == "auto"]
    some = clear[:: max(1, len(clear) // BACKGROUND_SAMPLE)]
    measures = _measure(encoded, deep, reading, reporter)
    decoding = find_decoding(
        measures, _measure(encoded, some, reading, reporter), reading, reporter
    )
    sizes = [(look.height, look.width) for look in looks.values()]
    colour = any(look.colour for look in looks.values())
    return reading.choose(sizes, colour=colour, decoding=decoding)


def _look_at_all(encoded: Encoded, reading: Reading, reporter: Reporter) -> dict[int, Look]:
    """What each image is, by its place, but those that may be skipped.

    Raises:
        UnreadableImage: One cannot be read, and none may be skipped; or none can.
    """
    looks, first = dict[int, Look](), ""
    with reporter.task("looking at sizes", len(encoded.names), "files") as task:
        for index, name in enumerate(encoded.names):
            try:
                looks[index] = look_at_image(encoded.open(index), name, decoding=reading.decoding)
            except UnreadableImage as error:
                if not reading.skip_unreadable:
                    raise UnreadableImage(mend(str(error))) from error
                first = first or str(error)
            task.advance()
    if not looks:
        raise UnreadableImage(
            f"none of {len(encoded.names)} image files can be read; the first: {first}"
        )
    return looks


def _measure(
    encoded: Encoded, places: Sequence[int], reading: Reading, reporter: Reporter
) -> list[Measure]:
    """The values of some images, but those that may be skipped."""
    names, measures, decoding = encoded.names, list[Measure](), reading.decoding
    budget = Budget()
    if not places:
        return measures

    def measured(index: int) -> Measure | UnreadableImage:
        try:
            with (
                open_image(encoded.open(index), names[index], decoding=decoding) as opened,
                budget.hold(bytes_of(opened.facts, decoding)),
            ):
                return measure(opened)
        except UnreadableImage as error:
            return error

    with (
        ThreadPoolExecutor(DECODERS) as pool,
        reporter.task("looking at values", len(places), "files") as task,
    ):
        for start in range(0, len(places), WINDOW):
            for found in pool.map(measured, places[start : start + WINDOW]):
                if isinstance(found, Measure):
                    measures.append(found)
                elif not reading.skip_unreadable:
                    raise UnreadableImage(mend(str(found))) from found
                task.advance()
    return measures
