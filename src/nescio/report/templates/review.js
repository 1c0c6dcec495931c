
"use strict";
(() => {
  const find = (id) => document.getElementById(id);
  const review = JSON.parse(find("review").textContent);
  const { classes, images, proposals, keys } = review;
  const places = new Map(classes.map((name, place) => [name, place]));
  const keyed = Object.keys(keys).length > 0;
  const cards = [...document.querySelectorAll(".card")];
  const bar = document.querySelector(".tools");
  const place = `nescio-review-${review.fingerprint}`;

  // A state is the place of a class, "none" (not any class), "skip", or null.
  let states = restored();
  let current = Math.max(0, states.indexOf(null));
  let kept = true;

  function restored() {
    let saved = [];
    try {
      saved = JSON.parse(localStorage.getItem(place)) ?? [];
    } catch { /* nothing was kept, or not by this page */ }
    return cards.map((_, i) => (valid(saved[i]) ? saved[i] : null));
  }

  function valid(state) {
    const isClass = Number.isInteger(state) && state >= 0 && state < classes.length;
    return isClass || state === "none" || state === "skip";
  }

  function keep() {
    try {
      localStorage.setItem(place, JSON.stringify(states));
      kept = true;
    } catch {
      kept = false;
    }
  }

  function inWords(state) {
    if (state === null) return "";
    return { none: "Not any class: left out", skip: "Skipped" }[state] ?? `Labelled ${classes[state]}`;
  }

  function draw(i) {
    const state = states[i];
    cards[i].dataset.kind = typeof state === "number" ? "label" : state ?? "";
    for (const button of cards[i].querySelectorAll("[data-state]")) {
      button.setAttribute("aria-pressed", String(button.dataset.state === String(state)));
    }
    cards[i].querySelector(".state").textContent = inWords(state);
  }

  function drawCount() {
    const labelled = states.filter((state) => typeof state === "number").length;
    const none = states.filter((state) => state === "none").length;
    const skipped = states.filter((state) => state === "skip").length;
    find("count").textContent = `${labelled} of ${cards.length} labelled`
      + (none ? `, ${none} not any class` : "") + (skipped ? `, ${skipped} skipped` : "");
    find("progress").value = labelled + none;
  }

  function drawAll() {
    cards.forEach((_, i) => draw(i));
    drawCount();
  }

  function say(text, wrong = false) {
    find("said").textContent = kept ? text : `${text} This browser keeps nothing: save before you leave.`;
    find("said").classList.toggle("wrong", wrong || !kept);
  }

  function choose(i, state) {
    states[i] = states[i] === state ? null : state;
    keep();
    draw(i);
    drawCount();
    say(`Image ${i + 1}: ${inWords(states[i]) || "no label"}.`);
  }

  // What is focused must not lie under the bar that stays, however many lines that takes.
  function clearBar() {
    document.documentElement.style.scrollPaddingTop = `${bar.offsetHeight + 12}px`;
  }

  function go(i) {
    current = i;
    clearBar();
    cards[i].focus({ preventScroll: true });
    cards[i].scrollIntoView({ block: "nearest" });
  }

  // The next image without a state, after `i` and round to the beginning; -1 where there is none.
  function openAfter(i) {
    for (let step = 1; step <= cards.length; step++) {
      const at = (i + step) % cards.length;
      if (states[at] === null) return at;
    }
    return -1;
  }

  function goOn(i) {
    const open = openAfter(i);
    if (open >= 0) go(open);
    else {
      go(i);
      say("Every image has been seen to.");
    }
  }

  function chooseAndGoOn(i, state) {
    choose(i, state);
    if (states[i] !== null) goOn(i);
  }

  // A class by its name; where only the case differs, that one.
  function placeOf(text) {
    const wanted = text.trim().toLowerCase();
    const same = classes.filter((name) => name.toLowerCase() === wanted);
    return places.get(text) ?? places.get(text.trim()) ?? (same.length === 1 ? places.get(same[0]) : undefined);
  }

  // Whether the text was a class.
  function take(i, input) {
    if (input.value === "") return false;
    const found = placeOf(input.value);
    if (found === undefined) {
      input.setAttribute("aria-invalid", "true");
      say(`“${input.value}” is none of the ${classes.length} classes.`, true);
      return false;
    }
    input.value = "";
    input.removeAttribute("aria-invalid");
    if (states[i] !== found) choose(i, found);
    return true;
  }

  cards.forEach((card, i) => {
    const input = card.querySelector("input");
    card.addEventListener("click", (event) => {
      const state = event.target.closest("[data-state]")?.dataset.state;
      if (state !== undefined) choose(i, /^\d+$/.test(state) ? Number(state) : state);
    });
    card.addEventListener("focusin", () => { current = i; });
    input.addEventListener("input", (event) => {
      // Picked from the list, not typed: there is nothing to wait for.
      if (!(event instanceof InputEvent) || event.inputType === "insertReplacementText") take(i, input);
    });
    input.addEventListener("change", () => take(i, input));
    input.addEventListener("keydown", (event) => {
      if (event.isComposing) return;
      if (event.key === "Enter") {
        event.preventDefault();
        if (take(i, input)) goOn(i);
      } else if (event.key === "Escape") {
        input.value = "";
        go(i);
      }
    });
  });

  function actionOf(key, i, onCard) {
    const last = cards.length - 1;
    switch (key) {
      case "ArrowRight": case "ArrowDown": return () => go(Math.min(last, i + 1));
      case "ArrowLeft": case "ArrowUp": return () => go(Math.max(0, i - 1));
      case "-": return () => chooseAndGoOn(i, "none");
      case ".": return () => chooseAndGoOn(i, "skip");
      case "Delete": case "Backspace": return () => { if (states[i] !== null) choose(i, states[i]); };
      case "/": return () => cards[i].querySelector("input").focus();
      case "Enter": return onCard ? () => cards[i].querySelector("input").focus() : null;
    }
    const state = keyed ? keys[key.toLowerCase()] : proposals[i][/^[1-9]$/.test(key) ? key - 1 : -1];
    return state === undefined ? null : () => chooseAndGoOn(i, state);
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.defaultPrevented || !find("use-keys").checked || event.target.matches("input")) return;
    const i = cards.indexOf(event.target.closest(".card"));
    // From elsewhere an arrow goes to the image that is next, as do all keys.
    if (i < 0 && event.key.startsWith("Arrow")) {
      event.preventDefault();
      go(current);
      return;
    }
    const action = actionOf(event.key, i < 0 ? current : i, event.target === cards[i]);
    if (action) {
      event.preventDefault();
      action();
    }
  });

  // CSV after RFC 4180.
  const quoted = (text) => (/[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

  function asCsv() {
    const rows = [["image", "label"]];
    states.forEach((state, i) => {
      if (typeof state === "number") rows.push([images[i], classes[state]]);
    });
    return rows.map((row) => `${row.map(quoted).join(",")}\r\n`).join("");
  }

  function fromCsv(text) {
    const rows = [];
    let row = [], field = "", inside = false;
    for (let i = 0; i < text.length; i++) {
      const c = text[i];
      if (inside && c === '"' && text[i + 1] === '"') field += text[++i];
      else if (inside) c === '"' ? (inside = false) : (field += c);
      else if (c === '"' && field === "") inside = true;
      else if (c === ",") {
        row.push(field);
        field = "";
      } else if (c === "\n" || c === "\r") {
        if (c === "\r" && text[i + 1] === "\n") i++;
        rows.push([...row, field]);
        row = [];
        field = "";
      } else field += c;
    }
    if (field !== "" || row.length) rows.push([...row, field]);
    return rows.filter((r) => r.length > 1 || r[0] !== "");
  }

  function load(text) {
    const [header, ...rows] = fromCsv(text.replace(/^\ufeff/, ""));
    if (!header || header.join() !== "image,label") {
      say("This is no file of labels: its first line must be image,label.", true);
      return;
    }
    const numbers = new Map(images.map((name, i) => [name, i]));
    let taken = 0;
    for (const [image, label] of rows) {
      const i = numbers.get(image), state = places.get(label);
      if (i === undefined || state === undefined) continue;
      states[i] = state;
      taken++;
    }
    keep();
    drawAll();
    const left = rows.length - taken;
    say(`${taken} labels loaded${left ? `; ${left} lines are of other images or classes` : ""}.`, left > 0);
  }

  find("next").addEventListener("click", () => {
    const open = openAfter(current - 1);
    const skipped = states.indexOf("skip");
    if (open >= 0 || skipped >= 0) go(open >= 0 ? open : skipped);
    else say("Every image has been seen to.");
  });
  find("save").addEventListener("click", () => {
    const labelled = states.filter((state) => typeof state === "number").length;
    if (!labelled) {
      say("Nothing is labelled yet.", true);
      return;
    }
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([asCsv()], { type: "text/csv;charset=utf-8" }));
    link.download = "labels.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    say(`${labelled} labels saved as labels.csv, among your downloads.`);
  });
  find("import").addEventListener("click", () => find("file").click());
  find("file").addEventListener("change", async (event) => {
    const [file] = event.target.files;
    if (file) load(await file.text());
    event.target.value = "";
  });
  window.addEventListener("storage", (event) => {
    if (event.key !== place) return;
    states = restored();
    drawAll();
  });
  window.addEventListener("beforeunload", (event) => {
    if (!kept) event.preventDefault();
  });

  new ResizeObserver(clearBar).observe(bar);
  drawAll();
})();
