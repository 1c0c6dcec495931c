// Questions to the service, and what went wrong in one plain sentence.

/** Something went wrong; the message is for a person. */
export class Trouble extends Error {
  /**
   * @param message One plain sentence.
   * @param status The HTTP status; 0 where no answer came.
   * @param wait Seconds after which to ask again; null where that would not help.
   */
  constructor(message, status, wait = null) {
    super(message);
    Object.assign(this, { status, wait });
  }
}

let key = ""; // The API key, in the memory of this page alone.

export function useKey(words) {
  key = words;
}

/** The names of the models that there are, and the one to begin with. */
export function models() {
  return ask("v1/models");
}

/** One model: its classes, its rule, what it holds images against. */
export function model(name) {
  return ask(`v1/model?${new URLSearchParams({ model: name })}`);
}

/** What a model says of one image, with all details. */
export async function predict(name, blob, signal) {
  const query = new URLSearchParams({ model: name, detail: "true" });
  const body = { method: "POST", body: blob, headers: { "Content-Type": blob.type }, signal };
  const answer = await ask(`v1/predict?${query}`, body);
  const prediction = answer.predictions[0];
  if (prediction.error) throw new Trouble("This file cannot be read as an image.", 422);
  return prediction;
}

/** What a model says of several images, in their order. */
export async function predictAll(name, blobs) {
  const body = new FormData();
  for (const blob of blobs) body.append("images", blob, "image.png");
  const answer = await ask(`v1/predict?${new URLSearchParams({ model: name })}`, { method: "POST", body });
  return answer.predictions;
}

async function ask(path, options = {}) {
  const headers = { Accept: "application/json", ...options.headers };
  if (key) headers["Authorization"] = `Bearer ${key}`;
  let response;
  try {
    response = await fetch(new URL(path, document.baseURI), { ...options, headers });
    if (response.ok) return await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble("The server does not answer; it may have been stopped.", 0);
  }
  throw trouble(response.status, Number(response.headers.get("Retry-After")) || 1);
}

function trouble(status, seconds) {
  const pause = seconds === 1 ? "a second" : `${seconds} seconds`;
  const sentences = {
    401: "This server wants a key.",
    403: "The server does not take this key.",
    413: "This image is too large for the server.",
    415: "This is not a kind of image that the server reads; PNG, JPEG and WebP will do.",
    422: "This file cannot be read as an image.",
    429: `The server was asked too often; it will be asked again in ${pause}.`,
    503: `The server is busy; it will be asked again in ${pause}.`,
    504: "The server took too long.",
  };
  const again = status === 429 || status === 503 ? seconds : null;
  const words = sentences[status] ?? "The server could not answer; its log says why.";
  return new Trouble(words, status, again);
}

/** Milliseconds between an answer and the next question. */
const PAUSE = 50;

/** One question at a time, and after it the newest: no answer overtakes a later one. */
export class Newest {
  /**
   * @param work An async function of (job, signal).
   * @param done Called with its result and the job.
   * @param failed Called with a Trouble and the job.
   */
  constructor(work, done, failed) {
    Object.assign(this, { work, done, failed, running: null, waiting: null });
  }

  /** Ask, after what is being asked; or at once, which takes that back. */
  ask(job, { atOnce = false } = {}) {
    this.waiting = job;
    if (atOnce) this.#stop();
    if (!this.running) this.#next();
  }

  /** Take back whatever was asked. */
  cancel() {
    this.waiting = null;
    this.#stop();
  }

  #stop() {
    this.running?.abort();
    this.running = null;
  }

  async #next() {
    const job = this.waiting;
    const own = new AbortController();
    this.waiting = null;
    this.running = own;
    try {
      const result = await this.work(job, own.signal);
      if (this.running === own) this.done(result, job);
    } catch (error) {
      if (this.running === own && !own.signal.aborted) this.failed(error, job);
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
    if (this.running !== own) return;
    this.running = null;
    if (this.waiting !== null) this.#next();
  }
}
