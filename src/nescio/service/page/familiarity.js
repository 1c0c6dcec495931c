// Where the image stands among the calibration images: a histogram, a threshold, a mark.
import { histogram } from "./rules.js";
import { across, mark } from "./svg.js";

const BINS = 40;
const HEIGHT = 56;
const ABOVE = 18;

/** The right end, as a multiple of the threshold and of the strangest calibration image. */
const ROOM = 1.6;

/**
 * Show one image's unfamiliarity.
 *
 * @param picture An svg element.
 * @param reference Rising unfamiliarities of calibration images, in nats.
 * @param value The image's own; null where there is none.
 * @param threshold What lies beyond is refused; infinite where nothing is.
 * @param partly Whether some of what lies before it may be refused as unfamiliar, too.
 * @param refused Whether the image was refused as unfamiliar.
 */
export function showFamiliarity(picture, { reference, value, threshold, partly, refused }) {
  const ends = [reference[reference.length - 1], threshold].filter(Number.isFinite);
  const edge = ROOM * Math.max(...ends, 0) || 1;
  const counts = histogram(reference, 0, edge, BINS);
  const highest = Math.max(...counts);
  const base = ABOVE + HEIGHT;
  const bars = counts.map((count, i) => {
    const height = (HEIGHT * count) / highest;
    const place = { x: across(i / BINS), width: across(1 / BINS) };
    return mark("rect", { class: "bar", ...place, y: (base - height).toFixed(1), height });
  });
  const axis = mark("line", { class: "axis", x1: 0, x2: "100%", y1: base, y2: base });
  picture.replaceChildren(...bars, axis);
  if (Number.isFinite(threshold)) picture.append(...limit(threshold / edge, partly, base));
  if (value !== null) picture.append(pointer(value / edge, refused, base));
}

function limit(share, partly, base) {
  const x = across(share);
  const words = mark("text", { x, y: 11, "text-anchor": share > 0.6 ? "end" : "start" });
  words.textContent = partly ? "always refused beyond" : "refused beyond";
  return [mark("line", { class: "threshold", x1: x, x2: x, y1: ABOVE - 2, y2: base }), words];
}

/** A line with a drop at its head; an arrow at the edge where the image lies beyond. */
function pointer(share, refused, base) {
  const kind = refused ? "pointer strange" : "pointer";
  const y = ABOVE + HEIGHT / 2;
  if (share > 1) {
    const arrow = mark("path", { d: `M-34 ${y}h24m-9 -8l11 8l-11 8` });
    return mark("svg", { class: kind, x: "100%", overflow: "visible" }, arrow);
  }
  const line = mark("path", { d: `M0 ${ABOVE + 4}V${base}` });
  const head = mark("circle", { cx: 0, cy: ABOVE + 4, r: 4.5 });
  return mark("svg", { class: kind, x: across(share), overflow: "visible" }, line, head);
}
