// The pad: strokes by mouse, pen, finger or keys; undo and clear; or a picture shown whole.
import { PEN, paint } from "./strokes.js";

const PAPER = "#000000";
const INK = "#ffffff";

/** Of the pad's side: a step of the pen by an arrow key, and with Shift. */
const STEP = 0.025;
const LONG_STEP = 0.1;

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Nothing was drawn. */
export const EMPTY = Object.freeze({ kind: "empty" });

/**
 * What is on the pad, one of
 *   {kind: "empty"},
 *   {kind: "strokes", strokes, name}: drawn by hand (name null) or an example (with its `way`),
 *   {kind: "picture", bitmap, blob, name}: a file; bitmap null where the browser cannot show it.
 */
export class Pad {
  /**
   * @param canvas Where to draw.
   * @param changed Called with what is on the pad, and whether a stroke is still being drawn.
   * @param say Called with words for a screen reader.
   */
  constructor(canvas, changed, say) {
    this.canvas = canvas;
    this.changed = changed;
    this.say = say;
    this.content = EMPTY;
    this.past = [];
    this.stroke = null; // The one that is being drawn.
    this.pen = null; // Where the keyboard's pen is, once it is used.
    this.held = new Set();
    canvas.addEventListener("pointerdown", (event) => this.#press(event));
    canvas.addEventListener("pointermove", (event) => this.#drag(event));
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, (event) => this.#release(event));
    }
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("keyup", (event) => this.held.delete(event.key));
    canvas.addEventListener("blur", () => this.#leave());
    this.show();
  }

  /** Put something else on the pad; undo brings back what was there. */
  put(content) {
    this.#lift();
    this.past.push(this.content);
    this.#set(content);
  }

  /** Put something in the place of what is there, as a step of the same change. */
  replace(content) {
    this.#set(content);
  }

  clear() {
    if (this.content !== EMPTY || this.stroke) this.put(EMPTY);
  }

  undo() {
    this.#lift();
    if (this.past.length) this.#set(this.past.pop());
  }

  get canUndo() {
    return this.past.length > 0;
  }

  #set(content) {
    this.content = content;
    this.show();
    this.changed(content, false);
  }

  // A stroke, by whatever hand.

  #begin(point) {
    this.stroke = [point];
    this.#grow();
  }

  #grow() {
    this.show();
    this.changed(this.#drawn(), true);
  }

  #lift() {
    if (!this.stroke) return;
    const drawn = this.#drawn();
    this.stroke = null;
    this.past.push(this.content);
    this.#set(drawn);
  }

  /** What is on the pad with the stroke that is being drawn; it takes the place of an example. */
  #drawn() {
    const own = this.content.kind === "strokes" && this.content.name === null;
    const before = own ? this.content.strokes : [];
    return { kind: "strokes", name: null, strokes: [...before, [...this.stroke]] };
  }

  // The pointer.

  #press(event) {
    if (!event.isPrimary || event.button !== 0) return;
    this.#lift();
    this.pen = null;
    this.canvas.setPointerCapture(event.pointerId);
    this.#begin(this.#place(event));
  }

  #drag(event) {
    if (!this.stroke || !this.canvas.hasPointerCapture(event.pointerId)) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [event]) this.stroke.push(this.#place(each));
    this.#grow();
  }

  #release(event) {
    if (this.stroke && this.canvas.hasPointerCapture(event.pointerId)) this.#lift();
  }

  #place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }

  // The keyboard: arrows move the pen, two at once aslant; space puts it down and lifts it.

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in ARROWS) {
      this.held.add(event.key);
      this.#move(event.shiftKey ? LONG_STEP : STEP);
    } else if (event.key === " " || event.key === "Enter") {
      if (event.repeat) return;
      this.pen ??= [0.5, 0.5];
      if (this.stroke) this.#lift();
      else this.#begin(this.pen);
      this.show();
      this.say(this.stroke ? "Pen down." : "Pen up.");
    } else if (event.key === "Delete" || event.key === "Backspace") {
      this.clear();
    } else {
      return;
    }
    event.preventDefault();
  }

  #move(step) {
    if (!this.pen) {
      this.pen = [0.5, 0.5]; // The first arrow shows where it is.
      this.show();
      return;
    }
    for (const key of this.held) {
      this.pen = this.pen.map((at, i) => Math.min(Math.max(at + step * ARROWS[key][i], 0.05), 0.95));
    }
    if (this.stroke) {
      this.stroke.push(this.pen);
      this.#grow();
    } else {
      this.show();
    }
  }

  #leave() {
    this.held.clear();
    this.pen = null;
    this.#lift();
    this.show();
  }

  /** Draw anew all that is there. */
  show() {
    const context = this.canvas.getContext("2d");
    const side = this.canvas.width;
    const content = this.stroke ? this.#drawn() : this.content;
    context.fillStyle = PAPER;
    context.fillRect(0, 0, side, side);
    if (content.kind === "strokes") paint(context, side, content.strokes, PEN, INK);
    if (content.kind === "picture") {
      if (content.bitmap) showWhole(context, side, content.bitmap);
      else showName(context, side, content.name);
    }
    if (this.pen) this.#showPen(context, side);
  }

  #showPen(context, side) {
    const [x, y] = this.pen.map((at) => at * side);
    for (const [colour, width] of [["#000000", 9], ["#5bb4e8", 5]]) {
      context.lineWidth = width;
      context.strokeStyle = colour;
      context.beginPath();
      context.arc(x, y, 0.5 * PEN * side + 5, 0, 2 * Math.PI);
      context.stroke();
    }
  }
}

/** The name of a file that the browser cannot show. */
function showName(context, side, name) {
  context.fillStyle = INK;
  context.font = "32px system-ui, sans-serif";
  context.textAlign = "center";
  context.fillText(name, side / 2, side / 2, 0.9 * side);
}

/** A picture as large as fits; pixels stay pixels where it is small. */
function showWhole(context, side, bitmap) {
  const scale = Math.min(side / bitmap.width, side / bitmap.height);
  const [width, height] = [bitmap.width * scale, bitmap.height * scale];
  context.imageSmoothingEnabled = scale < 4;
  context.drawImage(bitmap, (side - width) / 2, (side - height) / 2, width, height);
}
