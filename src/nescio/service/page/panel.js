// Where to draw the line: the choice of a rule, its sliders, what it means in words.
import { byPromise, byQuantile, limit } from "./rules.js";
import { percent, promiseInWords, quantileInWords, ruleInWords } from "./words.js";

/** The rule as the person set it; it decides on the last answer without asking again. */
export class Panel {
  /**
   * @param root The element that holds the panel.
   * @param changed Called when another rule holds.
   */
  constructor(root, changed) {
    const part = (name) => find(root, name);
    Object.assign(this, { root, changed, model: null, networks: 100 });
    this.parts = { own: part("own"), vote: part("vote"), promise: part("promise") };
    this.share = part("share");
    this.threshold = part("threshold");
    this.risk = part("risk");
    this.words = part("rule-words");
    this.without = part("without-promise");
    root.addEventListener("input", () => {
      this.#show();
      changed();
    });
    part("article").addEventListener("click", () => {
      [this.share.value, this.threshold.value] = [0.5, 0.2];
      this.#show();
      changed();
    });
  }

  /** Begin with a model's own rule. */
  begin(model) {
    this.model = model;
    this.promises = model.promises ?? [];
    this.root.querySelector("[value=own]").checked = true;
    find(this.root, "promise-label").hidden = this.promises.length === 0;
    find(this.root, "own-words").textContent = model.rule.description;
    this.without.hidden = this.promises.length > 0;
    this.risk.max = Math.max(this.promises.length - 1, 0);
    this.risk.value = Math.floor(this.promises.length / 2);
    this.#show();
  }

  get kind() {
    return this.root.querySelector("input[name=rule]:checked").value;
  }

  /** What the chosen rule says of an answer, see page.js. */
  decide(answer) {
    if (this.kind === "vote") {
      return byQuantile(answer.sampled, this.#number("share"), this.#number("threshold"));
    }
    return this.kind === "promise" ? byPromise(answer.scores, this.#row()) : answer.decision;
  }

  /** What the histograms show of the rule: a quantile, and a threshold if it has one for them. */
  get view() {
    const own = this.model.rule;
    if (this.kind === "vote") {
      return { quantile: this.#number("share"), threshold: this.#number("threshold") };
    }
    if (this.kind === "own" && own.kind === "quantile") {
      return { quantile: own.quantile, threshold: own.threshold };
    }
    return { quantile: 0.5, threshold: null };
  }

  /** The unfamiliarity beyond which is refused, and whether some before it may be refused, too. */
  get gate() {
    const own = this.model.rule;
    if (this.kind === "promise") return { threshold: limit(this.#row().unfamiliar), partly: false };
    if (this.kind === "own" && own.kind === "calibrated") {
      const limits = own.unfamiliar.map(limit);
      const partly = own.frontier !== null || limits.length > 1;
      return { threshold: Math.max(...limits), partly };
    }
    return { threshold: Infinity, partly: false };
  }

  #number(name) {
    return Number(this[name].value);
  }

  #row() {
    return this.promises[Number(this.risk.value)];
  }

  #show() {
    const told = this.model.rule.description !== ruleInWords(this.model.rule);
    for (const [kind, part] of Object.entries(this.parts)) part.hidden = kind !== this.kind;
    this.parts.own.hidden ||= !told;
    const [share, threshold] = [this.#number("share"), this.#number("threshold")];
    tell(this.share, share === 0.5 ? "0.5, the median" : String(share));
    tell(this.threshold, percent(threshold));
    if (this.promises.length) tell(this.risk, `at most ${percent(this.#row().max_risk)}`);
    const words = {
      own: () => ruleInWords(this.model.rule),
      vote: () => quantileInWords(share, threshold, this.networks),
      promise: () => promiseInWords(this.#row()),
    };
    this.words.textContent = words[this.kind]();
  }
}

function find(root, id) {
  return root.querySelector(`#${id}`);
}

/** A slider's value in words, seen and heard. */
export function tell(slider, words) {
  slider.setAttribute("aria-valuetext", words);
  slider.previousElementSibling.querySelector(".value").textContent = words;
}
