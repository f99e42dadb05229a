/** The dialog for the API key. */

import { key } from "./api.js";

/** `onchange()` is called when another key is used. */
export function keyDialog(onchange) {
  const part = (name) => document.getElementById(name);
  const [dialog, input, error] = [part("key-dialog"), part("key"), part("key-error")];
  const ask = (message = "") => {
    error.textContent = message;
    error.hidden = message === "";
    input.value = key.get();
    if (!dialog.open) dialog.showModal();
    input.focus();
  };
  part("key-button").addEventListener("click", () => ask());
  part("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const save = event.submitter?.value !== "cancel";
    dialog.close();
    if (!save) return;
    key.set(input.value.trim());
    onchange();
  });
  return ask;
}
