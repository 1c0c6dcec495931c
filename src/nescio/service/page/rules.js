// The rules of nescio.refusal on one answer, as pure functions; the tests hold them to Python's.
//
// `sampled` is a list of S lists of C probabilities: what each network says of each class.

/** Linear interpolation between order statistics, as NumPy's and PyTorch's default. */
export function quantile(values, share) {
  const rising = [...values].sort((a, b) => a - b);
  const place = (rising.length - 1) * share;
  const low = Math.floor(place);
  const high = Math.min(low + 1, rising.length - 1);
  return rising[low] + (place - low) * (rising[high] - rising[low]);
}

/** The quantile of each class. */
export function quantiles(sampled, share) {
  return sampled[0].map((_, c) => quantile(sampled.map((network) => network[c]), share));
}

/** The mean of each class. */
export function means(sampled) {
  return sampled[0].map((_, c) => sampled.reduce((sum, row) => sum + row[c], 0) / sampled.length);
}

/** The place of the largest, the first of equal ones. */
export function argmax(values) {
  return values.reduce((best, value, i) => (value > values[best] ? i : best), 0);
}

/** How many networks give each class the highest probability. */
export function votes(sampled) {
  const counts = sampled[0].map(() => 0);
  for (const network of sampled) counts[argmax(network)] += 1;
  return counts;
}

/**
 * The article's rule: a class is proposed where its quantile exceeds the threshold.
 *
 * Every rule gives {top, proposed, reason}: a class, classes, and null, "ambiguous" or
 * "unfamiliar"; there is an answer, `top`, where there is no reason against it.
 */
export function byQuantile(sampled, share, threshold) {
  const heights = quantiles(sampled, share);
  const proposed = heights.flatMap((height, c) => (height > threshold ? [c] : []));
  return { top: argmax(heights), proposed, reason: proposed.length ? null : "ambiguous" };
}

/** A class with more than this has its share of an image; with two such it lies between them. */
const SHARED = 0.2;

/** So many times a threshold an image is so unfamiliar that it lies between no classes. */
const FAR = 2;

/** The classes that are about as probable as `top`, or have their share. */
export function rivals(mean, top) {
  return mean.flatMap((p, c) => (p >= 0.5 * mean[top] || p > SHARED ? [c] : []));
}

/** Whether an image lies between classes. */
export function isBetween(mean) {
  return mean.filter((p) => p > SHARED).length > 1;
}

/**
 * Two thresholds that promise a risk.
 *
 * @param scores {unfamiliarity, doubt, top, proposed, between}: the image's scores, the class that
 *   would be answered, those that are about as probable, and whether it lies between them.
 * @param limits {unfamiliar, doubtful}: numbers, or "all" (lets all pass) and "none".
 */
export function byPromise(scores, limits) {
  const { top, unfamiliarity, between } = scores;
  const most = limit(limits.unfamiliar);
  if (unfamiliarity > FAR * most || (unfamiliarity > most && !between)) {
    return { top, proposed: [], reason: "unfamiliar" };
  }
  const doubtful = scores.doubt > limit(limits.doubtful) || unfamiliarity > most;
  return { top, proposed: scores.proposed, reason: doubtful ? "ambiguous" : null };
}

/** A threshold as a number. */
export function limit(value) {
  return { all: Infinity, none: -Infinity }[value] ?? value;
}

/** The share of a rising reference that is at least as large: the conformal p-value. */
export function pValue(reference, score) {
  const above = reference.filter((value) => value >= score).length;
  return (1 + above) / (1 + reference.length);
}

/** The counts of `values` in `bins` equal bins of [low, high]; what is outside counts at the ends. */
export function histogram(values, low, high, bins) {
  const counts = Array.from({ length: bins }, () => 0);
  for (const value of values) {
    const place = Math.floor(((value - low) / (high - low)) * bins);
    counts[Math.min(Math.max(place, 0), bins - 1)] += 1;
  }
  return counts;
}
