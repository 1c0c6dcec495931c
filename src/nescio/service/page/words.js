// What is said of an answer, in plain sentences. Pure functions.
import { argmax, votes } from "./rules.js";

/** The share of networks from which on they do not disagree. */
const AGREE = 0.9;

/** 0.1234 as "12.3 %"; small shares keep the digits that tell. */
export function percent(share) {
  const value = 100 * share;
  return `${trimmed(value, value >= 1 ? 1 : 2)} %`;
}

/** 0.1234 as "12 %", for places with little room. */
export function roughly(share) {
  return share > 0 && share < 0.01 ? "< 1 %" : `${Math.round(100 * share)} %`;
}

/** Rounded, without zeros at the end. */
function trimmed(value, digits) {
  return String(Number(value.toFixed(digits)));
}

/** "4", "4 and 9", "4, 7 and 9". */
export function list(names) {
  if (names.length < 2) return names.join("");
  return `${names.slice(0, -1).join(", ")} and ${names[names.length - 1]}`;
}

/** The verdict: {yes, head, tail}, to be read one after the other. */
export function verdict(decision, classes, nearest) {
  const { top, proposed, reason } = decision;
  if (reason === null) return { yes: true, head: `I say ${classes[top]}.`, tail: "" };
  const head = "I don’t know";
  if (reason === "unfamiliar") {
    const like = nearest === null ? "" : `, nearest to ${nearest}`;
    return { yes: false, head, tail: `: unfamiliar${like}.` };
  }
  const names = proposed.map((c) => classes[c]);
  const several = names.length > 4 ? `${names.slice(0, 3).join(", ")} and others` : list(names);
  const tail = names.length > 1 ? `: between ${several}.` : `: perhaps ${classes[top]}.`;
  return { yes: false, head, tail };
}

/** Why, in one or two sentences. */
export function why(decision, answer) {
  const { classes, sampled } = answer;
  const counts = votes(sampled);
  const told = shares(counts, classes, sampled.length);
  if (decision.reason === "unfamiliar") return whyUnfamiliar(answer, counts, told);
  if (decision.reason === "ambiguous") return whyAmbiguous(decision.top, answer, counts, told);
  const top = classes[decision.top];
  if (argmax(counts) !== decision.top) return `${told}, but it looks more like ${top}.`;
  const others = decision.proposed.filter((c) => c !== decision.top).map((c) => classes[c]);
  const also = others.length ? ` ${list(others)} would be possible, too.` : "";
  const place = standing(answer);
  if (place === null) return `${told}.${also}`;
  if (place.common) return `${told}, and it is ${place.words}.${also}`;
  return `${told}, though it is ${place.words}.${also}`;
}

function whyUnfamiliar(answer, counts, told) {
  const { classes, sampled } = answer;
  const place = standing(answer);
  if (place === null) return `${told}.`;
  const top = argmax(counts);
  const all = sampled.length;
  const most = counts[top] === all ? `all ${all}` : `${counts[top]} of ${all}`;
  return `It is ${place.words}; that ${most} networks say ${classes[top]} counts for nothing.`;
}

function whyAmbiguous(top, { classes, sampled, nearest }, counts, told) {
  if (counts[top] < AGREE * sampled.length) {
    return `The networks disagree: ${told.replace(" networks", "")}.`;
  }
  if (nearest !== null && nearest !== classes[top]) return `${told}, but it looks more like ${nearest}.`;
  return `${told}, but not surely enough for this rule.`;
}

/** Which classes the networks would answer: "52 of 100 networks say 4, 45 say 9, 3 others". */
function shares(counts, classes, total) {
  const ranked = counts
    .map((count, c) => ({ count, name: classes[c] }))
    .filter(({ count }) => count > 0)
    .sort((a, b) => b.count - a.count);
  if (ranked.length === 1) return `All ${total} networks say ${ranked[0].name}`;
  const told = ranked.slice(0, 3);
  const rest = total - told.reduce((sum, { count }) => sum + count, 0);
  const words = told.map(({ count, name }, i) =>
    i === 0 ? `${count} of ${total} networks say ${name}` : `${count} say ${name}`,
  );
  return [...words, ...(rest ? [`${rest} something else`] : [])].join(", ");
}

/** Where the image stands among the calibration images: {common, words}; null where not known. */
export function standing({ familiarity, images }) {
  if (familiarity === null) return null;
  if (familiarity > 0.1) return { common: true, words: "no stranger than many calibration images" };
  if (images !== null && familiarity < 1.5 / (images + 1)) {
    const all = `every one of ${images.toLocaleString("en")} calibration images`;
    return { common: false, words: `stranger than ${all}` };
  }
  const share = trimmed(Math.min(100 * (1 - familiarity), 99.99), familiarity > 0.01 ? 1 : 2);
  return { common: false, words: `stranger than ${share} % of the calibration images` };
}

/** A rule of the model's own, in a sentence. */
export function ruleInWords(rule) {
  if (rule.kind !== "calibrated") return rule.description;
  const images = rule.calibrated_on.images.toLocaleString("en");
  return (
    `Set from ${images} images that were held out of training: what is too unlike them is refused ` +
    "as unfamiliar, what is too doubtful as ambiguous."
  );
}

/** How many networks were asked, and would have been enough. */
export function effort(sampled, settledAfter) {
  const asked = `${sampled.length} networks asked`;
  if (settledAfter === null) return `${asked}.`;
  if (settledAfter >= sampled.length) return `${asked}, and all of them needed.`;
  return `${asked}; ${settledAfter} would have been enough.`;
}

/** What the article's rule wants, in words. */
export function quantileInWords(share, threshold, networks) {
  // The quantile lies above the threshold where about so many networks do.
  const needed = Math.max(1, networks - Math.floor((networks - 1) * share));
  return (
    `A class is proposed where about ${needed} of ${networks} networks give it more than ` +
    `${percent(threshold)}. Where none is, I don’t know.`
  );
}

/** What a row of promises promises. */
export function promiseInWords(row) {
  const images = `${row.images.toLocaleString("en")} calibration images`;
  if (row.doubtful === "none") {
    return `With ${images} no threshold promises so few errors: nothing is answered.`;
  }
  return (
    `Of familiar images ${percent(row.coverage)} are answered, and of these at most ` +
    `${percent(row.max_risk)} are wrong, with ${percent(row.confidence)} confidence. It is a promise for a ` +
    "rate that is chosen beforehand, not for the one whose answers please."
  );
}
