// Images that come from elsewhere: chosen, dropped anywhere on the page, or pasted.
import { Trouble } from "./service.js";

/**
 * Watch for images.
 *
 * @param input The file input.
 * @param page The element that shows that something can be dropped.
 * @param take Called with a picture for the pad.
 * @param failed Called with a Trouble.
 */
export function watchFiles(input, page, take, failed) {
  const open = (file) => asPicture(file).then(take, failed);
  input.addEventListener("change", () => {
    if (input.files.length) open(input.files[0]);
    input.value = ""; // The same file may be chosen again.
  });
  addEventListener("paste", (event) => {
    const file = [...event.clipboardData.files][0];
    if (!file) return;
    event.preventDefault();
    open(file);
  });
  let inside = 0;
  const count = (change) => {
    inside = Math.max(0, inside + change);
    page.classList.toggle("dropping", inside > 0);
  };
  addEventListener("dragenter", () => count(1));
  addEventListener("dragleave", () => count(-1));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    count(-inside);
    const file = event.dataTransfer.files[0];
    if (file) open(file);
    else failed(new Trouble("Only files can be dropped here.", 0));
  });
}

/** A file as what the pad holds; what the browser cannot show the server may still read. */
async function asPicture(file) {
  if (!file.type.startsWith("image/")) {
    throw new Trouble(`“${file.name}” is not an image.`, 415);
  }
  const bitmap = await createImageBitmap(file).catch(() => null);
  return { kind: "picture", bitmap, blob: file, name: file.name };
}
