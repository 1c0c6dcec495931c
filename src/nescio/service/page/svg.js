// Small drawings in SVG; colours are CSS classes, so that they follow the page into the dark.

const SPACE = "http://www.w3.org/2000/svg";

/** An SVG element with its attributes and children. */
export function mark(name, attributes = {}, ...children) {
  const element = document.createElementNS(SPACE, name);
  set(element, attributes);
  element.append(...children);
  return element;
}

/** Set attributes, of those that changed. */
export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
  }
}

/** An HTML element with its properties and children. */
export function html(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

/** A share of the width as SVG takes it. */
export function across(share) {
  return `${(100 * Math.min(Math.max(share, 0), 1)).toFixed(2)}%`;
}

/** Fill the body of a table; each row is a header cell and its numbers. */
export function fillTable(body, rows) {
  const cells = (row) =>
    row.map((words, i) => html(i ? "td" : "th", i ? {} : { scope: "row" }, String(words)));
  body.replaceChildren(...rows.map((row) => html("tr", {}, ...cells(row))));
}
