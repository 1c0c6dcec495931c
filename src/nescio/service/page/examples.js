// Examples that are made here, from no data set: strokes, noise, an empty image.
import { between } from "./strokes.js";

/** Points on part of an ellipse, by angles in degrees, clockwise from the right. */
function arc(x, y, width, height, from, to) {
  const steps = 24;
  return Array.from({ length: steps + 1 }, (_, i) => {
    const angle = ((from + ((to - from) * i) / steps) * Math.PI) / 180;
    return [x + width * Math.cos(angle), y + height * Math.sin(angle)];
  });
}

/** Straight lines from point to point, with points between, so that corners stay corners. */
function lines(...corners) {
  const points = [corners[0]];
  for (let i = 1; i < corners.length; i++) {
    const [from, to] = [corners[i - 1], corners[i]];
    for (let k = 1; k <= 12; k++) {
      points.push([0, 1].map((axis) => from[axis] + ((to[axis] - from[axis]) * k) / 12));
    }
  }
  return points;
}

const THREE = [
  [
    ...arc(0.47, 0.34, 0.15, 0.14, 205, 450),
    ...arc(0.47, 0.65, 0.18, 0.17, 270, 510),
  ],
];

// An open 4 and a 9 over the same stem, each but for the stem in one stroke.
const FOUR = [[0.4, 0.2], [0.33, 0.45], [0.33, 0.47], [0.36, 0.52], [0.48, 0.51], [0.62, 0.46]];
const NINE = arc(0.46, 0.36, 0.13, 0.15, 300, 35);
const STEM = lines([0.62, 0.22], [0.57, 0.82]);

/** The strokes on the way from a 4 (share 0) to a 9 (share 1). */
export function fourToNine(share) {
  return [between(lines(...FOUR), NINE, share), STEM];
}

/** Where networks may be of two minds, until it is known where a model is. */
const HALF_WAY = 0.52;

/** Places on the way from a 4 to a 9 at which a model is asked. */
export const PLACES = Array.from({ length: 21 }, (_, i) => i / 20);

/** Where of PLACES a model is least certain, by its predictions there; half way where that is not known. */
export function leastCertain(predictions) {
  if (predictions.length !== PLACES.length) return HALF_WAY;
  // Rather ambiguous than unfamiliar: this example shows the former.
  const certainty = predictions.map(({ probability, reason }) =>
    probability ? Math.max(...Object.values(probability)) - (reason === "ambiguous" ? 1 : 0) : 2,
  );
  return PLACES[certainty.indexOf(Math.min(...certainty))];
}

const LETTER = [
  lines([0.22, 0.82], [0.5, 0.18], [0.78, 0.82]),
  lines([0.33, 0.58], [0.67, 0.58]),
];

/** Examples for a network that knows digits, as strokes. */
const DIGITS = [
  { name: "A clear digit", strokes: THREE },
  { name: "A 4 or a 9", strokes: fourToNine(HALF_WAY), way: HALF_WAY },
  { name: "A letter", strokes: LETTER },
];

/** Whether a model's classes are the ten digits. */
export function knowsDigits(classes) {
  return classes.length === 10 && [..."0123456789"].every((digit) => classes.includes(digit));
}

/**
 * Examples for a model: {name, strokes} or {name, pixels}, pixels ImageData of its own size; with
 * `way` where the strokes are on the way from a 4 to a 9.
 */
export function examplesFor({ classes, preprocessing }) {
  const { channels, height, width } = preprocessing;
  return [
    ...(knowsDigits(classes) ? DIGITS : []),
    { name: "Noise", pixels: noise(width, height, channels) },
    { name: "Nothing", pixels: new ImageData(opaque(width * height), width, height) },
  ];
}

/** Every pixel anew, and each time the same: mulberry32, a generator of 32 bits. */
function noise(width, height, channels) {
  let state = 7;
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const pixels = opaque(width * height);
  for (let i = 0; i < pixels.length; i += 4) {
    const grey = 256 * next();
    for (let k = 0; k < 3; k++) pixels[i + k] = channels === 1 || k === 0 ? grey : 256 * next();
  }
  return new ImageData(pixels, width, height);
}

/** Black pixels. */
function opaque(count) {
  return new Uint8ClampedArray(4 * count).map((_, i) => (i % 4 === 3 ? 255 : 0));
}
