// From what is on the pad to the bytes that the model is asked about, and back from what it saw.
import { counted, enlarged, paint, place, PEN } from "./strokes.js";

/** Pixels that a drawing has when it is sent; the model's own preprocessing makes them fewer. */
const SENT = 280;

/** Of MNIST's frame, in which drawings on a grid are made. */
const FRAME = { side: 28, box: 20, margin: 4 };

/** A canvas of its own. */
function canvas(width, height) {
  return Object.assign(document.createElement("canvas"), { width, height });
}

/** Strokes as a canvas, white on black: as they are, or in the frame of the training images. */
export function drawn(strokes, frame) {
  const picture = canvas(SENT, SENT);
  const context = picture.getContext("2d", { willReadFrequently: true });
  context.fillRect(0, 0, SENT, SENT);
  const [placed, pen] = frame === null ? [strokes, PEN] : [place(strokes, frame), frame.pen];
  paint(context, SENT, placed, pen, "#ffffff");
  return frame?.grain ? grained(context, frame.grain) : picture;
}

/** The drawing counted out on a coarse grid, and that made smooth, as scikit-learn's digits are. */
function grained(context, grain) {
  const { side, box, margin } = FRAME;
  const [size, start] = [(box / side) * SENT, (margin / side) * SENT];
  const { data } = context.getImageData(start, start, size, size);
  const grey = Array.from({ length: size * size }, (_, i) => data[4 * i]);
  const values = enlarged(counted(grey, size, grain), grain, box);
  const small = canvas(side, side);
  const target = small.getContext("2d");
  target.fillRect(0, 0, side, side);
  const pixels = new ImageData(box, box);
  values.forEach((value, i) => pixels.data.set([value, value, value, 255], 4 * i));
  target.putImageData(pixels, margin, margin);
  return small;
}

/** Pixels as a canvas. */
export function fromPixels(pixels) {
  const picture = canvas(pixels.width, pixels.height);
  picture.getContext("2d").putImageData(pixels, 0, 0);
  return picture;
}

/** A canvas as the bytes of a PNG. */
export function asPng(picture) {
  return new Promise((resolve) => picture.toBlob(resolve, "image/png"));
}

/** What the network saw, (K, H, W) bytes in base64, into a canvas of its size. */
export function showSeen(picture, { width, height, channels, pixels }) {
  const bytes = Uint8Array.from(atob(pixels), (letter) => letter.charCodeAt(0));
  const plane = width * height;
  const image = new ImageData(width, height);
  for (let i = 0; i < plane; i++) {
    for (let k = 0; k < 3; k++) image.data[4 * i + k] = bytes[(channels === 3 ? k : 0) * plane + i];
    image.data[4 * i + 3] = 255;
  }
  Object.assign(picture, { width, height });
  picture.getContext("2d").putImageData(image, 0, 0);
}
