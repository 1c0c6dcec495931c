// The article's picture of one answer: for each class, what the networks say of it.
import { histogram, means, quantile, votes } from "./rules.js";
import { across, fillTable, html, mark, set } from "./svg.js";
import { percent, roughly } from "./words.js";

const BINS = 8; // The article's number.
const HEIGHT = 72;

/** With more classes only so many, the most probable ones, are drawn. */
export const MOST_CLASSES = 20;

/** The left end of the logarithmic axis: probabilities come in four digits. */
const LEAST = 1e-4;

/** From a probability to its place on an axis of [0, 1]. */
const AXES = {
  linear: (p) => p,
  log: (p) => 1 - Math.log(Math.max(p, LEAST)) / Math.log(LEAST),
};

/** The histograms of all classes, drawn once and moved from answer to answer. */
export class Histograms {
  constructor(list, body, note) {
    Object.assign(this, { list, body, note, cells: new Map(), shown: "" });
  }

  /**
   * Show one answer under one rule.
   *
   * @param answer {classes, sampled}.
   * @param decision {top, proposed, reason} of nescio.refusal's kind.
   * @param view {scale: "linear" or "log", quantile, threshold}; the threshold null where the rule
   *   has none for these probabilities.
   */
  show({ classes, sampled }, decision, view) {
    const mean = means(sampled);
    const shown = mostProbable(mean);
    this.#arrange(shown, classes);
    const counts = votes(sampled);
    const rows = shown.map((c) => {
      const values = sampled.map((network) => network[c]);
      const middle = quantile(values, view.quantile);
      this.#draw(this.cells.get(c), values, middle, decision.proposed.includes(c), view);
      return [classes[c], percent(mean[c]), percent(quantile(values, 0.5)), counts[c]];
    });
    fillTable(this.body, rows);
    this.note.textContent = inWords(shown.length, classes.length, view);
  }

  /** Show that nothing was asked, or nothing answered. */
  blank(classes) {
    this.#arrange(classes.map((_, c) => c).slice(0, MOST_CLASSES), classes);
    for (const { item, bars, middle, threshold, number } of this.cells.values()) {
      item.classList.remove("proposed");
      for (const bar of bars) set(bar, { y: HEIGHT, height: 0 });
      for (const mark of [middle, threshold]) set(mark, { visibility: "hidden" });
      number.textContent = "–";
    }
    this.body.replaceChildren();
    this.note.textContent = "";
  }

  #arrange(shown, classes) {
    const key = JSON.stringify(shown.map((c) => classes[c]));
    if (key === this.shown) return;
    this.shown = key;
    this.cells = new Map(shown.map((c) => [c, cell(classes[c])]));
    this.list.replaceChildren(...[...this.cells.values()].map(({ item }) => item));
    this.list.classList.toggle("words", shown.some((c) => classes[c].length > 3));
  }

  #draw({ item, bars, middle, threshold, number }, values, height, proposed, view) {
    const axis = AXES[view.scale];
    histogram(values.map(axis), 0, 1, BINS).forEach((count, i) => {
      const tall = (HEIGHT * count) / values.length;
      // A bin with one network in it is seen.
      const seen = count ? Math.max(tall, 1.5) : 0;
      set(bars[i], { y: (HEIGHT - seen).toFixed(1), height: seen.toFixed(1) });
    });
    item.classList.toggle("proposed", proposed);
    set(middle, { x: across(axis(height)), visibility: "visible" });
    number.textContent = roughly(height);
    const line = view.threshold === null ? {} : { x1: across(axis(view.threshold)) };
    set(threshold, { ...line, x2: line.x1 ?? 0, visibility: line.x1 ? "visible" : "hidden" });
  }
}

/** The places of the classes that are drawn, in their own order. */
function mostProbable(mean) {
  const all = mean.map((_, c) => c);
  if (all.length <= MOST_CLASSES) return all;
  return all.sort((a, b) => mean[b] - mean[a]).slice(0, MOST_CLASSES).sort((a, b) => a - b);
}

/** One class: its name, its bars, a mark at the quantile, a line at the threshold. */
function cell(name) {
  const width = across(1 / BINS);
  const bars = Array.from({ length: BINS }, (_, i) =>
    mark("rect", { class: "bar", x: across(i / BINS), width, y: HEIGHT, height: 0 }),
  );
  const threshold = mark("line", { class: "threshold", y1: 0, y2: HEIGHT, visibility: "hidden" });
  const triangle = mark("path", { class: "middle", d: `M0 ${HEIGHT + 2}l-4 7h8z` });
  const middle = mark("svg", { x: 0, overflow: "visible" }, triangle);
  const base = mark("line", { class: "axis", x1: 0, x2: "100%", y1: HEIGHT, y2: HEIGHT });
  const picture = mark(
    "svg",
    { class: "votes", height: HEIGHT + 10, "aria-hidden": "true" },
    ...bars,
    base,
    threshold,
    middle,
  );
  const number = html("span", { className: "number" });
  const title = html("span", { className: "class", title: name }, name);
  return { item: html("li", {}, title, picture, number), bars, middle, threshold, number };
}

function inWords(shown, classes, view) {
  const some = shown < classes ? ` The ${shown} most probable of ${classes} classes are shown.` : "";
  const middle = view.quantile === 0.5 ? "median" : `${view.quantile} quantile`;
  const line = view.threshold === null ? "" : "; the dashed line is the threshold";
  const ends =
    view.scale === "linear"
      ? "from 0 % at its left to 100 % at its right"
      : "from 0.01 % or less at its left to 100 % at its right, each step of the scale ten times the one before";
  return (
    `Each picture has one class: how many networks give it which probability, ${ends}. ` +
    `The triangle and the number are the ${middle}${line}.${some}`
  );
}
