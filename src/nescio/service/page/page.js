// The page: what is drawn goes to the service, what it says is shown.
import { EMPTY, Pad } from "./drawing.js";
import { examplesFor, fourToNine, knowsDigits, leastCertain, PLACES } from "./examples.js";
import { showFamiliarity } from "./familiarity.js";
import { watchFiles } from "./files.js";
import { Histograms } from "./histograms.js";
import { Panel, tell } from "./panel.js";
import { asPng, drawn, fromPixels, showSeen } from "./pictures.js";
import { argmax, isBetween, means, pValue, rivals } from "./rules.js";
import { model, models, Newest, predict, predictAll, Trouble, useKey } from "./service.js";
import { frameOf } from "./strokes.js";
import { fillTable, html } from "./svg.js";
import { effort, list, percent, standing, verdict, why } from "./words.js";

/** Milliseconds of quiet before the verdict is spoken. */
const QUIET = 700;

const find = (id) => document.getElementById(id);

const state = {
  model: null,
  frame: null, // How its training images sit in theirs, where that is known.
  answer: null, // What it says of what is on the pad.
  trouble: null, // The timer after which it is asked again.
  besides: false, // Whether the trouble that is told is not of what is on the pad.
};
const newest = new Newest(work, show, fail);
const pad = new Pad(find("pad"), padChanged, say);
const panel = new Panel(find("rule"), showAnswer);
const histograms = new Histograms(find("histograms"), find("histograms-table"), find("histograms-note"));

// What is spoken: the last words, once nothing more changes.

let spoken = 0;

function say(words, quiet = 0) {
  clearTimeout(spoken);
  spoken = setTimeout(() => (find("said").textContent = words), quiet);
}

// Asking.

function padChanged(content, drawing) {
  find("undo").disabled = !drawing && !pad.canUndo;
  find("clear").disabled = content === EMPTY;
  clearTrouble();
  showWay(content.way ?? null);
  if (content === EMPTY) {
    newest.cancel();
    state.answer = null;
    showAnswer();
  } else {
    // While a stroke grows answers come one after the other; anything else is asked at once.
    newest.ask(content, { atOnce: !drawing });
  }
}

/** Where an example is on its way from a 4 to a 9. */
function showWay(way) {
  find("way-there").hidden = way === null;
  if (way === null) return;
  find("way").value = way;
  tell(find("way"), `${Math.round(100 * way)} % of the way`);
}

async function work(content, signal) {
  return predict(state.model.name, await bytes(content), signal);
}

function bytes(content) {
  if (content.kind === "picture") return content.blob;
  return asPng(drawn(content.strokes, find("centre").checked ? state.frame : null));
}

function askAgain() {
  if (state.model === null) begin();
  else if (pad.content !== EMPTY) newest.ask(pad.content, { atOnce: true });
  else showAnswer();
}

/** A prediction with what rules and words want of it. */
function read(prediction) {
  const { classes, rule, reference } = state.model;
  const { sampled, doubt, settled_after: settled, input } = prediction.detail;
  // JSON has no infinity: a score that is told and null lies beyond all numbers.
  const beyond = prediction.scores.unfamiliarity === null ? Infinity : null;
  const unfamiliarity = prediction.detail.unfamiliarity ?? beyond;
  const place = (name) => classes.indexOf(name);
  const mean = means(sampled);
  const likely = prediction.proposed.map(place);
  const known = prediction.label ?? prediction.detail.top ?? null;
  // The class that would be answered; rules that refuse do not always tell it.
  const among = mean.map((p, c) => (likely.length === 0 || likely.includes(c) ? p : -1));
  const top = known === null ? argmax(among) : place(known);
  const familiarity =
    prediction.scores.familiarity ??
    (reference && unfamiliarity !== null ? pValue(reference, unfamiliarity) : null);
  return {
    classes,
    sampled,
    settled,
    input,
    familiarity,
    nearest: prediction.nearest ?? null,
    images: rule.calibrated_on?.images ?? null,
    scores: {
      doubt,
      unfamiliarity,
      top,
      proposed: likely.length ? likely : rivals(mean, top),
      between: isBetween(mean),
    },
    decision: { top, proposed: likely, reason: prediction.reason },
  };
}

function show(prediction) {
  if (!state.besides) clearTrouble();
  find("key").hidden = true;
  state.answer = read(prediction);
  panel.networks = state.answer.sampled.length;
  showAnswer();
}

/** Tell what went wrong: with a question, or with a file that never became one (no `job`). */
function fail(error, job = null) {
  if (!(error instanceof Trouble)) throw error;
  clearTrouble();
  if (error.status === 401 || error.status === 403) {
    find("key").hidden = false;
    if (error.status === 403) find("key-note").textContent = error.message;
    find("key-words").focus();
  }
  state.besides = job === null;
  // Before there is a model there is nothing to press: it is asked again by itself.
  const wait = error.wait ?? (state.model === null && error.status === 0 ? 3 : null);
  state.trouble = wait === null ? null : setTimeout(askAgain, 1000 * wait);
  find("trouble-words").textContent = error.message;
  find("trouble").hidden = false;
  find("again").hidden = [401, 403, 413, 415, 422].includes(error.status);
  if (state.model === null) find("loading").textContent = error.message;
  if (job !== null) {
    state.answer = null;
    showAnswer();
  }
  say(error.message);
}

function clearTrouble() {
  clearTimeout(state.trouble);
  state.besides = false;
  find("trouble").hidden = true;
}

// Showing.

function showAnswer() {
  const { answer } = state;
  document.body.classList.toggle("answered", answer !== null);
  if (answer === null) {
    showNothing();
    return;
  }
  const decision = panel.decide(answer);
  const told = verdict(decision, answer.classes, answer.nearest);
  find("head").textContent = told.head;
  find("tail").textContent = told.tail;
  find("verdict").className = told.yes ? "yes" : "no";
  find("why").textContent = why(decision, answer);
  find("effort").textContent = effort(answer.sampled, panel.kind === "own" ? answer.settled : null);
  showSeen(find("seen"), answer.input);
  const { width, height, channels } = answer.input;
  const size = `${width} by ${height} pixels${channels === 3 ? " in colour" : ""}`;
  find("seen-words").textContent = `what it sees:\n${width} × ${height} pixels`;
  find("seen").setAttribute("aria-label", `What the network sees: ${size}`);
  const scale = document.querySelector("input[name=scale]:checked").value;
  histograms.show(answer, decision, { ...panel.view, scale });
  showStanding(answer, decision.reason === "unfamiliar");
  say(told.head + told.tail, QUIET);
}

function showNothing() {
  const wrong = !find("trouble").hidden;
  find("verdict").className = "";
  find("head").textContent = wrong ? "No answer." : "Nothing is drawn yet.";
  find("tail").textContent = "";
  find("why").textContent = wrong ? "" : "Draw on the pad, or pick an example.";
  find("effort").textContent = "";
  find("seen-words").textContent = "what it sees";
  find("seen").setAttribute("aria-label", "Nothing was shown to the network yet");
  find("seen").getContext("2d").clearRect(0, 0, find("seen").width, find("seen").height);
  if (state.model === null) return;
  // Nothing of an earlier answer beside a new question.
  histograms.blank(state.model.classes);
  showStanding(null);
}

/** Where an image stands, or without one, among what it would stand. */
function showStanding(answer, refused = false) {
  const { reference } = state.model;
  const value = answer?.scores.unfamiliarity ?? null;
  const place = answer && standing(answer);
  const known = Boolean(reference?.length) && (answer === null || (value !== null && place !== null));
  find("familiar-known").hidden = !known;
  find("familiar-numbers").hidden = !known || answer === null;
  const { threshold, partly } = panel.gate;
  if (known) showFamiliarity(find("familiarity"), { reference, value, threshold, partly, refused });
  if (!known || answer === null) {
    find("familiar-words").textContent = known
      ? "Images that were held out of training, by how unlike the training images they are."
      : "This model does not judge how familiar an image is.";
    return;
  }
  const like = answer.nearest === null ? "" : ` It looks most like ${answer.nearest}.`;
  find("familiar-words").textContent = `It is ${place.words}.${like}`;
  const middle = reference[Math.floor(reference.length / 2)];
  fillTable(find("familiar-table"), [
    ["This image", number(value)],
    ["The median familiar image", number(middle)],
    ["The strangest familiar image", number(reference[reference.length - 1])],
    ["Refused beyond", Number.isFinite(threshold) ? number(threshold) : "nothing is refused"],
  ]);
}

function number(value) {
  return Number.isFinite(value) ? String(Number(value.toPrecision(3))) : "no number";
}

// A model.

async function begin() {
  try {
    const { default: first, models: names } = await models();
    find("choice").hidden = names.length < 2;
    find("model").replaceChildren(...names.map((name) => new Option(name, name, false, name === first)));
    await use(first);
  } catch (error) {
    fail(error);
  }
}

async function use(name) {
  newest.cancel();
  clearTrouble();
  state.model = await model(name);
  find("key").hidden = true;
  find("loading").hidden = true;
  find("main").hidden = false;
  const digits = knowsDigits(state.model.classes);
  state.frame = digits ? frameOf(state.model.trained_on) : null;
  find("centre-label").hidden = state.frame === null;
  find("centre").checked = state.frame !== null;
  panel.begin(state.model);
  introduce(digits);
  const examples = examplesFor(state.model).map(withPicture);
  find("examples").replaceChildren(...examples.map(button));
  if (pad.content !== EMPTY) askAgain();
  else if (digits) pad.put(examples[0].content);
  else padChanged(EMPTY, false);
}

function introduce(digits) {
  const { classes, trained_on: source, training_images: count, network, samples } = state.model;
  find("title").textContent = digits ? "Draw a digit, or anything else." : "Show it an image, any image.";
  const networks = samples === 100 ? "A hundred" : samples;
  find("lead").textContent =
    `${networks} networks, all drawn from one trained model, look at it. Where they agree, and it is ` +
    "like what they were trained on, you get an answer; where not, an honest “I don’t know”.";
  find("pad-kind").textContent = state.frame
    ? "White on black, as its training images are. "
    : "White on black. ";
  const some = classes.length > 12 ? `${classes.length} classes` : list(classes);
  const images = count ? ` on ${count.toLocaleString("en")} images` : "";
  find("about").textContent = `It knows ${some}; trained${images} of ${source}. Network: ${network}.`;
}

/** An example with a small picture of it, and what it puts on the pad. */
function withPicture(example) {
  const { name, strokes, pixels, way } = example;
  if (strokes) {
    return { name, picture: drawn(strokes, null), content: { kind: "strokes", strokes, name, way } };
  }
  const picture = fromPixels(pixels);
  return { name, picture, content: null };
}

/** Where on the way from a 4 to a 9 a model is least certain; it is asked once. */
async function seekWay(asked) {
  if (asked.way === undefined) {
    const pictures = PLACES.map((way) => ({ kind: "strokes", strokes: fourToNine(way) }));
    const answers = await Promise.all(pictures.map(bytes))
      .then((blobs) => predictAll(asked.name, blobs))
      .catch(() => []); // then the example does without
    asked.way = leastCertain(answers);
  }
  return asked.way;
}

function button({ name, picture, content }) {
  picture.setAttribute("aria-hidden", "true");
  const press = html("button", { type: "button" }, picture, html("span", {}, name));
  press.addEventListener("click", async () => {
    if (content?.way !== undefined) {
      const way = await seekWay(state.model);
      pad.put({ ...content, strokes: fourToNine(way), way });
      return;
    }
    const blob = content ?? (await asPng(picture));
    pad.put(content ?? { kind: "picture", bitmap: picture, blob, name });
  });
  return html("li", {}, press);
}

find("way").addEventListener("input", () => {
  const way = Number(find("way").value);
  pad.replace({ ...pad.content, strokes: fourToNine(way), way });
});
find("undo").addEventListener("click", () => pad.undo());
find("clear").addEventListener("click", () => pad.clear());
find("centre").addEventListener("change", askAgain);
find("again").addEventListener("click", askAgain);
find("model").addEventListener("change", () => use(find("model").value).catch((error) => fail(error)));
find("key").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(find("key-words").value);
  askAgain();
});
for (const choice of document.querySelectorAll("input[name=scale]")) {
  choice.addEventListener("change", showAnswer);
}
addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key === "z") {
    event.preventDefault();
    pad.undo();
  }
});
watchFiles(find("file"), document.body, (picture) => pad.put(picture), (error) => fail(error));
begin();
