// Strokes: lists of points [x, y] in a unit square, x to the right, y down. All pure but `paint`.

/** The pen's width on the pad, as a share of its side. */
export const PEN = 0.075;

/** How the training images of known sets sit in their frame, as shares of its side. */
const FRAMES = {
  // LeCun et al. 1998: scaled into 20 of 28 pixels, their centre of mass in the middle.
  mnist: { box: 20 / 28, pen: 2.5 / 28, grain: null },
  // The same, from bitmaps that were counted out on a grid of 8 by 8.
  digits: { box: 20 / 28, pen: 2.7 / 28, grain: 8 },
};

/** Boxes smaller than this are not made larger beyond measure: a dot stays a dot. */
const SMALLEST = 0.12;

/** The frame of a model's training images, or null where it is not known. */
export function frameOf(trainedOn) {
  return FRAMES[trainedOn] ?? null;
}

/** The box around all points: {left, top, right, bottom}. */
export function bounds(strokes) {
  const xs = strokes.flatMap((stroke) => stroke.map(([x]) => x));
  const ys = strokes.flatMap((stroke) => stroke.map(([, y]) => y));
  return {
    left: Math.min(...xs),
    top: Math.min(...ys),
    right: Math.max(...xs),
    bottom: Math.max(...ys),
  };
}

/** Where the ink's centre of mass lies: the middle of each piece, weighed by its length. */
export function centre(strokes) {
  let [x, y, total] = [0, 0, 0];
  for (const stroke of strokes) {
    for (let i = 0; i < stroke.length; i++) {
      const [a, b] = [stroke[Math.max(0, i - 1)], stroke[i]];
      // A dot has no length, and ink all the same.
      const ink = Math.hypot(b[0] - a[0], b[1] - a[1]) + 1e-6;
      x += (ink * (a[0] + b[0])) / 2;
      y += (ink * (a[1] + b[1])) / 2;
      total += ink;
    }
  }
  return [x / total, y / total];
}

/** The strokes scaled and moved as the images of `frame` are. */
export function place(strokes, frame) {
  const box = bounds(strokes);
  const side = Math.max(box.right - box.left, box.bottom - box.top, SMALLEST);
  const scale = (frame.box - frame.pen) / side;
  const [x, y] = centre(strokes);
  return strokes.map((stroke) =>
    stroke.map((point) => [0.5 + (point[0] - x) * scale, 0.5 + (point[1] - y) * scale]),
  );
}

/** A stroke as `count` points that are evenly apart along it. */
function even(stroke, count) {
  const way = [0];
  for (let i = 1; i < stroke.length; i++) {
    way.push(way[i - 1] + Math.hypot(...[0, 1].map((k) => stroke[i][k] - stroke[i - 1][k])));
  }
  return Array.from({ length: count }, (_, n) => {
    const gone = (way[way.length - 1] * n) / (count - 1);
    const i = Math.max(1, way.findIndex((length) => length >= gone));
    const share = (gone - way[i - 1]) / (way[i] - way[i - 1] || 1);
    return [0, 1].map((k) => stroke[i - 1][k] + share * (stroke[i][k] - stroke[i - 1][k]));
  });
}

/** The stroke that is `share` of the way from one to another, point by point. */
export function between(from, to, share) {
  const [a, b] = [even(from, 40), even(to, 40)];
  return a.map((point, i) => point.map((at, k) => at + share * (b[i][k] - at)));
}

/** Draw strokes into a context that is `size` pixels wide; round, and smooth between points. */
export function paint(context, size, strokes, pen, ink) {
  context.lineCap = context.lineJoin = "round";
  context.lineWidth = pen * size;
  context.strokeStyle = ink;
  for (const stroke of strokes) {
    const points = stroke.map(([x, y]) => [x * size, y * size]);
    context.beginPath();
    context.moveTo(...points[0]);
    for (let i = 1; i < points.length - 1; i++) {
      const next = points[i + 1];
      const middle = [(points[i][0] + next[0]) / 2, (points[i][1] + next[1]) / 2];
      context.quadraticCurveTo(...points[i], ...middle);
    }
    context.lineTo(...points[points.length - 1]);
    context.stroke();
  }
}

/** Grey values of an n by n grid, each cell the mean of `pixels` (side by side) that it covers. */
export function counted(pixels, side, n) {
  const cell = side / n;
  const sums = new Float64Array(n * n);
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      sums[Math.floor(y / cell) * n + Math.floor(x / cell)] += pixels[y * side + x];
    }
  }
  return sums.map((sum) => sum / (cell * cell));
}

/** A grid of n by n values, bilinear between the middles of its cells, at `side` by `side`. */
export function enlarged(values, n, side) {
  const at = (i) => Math.min(Math.max(((i + 0.5) * n) / side - 0.5, 0), n - 1);
  const result = new Float64Array(side * side);
  for (let y = 0; y < side; y++) {
    const [v, top] = [at(y), Math.floor(at(y))];
    const below = Math.min(top + 1, n - 1);
    for (let x = 0; x < side; x++) {
      const [u, left] = [at(x), Math.floor(at(x))];
      const right = Math.min(left + 1, n - 1);
      const row = (r) => values[r * n + left] * (1 - u + left) + values[r * n + right] * (u - left);
      result[y * side + x] = row(top) * (1 - v + top) + row(below) * (v - top);
    }
  }
  return result;
}
